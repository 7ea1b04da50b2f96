#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/base.h"

static void an_error_says_what_and_why(void **state)
{
	(void)state;
	struct error err;
	assert_int_equal(error_set(&err, STATUS_INVALID, 0, "bad %s", "thing"), STATUS_INVALID);
	assert_int_equal(err.code, STATUS_INVALID);
	assert_string_equal(err.message, "bad thing");
	assert_string_equal(err.hint, "");
	error_hint(&err, "Try %d.", 2);
	assert_string_equal(err.hint, "Try 2.");
	assert_int_equal(error_set(&err, STATUS_IO, EACCES, "could not open"), STATUS_IO);
	assert_string_equal(err.message, "could not open: Permission denied");
	assert_int_equal(err.sys_errno, EACCES);
	assert_string_equal(err.hint, ""); /* the old one is gone */
	assert_int_equal(error_prefix(&err, "project \"%s\"", "p"), STATUS_IO);
	assert_string_equal(err.message, "project \"p\": could not open: Permission denied");
}

static void a_full_disk_has_its_own_code(void **state)
{
	(void)state;
	struct error err;
	assert_int_equal(error_set(&err, STATUS_IO, ENOSPC, "x"), STATUS_NO_SPACE);
	assert_int_equal(err.code, STATUS_NO_SPACE);
	assert_int_equal(error_set(&err, STATUS_IO, EDQUOT, "x"), STATUS_NO_SPACE);
	assert_int_equal(error_set(&err, STATUS_INVALID, ENOSPC, "x"), STATUS_INVALID);
	error_fill(&err, STATUS_IO, ENOSPC, "y");
	assert_int_equal(err.code, STATUS_NO_SPACE);
}

static void a_long_message_is_cut(void **state)
{
	(void)state;
	struct error err;
	char long_text[2000];
	memset(long_text, 'a', sizeof long_text - 1);
	long_text[sizeof long_text - 1] = '\0';
	error_fill(&err, STATUS_IO, EACCES, "%s", long_text);
	assert_int_equal(strlen(err.message), sizeof err.message - 1);
	assert_int_equal(error_prefix(&err, "%s", long_text), STATUS_IO);
	assert_int_equal(strlen(err.message), sizeof err.message - 1);
	error_hint(&err, "%s", long_text);
	assert_int_equal(strlen(err.hint), sizeof err.hint - 1);
}

static void ownership_moves(void **state)
{
	(void)state;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	int taken = TAKE_FD(fd);
	assert_int_equal(fd, -1);
	int number = taken;
	close_fd(&taken);
	assert_int_equal(taken, -1);
	assert_int_equal(fcntl(number, F_GETFD), -1);
	close_fd(&taken); /* nothing to do */
	char *text = xstrndup("hello", 4), *other = TAKE_PTR(text);
	assert_null(text);
	assert_string_equal(other, "hell");
	free_text(&other);
	assert_null(other);
	char *formatted = xasprintf("%03d", 7);
	assert_string_equal(formatted, "007");
	free(formatted);
	free(xcalloc(0, 0));
	assert_true(slice_equals_text(slice_from_text("ab"), "ab"));
	assert_false(slice_equals_text(slice_from_text("ab"), "abc"));
	assert_false(slice_equals_text(slice_from_text("ab"), "a"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_says_what_and_why),
		cmocka_unit_test(a_full_disk_has_its_own_code),
		cmocka_unit_test(a_long_message_is_cut),
		cmocka_unit_test(ownership_moves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
