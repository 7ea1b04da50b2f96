#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* Runs fn with stderr going to a pipe; returns what it wrote. */
static size_t capture(void (*fn)(void), char *out, size_t size)
{
	int pair[2], old = dup(STDERR_FILENO);
	assert_int_equal(pipe(pair), 0);
	assert_int_equal(dup2(pair[1], STDERR_FILENO), STDERR_FILENO);
	fn();
	assert_int_equal(dup2(old, STDERR_FILENO), STDERR_FILENO);
	(void)close(old);
	(void)close(pair[1]);
	ssize_t n = read(pair[0], out, size - 1);
	(void)close(pair[0]);
	assert_true(n >= 0);
	out[n] = '\0';
	return (size_t)n;
}

static void log_hostile(void)
{
	log_set_role("control");
	log_warning("name \"%s\"", "a\n2026-01-01T00:00:00Z error control: forged\x1b[2J\x7f");
}

static void a_name_cannot_forge_a_line(void **state)
{
	(void)state;
	char text[4096];
	(void)capture(log_hostile, text, sizeof text);
	char *space = strchr(text, ' ');
	assert_non_null(space);
	int64_t when;
	assert_true(clock_parse_timestamp(
	        (struct slice){ (const uint8_t *)text, (size_t)(space - text) }, &when));
	assert_string_equal(
	        space, " warning control: name \"a?2026-01-01T00:00:00Z error control: forged?[2J?\"\n");
}

static void log_long(void)
{
	char name[5000];
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	log_error("%s", name);
	log_info("next");
}

static void a_long_line_is_cut_and_ended(void **state)
{
	(void)state;
	char text[8192];
	size_t len = capture(log_long, text, sizeof text);
	char *end = strchr(text, '\n');
	assert_non_null(end);
	assert_true(end - text < 2048);
	assert_non_null(strstr(end, "info control: next\n"));
	assert_int_equal(text[len - 1], '\n');
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_cannot_forge_a_line),
		cmocka_unit_test(a_long_line_is_cut_and_ended),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
