/*
 * Clock: wall time and monotonic time in microseconds, and their JSON texts (RFC 3339 in UTC; "1.500s" durations),
 * as the REST contract wants them (rest-api.md section 1.2).
 */
#pragma once

#include "base/base.h"

#define USEC_PER_SEC 1000000ll

int64_t clock_wall_usec(void);      /* since 1970-01-01T00:00:00Z */
int64_t clock_monotonic_usec(void); /* never goes back; only differences mean something */

#define CLOCK_TEXT_MAX 40

/* "2026-08-01T10:00:00Z", with 3 or 6 fraction digits when there is a fraction. */
void clock_format_timestamp(int64_t wall_usec, char out[CLOCK_TEXT_MAX]);
/*
 * Accepts any UTC offset and up to 9 fraction digits; false when the text is anything else, or a moment before 1970
 * or after 9999. Digits below a microsecond are cut off.
 */
MUST_CHECK bool clock_parse_timestamp(struct slice text, int64_t *ret_wall_usec);

/* "300s", "1.500s". */
void clock_format_duration(int64_t usec, char out[CLOCK_TEXT_MAX]);
/* Only this form; may be negative ("-1s"), for the caller's range check to refuse. */
MUST_CHECK bool clock_parse_duration(struct slice text, int64_t *ret_usec);
