#include "compute/reconcile.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "compute/admin_connection.h"

/* Names become part of statements only through libpq's quoting, which knows the connection's encoding. */
static status append_identifier(PGconn *connection, struct buffer *out, const char *name, struct error *err)
{
	char *quoted = PQescapeIdentifier(connection, name, strlen(name));
	if (!quoted)
		return error_set(err, STATUS_INVALID, 0, "\"%s\" is not a valid name", name);
	buffer_append_text(out, quoted);
	PQfreemem(quoted);
	return STATUS_OK;
}

/* "<before> <name> <between> <other> <after>" */
static status run_on(PGconn *connection, const char *before, const char *name, const char *between,
        const char *other, const char *after, struct error *err)
{
	CLEANUP(buffer_done) struct buffer statement = { 0 };
	buffer_append_text(&statement, before);
	status st = append_identifier(connection, &statement, name, err);
	if (st == STATUS_OK && between)
		buffer_append_text(&statement, between);
	if (st == STATUS_OK && other)
		st = append_identifier(connection, &statement, other, err);
	if (st != STATUS_OK)
		return st;
	if (after)
		buffer_append_text(&statement, after);
	return admin_query(connection, statement.data, NULL, err);
}

static bool is_true(const PGresult *result, int column)
{
	return PQgetvalue(result, 0, column)[0] == 't';
}

static status set_attributes(
        PGconn *connection, const char *verb, const struct spec_role *role, struct error *err)
{
	CLEANUP(free_text)
	char *attributes = xasprintf(" WITH %s %s %s %s %s NOSUPERUSER INHERIT",
	        role->login ? "LOGIN" : "NOLOGIN", role->createdb ? "CREATEDB" : "NOCREATEDB",
	        role->createrole ? "CREATEROLE" : "NOCREATEROLE",
	        role->bypassrls ? "BYPASSRLS" : "NOBYPASSRLS",
	        role->replication ? "REPLICATION" : "NOREPLICATION");
	return run_on(connection, verb, role->name, attributes, NULL, NULL, err);
}

static status reconcile_role(PGconn *connection, const struct spec_role *role, struct error *err)
{
	static const char look[] =
	        "SELECT rolcanlogin, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication, rolsuper,"
	        " EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON m.roleid = g.oid"
	        " WHERE g.rolname = 'databricks_superuser' AND m.member = r.oid)"
	        " FROM pg_roles r WHERE rolname = $1";
	CLEANUP(admin_clear) PGresult *found = NULL;
	status st = admin_query_with(connection, look, (const char *const[]){ role->name }, 1, &found, err);
	if (st != STATUS_OK)
		return st;
	bool exists = PQntuples(found) == 1;
	if (exists && is_true(found, 5))
		return error_set(
		        err, STATUS_CONFLICT, 0, "role \"%s\" is a superuser of the system", role->name);
	bool fits = exists && is_true(found, 0) == role->login && is_true(found, 1) == role->createdb &&
	            is_true(found, 2) == role->createrole && is_true(found, 3) == role->bypassrls &&
	            is_true(found, 4) == role->replication;
	if (!fits)
		st = set_attributes(connection, exists ? "ALTER ROLE " : "CREATE ROLE ", role, err);
	bool is_member = exists && is_true(found, 6);
	if (st == STATUS_OK && role->is_superuser_member && !is_member)
		st = run_on(connection, "GRANT databricks_superuser TO ", role->name, NULL, NULL, NULL, err);
	if (st == STATUS_OK && !role->is_superuser_member && is_member)
		st = run_on(
		        connection, "REVOKE databricks_superuser FROM ", role->name, NULL, NULL, NULL, err);
	return st;
}

static status reconcile_database(PGconn *connection, const struct spec_database *database, struct error *err)
{
	CLEANUP(admin_clear) PGresult *found = NULL;
	status st = admin_query_with(connection,
	        "SELECT r.rolname FROM pg_database d JOIN pg_roles r ON d.datdba = r.oid WHERE datname = $1",
	        (const char *const[]){ database->name }, 1, &found, err);
	if (st != STATUS_OK)
		return st;
	if (PQntuples(found) == 0)
		return run_on(connection, "CREATE DATABASE ", database->name,
		        database->owner ? " OWNER " : NULL, database->owner, NULL, err);
	if (database->owner && strcmp(PQgetvalue(found, 0, 0), database->owner) != 0)
		return run_on(connection, "ALTER DATABASE ", database->name, " OWNER TO ", database->owner,
		        NULL, err);
	return STATUS_OK;
}

status reconcile(const char *socket_folder, const struct spec *spec, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	status st = admin_connect(socket_folder, "postgres", ADMIN_APPLICATION, &connection, err);
	for (size_t i = 0; i < spec->role_count && st == STATUS_OK; i++) {
		st = reconcile_role(connection, &spec->roles[i], err);
		if (st != STATUS_OK)
			(void)!error_prefix(err, "role \"%s\"", spec->roles[i].name);
	}
	for (size_t i = 0; i < spec->database_count && st == STATUS_OK; i++) {
		st = reconcile_database(connection, &spec->databases[i], err);
		if (st != STATUS_OK)
			(void)!error_prefix(err, "database \"%s\"", spec->databases[i].name);
	}
	return st;
}

/* All of pg_subscription or pg_prepared_xacts is seen from every database, but changed only from its own. */
typedef status (*clean_fn)(PGconn *connection, const char *name, struct error *err);

static status clean_in(
        const char *socket_folder, const char *database, const char *name, clean_fn clean, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	status st = admin_connect(socket_folder, database, ADMIN_APPLICATION, &connection, err);
	return st == STATUS_OK ? clean(connection, name, err) : st;
}

static status cut_subscription(PGconn *connection, const char *name, struct error *err)
{
	status st = run_on(connection, "ALTER SUBSCRIPTION ", name, " DISABLE", NULL, NULL, err);
	/* The slot on the publisher is the parent's: dropping the clone's subscription must not drop it. */
	return st == STATUS_OK ? run_on(connection, "ALTER SUBSCRIPTION ", name, " SET (slot_name = NONE)",
	                                 NULL, NULL, err)
	                       : st;
}

static status roll_back_prepared(PGconn *connection, const char *name, struct error *err)
{
	char *quoted = PQescapeLiteral(connection, name, strlen(name));
	if (!quoted)
		return error_set(
		        err, STATUS_INTERNAL, 0, "prepared transaction \"%s\" cannot be named", name);
	CLEANUP(free_text) char *statement = xasprintf("ROLLBACK PREPARED %s", quoted);
	PQfreemem(quoted);
	return admin_query(connection, statement, NULL, err);
}

static status clean_all(const char *socket_folder, PGconn *connection, const char *list, clean_fn clean,
        bool *is_clean, struct error *err)
{
	CLEANUP(admin_clear) PGresult *rows = NULL;
	status st = admin_query(connection, list, &rows, err);
	for (int i = 0; st == STATUS_OK && i < PQntuples(rows); i++) {
		*is_clean = false;
		st = clean_in(socket_folder, PQgetvalue(rows, i, 0), PQgetvalue(rows, i, 1), clean, err);
	}
	return st;
}

status reconcile_clone(const char *socket_folder, bool *ret_was_clean, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	bool is_clean = true;
	status st = admin_connect(socket_folder, "postgres", ADMIN_APPLICATION, &connection, err);
	if (st == STATUS_OK)
		st = clean_all(socket_folder, connection, "SELECT database, gid FROM pg_prepared_xacts",
		        roll_back_prepared, &is_clean, err);
	if (st == STATUS_OK)
		st = clean_all(socket_folder, connection,
		        "SELECT datname, subname FROM pg_subscription JOIN pg_database d ON subdbid = d.oid"
		        " WHERE subenabled OR subslotname IS NOT NULL",
		        cut_subscription, &is_clean, err);
	if (st != STATUS_OK)
		return error_prefix(err, "could not separate the branch from its parent");
	*ret_was_clean = is_clean;
	return STATUS_OK;
}

status reconcile_check_settings(const char *socket_folder, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	CLEANUP(admin_clear) PGresult *rows = NULL;
	status st = admin_connect(socket_folder, "postgres", ADMIN_APPLICATION, &connection, err);
	/* Settings that only a start can change are "not applied" too: those wait for the next one. */
	if (st == STATUS_OK)
		st = admin_query(connection,
		        "SELECT f.name, f.error, coalesce(f.setting, '') FROM pg_file_settings f LEFT JOIN "
		        "pg_settings s ON s.name = "
		        "lower(f.name)"
		        " WHERE f.error IS NOT NULL AND s.context IS DISTINCT FROM 'postmaster' LIMIT 1",
		        &rows, err);
	if (st != STATUS_OK || PQntuples(rows) == 0)
		return st;
	return error_set(err, STATUS_INVALID, 0, "setting \"%s\" cannot be \"%.100s\": %s",
	        PQgetvalue(rows, 0, 0), PQgetvalue(rows, 0, 2), PQgetvalue(rows, 0, 1));
}
