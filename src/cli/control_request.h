/* Control request: one question to `tarn control` over run/control.sock (docs/architecture.md), and its answer. */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "data_directory/data_directory.h"

/*
 * Sends {"id":1,"op":op} and waits for the answer. STATUS_UNAVAILABLE when nobody listens, or when control went away
 * or kept silent for timeout_usec. An answer with "error" is an error with its message. *ret is to be freed.
 */
MUST_CHECK status control_request(const struct data_directory *dd, const char *op, int64_t timeout_usec,
        yyjson_doc **ret, struct error *err);
