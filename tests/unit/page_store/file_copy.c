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
#include "page_store/file_copy.h"

struct fixture {
	char path[32];
	int from_fd, to_fd;
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	struct error err;
	memcpy(f->path, "/tmp/tarn-unit-XXXXXX", 22);
	assert_non_null(mkdtemp(f->path));
	CLEANUP(free_text) char *from = xasprintf("%s/from", f->path);
	CLEANUP(free_text) char *to = xasprintf("%s/to", f->path);
	assert_int_equal(mkdir(from, 0700) | mkdir(to, 0700), 0);
	assert_int_equal(folder_open(from, &f->from_fd, &err), STATUS_OK);
	assert_int_equal(folder_open(to, &f->to_fd, &err), STATUS_OK);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct error err;
	close_fd(&f->from_fd);
	close_fd(&f->to_fd);
	assert_int_equal(tree_remove(f->path, &err), STATUS_OK);
	free(f);
	return 0;
}

static void make(const struct fixture *f, const char *name, const char *content)
{
	CLEANUP(close_fd) int fd = openat(f->from_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
}

static status copy_tree(const struct fixture *f, copy_choose_fn choose, struct error *err)
{
	struct tree_copy copy = { .choose = choose, .uid = geteuid(), .gid = getegid() };
	return tree_copy(&copy, f->from_fd, f->to_fd, err);
}

static bool has(const struct fixture *f, const char *name)
{
	struct stat st;
	return fstatat(f->to_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void sizes_and_holes(void **state)
{
	struct fixture *f = *state;
	const off_t sizes[] = { 0, 1, 4095, 4096, 8192, (1 << 20) + 17 };
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		CLEANUP(close_fd) int from = openat(f->from_fd, "f", O_RDWR | O_CREAT | O_TRUNC, 0600);
		CLEANUP(close_fd) int to = openat(f->to_fd, "f", O_RDWR | O_CREAT | O_TRUNC, 0600);
		assert_int_equal(ftruncate(from, sizes[i]), 0);
		if (sizes[i] > 0)
			assert_int_equal(pwrite(from, "x", 1, sizes[i] - 1), 1);
		struct error err;
		struct stat st;
		assert_int_equal(file_copy(from, to, "f", &err), STATUS_OK);
		assert_int_equal(fstat(to, &st), 0);
		assert_int_equal(st.st_size, sizes[i]);
		char last = 'x';
		if (sizes[i] > 0)
			assert_int_equal(pread(to, &last, 1, sizes[i] - 1), 1);
		assert_int_equal(last, 'x');
	}
}

/* Files of /proc say they are empty and are not: copy_file_range() would believe them. */
static void files_without_a_size_are_read(void **state)
{
	struct fixture *f = *state;
	CLEANUP(close_fd) int from = open("/proc/self/status", O_RDONLY);
	CLEANUP(close_fd) int to = openat(f->to_fd, "f", O_RDWR | O_CREAT, 0600);
	struct error err;
	struct stat st;
	assert_int_equal(file_copy(from, to, "f", &err), STATUS_OK);
	assert_int_equal(fstat(to, &st), 0);
	assert_true(st.st_size > 100);
}

static void a_full_disk_says_so(void **state)
{
	struct fixture *f = *state;
	make(f, "f", "content");
	CLEANUP(close_fd) int from = openat(f->from_fd, "f", O_RDONLY);
	CLEANUP(close_fd) int to = open("/dev/full", O_WRONLY);
	struct error err;
	assert_int_equal(file_copy(from, to, "f", &err), STATUS_NO_SPACE);
}

static void a_tree_is_copied(void **state)
{
	struct fixture *f = *state;
	struct error err;
	assert_int_equal(mkdirat(f->from_fd, "a", 0755) | mkdirat(f->from_fd, "a/b", 0755), 0);
	make(f, "a/b/c", "content");
	make(f, "d", "");
	assert_int_equal(mkfifoat(f->from_fd, "pipe", 0600), 0);
	assert_int_equal(copy_tree(f, NULL, &err), STATUS_OK);
	struct stat st;
	assert_int_equal(fstatat(f->to_fd, "a/b/c", &st, 0), 0);
	assert_int_equal(st.st_size, 7);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(fstatat(f->to_fd, "a/b", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_true(has(f, "d"));
	assert_false(has(f, "pipe"));
}

static status choose(void *owner, const struct copy_entry *entry, enum copy_choice *ret, struct error *err)
{
	(void)owner;
	if (strcmp(entry->path, "bad") == 0)
		return error_set(err, STATUS_UNSUPPORTED, 0, "no");
	*ret = strcmp(entry->path, "empty") == 0 ? COPY_EMPTY
	       : strcmp(entry->name, "out") == 0 ? COPY_NOTHING
	                                         : COPY_WHOLE;
	return STATUS_OK;
}

static void what_is_not_chosen_is_left_out(void **state)
{
	struct fixture *f = *state;
	struct error err;
	assert_int_equal(mkdirat(f->from_fd, "empty", 0700) | mkdirat(f->from_fd, "full", 0700), 0);
	make(f, "empty/x", "");
	make(f, "full/out", "");
	make(f, "full/in", "");
	assert_int_equal(symlinkat("/etc/shadow", f->from_fd, "out"), 0);
	assert_int_equal(copy_tree(f, choose, &err), STATUS_OK);
	assert_true(has(f, "empty") && has(f, "full/in"));
	assert_false(has(f, "empty/x") || has(f, "full/out") || has(f, "out"));
}

static void a_refused_entry_ends_the_copy(void **state)
{
	struct fixture *f = *state;
	struct error err;
	make(f, "bad", "");
	assert_int_equal(copy_tree(f, choose, &err), STATUS_UNSUPPORTED);
	assert_string_equal(err.message, "no");
	assert_false(has(f, "bad"));
}

/* Guards against reading root's files through a link that the owner of the tree has planted. */
static void links_are_never_followed(void **state)
{
	struct fixture *f = *state;
	struct error err;
	assert_int_equal(symlinkat("/etc/hostname", f->from_fd, "link"), 0);
	assert_int_equal(copy_tree(f, NULL, &err), STATUS_UNSUPPORTED);
	assert_false(has(f, "link"));
	CLEANUP(buffer_done) struct buffer text = { 0 };
	assert_int_equal(file_read_at(f->from_fd, "link", 100, &text, &err), STATUS_IO);
	assert_int_equal(file_read_at(f->from_fd, "none", 100, &text, &err), STATUS_NOT_FOUND);
	CLEANUP(free_text) char *path = xasprintf("%s/folder", f->path);
	assert_int_equal(symlink("/etc", path), 0);
	int fd = -1;
	assert_int_not_equal(folder_open(path, &fd, &err), STATUS_OK);
	assert_int_equal(fd, -1);
}

static void reading_has_a_limit(void **state)
{
	struct fixture *f = *state;
	struct error err;
	make(f, "f", "12345678");
	CLEANUP(buffer_done) struct buffer text = { 0 };
	assert_int_equal(file_read_at(f->from_fd, "f", 7, &text, &err), STATUS_LIMIT);
	CLEANUP(buffer_done) struct buffer all = { 0 };
	assert_int_equal(file_read_at(f->from_fd, "f", 8, &all, &err), STATUS_OK);
	assert_string_equal(all.data, "12345678");
}

static void depth_has_a_limit(void **state)
{
	struct fixture *f = *state;
	struct error err;
	CLEANUP(buffer_done) struct buffer path = { 0 };
	for (int i = 0; i < 20; i++) {
		buffer_append_text(&path, i ? "/d" : "d");
		assert_int_equal(mkdirat(f->from_fd, path.data, 0700), 0);
	}
	assert_int_equal(copy_tree(f, NULL, &err), STATUS_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sizes_and_holes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(files_without_a_size_are_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_full_disk_says_so, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_tree_is_copied, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_not_chosen_is_left_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_refused_entry_ends_the_copy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(links_are_never_followed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(reading_has_a_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(depth_has_a_limit, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
