#include "metadata/endpoint_row.h"

#include <stdlib.h>

#define COLUMNS                                                                                              \
	"branch, endpoint_id, uid, create_usec, update_usec, is_read_only, min_cu, max_cu, suspend_usec, "   \
	"is_disabled, pg_settings, address, was_running, last_active_usec, started_usec, "                   \
	"suspended_usec"
#define SELECT "SELECT id, " COLUMNS " FROM endpoint "

void endpoint_row_done(struct endpoint_row *row)
{
	free(row->pg_settings);
	*row = (struct endpoint_row){ 0 };
}

static void bind_columns(struct statement *st, const struct endpoint_row *row)
{
	statement_bind_integer(st, row->branch);
	statement_bind_text(st, row->endpoint_id);
	statement_bind_text(st, row->uid);
	statement_bind_integer(st, row->create_usec);
	statement_bind_integer(st, row->update_usec);
	statement_bind_integer(st, row->is_read_only);
	statement_bind_real(st, row->min_cu);
	statement_bind_real(st, row->max_cu);
	statement_bind_optional(st, row->suspend_usec);
	statement_bind_integer(st, row->is_disabled);
	statement_bind_text(st, row->pg_settings);
	statement_bind_text(st, row->address);
	statement_bind_integer(st, row->was_running);
	statement_bind_optional(st, row->last_active_usec);
	statement_bind_optional(st, row->started_usec);
	statement_bind_optional(st, row->suspended_usec);
}

status endpoint_row_next(struct statement *st, struct endpoint_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct endpoint_row row = { .id = statement_integer(st) };
	row.branch = statement_integer(st);
	statement_text(st, row.endpoint_id, sizeof row.endpoint_id);
	statement_text(st, row.uid, sizeof row.uid);
	row.create_usec = statement_integer(st);
	row.update_usec = statement_integer(st);
	row.is_read_only = statement_integer(st) != 0;
	row.min_cu = statement_real(st);
	row.max_cu = statement_real(st);
	row.suspend_usec = statement_integer(st);
	row.is_disabled = statement_integer(st) != 0;
	row.pg_settings = statement_text_copy(st);
	statement_text(st, row.address, sizeof row.address);
	row.was_running = statement_integer(st) != 0;
	row.last_active_usec = statement_integer(st);
	row.started_usec = statement_integer(st);
	row.suspended_usec = statement_integer(st);
	*ret = row;
	return STATUS_OK;
}

status endpoint_row_insert(struct metadata *md, struct endpoint_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO endpoint(" COLUMNS
	        ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	bind_columns(&st, row);
	return statement_next_integer(&st, &row->id, err);
}

status endpoint_row_update(struct metadata *md, const struct endpoint_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "UPDATE endpoint SET (" COLUMNS
	        ") = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	bind_columns(&st, row);
	statement_bind_integer(&st, row->id);
	return statement_run(&st, err);
}

status endpoint_row_note_activity(struct metadata *md, const char *uid, bool was_running, int64_t since_usec,
        int64_t last_active_usec, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "UPDATE endpoint SET was_running = ?1, last_active_usec = coalesce(?2, last_active_usec),"
	        " started_usec = CASE WHEN ?1 > was_running THEN ?3 ELSE started_usec END,"
	        " suspended_usec = CASE WHEN ?1 < was_running THEN ?3 ELSE suspended_usec END"
	        " WHERE uid = ?4",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, was_running);
	statement_bind_optional(&st, last_active_usec);
	statement_bind_integer(&st, since_usec);
	statement_bind_text(&st, uid);
	return statement_run(&st, err);
}

static status one(struct statement *st, struct endpoint_row *ret, struct error *err)
{
	status code = endpoint_row_next(st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "endpoint id not found") : code;
}

static status find_by_text(
        struct metadata *md, const char *sql, const char *text, struct endpoint_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, sql, &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, text);
	return one(&st, ret, err);
}

static status find_by_number(
        struct metadata *md, const char *sql, int64_t number, struct endpoint_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open_for(md, sql, INTEGERS(number), &st, err);
	return code == STATUS_OK ? one(&st, ret, err) : code;
}

status endpoint_row_find(struct metadata *md, int64_t branch, const char *endpoint_id,
        struct endpoint_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, SELECT "WHERE branch = ? AND endpoint_id = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, branch);
	statement_bind_text(&st, endpoint_id);
	return one(&st, ret, err);
}

status endpoint_row_find_writer(
        struct metadata *md, int64_t branch, struct endpoint_row *ret, struct error *err)
{
	return find_by_number(md, SELECT "WHERE branch = ? AND is_read_only = 0", branch, ret, err);
}

status endpoint_row_get(struct metadata *md, int64_t id, struct endpoint_row *ret, struct error *err)
{
	return find_by_number(md, SELECT "WHERE id = ?", id, ret, err);
}

status endpoint_row_find_uid(
        struct metadata *md, const char *uid, struct endpoint_row *ret, struct error *err)
{
	return find_by_text(md, SELECT "WHERE uid = ?", uid, ret, err);
}

status endpoint_row_find_address(
        struct metadata *md, const char *address, struct endpoint_row *ret, struct error *err)
{
	return find_by_text(md, SELECT "WHERE address = ?", address, ret, err);
}

status endpoint_row_list(struct metadata *md, int64_t branch, int64_t after_id, int64_t limit,
        struct statement *ret, struct error *err)
{
	return statement_open_for(md, SELECT "WHERE branch = ? AND id > ? ORDER BY id LIMIT ?",
	        INTEGERS(branch, after_id, limit), ret, err);
}

status endpoint_row_list_of_project(
        struct metadata *md, int64_t project, struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        SELECT "WHERE branch IN (SELECT id FROM branch WHERE project = ?) ORDER BY id",
	        INTEGERS(project), ret, err);
}

status endpoint_row_list_everywhere(struct metadata *md, struct statement *ret, struct error *err)
{
	return statement_open(md, SELECT "ORDER BY id", ret, err);
}

status endpoint_ids_list(struct metadata *md, const char *uids_json, struct statement *ret, struct error *err)
{
	status code = statement_open(md,
	        "SELECT endpoint.uid, project.project_id, branch.branch_id FROM json_each(?) AS wanted"
	        " CROSS JOIN endpoint ON endpoint.uid = wanted.value"
	        " JOIN branch ON branch.id = endpoint.branch JOIN project ON project.id = branch.project",
	        ret, err);
	if (code == STATUS_OK)
		statement_bind_text(ret, uids_json);
	return code;
}

status endpoint_ids_next(struct statement *st, struct endpoint_ids *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	statement_text(st, ret->uid, sizeof ret->uid);
	statement_text(st, ret->project_id, sizeof ret->project_id);
	statement_text(st, ret->branch_id, sizeof ret->branch_id);
	return STATUS_OK;
}
