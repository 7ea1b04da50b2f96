#include "base/role_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"

struct role_lock {
	int fd;
	char *path;
};

static struct flock whole_file(int type)
{
	return (struct flock){ .l_type = (short)type, .l_whence = SEEK_SET };
}

status role_lock_set_text(struct role_lock *lock, const char *text, struct error *err)
{
	/* Ended by a NUL and written at once: a reader sees the old text or the new one, never a mix of both.
	 */
	size_t len = strlen(text);
	if (len >= ROLE_LOCK_TEXT_MAX)
		return error_set(err, STATUS_LIMIT, 0, "the text of lock \"%s\" is too long", lock->path);
	ssize_t n = pwrite(lock->fd, text, len + 1, 0);
	if (n < 0 || (size_t)n != len + 1 || ftruncate(lock->fd, (off_t)len) < 0)
		return error_set(
		        err, STATUS_IO, n < 0 ? errno : ENOSPC, "could not write lock \"%s\"", lock->path);
	return STATUS_OK;
}

status role_lock_take(const char *path, const char *text, struct role_lock **ret, struct error *err)
{
	CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open lock \"%s\"", path);
	struct flock exclusive = whole_file(F_WRLCK);
	if (fcntl(fd, F_OFD_SETLK, &exclusive) < 0) {
		if (errno == EAGAIN || errno == EACCES)
			return error_set(
			        err, STATUS_CONFLICT, 0, "lock \"%s\" is held by another process", path);
		return error_set(err, STATUS_IO, errno, "could not lock \"%s\"", path);
	}
	struct role_lock *lock = xcalloc(1, sizeof *lock);
	*lock = (struct role_lock){ .fd = TAKE_FD(fd), .path = xstrdup(path) };
	status st = role_lock_set_text(lock, text, err);
	if (st != STATUS_OK) {
		role_lock_free(lock);
		return st;
	}
	*ret = lock;
	return STATUS_OK;
}

struct role_lock *role_lock_free(struct role_lock *lock)
{
	if (!lock)
		return NULL;
	(void)close(lock->fd);
	free(lock->path);
	free(lock);
	return NULL;
}

status role_lock_look(const char *path, char ret_text[ROLE_LOCK_TEXT_MAX], struct error *err)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not open lock \"%s\"", path);
	/* Asking takes nothing, unlike a trial lock, which would make a holder-to-be fail who comes at that
	 * moment. */
	struct flock question = whole_file(F_RDLCK);
	if (fcntl(fd, F_OFD_GETLK, &question) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at lock \"%s\"", path);
	if (question.l_type == F_UNLCK)
		return error_set(err, STATUS_NOT_FOUND, 0, "lock \"%s\" is not held", path);
	ssize_t n = pread(fd, ret_text, ROLE_LOCK_TEXT_MAX - 1, 0);
	if (n < 0)
		return error_set(err, STATUS_IO, errno, "could not read lock \"%s\"", path);
	ret_text[n] = '\0';
	return STATUS_OK;
}
