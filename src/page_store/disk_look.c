/* What of disk.h changes nothing: the same on a disk that only stands in for the writing part (tests/power_cut). */
#include "page_store/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

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
