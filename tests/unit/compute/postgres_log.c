/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "compute/postgres_log.h"

#define AT "2026-01-01 10:00:00.000 UTC [7] "

static void says(const char *text, const char *expected)
{
	char reason[200];
	bool found = postgres_log_find_reason(slice_from_text(text), reason, sizeof reason);
	assert_int_equal(found, expected != NULL);
	if (expected)
		assert_string_equal(reason, expected);
}

static void the_cause_is_found(void **state)
{
	(void)state;
	says("", NULL);
	says(AT "LOG:  starting\n" AT "LOG:  shut down\n", NULL);
	says(AT "LOG:  starting\n" AT "FATAL:  could not map\n" AT "DETAIL:  too big\n" AT "HINT:  less\n",
	        "could not map; too big");
	says(AT "PANIC:  could not locate a valid checkpoint record",
	        "could not locate a valid checkpoint record");
	/* The fatal line of a bad setting says only which file; the line before says what. */
	says(AT "LOG:  invalid value for parameter \"work_mem\": \"x\"\n" AT
	        "FATAL:  configuration file \"/c\" contains errors\n",
	        "invalid value for parameter \"work_mem\": \"x\"");
	/* A client that came too early is not the reason. */
	says(AT "FATAL:  the database system is starting up\n" AT "FATAL:  out of memory\n", "out of memory");
	says(AT "FATAL:  evil \x1b[1m\x01\n", "evil ?[1m?");
}

static void a_small_place_is_not_overrun(void **state)
{
	(void)state;
	char reason[8];
	assert_true(postgres_log_find_reason(
	        slice_from_text("FATAL:  0123456789\nDETAIL:  x"), reason, sizeof reason));
	assert_string_equal(reason, "0123456");
}

static void make_log(const char *path, off_t size, const char *tail)
{
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(pwrite(fd, tail, strlen(tail), size), (ssize_t)strlen(tail));
}

static void large_logs_make_room(void **state)
{
	(void)state;
	char folder[] = "/tmp/tarn-unit-XXXXXX";
	assert_non_null(mkdtemp(folder));
	CLEANUP(free_text) char *path = xasprintf("%s/postgres.log", folder);
	CLEANUP(free_text) char *old = xasprintf("%s.1", path);
	struct error err;
	assert_int_equal(postgres_log_rotate(path, &err), STATUS_OK); /* none yet */
	make_log(path, 100, "FATAL:  first\n");
	assert_int_equal(postgres_log_rotate(path, &err), STATUS_OK);
	assert_false(file_exists(old));

	make_log(path, POSTGRES_LOG_MAX_BYTES, "FATAL:  second\n");
	assert_int_equal(postgres_log_rotate(path, &err), STATUS_OK);
	assert_true(file_exists(old) && !file_exists(path));
	char reason[50];
	assert_true(postgres_log_reason(old, POSTGRES_LOG_MAX_BYTES, reason, sizeof reason));
	assert_string_equal(reason, "second");

	/* While somebody appends: the same file goes on, at its new end. */
	make_log(path, POSTGRES_LOG_MAX_BYTES, "FATAL:  third\n");
	CLEANUP(close_fd) int writer = open(path, O_WRONLY | O_APPEND);
	assert_int_equal(postgres_log_bound(path, &err), STATUS_OK);
	assert_int_equal(write(writer, "FATAL:  fourth\n", 15), 15);
	assert_int_equal(postgres_log_size(path), 15);
	assert_true(postgres_log_reason(path, 0, reason, sizeof reason));
	assert_string_equal(reason, "fourth");
	assert_true(postgres_log_reason(old, POSTGRES_LOG_MAX_BYTES, reason, sizeof reason));
	assert_string_equal(reason, "third");
	assert_int_equal(tree_remove(folder, &err), STATUS_OK);
}

static void recoveries_are_measured(void **state)
{
	(void)state;
	struct postgres_redo redo;
	assert_true(postgres_log_find_redo(
	        slice_from_text(
	                "2026-11-22 21:54:51.590 UTC [9] LOG:  database system was interrupted\n"
	                "2026-11-22 21:54:51.590 UTC [9] LOG:  redo starts at 0/3000028\n"
	                "2026-11-22 21:54:51.590 UTC [9] LOG:  invalid record length at 1/5FFFF88: expected\n"
	                "2026-11-22 21:54:51.590 UTC [9] LOG:  redo done at 1/5FFFF50 system usage: CPU: "
	                "user: 0.05 s, system: 0.01 s, elapsed: 0.35 s\n"),
	        &redo));
	assert_int_equal(redo.start_lsn, 0x3000028);
	assert_int_equal(redo.end_lsn, 0x105ffff50);
	assert_int_equal(redo.elapsed_usec, 350000);
	static const char *const none[] = {
		"",
		"LOG:  redo is not required\n",
		"LOG:  redo starts at 0/3000028\n",
		"LOG:  redo done at 1/5FFFF50 system usage: elapsed: 0.35 s\n",
		"LOG:  redo starts at 0/3000028\nLOG:  redo done at nowhere, elapsed: 0.35 s\n",
		"LOG:  redo starts at 0/3000028\nLOG:  redo done at 1/5FFFF50 system usage: elapsed: x s\n",
		"LOG:  redo starts at 0/3000028\nLOG:  redo done at 1/5FFFF50 system usage: elapsed:",
		"LOG:  redo starts at 0/3000028\nLOG:  redo done at 0/28 system usage: elapsed: 0.35 s\n",
	};
	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		assert_false(postgres_log_find_redo(slice_from_text(none[i]), &redo));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_cause_is_found),
		cmocka_unit_test(a_small_place_is_not_overrun),
		cmocka_unit_test(large_logs_make_room),
		cmocka_unit_test(recoveries_are_measured),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
