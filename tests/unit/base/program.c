/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/program.h"

static status shell(const char *script, const char *input, const struct system_user *user,
        struct buffer *output, struct error *err)
{
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };
	struct program program = { .argv = argv, .user = user, .input = slice_from_text(input) };
	return program_run(&program, output, err);
}

static void input_and_output(void **state)
{
	(void)state;
	CLEANUP(buffer_done) struct buffer output = { 0 };
	struct error err;
	buffer_append_text(&output, "before ");
	assert_int_equal(shell("cat; echo err >&2; pwd", "in ", NULL, &output, &err), STATUS_OK);
	assert_string_equal(output.data, "before in err\n/\n");
}

static void failures_say_what_the_program_said(void **state)
{
	(void)state;
	CLEANUP(buffer_done) struct buffer output = { 0 };
	struct error err;
	assert_int_equal(shell("echo one; echo two; exit 3", "", NULL, &output, &err), STATUS_INTERNAL);
	assert_non_null(strstr(err.message, "exit code 3: two"));
	assert_int_equal(shell("exit 4", "", NULL, &output, &err), STATUS_INTERNAL);
	assert_non_null(strstr(err.message, "it said nothing"));
	assert_int_equal(shell("kill -9 $$", "", NULL, &output, &err), STATUS_INTERNAL);
	assert_non_null(strstr(err.message, "signal 9"));
	assert_int_equal(
	        shell("echo 'write failed: No space left on device'; exit 1", "", NULL, &output, &err),
	        STATUS_NO_SPACE);
	const char *const nothing[] = { "/nonexistent/program", NULL };
	struct program program = { .argv = nothing };
	CLEANUP(buffer_done) struct buffer none = { 0 };
	assert_int_equal(program_run(&program, &none, &err), STATUS_NOT_FOUND);
}

static void nothing_is_inherited(void **state)
{
	(void)state;
	CLEANUP(buffer_done) struct buffer output = { 0 };
	struct error err;
	int fd = open("/dev/null", O_RDONLY); /* not close-on-exec */
	assert_int_equal(setenv("SECRET_OF_OURS", "x", 1), 0);
	assert_int_equal(
	        shell("ls /proc/self/fd | wc -l; echo $SECRET_OF_OURS$LC_ALL", "", NULL, &output, &err),
	        STATUS_OK);
	assert_string_equal(output.data, "4\nC\n"); /* 0, 1, 2, and the folder that ls reads */
	(void)close(fd);
}

static void much_output_is_cut(void **state)
{
	(void)state;
	CLEANUP(buffer_done) struct buffer output = { 0 };
	struct error err;
	assert_int_equal(shell("head -c 1000000 /dev/zero", "", NULL, &output, &err), STATUS_OK);
	assert_int_equal(output.len, PROGRAM_OUTPUT_MAX);
}

static void rights_are_gone_for_good(void **state)
{
	(void)state;
	struct system_user nobody, self;
	struct error err;
	assert_int_equal(system_user_find(NULL, &self, &err), STATUS_OK);
	assert_false(self.is_other);
	assert_int_equal(self.uid, geteuid());
	assert_int_equal(system_user_find("no such user", &self, &err), STATUS_NOT_FOUND);
	if (geteuid() != 0)
		skip();
	assert_int_equal(system_user_find("nobody", &nobody, &err), STATUS_OK);
	assert_true(nobody.is_other);
	CLEANUP(buffer_done) struct buffer output = { 0 };
	assert_int_equal(
	        shell("id -u; id -G | wc -w; cat /etc/shadow 2>/dev/null; true", "", &nobody, &output, &err),
	        STATUS_OK);
	CLEANUP(free_text) char *expected = xasprintf("%u\n1\n", nobody.uid);
	assert_string_equal(output.data, expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(input_and_output),
		cmocka_unit_test(failures_say_what_the_program_said),
		cmocka_unit_test(nothing_is_inherited),
		cmocka_unit_test(much_output_is_cut),
		cmocka_unit_test(rights_are_gone_for_good),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
