#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include "base/number.h"

static void parses_integers(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t value;
	} good[] = { { "0", 0 }, { "-0", 0 }, { "7", 7 }, { "-7", -7 }, { "0007", 7 },
		{ "9223372036854775807", INT64_MAX }, { "-9223372036854775808", INT64_MIN } };
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		int64_t value = 99;
		assert_true(number_parse(slice_from_text(good[i].text), INT64_MIN, INT64_MAX, &value));
		assert_true(value == good[i].value);
	}
	static const char *const bad[] = { "", "-", "+1", " 1", "1 ", "1.0", "1e3", "0x10", "--1", "1-", "a",
		"\xc2\xb2", "9223372036854775808", "-9223372036854775809", "99999999999999999999" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int64_t value = 99;
		if (number_parse(slice_from_text(bad[i]), INT64_MIN, INT64_MAX, &value))
			fail_msg("accepted: %s", bad[i]);
		assert_true(value == 99);
	}
	struct slice with_nul = { (const uint8_t *)"1\0", 2 }, nothing = { NULL, 0 };
	int64_t value;
	assert_false(number_parse(with_nul, 0, 9, &value));
	assert_false(number_parse(nothing, 0, 9, &value));
}

static void the_range_includes_its_ends(void **state)
{
	(void)state;
	int64_t value = 99;
	assert_true(number_parse(slice_from_text("1"), 1, 3, &value) && value == 1);
	assert_true(number_parse(slice_from_text("3"), 1, 3, &value) && value == 3);
	assert_false(number_parse(slice_from_text("0"), 1, 3, &value));
	assert_false(number_parse(slice_from_text("4"), 1, 3, &value));
	assert_true(value == 3);
}

static void lsns(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = { { "0/0", 0 }, { "16/B374D848", 0x16B374D848 }, { "FFFFFFFF/FFFFFFFF", UINT64_MAX },
		{ "1/0", 1ull << 32 } };
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		uint64_t value = 99;
		char out[LSN_TEXT_MAX];
		assert_true(lsn_parse(slice_from_text(good[i].text), &value));
		assert_true(value == good[i].value);
		lsn_format(value, out);
		assert_string_equal(out, good[i].text);
	}
	uint64_t value = 99;
	assert_true(lsn_parse(slice_from_text("00000016/b374d848"), &value) && value == 0x16B374D848);
	static const char *const bad[] = { "", "/", "0", "0/", "/0", "0/0/0", "0/123456789", "123456789/0",
		"g/0", "0/ 0", "0 /0", "-1/0", "0x1/0", "0/0 " };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		value = 99;
		if (lsn_parse(slice_from_text(bad[i]), &value))
			fail_msg("accepted: %s", bad[i]);
		assert_true(value == 99);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_integers),
		cmocka_unit_test(the_range_includes_its_ends),
		cmocka_unit_test(lsns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
