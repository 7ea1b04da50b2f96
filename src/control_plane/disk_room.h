/*
 * Disk room: is there space for one more volume? It copies nothing, but its Postgres writes WAL at once, and a disk that is full takes the
 * running computes with it: Postgres ends itself when it cannot write WAL.
 * Threads: any; blocks on the disk.
 */
#pragma once

#include "base/base.h"
#include "data_directory/data_directory.h"

/* For the WAL and the checkpoints of those who run. */
#define DISK_ROOM_RESERVE (64ll << 20)

/* STATUS_NO_SPACE, with both numbers, unless the reserve is there. */
MUST_CHECK status disk_room_check(const struct data_directory *dd, struct error *err);
