/*
 * Snapshot rows: named moments of a branch that outlive it, with the roles and databases of that moment. A row is a copy and holds no
 * memory of its own. Times that may be missing are 0.
 */
#pragma once

#include "base/base.h"
#include "metadata/metadata.h"
#include "metadata/project_row.h"
#include "metadata/statement.h"

struct snapshot_row {
	int64_t id;
	int64_t project;
	char snapshot_id[RESOURCE_ID_MAX + 1];
	char uid[RESOURCE_ID_MAX + 1]; /* its name in the store */
	int64_t create_usec;
	int64_t source; /* branch row; it may be gone */
	char source_branch_id[RESOURCE_ID_MAX + 1];
	uint64_t source_lsn; /* 0 until it is made */
	int64_t source_usec;
	int64_t expire_usec;
	bool is_ready;     /* false: its create operation has not finished */
	bool is_purged;    /* the name is free, the files are being removed */
	bool is_scheduled; /* made by a schedule: does not count against the limit */
	int64_t revision;  /* the source's, see struct branch_row */
	int64_t full_size;
};

MUST_CHECK status snapshot_row_insert(
        struct metadata *md, struct snapshot_row *row, struct error *err); /* sets id */
MUST_CHECK status snapshot_row_update(struct metadata *md, const struct snapshot_row *row, struct error *err);
MUST_CHECK status snapshot_row_remove(struct metadata *md, int64_t id, struct error *err);

/* STATUS_NOT_FOUND. By name: purged ones not. By id: all. */
MUST_CHECK status snapshot_row_find(struct metadata *md, int64_t project, const char *snapshot_id,
        struct snapshot_row *ret, struct error *err);
MUST_CHECK status snapshot_row_get(
        struct metadata *md, int64_t id, struct snapshot_row *ret, struct error *err);

/* In creation order behind row after_id; then snapshot_row_next() until STATUS_NOT_FOUND. */
MUST_CHECK status snapshot_row_list(struct metadata *md, int64_t project, int64_t after_id, int64_t limit,
        struct statement *ret, struct error *err);
/* Finished ones of live projects whose expire_time is over. */
MUST_CHECK status snapshot_row_list_expired(
        struct metadata *md, int64_t now_usec, struct statement *ret, struct error *err);
MUST_CHECK status snapshot_row_next(struct statement *st, struct snapshot_row *ret, struct error *err);
/* Those that no schedule made. */
MUST_CHECK status snapshot_row_count_manual(
        struct metadata *md, int64_t project, int64_t *ret, struct error *err);

/* The roles and databases of `branch`, kept with the snapshot; and given to a branch that is made of it, in place of what it has. */
MUST_CHECK status snapshot_row_keep_roles(
        struct metadata *md, int64_t snapshot, int64_t branch, struct error *err);
MUST_CHECK status snapshot_row_give_roles(
        struct metadata *md, int64_t snapshot, int64_t branch, int64_t now_usec, struct error *err);
