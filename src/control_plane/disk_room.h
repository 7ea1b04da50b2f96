/*
 * Disk room: is there space for one more volume? Asked before a copy begins, because a copy that fills the disk takes the
 * running computes with it: Postgres ends itself when it cannot write WAL.
 *
 * Where the file system shares blocks (FICLONE), a copy needs next to nothing, and only the reserve is asked for.
 * Threads: any; blocks on the disk.
 */
#pragma once

#include "base/base.h"
#include "data_directory/data_directory.h"

/* For the WAL and the checkpoints of those who run. */
#define DISK_ROOM_RESERVE (64ll << 20)

/* STATUS_NO_SPACE, with both numbers, unless a copy of `source` (a folder) fits into volumes/ and leaves the reserve. */
MUST_CHECK status disk_room_check(const struct data_directory *dd, const char *source, struct error *err);
