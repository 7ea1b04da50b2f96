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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sizes_and_holes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(files_without_a_size_are_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_full_disk_says_so, set_up, tear_down),
		cmocka_unit_test_setup_teardown(reading_has_a_limit, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
