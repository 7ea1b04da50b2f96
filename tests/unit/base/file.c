#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static int set_up(void **state)
{
	char *folder = xstrdup("/tmp/tarn-unit-file-XXXXXX");
	assert_non_null(mkdtemp(folder));
	*state = folder;
	return 0;
}

static int tear_down(void **state)
{
	char *folder = *state;
	struct error err;
	assert_int_equal(tree_remove(folder, &err), STATUS_OK);
	assert_false(file_exists(folder));
	free(folder);
	return 0;
}

static void expect_content(const char *path, const char *expected)
{
	CLEANUP(buffer_done) struct buffer content = { 0 };
	struct error err;
	buffer_append_text(&content, "");
	assert_int_equal(file_read(path, 1 << 20, &content, &err), STATUS_OK);
	assert_string_equal(content.data, expected);
}

static void reads_whole_files(void **state)
{
	CLEANUP(free_text) char *path = xasprintf("%s/a", (char *)*state);
	CLEANUP(buffer_done) struct buffer content = { 0 };
	struct error err;
	assert_int_equal(file_read(path, 100, &content, &err), STATUS_NOT_FOUND);
	assert_non_null(strstr(err.message, path));
	char *large = xcalloc(1, 10001);
	memset(large, 'x', 10000);
	assert_int_equal(file_replace_durably(path, slice_from_text(large), 0600, &err), STATUS_OK);
	buffer_append_text(&content, "before:");
	assert_int_equal(
	        file_read(path, 10000, &content, &err), STATUS_OK); /* appends; exactly the limit is fine */
	assert_int_equal(content.len, 10007);
	assert_memory_equal(content.data, "before:xxx", 10);
	assert_int_equal(file_read(path, 9999, &content, &err), STATUS_LIMIT);
	assert_int_equal(file_read(*state, 100, &content, &err), STATUS_IO); /* a folder */
	free(large);
}

static void replaces_with_the_mode(void **state)
{
	CLEANUP(free_text) char *path = xasprintf("%s/a", (char *)*state);
	CLEANUP(free_text) char *temporary = xasprintf("%s.new", path);
	struct error err;
	struct stat st;
	mode_t old_mask = umask(0077);
	assert_int_equal(file_replace_durably(path, slice_from_text("one"), 0644, &err), STATUS_OK);
	(void)umask(old_mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644); /* whatever the umask says */
	assert_int_equal(file_replace_durably(path, slice_from_text("two"), 0600, &err), STATUS_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	expect_content(path, "two");
	assert_false(file_exists(temporary));
	/* What a crash left behind is no obstacle. */
	assert_int_equal(file_replace_durably(temporary, slice_from_text("garbage of a crash"), 0600, &err),
	        STATUS_OK);
	assert_int_equal(file_replace_durably(path, slice_from_text("three"), 0600, &err), STATUS_OK);
	expect_content(path, "three");
	assert_int_equal(file_replace_durably(path, slice_from_text(""), 0600, &err), STATUS_OK);
	expect_content(path, "");
}

static void a_failed_replacement_keeps_the_old(void **state)
{
	CLEANUP(free_text) char *path = xasprintf("%s/a", (char *)*state);
	CLEANUP(free_text) char *temporary = xasprintf("%s.new", path);
	struct error err;
	struct rlimit old_limit, no_bytes;
	assert_int_equal(file_replace_durably(path, slice_from_text("old"), 0600, &err), STATUS_OK);

	/* The write fails. */
	void (*old_handler)(int) = signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
	no_bytes = old_limit;
	no_bytes.rlim_cur = 2;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &no_bytes), 0);
	status st = file_replace_durably(path, slice_from_text("new"), 0600, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
	(void)signal(SIGXFSZ, old_handler);
	assert_int_equal(st, STATUS_IO);
	assert_non_null(strstr(err.message, path));
	expect_content(path, "old");
	assert_false(file_exists(temporary));

	/* The rename fails. */
	CLEANUP(free_text) char *occupied = xasprintf("%s/folder", (char *)*state);
	CLEANUP(free_text) char *inside = xasprintf("%s/folder/x", (char *)*state);
	CLEANUP(free_text) char *left = xasprintf("%s/folder.new", (char *)*state);
	assert_int_equal(folder_make(occupied, 0700, &err), STATUS_OK);
	assert_int_equal(file_replace_durably(inside, slice_from_text("x"), 0600, &err), STATUS_OK);
	assert_int_equal(file_replace_durably(occupied, slice_from_text("new"), 0600, &err), STATUS_IO);
	assert_false(file_exists(left));
	expect_content(inside, "x");

	/* There is no folder. */
	CLEANUP(free_text) char *nowhere = xasprintf("%s/none/a", (char *)*state);
	assert_int_equal(file_replace_durably(nowhere, slice_from_text("new"), 0600, &err), STATUS_IO);
}

static void a_full_disk_is_told_as_that(void **state)
{
	(void)state;
	struct error err;
	CLEANUP(close_fd) int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, "x", 1, &err), STATUS_NO_SPACE);
	assert_int_equal(file_write_all(fd, "x", 0, &err), STATUS_OK);
	assert_int_equal(file_write_all(-1, "x", 1, &err), STATUS_IO);
}

static void makes_folders(void **state)
{
	CLEANUP(free_text) char *path = xasprintf("%s/f", (char *)*state);
	CLEANUP(free_text) char *deep = xasprintf("%s/none/f", (char *)*state);
	CLEANUP(free_text) char *file = xasprintf("%s/file", (char *)*state);
	struct error err;
	struct stat st;
	mode_t old_mask = umask(0077);
	assert_int_equal(folder_make(path, 0711, &err), STATUS_OK);
	(void)umask(old_mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0711);
	assert_int_equal(folder_make(path, 0700, &err), STATUS_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0711); /* an existing one keeps its mode */
	assert_int_equal(folder_make(deep, 0700, &err), STATUS_IO);
	assert_int_equal(file_replace_durably(file, slice_from_text(""), 0600, &err), STATUS_OK);
	assert_int_equal(folder_make(file, 0700, &err), STATUS_IO);
	assert_int_equal(folder_sync(path, &err), STATUS_OK);
	assert_int_equal(folder_sync(file, &err), STATUS_IO);
	assert_int_equal(folder_sync(deep, &err), STATUS_IO);
}

static void removes_trees_but_not_what_links_point_to(void **state)
{
	CLEANUP(free_text) char *tree = xasprintf("%s/tree", (char *)*state);
	CLEANUP(free_text) char *inner = xasprintf("%s/tree/inner", (char *)*state);
	CLEANUP(free_text) char *file = xasprintf("%s/tree/inner/file", (char *)*state);
	CLEANUP(free_text) char *outside = xasprintf("%s/outside", (char *)*state);
	CLEANUP(free_text) char *kept = xasprintf("%s/outside/kept", (char *)*state);
	CLEANUP(free_text) char *link = xasprintf("%s/tree/link", (char *)*state);
	CLEANUP(free_text) char *root_link = xasprintf("%s/root_link", (char *)*state);
	struct error err;
	assert_int_equal(folder_make(tree, 0700, &err), STATUS_OK);
	assert_int_equal(folder_make(inner, 0700, &err), STATUS_OK);
	assert_int_equal(folder_make(outside, 0700, &err), STATUS_OK);
	assert_int_equal(file_replace_durably(file, slice_from_text("x"), 0400, &err), STATUS_OK);
	assert_int_equal(file_replace_durably(kept, slice_from_text("x"), 0600, &err), STATUS_OK);
	assert_int_equal(symlink(outside, link), 0);
	assert_int_equal(symlink(outside, root_link), 0);
	assert_int_equal(tree_remove(tree, &err), STATUS_OK);
	assert_false(file_exists(tree));
	assert_int_equal(tree_remove(root_link, &err), STATUS_OK); /* the link itself */
	assert_false(file_exists(root_link));
	assert_true(file_exists(kept));
	assert_int_equal(tree_remove(kept, &err), STATUS_OK); /* a file */
	assert_false(file_exists(kept));
	assert_int_equal(tree_remove(tree, &err), STATUS_OK); /* a missing one */
	assert_int_equal(tree_remove("/proc/self/fd", &err), STATUS_IO);
}

static void measures_space(void **state)
{
	CLEANUP(free_text) char *path = xasprintf("%s/a", (char *)*state);
	CLEANUP(free_text) char *sparse = xasprintf("%s/sparse", (char *)*state);
	CLEANUP(free_text) char *missing = xasprintf("%s/none", (char *)*state);
	struct error err;
	int64_t before, after, with_sparse, untouched = 7;
	char *large = xcalloc(1, 200001);
	memset(large, 'x', 200000);
	assert_int_equal(tree_space(*state, &before, &err), STATUS_OK);
	assert_int_equal(file_replace_durably(path, slice_from_text(large), 0600, &err), STATUS_OK);
	assert_int_equal(tree_space(*state, &after, &err), STATUS_OK);
	assert_true(after - before >= 190000 && after - before < 400000);
	assert_int_equal(file_replace_durably(sparse, slice_from_text(""), 0600, &err), STATUS_OK);
	assert_int_equal(truncate(sparse, 1ll << 30), 0);
	assert_int_equal(tree_space(*state, &with_sparse, &err), STATUS_OK);
	assert_true(with_sparse - after < 100000); /* holes cost nothing */
	assert_int_equal(tree_space(missing, &untouched, &err), STATUS_IO);
	assert_int_equal(untouched, 7);
	free(large);
}

static void gives_trees_away(void **state)
{
	if (geteuid() != 0)
		skip(); /* only root may */
	CLEANUP(free_text) char *tree = xasprintf("%s/tree", (char *)*state);
	CLEANUP(free_text) char *file = xasprintf("%s/tree/file", (char *)*state);
	CLEANUP(free_text) char *outside = xasprintf("%s/outside", (char *)*state);
	CLEANUP(free_text) char *link = xasprintf("%s/tree/link", (char *)*state);
	struct error err;
	struct stat st;
	assert_int_equal(folder_make(tree, 0700, &err), STATUS_OK);
	assert_int_equal(file_replace_durably(file, slice_from_text("x"), 0600, &err), STATUS_OK);
	assert_int_equal(file_replace_durably(outside, slice_from_text("x"), 0600, &err), STATUS_OK);
	assert_int_equal(symlink(outside, link), 0);
	assert_int_equal(tree_give_to(tree, 12345, 12346, &err), STATUS_OK);
	assert_int_equal(stat(file, &st), 0);
	assert_true(st.st_uid == 12345 && st.st_gid == 12346);
	assert_int_equal(stat(tree, &st), 0);
	assert_true(st.st_uid == 12345 && st.st_gid == 12346);
	assert_int_equal(lstat(link, &st), 0);
	assert_int_equal(st.st_uid, 12345);
	assert_int_equal(stat(outside, &st), 0);
	assert_int_equal(st.st_uid, 0); /* never what a link points to */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(reads_whole_files),
		TEST(replaces_with_the_mode),
		TEST(a_failed_replacement_keeps_the_old),
		TEST(a_full_disk_is_told_as_that),
		TEST(makes_folders),
		TEST(removes_trees_but_not_what_links_point_to),
		TEST(measures_space),
		TEST(gives_trees_away),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
