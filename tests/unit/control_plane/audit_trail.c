/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_plane/audit_trail.h"

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

struct fixture {
	char folder[32];
	uv_loop_t loop;
	struct data_directory dd;
	struct audit_trail *trail;
};

static void open_trail(struct fixture *f)
{
	struct error err;
	assert_int_equal(uv_loop_init(&f->loop), 0);
	if (audit_trail_open(&f->loop, &f->dd, &f->trail, &err) != STATUS_OK)
		fail_msg("%s", err.message);
}

static void close_trail(struct fixture *f)
{
	audit_trail_close(f->trail);
	f->trail = NULL;
	assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&f->loop), 0);
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	strcpy(f->folder, "/tmp/tarn-unit-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->dd = (struct data_directory){ .path = f->folder,
		.settings = { .audit_file_mb = 1, .audit_total_mb = 100, .audit_retention_days = 30 } };
	open_trail(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct error err;
	if (f->trail)
		close_trail(f);
	assert_int_equal(tree_remove(f->folder, &err), STATUS_OK);
	free(f);
	return 0;
}

static size_t count_files(const struct fixture *f)
{
	CLEANUP(free_text) char *pattern = xasprintf("%s/audit/*.jsonl", f->folder);
	glob_t found;
	size_t count = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
	if (count > 0)
		globfree(&found);
	return count;
}

/* All files one after the other, as their names sort. */
static void read_all(const struct fixture *f, struct buffer *all)
{
	CLEANUP(free_text) char *pattern = xasprintf("%s/audit/*.jsonl", f->folder);
	glob_t found;
	struct error err;
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++)
		assert_int_equal(file_read(found.gl_pathv[i], 64 << 20, all, &err), STATUS_OK);
	globfree(&found);
}

static void append(struct fixture *f, const char *line)
{
	audit_trail_append(f->trail, slice_from_text(line));
}

static void expect_content(const struct fixture *f, const char *expected)
{
	CLEANUP(buffer_done) struct buffer all = { 0 };
	read_all(f, &all);
	assert_string_equal(all.data ? all.data : "", expected);
}

/* What was appended is in the file at once, whatever happens to this process then. */
static void lines_are_there_at_once_and_go_on_in_the_same_file(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	append(f, "{\"a\":1}");
	expect_content(f, "{\"a\":1}\n");
	append(f, "{\"b\":2}");
	close_trail(f);
	open_trail(f);
	append(f, "{\"c\":3}");
	expect_content(f, "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n");
	assert_int_equal(count_files(f), 1);
	CLEANUP(free_text) char *folder = xasprintf("%s/audit", f->folder);
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	struct audit_trail_numbers numbers;
	audit_trail_look(f->trail, &numbers);
	assert_int_equal(numbers.lines, 1);
	assert_int_equal(numbers.bytes, 24);
	assert_string_equal(numbers.trouble, "");
	/* The sync ends the timer: a trail that rests wakes nobody for it. */
	int64_t deadline = clock_monotonic_usec() + 20 * USEC_PER_SEC;
	while (uv_run(&f->loop, UV_RUN_ONCE) != 0 && uv_backend_timeout(&f->loop) < 5000)
		assert_true(clock_monotonic_usec() < deadline);
}

static void a_torn_line_is_ended(void **state)
{
	struct fixture *f = *state;
	append(f, "{\"a\":1}");
	close_trail(f);
	CLEANUP(free_text) char *pattern = xasprintf("%s/audit/*.jsonl", f->folder);
	glob_t found;
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	FILE *file = fopen(found.gl_pathv[0], "a");
	globfree(&found);
	assert_true(fputs("{\"torn", file) >= 0);
	assert_int_equal(fclose(file), 0);
	open_trail(f);
	append(f, "{\"b\":2}");
	expect_content(f, "{\"a\":1}\n{\"torn\n{\"b\":2}\n");
}

static void files_end_and_the_oldest_go(void **state)
{
	struct fixture *f = *state;
	char *line = xcalloc(1, 100 << 10);
	memset(line, 'x', (100 << 10) - 1);
	for (int i = 0; i < 45; i++) /* 4.4 MiB */
		append(f, line);
	assert_int_equal(count_files(f), 5);
	f->dd.settings.audit_total_mb = 2;
	for (int i = 0; i < 11; i++)
		append(f, line);
	assert_in_range(count_files(f), 2, 3);
	struct audit_trail_numbers numbers;
	audit_trail_look(f->trail, &numbers);
	assert_in_range(numbers.bytes, 1 << 20, 3 << 20);

	/* Of long ago, beside one that only looks so and one that is not ours. */
	CLEANUP(free_text) char *old = xasprintf("%s/audit/20200101T000000.000000Z.jsonl", f->folder);
	CLEANUP(free_text) char *next = xasprintf("%s/audit/20200102T000000.000000Z.jsonl", f->folder);
	CLEANUP(free_text) char *other = xasprintf("%s/audit/20200101T000000.jsonl", f->folder);
	struct error err;
	assert_int_equal(file_replace_durably(old, slice_from_text("{}\n"), 0600, &err), STATUS_OK);
	assert_int_equal(file_replace_durably(next, slice_from_text("{}\n"), 0600, &err), STATUS_OK);
	assert_int_equal(file_replace_durably(other, slice_from_text("{}\n"), 0600, &err), STATUS_OK);
	f->dd.settings.audit_total_mb = 100;
	close_trail(f);
	open_trail(f);
	assert_false(file_exists(old));
	assert_true(file_exists(next)); /* may hold lines of until the next file was begun, which is today */
	assert_true(file_exists(other));
	free(line);
}

/* A full disk, as the file size limit makes it: nothing fails, what fits in memory waits, what does not is counted. */
static void a_full_disk_is_outlived(void **state)
{
	struct fixture *f = *state;
	struct rlimit limit, small;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	append(f, "{\"a\":1}");
	small = (struct rlimit){ .rlim_cur = 11, .rlim_max = limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	append(f, "{\"b\":2}"); /* three bytes of it fit */
	append(f, "{\"c\":3}");
	struct audit_trail_numbers numbers;
	audit_trail_look(f->trail, &numbers);
	assert_string_not_equal(numbers.trouble, "");
	assert_int_equal(numbers.lost, 0);
	char *line = xcalloc(1, 100 << 10);
	memset(line, 'x', (100 << 10) - 1);
	for (int i = 0; i < 5; i++) /* two of them can wait */
		append(f, line);
	audit_trail_look(f->trail, &numbers);
	assert_int_equal(numbers.lost, 3);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	append(f, "{\"d\":4}");
	audit_trail_look(f->trail, &numbers);
	assert_string_equal(numbers.trouble, "");
	CLEANUP(buffer_done) struct buffer all = { 0 };
	read_all(f, &all);
	assert_int_equal(strncmp(all.data, "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\nxxx", 26), 0);
	const char *lost = strstr(all.data, "\"event\":\"lost\",\"lines\":3}\n{\"d\":4}\n");
	assert_non_null(lost);
	free(line);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(lines_are_there_at_once_and_go_on_in_the_same_file),
		TEST(a_torn_line_is_ended),
		TEST(files_end_and_the_oldest_go),
		TEST(a_full_disk_is_outlived),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
