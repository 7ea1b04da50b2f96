#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include "base/clock.h"

struct pair {
	const char *text;
	int64_t value;
};

static void parses_timestamps(void **state)
{
	(void)state;
	static const struct pair pairs[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2026-08-01T10:00:00Z", 1785578400000000 },
		{ "2026-08-01t10:00:00z", 1785578400000000 },
		{ "2026-08-01 10:00:00Z", 1785578400000000 },
		{ "2026-08-01T12:00:00+02:00", 1785578400000000 },
		{ "2026-08-01T04:30:00-05:30", 1785578400000000 },
		{ "2026-08-01T10:00:00.5Z", 1785578400500000 },
		{ "2026-08-01T10:00:00.000001Z", 1785578400000001 },
		{ "2026-08-01T10:00:00.123456789Z", 1785578400123456 },
		{ "2024-02-29T00:00:00Z", 1709164800000000 },
		{ "2000-02-29T00:00:00Z", 951782400000000 },
		{ "2016-12-31T23:59:60Z", 1483228800000000 }, /* a leap second is the next second */
		{ "9999-12-31T23:59:59.999999Z", 253402300799999999 },
		{ "1970-01-01T01:00:00+01:00", 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		int64_t value = -1;
		if (!clock_parse_timestamp(slice_from_text(pairs[i].text), &value) || value != pairs[i].value)
			fail_msg("%s gave %lld", pairs[i].text, (long long)value);
	}
}

static void refuses_what_is_no_timestamp(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"now",
		"2026-08-01",
		"2026-08-01T10:00:00",
		"2026-08-01T10:00Z",
		"2026-8-01T10:00:00Z",
		"2026-08-01T10:00:00.Z",
		"2026-08-01T10:00:00.1234567890Z",
		"2026-08-01T10:00:00+0200",
		"2026-08-01T10:00:00+24:00",
		"2026-08-01T10:00:00+02:60",
		"2026-08-01T10:00:00ZZ",
		"2026-08-01T10:00:00Z ",
		" 2026-08-01T10:00:00Z",
		"2026-13-01T10:00:00Z",
		"2026-00-01T10:00:00Z",
		"2026-04-31T10:00:00Z",
		"2026-08-00T10:00:00Z",
		"2026-02-29T10:00:00Z",
		"1900-02-29T10:00:00Z",
		"2026-08-01T24:00:00Z",
		"2026-08-01T10:60:00Z",
		"2026-08-01T10:00:61Z",
		"1969-12-31T23:59:59Z",
		"1970-01-01T00:00:00+00:01", /* a moment of 1969 */
		"9999-12-31T23:59:59-00:01", /* a moment of the year 10000, which has no text */
		"9999-12-31T23:59:60Z",
		"-026-08-01T10:00:00Z",
		"2026-08-01T10:00:00Z\n",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int64_t value = 7;
		if (clock_parse_timestamp(slice_from_text(bad[i]), &value))
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(value, 7);
	}
	int64_t value;
	struct slice with_nul = { (const uint8_t *)"2026-08-01T10:00:00\0", 20 };
	assert_false(clock_parse_timestamp(with_nul, &value));
	struct slice cut = { (const uint8_t *)"2026-08-01T10:00:00Z", 19 }; /* the Z is beyond the end */
	assert_false(clock_parse_timestamp(cut, &value));
}

static void formats_timestamps(void **state)
{
	(void)state;
	static const struct pair pairs[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2026-08-01T10:00:00Z", 1785578400000000 },
		{ "2026-08-01T10:00:00.500Z", 1785578400500000 },
		{ "2026-08-01T10:00:00.000001Z", 1785578400000001 },
		{ "2026-08-01T10:00:00.123456Z", 1785578400123456 },
		{ "1969-12-31T23:59:59.999Z", -1000 },
		{ "9999-12-31T23:59:59.999999Z", 253402300799999999 },
	};
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		char out[CLOCK_TEXT_MAX];
		clock_format_timestamp(pairs[i].value, out);
		assert_string_equal(out, pairs[i].text);
	}
}

static void durations(void **state)
{
	(void)state;
	static const struct pair both_ways[] = {
		{ "0s", 0 },
		{ "300s", 300000000 },
		{ "1.500s", 1500000 },
		{ "0.000001s", 1 },
		{ "-1s", -1000000 },
		{ "-0.500s", -500000 },
		{ "999999999999s", 999999999999000000 },
	};
	for (size_t i = 0; i < ARRAY_LEN(both_ways); i++) {
		char out[CLOCK_TEXT_MAX];
		int64_t value = 7;
		assert_true(clock_parse_duration(slice_from_text(both_ways[i].text), &value));
		assert_int_equal(value, both_ways[i].value);
		clock_format_duration(value, out);
		assert_string_equal(out, both_ways[i].text);
	}
	int64_t value = 7;
	assert_true(clock_parse_duration(slice_from_text("1.5s"), &value));
	assert_int_equal(value, 1500000);
	static const char *const bad[] = { "", "s", "1", ".5s", "1.s", "+1s", "1 s", "1S", "1m", "--1s",
		"1s ", "1000000000000s", "0x1s", "1e3s", "NaNs", "1.5.5s" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		value = 7;
		if (clock_parse_duration(slice_from_text(bad[i]), &value))
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(value, 7);
	}
}

static void monotonic_time_does_not_go_back(void **state)
{
	(void)state;
	int64_t last = clock_monotonic_usec();
	for (int i = 0; i < 10000; i++) {
		int64_t now = clock_monotonic_usec();
		assert_true(now >= last);
		last = now;
	}
	assert_true(clock_wall_usec() > 1700000000000000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_timestamps),
		cmocka_unit_test(refuses_what_is_no_timestamp),
		cmocka_unit_test(formats_timestamps),
		cmocka_unit_test(durations),
		cmocka_unit_test(monotonic_time_does_not_go_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
