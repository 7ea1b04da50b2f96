/* Timestamps and durations: whatever parses, prints and parses again as the same moment; printing is stable.
 */
#include <stdlib.h>

#include "base/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_timestamp(struct slice text)
{
	int64_t value, again;
	char out[CLOCK_TEXT_MAX], out_again[CLOCK_TEXT_MAX];
	if (!clock_parse_timestamp(text, &value))
		return;
	clock_format_timestamp(value, out);
	if (!clock_parse_timestamp(slice_from_text(out), &again) || again != value)
		abort();
	clock_format_timestamp(again, out_again);
	if (strcmp(out, out_again) != 0)
		abort();
}

static void check_duration(struct slice text)
{
	int64_t value, again;
	char out[CLOCK_TEXT_MAX];
	if (!clock_parse_duration(text, &value))
		return;
	clock_format_duration(value, out);
	if (!clock_parse_duration(slice_from_text(out), &again) || again != value)
		abort();
}

/* Any moment between 1970 and 9999, taken from the raw bytes, survives printing and parsing. */
static void check_value(const uint8_t *data, size_t size)
{
	uint64_t raw = 0;
	memcpy(&raw, data, size < sizeof raw ? size : sizeof raw);
	int64_t value = (int64_t)(raw % (253402300800ull * USEC_PER_SEC)), again;
	char out[CLOCK_TEXT_MAX];
	clock_format_timestamp(value, out);
	if (!clock_parse_timestamp(slice_from_text(out), &again) || again != value)
		abort();
	clock_format_duration(value, out);
	if (!clock_parse_duration(slice_from_text(out), &again) || again != value)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = { data, size };
	check_timestamp(text);
	check_duration(text);
	if (size > 0)
		check_value(data, size);
	return 0;
}
