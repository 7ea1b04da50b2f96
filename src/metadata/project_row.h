/*
 * Project rows. A row is a copy: changing it changes nothing until project_row_update().
 * Durations are microseconds; suspend_usec 0 means never.
 */
#pragma once

#include "base/base.h"
#include "metadata/metadata.h"
#include "metadata/statement.h"

#define RESOURCE_ID_MAX 63
#define LOGIN_MAX       256

struct project_row {
	int64_t id;
	char project_id[RESOURCE_ID_MAX + 1];
	char uid[RESOURCE_ID_MAX + 1];
	char owner[LOGIN_MAX + 1];
	int64_t create_usec, update_usec;
	int64_t delete_usec, purge_usec; /* 0: alive */
	bool is_purged;
	char *display_name;
	int pg_version;
	int64_t history_retention_usec;
	double min_cu, max_cu;
	int64_t suspend_usec;
	char *pg_settings; /* JSON object, text to text */
	bool enable_pg_native_login;
	char default_branch_uid[RESOURCE_ID_MAX + 1];
	char *custom_tags;                            /* JSON array of {"key","value"} */
	char *budget_policy_id, *compute_provisioner; /* NULL: not set */
	int64_t next_timeline;                        /* even; what the next clone gets: never used twice */
	int64_t storage_bytes;                        /* disk space of everything in it, as last measured */
};

void project_row_done(struct project_row *row); /* for CLEANUP */

MUST_CHECK status project_row_insert(
        struct metadata *md, struct project_row *row, struct error *err); /* sets id */
MUST_CHECK status project_row_update(struct metadata *md, const struct project_row *row, struct error *err);
MUST_CHECK status project_row_note_storage(struct metadata *md, int64_t id, int64_t bytes, struct error *err);
/* With all branches, endpoints, roles and databases below it. */
MUST_CHECK status project_row_remove(struct metadata *md, int64_t id, struct error *err);

/* STATUS_NOT_FOUND. By name: deleted ones too, purged ones not. By id: all. */
MUST_CHECK status project_row_find(
        struct metadata *md, const char *project_id, struct project_row *ret, struct error *err);
MUST_CHECK status project_row_find_uid(
        struct metadata *md, const char *uid, struct project_row *ret, struct error *err); /* as by name */
MUST_CHECK status project_row_get(
        struct metadata *md, int64_t id, struct project_row *ret, struct error *err);

/* Who lists: sees what he owns and what he or one of his groups has a permission on. */
struct project_viewer {
	int64_t identity;
	const char *login;
};
/* In creation order behind row after_id; then project_row_next() until STATUS_NOT_FOUND. viewer NULL: sees all. */
MUST_CHECK status project_row_list(struct metadata *md, const struct project_viewer *viewer, int64_t after_id,
        bool with_deleted, int64_t limit, struct statement *ret, struct error *err);
/* Soft-deleted ones whose time is over. */
MUST_CHECK status project_row_list_due(
        struct metadata *md, int64_t now_usec, struct statement *ret, struct error *err);
MUST_CHECK status project_row_next(struct statement *st, struct project_row *ret, struct error *err);
MUST_CHECK status project_row_count(
        struct metadata *md, int64_t *ret, struct error *err); /* not purged ones */
