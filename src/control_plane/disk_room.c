#include "control_plane/disk_room.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"

/* Files without a name, so that nothing can be left behind. */
static bool shares_blocks(const char *folder)
{
	static const char page[4096];
	CLEANUP(close_fd) int from = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	CLEANUP(close_fd) int to = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return from >= 0 && to >= 0 && write(from, page, sizeof page) == (ssize_t)sizeof page &&
	       ioctl(to, FICLONE, from) == 0;
}

status disk_room_check(const struct data_directory *dd, const char *source, struct error *err)
{
	CLEANUP(free_text) char *volumes = data_directory_path(dd, "volumes");
	struct statvfs fs;
	int64_t needed = 0;
	if (statvfs(volumes, &fs) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at the disk of \"%s\"", volumes);
	/* Files of a running source come and go: a size that cannot be read is no reason to refuse. */
	struct error ignored;
	if (!shares_blocks(volumes) && tree_space(source, &needed, &ignored) != STATUS_OK)
		needed = 0;
	needed += DISK_ROOM_RESERVE;
	int64_t available = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
	if (available >= needed)
		return STATUS_OK;
	status st = error_set(err, STATUS_NO_SPACE, 0,
	        "not enough disk space for \"%s\": %lld MB are free, %lld MB are needed", volumes,
	        (long long)(available >> 20), (long long)((needed >> 20) + 1));
	error_hint(err, "Free some disk space and try again.");
	return st;
}
