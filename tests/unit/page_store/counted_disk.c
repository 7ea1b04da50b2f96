#include "counted_disk.h"

#define disk_open        real_disk_open
#define disk_read        real_disk_read
#define disk_read_pieces real_disk_read_pieces
#define disk_write       real_disk_write
#define disk_sync        real_disk_sync
#define disk_allocate    real_disk_allocate
#define disk_punch       real_disk_punch
#define disk_truncate    real_disk_truncate
#define disk_stat        real_disk_stat
#define disk_statvfs     real_disk_statvfs
#define disk_seek_data   real_disk_seek_data
#define disk_rename      real_disk_rename
#define disk_unlink      real_disk_unlink
#define disk_make_folder real_disk_make_folder
#define disk_close       real_disk_close
#define disk_list        real_disk_list
#define disk_lock        real_disk_lock
#define disk_map         real_disk_map
#define disk_unmap       real_disk_unmap
#include "page_store/disk.c" /* the declarations of disk.h with it, under these names */
#include "page_store/disk_look.c"
#undef disk_open
#undef disk_read
#undef disk_read_pieces
#undef disk_write
#undef disk_sync
#undef disk_allocate
#undef disk_punch
#undef disk_truncate
#undef disk_stat
#undef disk_statvfs
#undef disk_seek_data
#undef disk_rename
#undef disk_unlink
#undef disk_make_folder
#undef disk_close
#undef disk_list
#undef disk_lock
#undef disk_map
#undef disk_unmap

#include <stdatomic.h>

int disk_open(int folder_fd, const char *name, int flags, mode_t mode);
ssize_t disk_read(int fd, void *bytes, size_t len, uint64_t at);
ssize_t disk_read_pieces(int fd, const struct iovec *pieces, int count, uint64_t at);
ssize_t disk_write(int fd, const void *bytes, size_t len, uint64_t at);
int disk_sync(int fd);
int disk_allocate(int fd, uint64_t at, uint64_t len);
int disk_punch(int fd, uint64_t at, uint64_t len);
int disk_truncate(int fd, uint64_t len);
int disk_stat(int fd, struct stat *ret);
int disk_statvfs(int fd, struct statvfs *ret);
int64_t disk_seek_data(int fd, uint64_t at);
int disk_rename(int folder_fd, const char *from, const char *to);
int disk_unlink(int folder_fd, const char *name);
int disk_make_folder(int folder_fd, const char *name, mode_t mode);
int disk_close(int fd);
int disk_list(int folder_fd, disk_name_fn on_name, void *owner);
int disk_lock(int fd, int operation);
void *disk_map(int fd, size_t len);
void disk_unmap(void *bytes, size_t len);

static atomic_ulong calls_left; /* 0: none fails */
static atomic_int failure_errno;
static atomic_bool fails_for_ever, has_failed;

void counted_disk_fail(unsigned long number, int failure, bool for_ever)
{
	atomic_store(&failure_errno, failure);
	atomic_store(&fails_for_ever, for_ever);
	atomic_store(&has_failed, false);
	atomic_store(&calls_left, number);
}

bool counted_disk_has_failed(void)
{
	return atomic_load(&has_failed);
}

static bool fails_now(void)
{
	unsigned long left = atomic_load(&calls_left);
	if (left == 0)
		return false;
	if (left > 1) {
		(void)atomic_fetch_sub(&calls_left, 1);
		return false;
	}
	if (!atomic_load(&fails_for_ever))
		atomic_store(&calls_left, 0);
	atomic_store(&has_failed, true);
	errno = atomic_load(&failure_errno);
	return true;
}

int disk_open(int folder_fd, const char *name, int flags, mode_t mode)
{
	return fails_now() ? -1 : real_disk_open(folder_fd, name, flags, mode);
}

ssize_t disk_read(int fd, void *bytes, size_t len, uint64_t at)
{
	return fails_now() ? -1 : real_disk_read(fd, bytes, len, at);
}

ssize_t disk_read_pieces(int fd, const struct iovec *pieces, int count, uint64_t at)
{
	return fails_now() ? -1 : real_disk_read_pieces(fd, pieces, count, at);
}

ssize_t disk_write(int fd, const void *bytes, size_t len, uint64_t at)
{
	if (!fails_now())
		return real_disk_write(fd, bytes, len, at);
	int failure = errno;
	(void)!real_disk_write(fd, bytes, len / 2, at); /* torn */
	errno = failure;
	return -1;
}

int disk_sync(int fd)
{
	return fails_now() ? -1 : real_disk_sync(fd);
}

int disk_allocate(int fd, uint64_t at, uint64_t len)
{
	return fails_now() ? -1 : real_disk_allocate(fd, at, len);
}

int disk_punch(int fd, uint64_t at, uint64_t len)
{
	return fails_now() ? -1 : real_disk_punch(fd, at, len);
}

int disk_truncate(int fd, uint64_t len)
{
	return fails_now() ? -1 : real_disk_truncate(fd, len);
}

int disk_stat(int fd, struct stat *ret)
{
	return fails_now() ? -1 : real_disk_stat(fd, ret);
}

int disk_statvfs(int fd, struct statvfs *ret)
{
	return real_disk_statvfs(fd, ret);
}

int64_t disk_seek_data(int fd, uint64_t at)
{
	return fails_now() ? -1 : real_disk_seek_data(fd, at);
}

int disk_rename(int folder_fd, const char *from, const char *to)
{
	return fails_now() ? -1 : real_disk_rename(folder_fd, from, to);
}

int disk_unlink(int folder_fd, const char *name)
{
	return fails_now() ? -1 : real_disk_unlink(folder_fd, name);
}

int disk_make_folder(int folder_fd, const char *name, mode_t mode)
{
	return fails_now() ? -1 : real_disk_make_folder(folder_fd, name, mode);
}

int disk_close(int fd)
{
	return real_disk_close(fd);
}

int disk_list(int folder_fd, disk_name_fn on_name, void *owner)
{
	return fails_now() ? -1 : real_disk_list(folder_fd, on_name, owner);
}

int disk_lock(int fd, int operation)
{
	return real_disk_lock(fd, operation);
}

void *disk_map(int fd, size_t len)
{
	return fails_now() ? MAP_FAILED : real_disk_map(fd, len);
}

void disk_unmap(void *bytes, size_t len)
{
	real_disk_unmap(bytes, len);
}
