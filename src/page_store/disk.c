#include "page_store/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int disk_open(int folder_fd, const char *name, int flags, mode_t mode)
{
	int fd;
	do
		fd = openat(folder_fd, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
	while (fd < 0 && errno == EINTR);
	return fd;
}

ssize_t disk_write(int fd, const void *bytes, size_t len, uint64_t at)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, (const char *)bytes + done, len - done, (off_t)(at + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				errno = ENOSPC;
			return -1;
		}
		done += (size_t)n;
	}
	return (ssize_t)len;
}

int disk_sync(int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -1;
	/* fdatasync of a folder may leave out new names. Never tried again, not even after EINTR: the kernel may have forgotten
	 * what it could not write. */
	return S_ISDIR(st.st_mode) ? fsync(fd) : fdatasync(fd);
}

int disk_allocate(int fd, uint64_t at, uint64_t len)
{
	int rc;
	do
		rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len);
	while (rc < 0 && errno == EINTR);
	return rc;
}

void disk_begin_write_back(int fd, uint64_t at, uint64_t len)
{
	(void)sync_file_range(fd, (off_t)at, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

int disk_punch(int fd, uint64_t at, uint64_t len)
{
	int rc;
	do
		rc = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len);
	while (rc < 0 && errno == EINTR);
	return rc;
}

int disk_truncate(int fd, uint64_t len)
{
	int rc;
	do
		rc = ftruncate(fd, (off_t)len);
	while (rc < 0 && errno == EINTR);
	return rc;
}

int disk_stat(int fd, struct stat *ret)
{
	return fstat(fd, ret);
}

int disk_statvfs(int fd, struct statvfs *ret)
{
	return fstatvfs(fd, ret);
}

int disk_rename(int folder_fd, const char *from, const char *to)
{
	return renameat(folder_fd, from, folder_fd, to);
}

int disk_unlink(int folder_fd, const char *name)
{
	return unlinkat(folder_fd, name, 0) < 0 && errno != ENOENT ? -1 : 0;
}

int disk_make_folder(int folder_fd, const char *name, mode_t mode)
{
	return mkdirat(folder_fd, name, mode);
}

int disk_close(int fd)
{
	return close(fd);
}
