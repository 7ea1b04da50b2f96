#include "metadata/role_row.h"

#define COLUMNS                                                                                              \
	"branch, role_id, create_usec, update_usec, postgres_role, identity_type, auth_method, createdb, "   \
	"createrole, bypassrls, is_superuser_member, oid, is_pending, verifier, sealed_password, "           \
	"valid_until_usec"
/* What a child has from its parent. */
#define INHERITED                                                                                            \
	"role_id, postgres_role, identity_type, auth_method, createdb, createrole, bypassrls, "              \
	"is_superuser_member, oid, verifier, sealed_password, valid_until_usec"
#define SELECT "SELECT id, " COLUMNS " FROM role "

status role_row_next(struct statement *st, struct role_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct role_row row = { .id = statement_integer(st) };
	row.branch = statement_integer(st);
	statement_text(st, row.role_id, sizeof row.role_id);
	row.create_usec = statement_integer(st);
	row.update_usec = statement_integer(st);
	statement_text(st, row.postgres_role, sizeof row.postgres_role);
	statement_text(st, row.identity_type, sizeof row.identity_type);
	statement_text(st, row.auth_method, sizeof row.auth_method);
	row.createdb = statement_integer(st) != 0;
	row.createrole = statement_integer(st) != 0;
	row.bypassrls = statement_integer(st) != 0;
	row.is_superuser_member = statement_integer(st) != 0;
	row.oid = statement_integer(st);
	row.is_pending = statement_integer(st) != 0;
	statement_text(st, row.verifier, sizeof row.verifier);
	statement_text(st, row.sealed_password, sizeof row.sealed_password);
	row.valid_until_usec = statement_integer(st);
	*ret = row;
	return STATUS_OK;
}

static void bind_changing(struct statement *st, const struct role_row *row)
{
	statement_bind_text(st, row->role_id);
	statement_bind_integer(st, row->update_usec);
	statement_bind_text(st, row->postgres_role);
	statement_bind_text(st, row->identity_type);
	statement_bind_text(st, row->auth_method);
	statement_bind_integer(st, row->createdb);
	statement_bind_integer(st, row->createrole);
	statement_bind_integer(st, row->bypassrls);
	statement_bind_integer(st, row->is_superuser_member);
	statement_bind_integer(st, row->oid);
	statement_bind_integer(st, row->is_pending);
	statement_bind_text(st, row->verifier);
	statement_bind_text(st, row->sealed_password);
	statement_bind_integer(st, row->valid_until_usec);
}

#define CHANGING                                                                                             \
	"role_id, update_usec, postgres_role, identity_type, auth_method, createdb, createrole, "            \
	"bypassrls, is_superuser_member, oid, is_pending, verifier, sealed_password, valid_until_usec"

status role_row_insert(struct metadata *md, struct role_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO role(" CHANGING ", branch, create_usec)"
	        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	bind_changing(&st, row);
	statement_bind_integer(&st, row->branch);
	statement_bind_integer(&st, row->create_usec);
	return statement_next_integer(&st, &row->id, err);
}

status role_row_update(struct metadata *md, const struct role_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "UPDATE role SET (" CHANGING ") = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	bind_changing(&st, row);
	statement_bind_integer(&st, row->id);
	return statement_run(&st, err);
}

status role_row_loosen_names(struct metadata *md, int64_t branch, struct error *err)
{
	/* No name in Postgres is that long. */
	return statement_do(md, "UPDATE role SET postgres_role = printf('%0100d', id) WHERE branch = ?",
	        INTEGERS(branch), err);
}

status role_row_remove(struct metadata *md, int64_t id, struct error *err)
{
	return statement_do(md, "DELETE FROM role WHERE id = ?", INTEGERS(id), err);
}

status role_row_count(struct metadata *md, int64_t branch, int64_t *ret, struct error *err)
{
	return statement_ask(md, "SELECT count(*) FROM role WHERE branch = ?", INTEGERS(branch), ret, err);
}

static status find_by(struct metadata *md, const char *sql, int64_t branch, const char *text,
        struct role_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, sql, &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, branch);
	statement_bind_text(&st, text);
	code = role_row_next(&st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "role id not found") : code;
}

status role_row_find(
        struct metadata *md, int64_t branch, const char *role_id, struct role_row *ret, struct error *err)
{
	return find_by(md, SELECT "WHERE branch = ? AND role_id = ?", branch, role_id, ret, err);
}

status role_row_find_name(
        struct metadata *md, int64_t branch, const char *name, struct role_row *ret, struct error *err)
{
	return find_by(md, SELECT "WHERE branch = ? AND postgres_role = ?", branch, name, ret, err);
}

status role_row_list(struct metadata *md, int64_t branch, int64_t after_id, int64_t limit,
        struct statement *ret, struct error *err)
{
	return statement_open_for(md, SELECT "WHERE branch = ? AND id > ? ORDER BY id LIMIT ?",
	        INTEGERS(branch, after_id, limit), ret, err);
}

status role_row_inherit(
        struct metadata *md, int64_t from_branch, int64_t to_branch, int64_t now_usec, struct error *err)
{
	CLEANUP(statement_done) struct statement remove = { 0 };
	status code = statement_open(md, "DELETE FROM role WHERE branch = ?", &remove, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&remove, to_branch);
	code = statement_run(&remove, err);
	if (code != STATUS_OK)
		return code;

	CLEANUP(statement_done) struct statement copy = { 0 };
	code = statement_open(md,
	        "INSERT INTO role(branch, create_usec, update_usec, " INHERITED ") SELECT ?, ?, ?, " INHERITED
	        " FROM role WHERE branch = ? AND is_pending = 0 ORDER BY id",
	        &copy, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&copy, to_branch);
	statement_bind_integer(&copy, now_usec);
	statement_bind_integer(&copy, now_usec);
	statement_bind_integer(&copy, from_branch);
	return statement_run(&copy, err);
}
