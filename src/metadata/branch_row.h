/* Branch rows. A row is a copy and holds no memory of its own. Times that may be missing are 0. */
#pragma once

#include "base/base.h"
#include "metadata/metadata.h"
#include "metadata/project_row.h"
#include "metadata/statement.h"

struct branch_row {
	int64_t id;
	int64_t project;
	char branch_id[RESOURCE_ID_MAX + 1];
	char uid[RESOURCE_ID_MAX + 1];
	int64_t create_usec, update_usec;
	int64_t delete_usec, purge_usec;
	bool is_purged;
	bool is_protected;
	int64_t expire_usec;
	bool is_ready; /* false: its create operation has not finished */
	int64_t state_change_usec;
	int64_t source; /* branch row it came from; 0: root. The row may be gone */
	char source_branch_id[RESOURCE_ID_MAX + 1];
	uint64_t source_lsn; /* 0 until the clone is made */
	int64_t source_usec;
	int64_t timeline; /* even, unique in the project; 0: root */
	int64_t revision; /* grows with every change of roles, databases or the endpoint: of what a spec says */
	int64_t logical_size;
	char volume_id[RESOURCE_ID_MAX + 1]; /* unique; empty in a row to insert: the uid */
	int64_t next_volume; /* a reset's or restore's volume is "<uid>-<next_volume>"; never used twice */
	char origin_volume[RESOURCE_ID_MAX +
	                   1]; /* what the volume was cloned from; empty: a template, a snapshot */
	uint64_t origin_lsn;   /* and where; 0: not yet */
	char source_snapshot[RESOURCE_ID_MAX + 1]; /* snapshot id the branch was made from; empty: none */
	bool is_resetting;                         /* a reset or restore is open */
	int64_t own_bytes, shared_bytes, history_bytes; /* disk space, as last measured */
	int64_t archive_usec;                           /* when it became ARCHIVED; 0: it is not */
};

/* Bytes on the disk, and of the files as Postgres sees them. */
struct branch_space {
	int64_t logical, own, shared, history;
};

MUST_CHECK status branch_row_insert(
        struct metadata *md, struct branch_row *row, struct error *err); /* sets id */
MUST_CHECK status branch_row_update(struct metadata *md, const struct branch_row *row, struct error *err);
MUST_CHECK status branch_row_remove(struct metadata *md, int64_t id, struct error *err);

/* The stamp of the last inventory file that was taken over (compute/inventory.h); 0: none. */
MUST_CHECK status branch_row_inventory_stamp(
        struct metadata *md, int64_t id, int64_t *ret, struct error *err);
MUST_CHECK status branch_row_note_inventory(
        struct metadata *md, int64_t id, int64_t stamp, struct error *err);

/* By name: deleted ones too, purged ones not. By id and uid: all. */
MUST_CHECK status branch_row_find(struct metadata *md, int64_t project, const char *branch_id,
        struct branch_row *ret, struct error *err);
MUST_CHECK status branch_row_get(struct metadata *md, int64_t id, struct branch_row *ret, struct error *err);
MUST_CHECK status branch_row_find_uid(
        struct metadata *md, const char *uid, struct branch_row *ret, struct error *err);
MUST_CHECK status branch_row_find_volume(
        struct metadata *md, const char *volume_id, struct branch_row *ret, struct error *err);

MUST_CHECK status branch_row_list(struct metadata *md, int64_t project, int64_t after_id, bool with_deleted,
        int64_t limit, struct statement *ret, struct error *err);
/* Every branch of a project, purged ones too. */
MUST_CHECK status branch_row_list_all(
        struct metadata *md, int64_t project, struct statement *ret, struct error *err);
/* Live ones made of it, and what was made of those, and so on: those without children first. */
MUST_CHECK status branch_row_list_descendants(
        struct metadata *md, int64_t id, struct statement *ret, struct error *err);
/* Of all projects, purged ones too. */
MUST_CHECK status branch_row_list_everywhere(struct metadata *md, struct statement *ret, struct error *err);
/* Live ones of live projects whose expire_time is over. */
MUST_CHECK status branch_row_list_expired(
        struct metadata *md, int64_t now_usec, struct statement *ret, struct error *err);
/* Soft-deleted ones whose time is over. */
MUST_CHECK status branch_row_list_due(
        struct metadata *md, int64_t now_usec, struct statement *ret, struct error *err);
MUST_CHECK status branch_row_next(struct statement *st, struct branch_row *ret, struct error *err);

MUST_CHECK status branch_row_count(struct metadata *md, int64_t project, int64_t *ret, struct error *err);
MUST_CHECK status branch_row_count_children(
        struct metadata *md, int64_t id, int64_t *ret, struct error *err); /* live ones */
MUST_CHECK status branch_row_count_protected(
        struct metadata *md, int64_t project, int64_t *ret, struct error *err); /* live ones */
/* Live ones without a parent. */
MUST_CHECK status branch_row_count_roots(
        struct metadata *md, int64_t project, int64_t *ret, struct error *err);

/* Live ones that are not archived, nor about to be. */
MUST_CHECK status branch_row_count_unarchived(
        struct metadata *md, int64_t project, int64_t *ret, struct error *err);
/* The first live project behind `after_project` that has more of those than `limit`, and how many more. STATUS_NOT_FOUND; err is then not filled. */
MUST_CHECK status branch_row_find_crowded(struct metadata *md, int64_t limit, int64_t after_project,
        int64_t *ret_project, int64_t *ret_excess, struct error *err);

/*
 * Branches that may be archived, longest idle first: live, ready, not protected, not their project's default, no operation open about them. Whether their
 * compute sleeps the caller has to see. A change through the API is a use, too.
 */
struct branch_idle {
	int64_t project; /* 0: all */
	int64_t used_before_usec, created_before_usec;
};
MUST_CHECK status branch_row_list_idle(
        struct metadata *md, const struct branch_idle *idle, struct statement *ret, struct error *err);

/* Of a branch that may be gone. */
MUST_CHECK status branch_row_note_space(
        struct metadata *md, int64_t id, const struct branch_space *space, struct error *err);

/* What the housekeeper wants to know of a branch whose volume is there: all of them, those of a project together, oldest first. */
struct branch_upkeep {
	int64_t branch, project;
	char store[RESOURCE_ID_MAX + 1], volume[RESOURCE_ID_MAX + 1];
	int64_t window_usec; /* how much of its past is kept */
	bool is_archived;
};
MUST_CHECK status branch_row_list_upkeep(struct metadata *md, struct statement *ret, struct error *err);
MUST_CHECK status branch_upkeep_next(struct statement *st, struct branch_upkeep *ret, struct error *err);

/* When the next expiry or purge of anything is due; 0: never. */
MUST_CHECK status metadata_next_due(struct metadata *md, int64_t *ret_usec, struct error *err);
