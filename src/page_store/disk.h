/*
 * Disk: every system call by which the store reads or changes files, in one place, so that a test can put a failing, full, torn or
 * powerless disk underneath (tests/unit/page_store/faulty_disk.c defines the same functions and is linked instead).
 *
 * Conventions: results and errno as the system call's, except that read and write go on after short transfers and EINTR:
 * disk_read() returns less than `len` only at the end of the file, disk_write() returns len or -1.
 * All names are relative to an open folder. Descriptors are close-on-exec.
 */
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/base.h"

MUST_CHECK int disk_open(int folder_fd, const char *name, int flags, mode_t mode);
MUST_CHECK ssize_t disk_read(int fd, void *bytes, size_t len, uint64_t at);
/* What follows from `at` on, into at most IOV_MAX pieces; as disk_read(). */
MUST_CHECK ssize_t disk_read_pieces(int fd, const struct iovec *pieces, int count, uint64_t at);
MUST_CHECK ssize_t disk_write(int fd, const void *bytes, size_t len, uint64_t at);
MUST_CHECK int disk_sync(int fd); /* fdatasync; of a folder: fsync */
/* The kernel shall begin to write these bytes to the disk; a failure is told by disk_sync(), which alone makes them durable. */
void disk_begin_write_back(int fd, uint64_t at, uint64_t len);
MUST_CHECK int disk_allocate(int fd, uint64_t at, uint64_t len); /* reserves, keeps the size */
MUST_CHECK int disk_punch(int fd, uint64_t at, uint64_t len);    /* gives back, keeps the size */
MUST_CHECK int disk_truncate(int fd, uint64_t len);
MUST_CHECK int disk_stat(int fd, struct stat *ret);
/* Where the first bytes are at or behind `at` that take up space; INT64_MAX: nowhere. Space that was only reserved need not count. -1 as lseek(2). */
MUST_CHECK int64_t disk_seek_data(int fd, uint64_t at);
MUST_CHECK int disk_statvfs(int fd, struct statvfs *ret);
MUST_CHECK int disk_rename(int folder_fd, const char *from, const char *to);
MUST_CHECK int disk_unlink(int folder_fd, const char *name);                   /* 0 also when there is none */
MUST_CHECK int disk_make_folder(int folder_fd, const char *name, mode_t mode); /* EEXIST is an error */
int disk_close(int fd);
static inline void disk_close_fd(int *fd) /* for CLEANUP: as close_fd(), for files */
{
	if (*fd >= 0)
		(void)disk_close(*fd);
	*fd = -1;
}

/* Names in a folder but "." and "..", in no order; stops when on_name returns false. */
typedef bool (*disk_name_fn)(void *owner, const char *name);
MUST_CHECK int disk_list(int folder_fd, disk_name_fn on_name, void *owner);
/* flock(2) of what fd was opened for: LOCK_SH, LOCK_EX, each with LOCK_NB (EWOULDBLOCK). It ends when fd is closed. */
MUST_CHECK int disk_lock(int fd, int operation);
/* The first `len` bytes for reading, shared with the file; MAP_FAILED. */
MUST_CHECK void *disk_map(int fd, size_t len);
void disk_unmap(void *bytes, size_t len);
