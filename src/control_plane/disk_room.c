#include "control_plane/disk_room.h"

#include <errno.h>
#include <sys/statvfs.h>

status disk_room_check(const struct data_directory *dd, struct error *err)
{
	struct statvfs fs;
	if (statvfs(dd->path, &fs) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at the disk of \"%s\"", dd->path);
	int64_t available = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
	if (available >= DISK_ROOM_RESERVE)
		return STATUS_OK;
	status st = error_set(err, STATUS_NO_SPACE, 0,
	        "not enough disk space for \"%s\": %lld MB are free, %lld MB are needed", dd->path,
	        (long long)(available >> 20), (long long)(DISK_ROOM_RESERVE >> 20));
	error_hint(err, "Free some disk space and try again.");
	return st;
}
