#include "metadata/project_row.h"

#include <stdlib.h>

#define COLUMNS                                                                                              \
	"project_id, uid, owner, create_usec, update_usec, delete_usec, purge_usec, is_purged, "             \
	"display_name, "                                                                                     \
	"pg_version, history_retention_usec, min_cu, max_cu, suspend_usec, pg_settings, "                    \
	"enable_pg_native_login, default_branch_uid, custom_tags, budget_policy_id, compute_provisioner, "   \
	"next_timeline, storage_bytes"
#define SELECT "SELECT id, " COLUMNS " FROM project "

void project_row_done(struct project_row *row)
{
	free(row->display_name);
	free(row->pg_settings);
	free(row->custom_tags);
	free(row->budget_policy_id);
	free(row->compute_provisioner);
	*row = (struct project_row){ 0 };
}

/* In the order of COLUMNS. */
static void bind_columns(struct statement *st, const struct project_row *row)
{
	statement_bind_text(st, row->project_id);
	statement_bind_text(st, row->uid);
	statement_bind_text(st, row->owner);
	statement_bind_integer(st, row->create_usec);
	statement_bind_integer(st, row->update_usec);
	statement_bind_optional(st, row->delete_usec);
	statement_bind_optional(st, row->purge_usec);
	statement_bind_integer(st, row->is_purged);
	statement_bind_text(st, row->display_name);
	statement_bind_integer(st, row->pg_version);
	statement_bind_integer(st, row->history_retention_usec);
	statement_bind_real(st, row->min_cu);
	statement_bind_real(st, row->max_cu);
	statement_bind_optional(st, row->suspend_usec);
	statement_bind_text(st, row->pg_settings);
	statement_bind_integer(st, row->enable_pg_native_login);
	statement_bind_text(st, row->default_branch_uid);
	statement_bind_text(st, row->custom_tags);
	statement_bind_text(st, row->budget_policy_id);
	statement_bind_text(st, row->compute_provisioner);
	statement_bind_integer(st, row->next_timeline);
	statement_bind_integer(st, row->storage_bytes);
}

status project_row_next(struct statement *st, struct project_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct project_row row = { .id = statement_integer(st) };
	statement_text(st, row.project_id, sizeof row.project_id);
	statement_text(st, row.uid, sizeof row.uid);
	statement_text(st, row.owner, sizeof row.owner);
	row.create_usec = statement_integer(st);
	row.update_usec = statement_integer(st);
	row.delete_usec = statement_integer(st);
	row.purge_usec = statement_integer(st);
	row.is_purged = statement_integer(st) != 0;
	row.display_name = statement_text_copy(st);
	row.pg_version = (int)statement_integer(st);
	row.history_retention_usec = statement_integer(st);
	row.min_cu = statement_real(st);
	row.max_cu = statement_real(st);
	row.suspend_usec = statement_integer(st);
	row.pg_settings = statement_text_copy(st);
	row.enable_pg_native_login = statement_integer(st) != 0;
	statement_text(st, row.default_branch_uid, sizeof row.default_branch_uid);
	row.custom_tags = statement_text_copy(st);
	row.budget_policy_id = statement_text_copy(st);
	row.compute_provisioner = statement_text_copy(st);
	row.next_timeline = statement_integer(st);
	row.storage_bytes = statement_integer(st);
	*ret = row;
	return STATUS_OK;
}

status project_row_insert(struct metadata *md, struct project_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO project(" COLUMNS
	        ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	bind_columns(&st, row);
	return statement_next_integer(&st, &row->id, err);
}

status project_row_update(struct metadata *md, const struct project_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "UPDATE project SET (" COLUMNS
	        ") = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	bind_columns(&st, row);
	statement_bind_integer(&st, row->id);
	return statement_run(&st, err);
}

status project_row_note_storage(struct metadata *md, int64_t id, int64_t bytes, struct error *err)
{
	return statement_do(
	        md, "UPDATE project SET storage_bytes = ? WHERE id = ?", INTEGERS(bytes, id), err);
}

status project_row_remove(struct metadata *md, int64_t id, struct error *err)
{
	return statement_do(md, "DELETE FROM project WHERE id = ?", INTEGERS(id), err);
}

static status one(struct statement *st, struct project_row *ret, struct error *err)
{
	status code = project_row_next(st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "project id not found") : code;
}

status project_row_find(
        struct metadata *md, const char *project_id, struct project_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, SELECT "WHERE project_id = ? AND is_purged = 0", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, project_id);
	return one(&st, ret, err);
}

status project_row_find_uid(struct metadata *md, const char *uid, struct project_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, SELECT "WHERE uid = ? AND is_purged = 0", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, uid);
	return one(&st, ret, err);
}

status project_row_get(struct metadata *md, int64_t id, struct project_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open_for(md, SELECT "WHERE id = ?", INTEGERS(id), &st, err);
	return code == STATUS_OK ? one(&st, ret, err) : code;
}

status project_row_list(struct metadata *md, const struct project_viewer *viewer, int64_t after_id,
        bool with_deleted, int64_t limit, struct statement *ret, struct error *err)
{
	if (!viewer)
		return statement_open_for(md,
		        SELECT
		        "WHERE id > ? AND is_purged = 0 AND (delete_usec IS NULL OR ?) ORDER BY id LIMIT ?",
		        INTEGERS(after_id, with_deleted, limit), ret, err);
	status code = statement_open_for(md,
	        SELECT
	        "WHERE id > ?1 AND is_purged = 0 AND (delete_usec IS NULL OR ?2)"
	        " AND (owner = ?5 OR id IN (SELECT project FROM permission WHERE identity = ?4 OR identity IN"
	        " (SELECT group_id FROM membership WHERE member = ?4))) ORDER BY id LIMIT ?3",
	        INTEGERS(after_id, with_deleted, limit, viewer->identity), ret, err);
	if (code == STATUS_OK)
		statement_bind_text(ret, viewer->login);
	return code;
}

status project_row_list_due(struct metadata *md, int64_t now_usec, struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        SELECT "WHERE purge_usec <= ? AND is_purged = 0 ORDER BY purge_usec, id", INTEGERS(now_usec),
	        ret, err);
}

status project_row_count(struct metadata *md, int64_t *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, "SELECT count(*) FROM project WHERE is_purged = 0", &st, err);
	if (code == STATUS_OK)
		code = statement_next(&st, err);
	if (code == STATUS_OK)
		*ret = statement_integer(&st);
	return code;
}
