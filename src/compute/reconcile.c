#include "compute/reconcile.h"

#include <stdlib.h>

#include "compute/admin_connection.h"
#include "compute/catalog_change.h"
#include "compute/system_objects.h"

static status reconcile_role(PGconn *connection, const struct spec_role *role, struct error *err)
{
	const struct role_wish wish = { .name = role->name,
		.identity = role->identity,
		.login = role->login,
		.createdb = role->createdb,
		.createrole = role->createrole,
		.bypassrls = role->bypassrls,
		.is_superuser_member = role->is_superuser_member,
		.verifier = role->verifier };
	return catalog_put_role(connection, &wish, err);
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
		return admin_run_on_within(connection, ADMIN_LONG_PATIENCE, "CREATE DATABASE ",
		        database->name, database->owner ? " OWNER " : NULL, database->owner, NULL, err);
	if (database->owner && strcmp(PQgetvalue(found, 0, 0), database->owner) != 0)
		return admin_run_on(connection, "ALTER DATABASE ", database->name, " OWNER TO ",
		        database->owner, NULL, err);
	return STATUS_OK;
}

/* The template has "databricks_postgres", so that most projects need not make it; it is the system's as long as nobody was given it. */
static status drop_unwanted(PGconn *connection, const struct spec *spec, struct error *err)
{
	static const char name[] = "databricks_postgres";
	for (size_t i = 0; i < spec->database_count; i++) {
		if (strcmp(spec->databases[i].name, name) == 0)
			return STATUS_OK;
	}
	CLEANUP(admin_clear) PGresult *found = NULL;
	status st = admin_query_with(connection,
	        "SELECT FROM pg_database WHERE datname = $1 AND pg_get_userbyid(datdba) = 'cloud_admin'",
	        (const char *const[]){ name }, 1, &found, err);
	if (st != STATUS_OK || PQntuples(found) == 0 || spec->database_count == 0)
		return st;
	return admin_run_on_within(
	        connection, ADMIN_LONG_PATIENCE, "DROP DATABASE ", name, NULL, NULL, NULL, err);
}

status reconcile(const char *socket_folder, const struct spec *spec, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	if (spec->role_count == 0 && spec->database_count == 0)
		return STATUS_OK;
	status st = admin_connect(socket_folder, "postgres", ADMIN_APPLICATION, &connection, err);
	if (st == STATUS_OK)
		st = system_objects_ensure(connection, NULL, 0, err);
	for (size_t i = 0; i < spec->role_count && st == STATUS_OK; i++) {
		st = reconcile_role(connection, &spec->roles[i], err);
		if (st != STATUS_OK)
			(void)!error_prefix(err, "role \"%s\"", spec->roles[i].name);
	}
	if (st == STATUS_OK)
		st = drop_unwanted(connection, spec, err);
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
	status st = admin_run_on(connection, "ALTER SUBSCRIPTION ", name, " DISABLE", NULL, NULL, err);
	/* The slot on the publisher is the parent's: dropping the clone's subscription must not drop it. */
	return st == STATUS_OK ? admin_run_on(connection, "ALTER SUBSCRIPTION ", name,
	                                 " SET (slot_name = NONE)", NULL, NULL, err)
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
