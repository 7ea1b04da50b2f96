#include "control_plane/disk_space.h"

#include <dirent.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX   64
#define BLOCK_BYTES 512

/* A file with several names. */
struct seen {
	dev_t device;
	ino_t inode;
};

struct disk_space {
	int64_t total;
	void *seen; /* a tree of struct seen */
};

struct disk_space *disk_space_new(void)
{
	return xcalloc(1, sizeof(struct disk_space));
}

struct disk_space *disk_space_free(struct disk_space *space)
{
	if (!space)
		return NULL;
	tdestroy(space->seen, free);
	free(space);
	return NULL;
}

int64_t disk_space_total(const struct disk_space *space)
{
	return space->total;
}

static int compare(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;
	if (x->device != y->device)
		return x->device < y->device ? -1 : 1;
	return x->inode == y->inode ? 0 : x->inode < y->inode ? -1 : 1;
}

static bool is_new(struct disk_space *space, const struct stat *st)
{
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return true;
	struct seen *seen = xcalloc(1, sizeof *seen);
	*seen = (struct seen){ .device = st->st_dev, .inode = st->st_ino };
	struct seen **found = tsearch(seen, &space->seen, compare);
	bool is_first = found && *found == seen;
	if (!is_first)
		free(seen);
	return is_first;
}

static void add_folder(
        struct disk_space *space, int parent_fd, const char *name, const char *skipped, int depth)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		close_fd(&fd);
		return;
	}
	for (struct dirent *entry; (entry = readdir(dir));) {
		struct stat st;
		const char *child = entry->d_name;
		if (strcmp(child, "..") == 0 || (skipped && strcmp(child, skipped) == 0) ||
		        fstatat(fd, child, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (is_new(space, &st) && !(S_ISDIR(st.st_mode) && strcmp(child, ".") != 0))
			space->total += (int64_t)st.st_blocks * BLOCK_BYTES;
		if (S_ISDIR(st.st_mode) && strcmp(child, ".") != 0 && depth < DEPTH_MAX)
			add_folder(space, fd, child, NULL, depth + 1);
	}
	(void)closedir(dir);
}

void disk_space_add_store(struct disk_space *space, const struct data_directory *dd, const char *store)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "stores/%s", store);
	add_folder(space, AT_FDCWD, path, NULL, 0);
}

void disk_space_add_volume(struct disk_space *space, const struct data_directory *dd, const char *volume)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "volumes/%s", volume);
	add_folder(space, AT_FDCWD, path, "data", 0);
}
