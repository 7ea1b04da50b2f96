#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

status file_read(const char *path, size_t max_len, struct buffer *buf, struct error *err)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not open file \"%s\"", path);
	for (size_t total = 0;;) {
		buffer_reserve(buf, 4096);
		ssize_t n = read(fd, buf->data + buf->len, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, STATUS_IO, errno, "could not read file \"%s\"", path);
		if (n == 0)
			return STATUS_OK;
		total += (size_t)n;
		if (total > max_len)
			return error_set(
			        err, STATUS_LIMIT, 0, "file \"%s\" is larger than %zu bytes", path, max_len);
		buf->len += (size_t)n;
		buf->data[buf->len] = '\0';
	}
}

status file_write_all(int fd, const void *bytes, size_t len, struct error *err)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)bytes + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, STATUS_IO, errno, "could not write");
		done += (size_t)n;
	}
	return STATUS_OK;
}

status folder_sync(const char *path, struct error *err)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return error_set(err, STATUS_IO, errno, "could not sync folder \"%s\"", path);
	return STATUS_OK;
}

static status replace_from(
        const char *path, const char *temporary, struct slice content, mode_t mode, struct error *err)
{
	CLEANUP(close_fd) int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not create file \"%s\"", temporary);
	if (fchmod(fd, mode) < 0)
		return error_set(err, STATUS_IO, errno, "could not set the mode of file \"%s\"", temporary);
	if (file_write_all(fd, content.data, content.len, err) != STATUS_OK)
		return error_prefix(err, "file \"%s\"", temporary);
	if (fsync(fd) < 0)
		return error_set(err, STATUS_IO, errno, "could not sync file \"%s\"", temporary);
	if (rename(temporary, path) < 0)
		return error_set(
		        err, STATUS_IO, errno, "could not rename file \"%s\" to \"%s\"", temporary, path);
	return STATUS_OK;
}

status file_replace_durably(const char *path, struct slice content, mode_t mode, struct error *err)
{
	CLEANUP(free_text) char *temporary = xasprintf("%s.new", path);
	status st = replace_from(path, temporary, content, mode, err);
	if (st != STATUS_OK) {
		(void)unlink(temporary); /* the first failure is the one worth telling */
		return st;
	}
	CLEANUP(free_text) char *copy = xstrdup(path);
	return folder_sync(dirname(copy), err);
}

status file_replace_for_group(const char *path, struct slice content, gid_t group, struct error *err)
{
	CLEANUP(free_text) char *temporary = xasprintf("%s.new", path);
	CLEANUP(close_fd)
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (fd < 0 || fchmod(fd, 0640) < 0 || (group != (gid_t)-1 && fchown(fd, (uid_t)-1, group) < 0))
		return error_set(err, STATUS_IO, errno, "could not create file \"%s\"", temporary);
	if (file_write_all(fd, content.data, content.len, err) != STATUS_OK)
		return error_prefix(err, "file \"%s\"", temporary);
	if (rename(temporary, path) < 0)
		return error_set(err, STATUS_IO, errno, "could not rename file \"%s\"", temporary);
	return STATUS_OK;
}

status folder_make(const char *path, mode_t mode, struct error *err)
{
	if (mkdir(path, mode) == 0) {
		if (chmod(path, mode) < 0) /* the umask may have taken bits away */
			return error_set(
			        err, STATUS_IO, errno, "could not set the mode of folder \"%s\"", path);
		return STATUS_OK;
	}
	int saved = errno;
	struct stat st;
	if (saved == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return STATUS_OK;
	return error_set(err, STATUS_IO, saved, "could not create folder \"%s\"", path);
}

bool file_exists(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

status tree_remove(const char *path, struct error *err)
{
	if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
		return error_set(err, STATUS_IO, errno, "could not remove \"%s\"", path);
	return STATUS_OK;
}

/* nftw() has no argument for its callback; these belong to the one walk a thread does at a time. */
static __thread uid_t walk_uid;
static __thread gid_t walk_gid;
static __thread int64_t walk_bytes;

static int give_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)type, (void)ftw;
	if (st->st_uid == walk_uid && st->st_gid == walk_gid)
		return 0;
	return lchown(path, walk_uid, walk_gid);
}

status tree_give_to(const char *path, uid_t uid, gid_t gid, struct error *err)
{
	walk_uid = uid;
	walk_gid = gid;
	if (nftw(path, give_entry, 16, FTW_PHYS) != 0)
		return error_set(err, STATUS_IO, errno, "could not change the owner of \"%s\"", path);
	return STATUS_OK;
}

static int count_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path, (void)ftw;
	if (type != FTW_NS)
		walk_bytes += (int64_t)st->st_blocks * 512;
	return 0;
}

status tree_space(const char *path, int64_t *ret_bytes, struct error *err)
{
	walk_bytes = 0;
	if (nftw(path, count_entry, 16, FTW_PHYS) < 0)
		return error_set(err, STATUS_IO, errno, "could not measure \"%s\"", path);
	*ret_bytes = walk_bytes;
	return STATUS_OK;
}
