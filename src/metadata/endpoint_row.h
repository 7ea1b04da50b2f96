/* Endpoint rows. A row is a copy; suspend_usec 0 means never. */
#pragma once

#include "base/base.h"
#include "metadata/metadata.h"
#include "metadata/project_row.h"
#include "metadata/statement.h"

#define ADDRESS_MAX 15

struct endpoint_row {
	int64_t id;
	int64_t branch;
	char endpoint_id[RESOURCE_ID_MAX + 1];
	char uid[RESOURCE_ID_MAX + 1];
	int64_t create_usec, update_usec;
	bool is_read_only;
	double min_cu, max_cu;
	int64_t suspend_usec;
	bool is_disabled;
	char *pg_settings;             /* JSON object, text to text */
	char address[ADDRESS_MAX + 1]; /* "127.64.0.2", unique on this machine */
	bool was_running;              /* as last seen: what a new control shall adopt or start again */
	int64_t last_active_usec;
	int64_t started_usec, suspended_usec; /* when it last was */
};

void endpoint_row_done(struct endpoint_row *row); /* for CLEANUP */

MUST_CHECK status endpoint_row_insert(
        struct metadata *md, struct endpoint_row *row, struct error *err); /* sets id */
MUST_CHECK status endpoint_row_update(struct metadata *md, const struct endpoint_row *row, struct error *err);
/* Only what the fleet reports; does not touch what a user sets. since_usec: when it turned, if it did. */
MUST_CHECK status endpoint_row_note_activity(struct metadata *md, const char *uid, bool was_running,
        int64_t since_usec, int64_t last_active_usec, struct error *err);

MUST_CHECK status endpoint_row_find(struct metadata *md, int64_t branch, const char *endpoint_id,
        struct endpoint_row *ret, struct error *err);
/* The READ_WRITE one of a branch. */
MUST_CHECK status endpoint_row_find_writer(
        struct metadata *md, int64_t branch, struct endpoint_row *ret, struct error *err);
MUST_CHECK status endpoint_row_get(
        struct metadata *md, int64_t id, struct endpoint_row *ret, struct error *err);
MUST_CHECK status endpoint_row_find_uid(
        struct metadata *md, const char *uid, struct endpoint_row *ret, struct error *err);
MUST_CHECK status endpoint_row_find_address(
        struct metadata *md, const char *address, struct endpoint_row *ret, struct error *err);

MUST_CHECK status endpoint_row_list(struct metadata *md, int64_t branch, int64_t after_id, int64_t limit,
        struct statement *ret, struct error *err);
/* Of all its branches, deleted ones too. */
MUST_CHECK status endpoint_row_list_of_project(
        struct metadata *md, int64_t project, struct statement *ret, struct error *err);
MUST_CHECK status endpoint_row_list_everywhere(struct metadata *md, struct statement *ret, struct error *err);
/* The ids that make an endpoint's name, of those of a JSON list of uids that exist. */
struct endpoint_ids {
	char uid[RESOURCE_ID_MAX + 1], project_id[RESOURCE_ID_MAX + 1], branch_id[RESOURCE_ID_MAX + 1];
};
MUST_CHECK status endpoint_ids_list(struct metadata *md, const char *uids_json, struct statement *ret,
        struct error *err); /* borrows uids_json */
MUST_CHECK status endpoint_ids_next(struct statement *st, struct endpoint_ids *ret, struct error *err);
MUST_CHECK status endpoint_row_next(struct statement *st, struct endpoint_row *ret, struct error *err);
