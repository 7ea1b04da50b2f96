/* What of disk.h changes nothing: the same on a disk that only stands in for the writing part (tests/power_cut). */
#include "page_store/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

ssize_t disk_read(int fd, void *bytes, size_t len, uint64_t at)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = pread(fd, (char *)bytes + done, len - done, (off_t)(at + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t disk_read_pieces(int fd, const struct iovec *pieces, int count, uint64_t at)
{
	ssize_t n;
	do
		n = preadv(fd, pieces, count, (off_t)at);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -1;
	size_t done = 0, read = (size_t)n;
	for (int i = 0; i < count; i++) {
		size_t has = read - done < pieces[i].iov_len ? read - done : pieces[i].iov_len;
		if (has < pieces[i].iov_len) { /* a short transfer, which is rare: the rest one by one */
			n = disk_read(fd, (char *)pieces[i].iov_base + has, pieces[i].iov_len - has,
			        at + done + has);
			if (n < 0)
				return -1;
			has += (size_t)n;
			read = done + has;
		}
		done += has;
		if (has < pieces[i].iov_len)
			break;
	}
	return (ssize_t)done;
}

int64_t disk_seek_data(int fd, uint64_t at)
{
	off_t found = lseek(fd, (off_t)at, SEEK_DATA);
	return found < 0 && errno == ENXIO ? INT64_MAX : found;
}

int disk_list(int folder_fd, disk_name_fn on_name, void *owner)
{
	/* A descriptor of its own: the position in the folder belongs to the open file. */
	int fd = disk_open(folder_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return -1;
	DIR *folder = fdopendir(fd);
	if (!folder) {
		int saved = errno;
		(void)close(fd);
		errno = saved;
		return -1;
	}
	int failure = 0;
	for (bool goes_on = true; goes_on;) {
		errno = 0;
		const struct dirent *entry = readdir(folder);
		if (!entry) {
			failure = errno;
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			goes_on = on_name(owner, entry->d_name);
	}
	(void)closedir(folder);
	errno = failure;
	return failure ? -1 : 0;
}

int disk_lock(int fd, int operation)
{
	int rc;
	do
		rc = flock(fd, operation);
	while (rc < 0 && errno == EINTR);
	return rc;
}

void *disk_map(int fd, size_t len)
{
	return mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
}

void disk_unmap(void *bytes, size_t len)
{
	(void)munmap(bytes, len);
}
