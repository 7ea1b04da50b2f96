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
#include "compute/wal_tail.h"
#include "wal_store/wal_file.h"

#define SEGMENT (1u << 20)

struct folder {
	char path[32];
	struct wal_tail tail;
};

static struct folder make_folder(void)
{
	struct folder folder = { .path = "/tmp/tarn-unit-XXXXXX" };
	assert_non_null(mkdtemp(folder.path));
	folder.tail = (struct wal_tail){ .timeline = 3, .segment_size = SEGMENT };
	return folder;
}

static void remove_folder(struct folder *folder)
{
	struct error err;
	assert_int_equal(tree_remove(folder->path, &err), STATUS_OK);
}

static int open_segment(const struct folder *folder, uint64_t segment, size_t filled)
{
	char name[WAL_FILE_NAME_MAX], path[100];
	wal_segment_name(3, segment, SEGMENT, name);
	(void)snprintf(path, sizeof path, "%s/%s", folder->path, name);
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	CLEANUP(free_text) char *bytes = xcalloc(1, SEGMENT);
	memset(bytes, 'x', filled);
	assert_int_equal(pwrite(fd, bytes, SEGMENT, 0), SEGMENT); /* as Postgres does it: zeros are written */
	assert_int_equal(fsync(fd), 0);
	return fd;
}

static void record_ends(uint64_t lsn, uint32_t len, uint64_t end)
{
	struct folder folder = make_folder();
	folder.tail.folder = folder.path;
	CLEANUP(close_fd) int fd = open_segment(&folder, lsn / SEGMENT, 0);
	assert_int_equal(pwrite(fd, &len, sizeof len, (off_t)(lsn % SEGMENT)), sizeof len);
	uint64_t found = 0;
	struct error err;
	status st = wal_tail_record_end(&folder.tail, lsn, &found, &err);
	remove_folder(&folder);
	if (end == 0) {
		assert_int_equal(st, STATUS_CORRUPT);
		return;
	}
	assert_int_equal(st, STATUS_OK);
	assert_int_equal(found, end);
}

static void ends_of_records(void **state)
{
	(void)state;
	record_ends(
	        5 * SEGMENT + 40, 114, 5 * SEGMENT + 160); /* the first of a segment, its length rounded up */
	record_ends(5 * SEGMENT + 8192 - 120, 114, 5 * SEGMENT + 8192); /* to the end of a page */
	/* Over the end of a page: a short header comes in between; over the end of a segment: a long one. */
	record_ends(5 * SEGMENT + 8192 - 64, 114, 5 * SEGMENT + 8192 + 24 + 56);
	record_ends(6 * SEGMENT - 8, 114, 6 * SEGMENT + 40 + 112);
	/* No record */
	record_ends(5 * SEGMENT + 40, 0, 0);
	record_ends(5 * SEGMENT + 40, 23, 0);
	record_ends(5 * SEGMENT + 40, 1u << 30, 0);
}

static void no_segment_no_record(void **state)
{
	(void)state;
	struct folder folder = make_folder();
	folder.tail.folder = folder.path;
	uint64_t found;
	struct error err;
	assert_int_equal(wal_tail_record_end(&folder.tail, 40, &found, &err), STATUS_NOT_FOUND);
	remove_folder(&folder);
}

static int64_t space(int fd)
{
	struct stat st;
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, SEGMENT);
	return (int64_t)st.st_blocks * 512;
}

static void zeros_are_given_back_and_nothing_else(void **state)
{
	(void)state;
	struct folder folder = make_folder();
	folder.tail.folder = folder.path;
	CLEANUP(close_fd) int far = open_segment(&folder, 2, 10);
	CLEANUP(close_fd) int before = open_segment(&folder, 3, 300000);
	CLEANUP(close_fd) int last = open_segment(&folder, 4, 1);
	CLEANUP(close_fd) int full = open_segment(&folder, 5, SEGMENT);
	struct error err;
	assert_int_equal(wal_tail_trim(&folder.tail, 4 * SEGMENT + 160, &err), STATUS_OK);
	assert_int_equal(space(far), SEGMENT); /* is none of the last ones */
	assert_in_range(space(before), 300000, 300000 + 4 * 8192);
	assert_in_range(space(last), 0, 4 * 8192);
	assert_int_equal(space(full), SEGMENT);
	CLEANUP(free_text) char *bytes = xcalloc(1, SEGMENT);
	assert_int_equal(pread(before, bytes, SEGMENT, 0), SEGMENT);
	for (size_t i = 0; i < SEGMENT; i++)
		if (bytes[i] != (i < 300000 ? 'x' : 0))
			fail_msg("byte %zu is %d", i, bytes[i]);
	remove_folder(&folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends_of_records),
		cmocka_unit_test(no_segment_no_record),
		cmocka_unit_test(zeros_are_given_back_and_nothing_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
