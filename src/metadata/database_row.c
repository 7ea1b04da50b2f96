#include "metadata/database_row.h"

#define COLUMNS "branch, database_id, create_usec, update_usec, postgres_database, role_id"
#define SELECT  "SELECT id, " COLUMNS " FROM database "

status database_row_next(struct statement *st, struct database_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct database_row row = { .id = statement_integer(st) };
	row.branch = statement_integer(st);
	statement_text(st, row.database_id, sizeof row.database_id);
	row.create_usec = statement_integer(st);
	row.update_usec = statement_integer(st);
	statement_text(st, row.postgres_database, sizeof row.postgres_database);
	statement_text(st, row.role_id, sizeof row.role_id);
	*ret = row;
	return STATUS_OK;
}

status database_row_insert(struct metadata *md, struct database_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(
	        md, "INSERT INTO database(" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?) RETURNING id", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, row->branch);
	statement_bind_text(&st, row->database_id);
	statement_bind_integer(&st, row->create_usec);
	statement_bind_integer(&st, row->update_usec);
	statement_bind_text(&st, row->postgres_database);
	statement_bind_text(&st, row->role_id);
	return statement_next_integer(&st, &row->id, err);
}

status database_row_find(struct metadata *md, int64_t branch, const char *database_id,
        struct database_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, SELECT "WHERE branch = ? AND database_id = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, branch);
	statement_bind_text(&st, database_id);
	code = database_row_next(&st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "database id not found") : code;
}

status database_row_list(struct metadata *md, int64_t branch, int64_t after_id, int64_t limit,
        struct statement *ret, struct error *err)
{
	return statement_open_for(md, SELECT "WHERE branch = ? AND id > ? ORDER BY id LIMIT ?",
	        INTEGERS(branch, after_id, limit), ret, err);
}

status database_row_inherit(
        struct metadata *md, int64_t from_branch, int64_t to_branch, int64_t now_usec, struct error *err)
{
	CLEANUP(statement_done) struct statement remove = { 0 };
	status code = statement_open(md, "DELETE FROM database WHERE branch = ?", &remove, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&remove, to_branch);
	code = statement_run(&remove, err);
	if (code != STATUS_OK)
		return code;

	CLEANUP(statement_done) struct statement copy = { 0 };
	code = statement_open(md,
	        "INSERT INTO database(" COLUMNS
	        ") SELECT ?, database_id, ?, ?, postgres_database, role_id FROM database"
	        " WHERE branch = ? ORDER BY id",
	        &copy, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&copy, to_branch);
	statement_bind_integer(&copy, now_usec);
	statement_bind_integer(&copy, now_usec);
	statement_bind_integer(&copy, from_branch);
	return statement_run(&copy, err);
}
