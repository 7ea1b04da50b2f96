#include "page_store/file_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define COPY_CHUNK   (1u << 30)
#define MEMORY_CHUNK (256u << 10)

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
