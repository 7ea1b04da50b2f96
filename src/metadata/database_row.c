#include "metadata/database_row.h"

#define COLUMNS "branch, database_id, create_usec, update_usec, postgres_database, role_id, oid, is_pending"
/* What a child has from its parent. */
#define INHERITED "database_id, postgres_database, role_id, oid"
#define SELECT    "SELECT id, " COLUMNS " FROM database "

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
	row.oid = statement_integer(st);
	row.is_pending = statement_integer(st) != 0;
	*ret = row;
	return STATUS_OK;
}

#define CHANGING "database_id, update_usec, postgres_database, role_id, oid, is_pending"

static void bind_changing(struct statement *st, const struct database_row *row)
{
	statement_bind_text(st, row->database_id);
	statement_bind_integer(st, row->update_usec);
	statement_bind_text(st, row->postgres_database);
	statement_bind_text(st, row->role_id);
	statement_bind_integer(st, row->oid);
	statement_bind_integer(st, row->is_pending);
}

status database_row_insert(struct metadata *md, struct database_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO database(" CHANGING ", branch, create_usec)"
	        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	bind_changing(&st, row);
	statement_bind_integer(&st, row->branch);
	statement_bind_integer(&st, row->create_usec);
	return statement_next_integer(&st, &row->id, err);
}

status database_row_update(struct metadata *md, const struct database_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(
	        md, "UPDATE database SET (" CHANGING ") = (?, ?, ?, ?, ?, ?) WHERE id = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	bind_changing(&st, row);
	statement_bind_integer(&st, row->id);
	return statement_run(&st, err);
}

status database_row_loosen_names(struct metadata *md, int64_t branch, struct error *err)
{
	/* No name in Postgres is that long. */
	return statement_do(md,
	        "UPDATE database SET postgres_database = printf('%0100d', id) WHERE branch = ?",
	        INTEGERS(branch), err);
}

status database_row_remove(struct metadata *md, int64_t id, struct error *err)
{
	return statement_do(md, "DELETE FROM database WHERE id = ?", INTEGERS(id), err);
}

status database_row_count(struct metadata *md, int64_t branch, int64_t *ret, struct error *err)
{
	return statement_ask(
	        md, "SELECT count(*) FROM database WHERE branch = ?", INTEGERS(branch), ret, err);
}

static status find_by(struct metadata *md, const char *sql, int64_t branch, const char *text,
        struct database_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, sql, &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, branch);
	statement_bind_text(&st, text);
	code = database_row_next(&st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "database id not found") : code;
}

status database_row_find(struct metadata *md, int64_t branch, const char *database_id,
        struct database_row *ret, struct error *err)
{
	return find_by(md, SELECT "WHERE branch = ? AND database_id = ?", branch, database_id, ret, err);
}

status database_row_find_name(
        struct metadata *md, int64_t branch, const char *name, struct database_row *ret, struct error *err)
{
	return find_by(md, SELECT "WHERE branch = ? AND postgres_database = ?", branch, name, ret, err);
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
	        "INSERT INTO database(branch, create_usec, update_usec, " INHERITED
	        ") SELECT ?, ?, ?, " INHERITED
	        " FROM database WHERE branch = ? AND is_pending = 0 ORDER BY id",
	        &copy, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&copy, to_branch);
	statement_bind_integer(&copy, now_usec);
	statement_bind_integer(&copy, now_usec);
	statement_bind_integer(&copy, from_branch);
	return statement_run(&copy, err);
}
