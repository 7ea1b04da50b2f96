#include "base/role_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"

struct role_lock {
	int fd;
	char *path;
};

status role_lock_set_text(struct role_lock *lock, const char *text, struct error *err)
{
	/* Shorter than a page and written at once: a reader sees the old line, the new one, or none. */
	size_t len = strlen(text);
	if (len >= ROLE_LOCK_TEXT_MAX)
		return error_set(err, STATUS_LIMIT, 0, "the text of lock \"%s\" is too long", lock->path);
	ssize_t n = pwrite(lock->fd, text, len, 0);
	if (n < 0 || (size_t)n != len || ftruncate(lock->fd, (off_t)len) < 0)
		return error_set(err, STATUS_IO, n < 0 ? errno : ENOSPC, "could not write lock \"%s\"", lock->path);
	return STATUS_OK;
}

status role_lock_take(const char *path, const char *text, struct role_lock **ret, struct error *err)
{
	CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open lock \"%s\"", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return error_set(err, STATUS_CONFLICT, 0, "lock \"%s\" is held by another process", path);
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
	/* A shared lock that succeeds proves that nobody holds the exclusive one; it is gone with the descriptor. */
	if (flock(fd, LOCK_SH | LOCK_NB) == 0)
		return error_set(err, STATUS_NOT_FOUND, 0, "lock \"%s\" is not held", path);
	if (errno != EWOULDBLOCK)
		return error_set(err, STATUS_IO, errno, "could not look at lock \"%s\"", path);
	ssize_t n = pread(fd, ret_text, ROLE_LOCK_TEXT_MAX - 1, 0);
	if (n < 0)
		return error_set(err, STATUS_IO, errno, "could not read lock \"%s\"", path);
	ret_text[n] = '\0';
	return STATUS_OK;
}
