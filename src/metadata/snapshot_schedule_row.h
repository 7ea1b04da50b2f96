/* Snapshot schedule rows: at most one per branch; it goes with the branch. A row is a copy that owns its text. */
#pragma once

#include "base/base.h"
#include "metadata/metadata.h"
#include "metadata/statement.h"

struct snapshot_schedule_row {
	int64_t branch;
	char *cadences;          /* JSON list, never empty */
	int64_t considered_usec; /* firings up to here have been dealt with */
	int64_t next_usec;       /* the first one behind that */
};

void snapshot_schedule_row_done(struct snapshot_schedule_row *row); /* for CLEANUP */

/* In place of the one that the branch has. */
MUST_CHECK status snapshot_schedule_row_put(
        struct metadata *md, const struct snapshot_schedule_row *row, struct error *err);
MUST_CHECK status snapshot_schedule_row_remove(struct metadata *md, int64_t branch, struct error *err);
/* STATUS_NOT_FOUND; err is then not filled. */
MUST_CHECK status snapshot_schedule_row_find(
        struct metadata *md, int64_t branch, struct snapshot_schedule_row *ret, struct error *err);
/* The earliest of live branches of live projects whose time has come. STATUS_NOT_FOUND as above. */
MUST_CHECK status snapshot_schedule_row_find_due(
        struct metadata *md, int64_t now_usec, struct snapshot_schedule_row *ret, struct error *err);
