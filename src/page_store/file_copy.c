#include "page_store/file_copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define COPY_CHUNK     (1u << 30)
#define MEMORY_CHUNK   (256u << 10)
#define TREE_MAX_DEPTH 16 /* Postgres' own is 5 */

static status copy_through_memory(int from, int to, const char *name, struct error *err)
{
	CLEANUP(free_text) char *chunk = xcalloc(1, MEMORY_CHUNK);
	for (;;) {
		ssize_t n = read(from, chunk, MEMORY_CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, STATUS_IO, errno, "could not read file \"%s\"", name);
		if (n == 0)
			return STATUS_OK;
		if (file_write_all(to, chunk, (size_t)n, err) != STATUS_OK)
			return error_prefix(err, "file \"%s\"", name);
	}
}

status file_copy(int from, int to, const char *name, struct error *err)
{
	if (ioctl(to, FICLONE, from) == 0)
		return STATUS_OK;
	if (errno == ENOSPC || errno == EDQUOT || errno == EIO)
		return error_set(err, STATUS_IO, errno, "could not copy file \"%s\"", name);
	for (bool is_first = true;; is_first = false) {
		ssize_t n = copy_file_range(from, NULL, to, NULL, COPY_CHUNK, 0);
		if (n > 0)
			continue;
		if (n < 0 && errno == EINTR)
			continue;
		/* Some file systems say 0 for files they cannot copy: only reading tells that it is empty. */
		if (is_first && (n == 0 || errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP ||
		                        errno == ENOSYS))
			return copy_through_memory(from, to, name, err);
		if (n == 0)
			return STATUS_OK;
		return error_set(err, STATUS_IO, errno, "could not copy file \"%s\"", name);
	}
}

status file_read_at(int folder_fd, const char *name, size_t max_len, struct buffer *buf, struct error *err)
{
	CLEANUP(close_fd) int fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not open file \"%s\"", name);
	for (size_t total = 0; total <= max_len;) {
		buffer_reserve(buf, 4096);
		ssize_t n = read(fd, buf->data + buf->len, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, STATUS_IO, errno, "could not read file \"%s\"", name);
		if (n == 0)
			return STATUS_OK;
		total += (size_t)n;
		buf->len += (size_t)n;
		buf->data[buf->len] = '\0';
	}
	return error_set(err, STATUS_LIMIT, 0, "file \"%s\" is larger than %zu bytes", name, max_len);
}

status folder_open(const char *path, int *ret_fd, struct error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not open folder \"%s\"", path);
	*ret_fd = fd;
	return STATUS_OK;
}

static status copy_folder(const struct tree_copy *copy, int from_fd, int to_fd, const char *prefix, int depth,
        struct error *err);

static status copy_file_entry(
        const struct tree_copy *copy, const struct copy_entry *entry, int to_fd, struct error *err)
{
	/* O_NONBLOCK: the entry may have become a pipe since it was looked at. */
	CLEANUP(close_fd)
	int from = openat(entry->folder_fd, entry->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (from < 0 && errno == ENOENT)
		return STATUS_OK;
	if (from < 0)
		return error_set(err, STATUS_IO, errno, "could not open file \"%s\"", entry->path);
	CLEANUP(close_fd) int to = openat(to_fd, entry->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to < 0)
		return error_set(err, STATUS_IO, errno, "could not create file \"%s\"", entry->path);
	if (fchown(to, copy->uid, copy->gid) < 0)
		return error_set(
		        err, STATUS_IO, errno, "could not change the owner of file \"%s\"", entry->path);
	return file_copy(from, to, entry->path, err);
}

static status copy_folder_entry(const struct tree_copy *copy, const struct copy_entry *entry, int to_fd,
        bool with_content, int depth, struct error *err)
{
	CLEANUP(close_fd)
	int from = openat(entry->folder_fd, entry->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0 && errno == ENOENT)
		return STATUS_OK;
	if (from < 0)
		return error_set(err, STATUS_IO, errno, "could not open folder \"%s\"", entry->path);
	if (mkdirat(to_fd, entry->name, 0700) < 0)
		return error_set(err, STATUS_IO, errno, "could not create folder \"%s\"", entry->path);
	CLEANUP(close_fd)
	int to = openat(to_fd, entry->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0 || fchown(to, copy->uid, copy->gid) < 0)
		return error_set(err, STATUS_IO, errno, "could not prepare folder \"%s\"", entry->path);
	return with_content ? copy_folder(copy, from, to, entry->path, depth + 1, err) : STATUS_OK;
}

static status copy_entry(const struct tree_copy *copy, int from_fd, int to_fd, const char *prefix,
        const char *name, int depth, struct error *err)
{
	struct stat st;
	if (fstatat(from_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT
		               ? STATUS_OK
		               : error_set(err, STATUS_IO, errno, "could not look at \"%s%s\"", prefix, name);
	CLEANUP(free_text) char *path = xasprintf("%s%s%s", prefix, *prefix ? "/" : "", name);
	struct copy_entry entry = { .path = path,
		.name = name,
		.folder_fd = from_fd,
		.is_folder = S_ISDIR(st.st_mode),
		.is_link = S_ISLNK(st.st_mode) };
	enum copy_choice choice = COPY_WHOLE;
	if (copy->choose) {
		status chosen = copy->choose(copy->owner, &entry, &choice, err);
		if (chosen != STATUS_OK)
			return chosen;
	}
	if (choice == COPY_NOTHING)
		return STATUS_OK;
	if (entry.is_link)
		return error_set(err, STATUS_UNSUPPORTED, 0, "\"%s\" is a symbolic link", path);
	if (entry.is_folder)
		return copy_folder_entry(copy, &entry, to_fd, choice == COPY_WHOLE, depth, err);
	if (!S_ISREG(st.st_mode))
		return STATUS_OK; /* sockets and the like are not content */
	return copy_file_entry(copy, &entry, to_fd, err);
}

static void close_folder(DIR **folder)
{
	if (*folder)
		(void)closedir(*folder);
}

static status copy_folder(const struct tree_copy *copy, int from_fd, int to_fd, const char *prefix, int depth,
        struct error *err)
{
	if (depth > TREE_MAX_DEPTH)
		return error_set(err, STATUS_LIMIT, 0, "folder \"%s\" is nested too deeply", prefix);
	int listed_fd = openat(from_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* closed by closedir */
	CLEANUP(close_folder) DIR *folder = listed_fd < 0 ? NULL : fdopendir(listed_fd);
	if (!folder) {
		int saved = errno;
		close_fd(&listed_fd);
		return error_set(err, STATUS_IO, saved, "could not list folder \"%s\"", prefix);
	}
	for (;;) {
		errno = 0;
		const struct dirent *item = readdir(folder);
		if (!item && errno != 0)
			return error_set(err, STATUS_IO, errno, "could not list folder \"%s\"", prefix);
		if (!item)
			return STATUS_OK;
		if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
			continue;
		status st = copy_entry(copy, from_fd, to_fd, prefix, item->d_name, depth, err);
		if (st != STATUS_OK)
			return st;
	}
}

status tree_copy(const struct tree_copy *copy, int from_fd, int to_fd, struct error *err)
{
	return copy_folder(copy, from_fd, to_fd, "", 0, err);
}
