/* Integers and LSNs: what parses is in range and survives printing and parsing; an LSN's own text is accepted
 * as it is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_integer(struct slice text)
{
	int64_t value, again;
	char out[24];
	if (!number_parse(text, INT64_MIN, INT64_MAX, &value))
		return;
	(void)snprintf(out, sizeof out, "%" PRId64, value);
	if (!number_parse(slice_from_text(out), value, value, &again) || again != value)
		abort();
	if (value < INT64_MAX && number_parse(text, value + 1, INT64_MAX, &again))
		abort();
	if (value > INT64_MIN && number_parse(text, INT64_MIN, value - 1, &again))
		abort();
}

static void check_lsn(struct slice text)
{
	uint64_t value, again;
	char out[LSN_TEXT_MAX];
	if (!lsn_parse(text, &value))
		return;
	lsn_format(value, out);
	if (!lsn_parse(slice_from_text(out), &again) || again != value)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = { data, size };
	check_integer(text);
	check_lsn(text);
	uint64_t raw = 0, again;
	char out[LSN_TEXT_MAX];
	if (size > 0)
		memcpy(&raw, data, size < sizeof raw ? size : sizeof raw);
	lsn_format(raw, out);
	if (!lsn_parse(slice_from_text(out), &again) || again != raw)
		abort();
	return 0;
}
