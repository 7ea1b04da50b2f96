#include "metadata/operation_row.h"

#include <stdlib.h>

#define COLUMNS                                                                                              \
	"id, resource, kind, actor, project, branch, source_branch, endpoint, step, undo, create_usec, "     \
	"finish_usec, response, error, snapshot, plan"
#define SELECT "SELECT seq, " COLUMNS " FROM operation "

void operation_row_done(struct operation_row *row)
{
	free(row->undo);
	free(row->plan);
	free(row->response);
	free(row->error);
	*row = (struct operation_row){ 0 };
}

status operation_row_next(struct statement *st, struct operation_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct operation_row row = { .seq = statement_integer(st) };
	statement_text(st, row.id, sizeof row.id);
	statement_text(st, row.resource, sizeof row.resource);
	statement_text(st, row.kind, sizeof row.kind);
	statement_text(st, row.actor, sizeof row.actor);
	row.project = statement_integer(st);
	row.branch = statement_integer(st);
	row.source_branch = statement_integer(st);
	row.endpoint = statement_integer(st);
	statement_text(st, row.step, sizeof row.step);
	row.undo = statement_text_copy(st);
	row.create_usec = statement_integer(st);
	row.finish_usec = statement_integer(st);
	row.response = statement_text_copy(st);
	row.error = statement_text_copy(st);
	row.snapshot = statement_integer(st);
	row.plan = statement_text_copy(st);
	*ret = row;
	return STATUS_OK;
}

status operation_row_insert(struct metadata *md, struct operation_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO operation(" COLUMNS
	        ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, row->id);
	statement_bind_text(&st, row->resource);
	statement_bind_text(&st, row->kind);
	statement_bind_text(&st, row->actor);
	statement_bind_integer(&st, row->project);
	statement_bind_optional(&st, row->branch);
	statement_bind_optional(&st, row->source_branch);
	statement_bind_optional(&st, row->endpoint);
	statement_bind_text(&st, row->step);
	statement_bind_text(&st, row->undo);
	statement_bind_integer(&st, row->create_usec);
	statement_bind_optional(&st, row->finish_usec);
	statement_bind_text(&st, row->response);
	statement_bind_text(&st, row->error);
	statement_bind_optional(&st, row->snapshot);
	statement_bind_text(&st, row->plan);
	code = statement_next(&st, err);
	if (code == STATUS_OK)
		row->seq = statement_integer(&st);
	return code;
}

status operation_row_update(struct metadata *md, const struct operation_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "UPDATE operation SET (step, finish_usec, response, error, plan) = (?, ?, ?, ?, ?)"
	        " WHERE seq = ? AND finish_usec IS NULL",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, row->step);
	statement_bind_optional(&st, row->finish_usec);
	statement_bind_text(&st, row->response);
	statement_bind_text(&st, row->error);
	statement_bind_text(&st, row->plan);
	statement_bind_integer(&st, row->seq);
	return statement_run(&st, err);
}

status operation_row_find(struct metadata *md, const char *id, struct operation_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, SELECT "WHERE id = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, id);
	code = operation_row_next(&st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "operation id not found") : code;
}

status operation_row_list_open(
        struct metadata *md, int64_t after_seq, struct statement *ret, struct error *err)
{
	return statement_open_for(md, SELECT "WHERE finish_usec IS NULL AND seq > ? ORDER BY seq",
	        INTEGERS(after_seq), ret, err);
}

status operation_row_count_newer_settings(
        struct metadata *md, const struct operation_row *row, int64_t *ret, struct error *err)
{
	return statement_ask(md,
	        "SELECT count(*) FROM operation WHERE endpoint = ? AND seq > ? AND undo IS NOT NULL",
	        INTEGERS(row->endpoint, row->seq), ret, err);
}

status operation_row_count_open(struct metadata *md, const char *kind, int64_t *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(
	        md, "SELECT count(*) FROM operation WHERE finish_usec IS NULL AND kind = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, kind);
	return statement_next_integer(&st, ret, err);
}

status operation_row_is_open(
        struct metadata *md, const char *kind, int64_t endpoint, bool *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "SELECT count(*) FROM operation WHERE finish_usec IS NULL AND endpoint = ? AND kind = ?", &st,
	        err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, endpoint);
	statement_bind_text(&st, kind);
	code = statement_next(&st, err);
	if (code == STATUS_OK)
		*ret = statement_integer(&st) > 0;
	return code;
}

status operation_row_has_begun(
        struct metadata *md, const char *kind, const char *resource, bool *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "SELECT count(*) FROM operation WHERE finish_usec IS NULL AND kind = ? AND resource = ? AND "
	        "step <> ''",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, kind);
	statement_bind_text(&st, resource);
	code = statement_next(&st, err);
	if (code == STATUS_OK)
		*ret = statement_integer(&st) > 0;
	return code;
}

status operation_row_failures(struct metadata *md, const char *kind, int64_t endpoint, int64_t since_usec,
        struct operation_failures *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	/* error is that of the row with the maximum (a promise of SQLite). */
	status code = statement_open(md,
	        "SELECT count(*), coalesce(max(finish_usec), 0), error FROM operation"
	        " WHERE endpoint = ? AND kind = ? AND error IS NOT NULL AND finish_usec >= ?",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, endpoint);
	statement_bind_text(&st, kind);
	statement_bind_integer(&st, since_usec);
	code = statement_next(&st, err);
	if (code != STATUS_OK)
		return code;
	*ret = (struct operation_failures){ .count = statement_integer(&st) };
	ret->last_usec = statement_integer(&st);
	ret->error = statement_text_copy(&st);
	return STATUS_OK;
}

status operation_row_find_failed_create(struct metadata *md, const char *actor, const char *id,
        int64_t since_usec, struct operation_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        SELECT "WHERE finish_usec >= ?1 AND error IS NOT NULL AND actor = ?2"
	               " AND (kind = 'PROJECT_CREATE' AND resource = 'projects/' || ?3"
	               " OR kind = 'BRANCH_CREATE'"
	               " AND substr(resource, -length('/branches/' || ?3)) = '/branches/' || ?3)"
	               " ORDER BY seq DESC LIMIT 1",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, since_usec);
	statement_bind_text(&st, actor);
	statement_bind_text(&st, id);
	code = operation_row_next(&st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "there is no such operation") : code;
}

status operation_row_plans_volume(struct metadata *md, const char *volume_id, bool *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "SELECT count(*) FROM operation WHERE finish_usec IS NULL AND instr(plan, '\"' || ? || '\"') "
	        "> 0",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, volume_id);
	code = statement_next(&st, err);
	if (code == STATUS_OK)
		*ret = statement_integer(&st) > 0;
	return code;
}

status operation_row_forget(struct metadata *md, int64_t before_usec, struct error *err)
{
	return statement_do(md, "DELETE FROM operation WHERE finish_usec < ?", INTEGERS(before_usec), err);
}
