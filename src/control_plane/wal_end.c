#include "control_plane/wal_end.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAL_PAGE_BYTES  8192u
#define SEGMENT_NAME    24 /* hexadecimal digits */
#define PAGE_ADDRESS_AT 8  /* in a page's header (access/xlog_internal.h) */

/* -1 with errno when it is not there or not a plain file. */
static int open_file(const char *wal_path, const char *name)
{
	CLEANUP(free_text) char *path = xasprintf("%s/%s", wal_path, name);
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		errno = EIO;
		return -1;
	}
	return TAKE_FD(fd);
}

/* Does the page of the segment that begins at `start` have the header of its place? */
static bool is_written(int fd, uint64_t start, uint64_t page)
{
	uint64_t address = 0;
	ssize_t n = pread(fd, &address, sizeof address, (off_t)(page * WAL_PAGE_BYTES + PAGE_ADDRESS_AT));
	return n == (ssize_t)sizeof address && address == start + page * WAL_PAGE_BYTES;
}

/* Pages are written in order. */
static uint64_t written_pages(int fd, uint64_t start, uint32_t segment_size)
{
	uint64_t low = 0, high = segment_size / WAL_PAGE_BYTES;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (is_written(fd, start, middle))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_segment_name(const char *name)
{
	return strlen(name) == SEGMENT_NAME && strspn(name, "0123456789ABCDEF") == SEGMENT_NAME;
}

/* Where the segment begins; timelines come first in a name and do not count. */
static uint64_t segment_start(const char *name, uint32_t segment_size)
{
	char high[9] = "", low[9] = "";
	memcpy(high, name + 8, 8);
	memcpy(low, name + 16, 8);
	return strtoull(high, NULL, 16) << 32 | strtoull(low, NULL, 16) * segment_size;
}

uint64_t wal_end_look(const char *wal_path, uint32_t segment_size)
{
	uint64_t end = 0;
	DIR *dir = segment_size >= WAL_PAGE_BYTES ? opendir(wal_path) : NULL;
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		if (!is_segment_name(entry->d_name))
			continue;
		uint64_t start = segment_start(entry->d_name, segment_size);
		if (start < end)
			continue;
		CLEANUP(close_fd) int fd = open_file(wal_path, entry->d_name);
		uint64_t pages = fd >= 0 ? written_pages(fd, start, segment_size) : 0;
		if (pages > 0 && start + pages * WAL_PAGE_BYTES > end)
			end = start + pages * WAL_PAGE_BYTES;
	}
	if (dir)
		(void)closedir(dir);
	return end;
}

/* Anything but zeros from `at` to the end of its page? Also when it cannot be read. */
static bool has_content(int fd, uint64_t at)
{
	uint8_t rest[WAL_PAGE_BYTES];
	ssize_t n = pread(fd, rest, WAL_PAGE_BYTES - at % WAL_PAGE_BYTES, (off_t)at);
	for (ssize_t i = 0; i < n; i++)
		if (rest[i] != 0)
			return true;
	return n < 0;
}

bool wal_end_goes_on(const char *wal_path, uint64_t lsn, uint32_t segment_size)
{
	DIR *dir = segment_size >= WAL_PAGE_BYTES ? opendir(wal_path) : NULL;
	/* At the very end of a segment the next one need not be there yet. */
	bool is_told = lsn % (segment_size ? segment_size : 1) == 0, goes_on = !dir;
	for (struct dirent *entry; !goes_on && (entry = readdir(dir));) {
		if (!is_segment_name(entry->d_name))
			continue;
		uint64_t start = segment_start(entry->d_name, segment_size);
		if (start + segment_size <= lsn)
			continue;
		CLEANUP(close_fd) int fd = open_file(wal_path, entry->d_name);
		goes_on = fd < 0 || has_content(fd, start < lsn ? lsn - start : 0);
		is_told = is_told || start <= lsn;
	}
	if (dir)
		(void)closedir(dir);
	return goes_on || !is_told;
}
