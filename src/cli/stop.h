/*
 * Stop: ends everything of a data directory but `tarn up`, in the order that loses nothing: the proxy first (no new
 * clients), then control with all computes suspended cleanly. Used by `tarn down` and by `tarn up` at its end.
 */
#pragma once

#include "base/base.h"
#include "data_directory/data_directory.h"

/* Says on stdout what it did, a line each. *ret_count is how many processes it found. Blocks until all are gone. */
MUST_CHECK status stop_all(const struct data_directory *dd, size_t *ret_count, struct error *err);
