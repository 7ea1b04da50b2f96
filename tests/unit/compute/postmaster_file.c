/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "compute/postmaster_file.h"

#define HEAD "123\n/data\n1700000000\n5432\n/socket\n\n  12345 6\n"

static enum postmaster_state parse(const char *text)
{
	return postmaster_file_parse(slice_from_text(text), 123);
}

static void states(void **state)
{
	(void)state;
	assert_int_equal(parse(HEAD "starting\n"), POSTMASTER_STARTING);
	assert_int_equal(parse(HEAD "standby \n"), POSTMASTER_RECOVERING);
	assert_int_equal(parse(HEAD "ready   \n"), POSTMASTER_READY);
	assert_int_equal(parse(HEAD "stopping\n"), POSTMASTER_STOPPING);
}

static void half_a_file_says_nothing(void **state)
{
	(void)state;
	static const char whole[] = HEAD "ready   \n";
	for (size_t len = 0; len < sizeof whole - 1; len++) {
		struct slice part = { (const uint8_t *)whole, len };
		assert_int_equal(postmaster_file_parse(part, 123), POSTMASTER_UNKNOWN);
	}
}

/* A file that an earlier postmaster left behind says "ready" too. */
static void another_process_says_nothing(void **state)
{
	(void)state;
	assert_int_equal(postmaster_file_parse(slice_from_text(HEAD "ready   \n"), 124), POSTMASTER_UNKNOWN);
	assert_int_equal(postmaster_file_parse(slice_from_text(HEAD "ready   \n"), 12), POSTMASTER_UNKNOWN);
	assert_int_equal(parse("-123\n/data\n1\n5432\n/s\n\n1 2\nready   \n"), POSTMASTER_UNKNOWN);
}

static void nonsense_says_nothing(void **state)
{
	(void)state;
	assert_int_equal(parse("\n\n\n\n\n\n\n\n"), POSTMASTER_UNKNOWN);
	assert_int_equal(parse(HEAD "readyyyy\n"), POSTMASTER_UNKNOWN);
	assert_int_equal(parse(HEAD "\n"), POSTMASTER_UNKNOWN);
	assert_int_equal(postmaster_file_read("/nonexistent", 123), POSTMASTER_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states),
		cmocka_unit_test(half_a_file_says_nothing),
		cmocka_unit_test(another_process_says_nothing),
		cmocka_unit_test(nonsense_says_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
