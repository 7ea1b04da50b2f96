/* Numbers in text: whole decimal integers and LSNs, refused rather than guessed. */
#pragma once

#include "base/base.h"

/* Only digits with an optional '-', within [min, max]. */
MUST_CHECK bool number_parse(struct slice text, int64_t min, int64_t max, int64_t *ret);

#define LSN_TEXT_MAX 20
/* A WAL position in Postgres' own form, "16/B374D848" (src/backend/utils/adt/pg_lsn.c). */
MUST_CHECK bool lsn_parse(struct slice text, uint64_t *ret);
void lsn_format(uint64_t lsn, char out[LSN_TEXT_MAX]);
