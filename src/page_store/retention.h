/*
 * Retention: which restore points of a volume stay, and with them which WAL and layers. Called for every volume now and then, whether
 * it runs or not.
 *
 * Invariants
 *   R1  the newest point stays, and the newest at or before the beginning of the window (or the oldest one, when none is that old): every moment
 *       of the window can be reached. Points before that one go.
 *   R2  points in between go only as long as the work to be replayed between neighbours stays inside the budget of the newer one's age: 2 s
 *       when it is younger than an hour, 20 s when it is younger than a day, then 2 min. Neighbours that were farther apart stay as they are.
 *   R3  there are at most points_max points; the oldest are thinned for that, every second one first, whatever R2 says.
 *   R4  the point goes first, then WAL in front of the oldest one's redo, then the layers (store.h, S3). Snapshots are not touched.
 *
 * Threads: blocks on the disk; one call per volume at a time.
 */
#pragma once

#include "base/base.h"
#include "data_directory/data_directory.h"

#define RETENTION_POINTS_MAX 400

struct retention {
	int64_t now_usec;
	int64_t window_usec;
	size_t points_max; /* 0: RETENTION_POINTS_MAX */
};

/* What counts of a point. */
struct retention_point {
	int64_t time_usec; /* ascending */
	int64_t replay_usec; /* restore_point.h: differences count; one that goes down says nothing, and both neighbours stay */
};
/* The decision alone: sets ret_keep[i] for each of the `count` points, oldest first. */
void retention_decide(const struct retention *retention, const struct retention_point *points, size_t count,
        bool *ret_keep);

struct retention_result {
	size_t points_removed, points_kept;
	size_t wal_removed; /* files; of those that Postgres still has in wal/ only the archive's link */
	int64_t bytes;      /* of layers, given back */
};
/* STATUS_NOT_FOUND when there is no such volume. */
MUST_CHECK status retention_apply(const struct data_directory *dd, const char *volume_id,
        const struct retention *retention, struct retention_result *ret, struct error *err);
