#include "metadata/snapshot_row.h"

#define COLUMNS                                                                                              \
	"project, snapshot_id, uid, create_usec, source, source_branch_id, source_lsn, source_usec, "        \
	"expire_usec, is_ready, is_purged, is_scheduled, revision, full_size"
#define PARAMETERS "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
#define SELECT     "SELECT id, " COLUMNS " FROM snapshot "
#define ROLE_COLUMNS                                                                                         \
	"role_id, postgres_role, identity_type, auth_method, createdb, createrole, bypassrls, "              \
	"is_superuser_member, oid, verifier, sealed_password, valid_until_usec"
#define DATABASE_COLUMNS "database_id, postgres_database, role_id, oid"

/* In the order of COLUMNS. */
static void bind_columns(struct statement *st, const struct snapshot_row *row)
{
	statement_bind_integer(st, row->project);
	statement_bind_text(st, row->snapshot_id);
	statement_bind_text(st, row->uid);
	statement_bind_integer(st, row->create_usec);
	statement_bind_integer(st, row->source);
	statement_bind_text(st, row->source_branch_id);
	statement_bind_optional(st, (int64_t)row->source_lsn);
	statement_bind_optional(st, row->source_usec);
	statement_bind_optional(st, row->expire_usec);
	statement_bind_integer(st, row->is_ready);
	statement_bind_integer(st, row->is_purged);
	statement_bind_integer(st, row->is_scheduled);
	statement_bind_integer(st, row->revision);
	statement_bind_integer(st, row->full_size);
}

status snapshot_row_next(struct statement *st, struct snapshot_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct snapshot_row row = { .id = statement_integer(st) };
	row.project = statement_integer(st);
	statement_text(st, row.snapshot_id, sizeof row.snapshot_id);
	statement_text(st, row.uid, sizeof row.uid);
	row.create_usec = statement_integer(st);
	row.source = statement_integer(st);
	statement_text(st, row.source_branch_id, sizeof row.source_branch_id);
	row.source_lsn = (uint64_t)statement_integer(st);
	row.source_usec = statement_integer(st);
	row.expire_usec = statement_integer(st);
	row.is_ready = statement_integer(st) != 0;
	row.is_purged = statement_integer(st) != 0;
	row.is_scheduled = statement_integer(st) != 0;
	row.revision = statement_integer(st);
	row.full_size = statement_integer(st);
	*ret = row;
	return STATUS_OK;
}

status snapshot_row_insert(struct metadata *md, struct snapshot_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(
	        md, "INSERT INTO snapshot(" COLUMNS ") VALUES (" PARAMETERS ") RETURNING id", &st, err);
	if (code != STATUS_OK)
		return code;
	bind_columns(&st, row);
	return statement_next_integer(&st, &row->id, err);
}

status snapshot_row_update(struct metadata *md, const struct snapshot_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(
	        md, "UPDATE snapshot SET (" COLUMNS ") = (" PARAMETERS ") WHERE id = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	bind_columns(&st, row);
	statement_bind_integer(&st, row->id);
	return statement_run(&st, err);
}

status snapshot_row_remove(struct metadata *md, int64_t id, struct error *err)
{
	return statement_do(md, "DELETE FROM snapshot WHERE id = ?", INTEGERS(id), err);
}

static status one(struct statement *st, struct snapshot_row *ret, struct error *err)
{
	status code = snapshot_row_next(st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "snapshot id not found") : code;
}

status snapshot_row_find(struct metadata *md, int64_t project, const char *snapshot_id,
        struct snapshot_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(
	        md, SELECT "WHERE project = ? AND snapshot_id = ? AND is_purged = 0", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, project);
	statement_bind_text(&st, snapshot_id);
	return one(&st, ret, err);
}

status snapshot_row_get(struct metadata *md, int64_t id, struct snapshot_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open_for(md, SELECT "WHERE id = ?", INTEGERS(id), &st, err);
	return code == STATUS_OK ? one(&st, ret, err) : code;
}

status snapshot_row_list(struct metadata *md, int64_t project, int64_t after_id, int64_t limit,
        struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        SELECT "WHERE project = ? AND id > ? AND is_purged = 0 ORDER BY id LIMIT ?",
	        INTEGERS(project, after_id, limit), ret, err);
}

status snapshot_row_list_expired(
        struct metadata *md, int64_t now_usec, struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        SELECT "WHERE expire_usec <= ? AND is_ready = 1 AND is_purged = 0 AND EXISTS (SELECT 1 FROM "
	               "project p"
	               " WHERE p.id = project AND p.delete_usec IS NULL AND p.is_purged = 0) ORDER BY "
	               "expire_usec, id",
	        INTEGERS(now_usec), ret, err);
}

status snapshot_row_count_manual(struct metadata *md, int64_t project, int64_t *ret, struct error *err)
{
	return statement_ask(md,
	        "SELECT count(*) FROM snapshot WHERE project = ? AND is_purged = 0 AND is_scheduled = 0",
	        INTEGERS(project), ret, err);
}

status snapshot_row_keep_roles(struct metadata *md, int64_t snapshot, int64_t branch, struct error *err)
{
	const int64_t values[] = { snapshot, branch };
	status st = statement_do(md, "DELETE FROM snapshot_role WHERE snapshot = ?", INTEGERS(snapshot), err);
	if (st == STATUS_OK)
		st = statement_do(
		        md, "DELETE FROM snapshot_database WHERE snapshot = ?", INTEGERS(snapshot), err);
	if (st == STATUS_OK)
		st = statement_do(md,
		        "INSERT INTO snapshot_role(snapshot, " ROLE_COLUMNS ") SELECT ?, " ROLE_COLUMNS
		        " FROM role WHERE branch = ? AND is_pending = 0 ORDER BY id",
		        values, ARRAY_LEN(values), err);
	if (st == STATUS_OK)
		st = statement_do(md,
		        "INSERT INTO snapshot_database(snapshot, " DATABASE_COLUMNS
		        ") SELECT ?, " DATABASE_COLUMNS
		        " FROM database WHERE branch = ? AND is_pending = 0 ORDER BY id",
		        values, ARRAY_LEN(values), err);
	return st;
}

status snapshot_row_give_roles(
        struct metadata *md, int64_t snapshot, int64_t branch, int64_t now_usec, struct error *err)
{
	const int64_t values[] = { branch, now_usec, now_usec, snapshot };
	status st = statement_do(md, "DELETE FROM role WHERE branch = ?", INTEGERS(branch), err);
	if (st == STATUS_OK)
		st = statement_do(md, "DELETE FROM database WHERE branch = ?", INTEGERS(branch), err);
	if (st == STATUS_OK)
		st = statement_do(md,
		        "INSERT INTO role(branch, create_usec, update_usec, " ROLE_COLUMNS
		        ") SELECT ?, ?, ?, " ROLE_COLUMNS
		        " FROM snapshot_role WHERE snapshot = ? ORDER BY rowid",
		        values, ARRAY_LEN(values), err);
	if (st == STATUS_OK)
		st = statement_do(md,
		        "INSERT INTO database(branch, create_usec, update_usec, " DATABASE_COLUMNS
		        ") SELECT ?, ?, ?, " DATABASE_COLUMNS
		        " FROM snapshot_database WHERE snapshot = ? ORDER BY rowid",
		        values, ARRAY_LEN(values), err);
	return st;
}
