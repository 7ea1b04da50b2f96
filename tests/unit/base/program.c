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

static bool data_is_fine(void *owner, const char *bytes, size_t len)
{
	(void)owner, (void)bytes, (void)len;
	return true;
}

static void the_line_that_tells_most_is_told(void **state)
{
	(void)state;
	static const struct {
		const char *script, *told;
	} cases[] = {
		{ "echo starting; echo 'initdb: ERROR: no such locale'; echo 'initdb: removing contents'; "
		  "exit 1",
		        "exit code 1: initdb: ERROR: no such locale" },
		{ "echo 'Could not open x'; echo 'error: giving up'; exit 1",
		        "exit code 1: Could not open x" },
		{ "echo 'FATAL:  bad'; echo 'hint: none'; exit 2", "exit code 2: FATAL:  bad" },
		{ "echo 'x PANIC y'; echo; exit 2", "exit code 2: x PANIC y" },
		{ "echo one; echo two; printf '\\n \\t\\n\\r\\n'; exit 3", "exit code 3: two" },
		{ "printf 'an err'; exit 3", "exit code 3: an err" },
		{ "printf 'error:\\t\\033[31mred\\033[0m\\001\\177\\r \\n'; exit 3",
		        "exit code 3: error: [31mred[0m" },
		{ "head -c 100 /dev/zero; exit 5", "exit code 5: it said nothing" },
	};
	struct error err;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(buffer_done) struct buffer output = { 0 };
		buffer_append_text(&output, "error: of another program\n");
		assert_int_equal(shell(cases[i].script, "", NULL, &output, &err), STATUS_INTERNAL);
		const char *told = strstr(err.message, "exit code");
		assert_non_null(told);
		assert_string_equal(told, cases[i].told);
	}
	/* Bounded, and never in the middle of a character. */
	for (int shift = 0; shift < 3; shift++) {
		CLEANUP(buffer_done) struct buffer output = { 0 };
		CLEANUP(free_text)
		char *script = xasprintf("printf 'error'; printf '%%.%ds' xx; for i in $(seq 1000); do "
		                         "printf '\\342\\202\\254'; done; "
		                         "exit 1",
		        shift);
		assert_int_equal(shell(script, "", NULL, &output, &err), STATUS_INTERNAL);
		const char *told = strstr(err.message, "error");
		assert_non_null(told);
		size_t len = strlen(told), head = strlen("error") + (size_t)shift;
		assert_in_range(len, 100, 300);
		assert_int_equal((len - head) % 3, 0);
	}
	/* What is data may have any words; what went wrong comes after it. */
	CLEANUP(buffer_done) struct buffer output = { 0 };
	const char *const argv[] = { "/bin/sh", "-c",
		"echo 'desc: MESSAGE error of a tenant'; echo 'pg_waldump: error: gone'; echo bye; exit 1",
		NULL };
	struct program program = { .argv = argv, .on_output = data_is_fine };
	assert_int_equal(program_run(&program, &output, &err), STATUS_INTERNAL);
	assert_non_null(strstr(err.message, "exit code 1: pg_waldump: error: gone"));
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
		cmocka_unit_test(the_line_that_tells_most_is_told),
		cmocka_unit_test(nothing_is_inherited),
		cmocka_unit_test(much_output_is_cut),
		cmocka_unit_test(rights_are_gone_for_good),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
