#include "compute/system_objects.h"

#include "compute/admin_connection.h"

/*
 * A marker that a tenant has made before us may have memberships that are not ours. Nobody logs in to template1: who could create
 * something there would have it in every later database, and nobody could create one meanwhile.
 */
const char system_objects_shared[] =
        "DO $system$\n"
        "DECLARE\n"
        "\tmarker name;\n"
        "\tm record;\n"
        "BEGIN\n"
        "\tFOREACH marker IN ARRAY ARRAY['databricks_identity_user', "
        "'databricks_identity_service_principal',\n"
        "\t\t'databricks_identity_group']\n"
        "\tLOOP\n"
        "\t\tIF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = marker) THEN\n"
        "\t\t\tEXECUTE format('CREATE ROLE %I', marker);\n"
        "\t\tEND IF;\n"
        "\t\tEXECUTE format('ALTER ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION "
        "NOBYPASSRLS PASSWORD NULL',\n"
        "\t\t\tmarker);\n"
        "\t\tFOR m IN SELECT u.rolname AS member, g.rolname AS grantor FROM pg_auth_members a\n"
        "\t\t\tJOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles u ON u.oid = a.member JOIN pg_roles g ON "
        "g.oid = a.grantor\n"
        "\t\t\tWHERE r.rolname = marker AND (NOT g.rolsuper OR a.admin_option OR a.inherit_option OR "
        "a.set_option)\n"
        "\t\tLOOP\n"
        "\t\t\tEXECUTE format('REVOKE %I FROM %I GRANTED BY %I CASCADE', marker, m.member, m.grantor);\n"
        "\t\tEND LOOP;\n"
        "\tEND LOOP;\n"
        "\tREVOKE CONNECT ON DATABASE template1 FROM PUBLIC;\n"
        "END $system$;\n";

/*
 * pg_write_all_data is kept from system tables, but not from views of them, which PostgreSQL writes through with the rights of their owner: UPDATE
 * pg_group gave a role of the tenant's the OID of pg_execute_server_program. A view with OFFSET is never written through.
 */
const char system_objects_in_database[] =
        "DO $system$\n"
        "DECLARE\n"
        "\tv record;\n"
        "BEGIN\n"
        "\tIF current_database() IN ('template0', 'template1') THEN\n"
        "\t\tGRANT CREATE ON SCHEMA public TO databricks_superuser;\n"
        "\tEND IF;\n"
        "\tPERFORM set_config('allow_system_table_mods', 'on', true);\n"
        "\tFOR v IN SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = "
        "c.relnamespace\n"
        "\t\tWHERE c.relkind = 'v' AND n.nspname IN ('pg_catalog', 'information_schema')\n"
        "\t\tAND pg_relation_is_updatable(c.oid, true) & 28 <> 0 /* INSERT, UPDATE, DELETE */\n"
        "\t\tAND NOT EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN')\n"
        "\tLOOP\n"
        "\t\tEXECUTE format('CREATE OR REPLACE VIEW %I.%I AS %s OFFSET 0', v.nspname, v.relname,\n"
        "\t\t\trtrim(pg_get_viewdef(v.oid), ';'));\n"
        "\tEND LOOP;\n"
        "END $system$;\n";

const char system_objects_note[] =
        "COMMENT ON ROLE databricks_superuser IS '" SYSTEM_OBJECTS_NOTE SYSTEM_OBJECTS_REVISION "';\n";

const char *system_objects_marker(enum inventory_identity identity)
{
	static const char *const markers[] = {
		[INVENTORY_USER] = "databricks_identity_user",
		[INVENTORY_SERVICE_PRINCIPAL] = "databricks_identity_service_principal",
		[INVENTORY_GROUP] = "databricks_identity_group",
	};
	return markers[identity];
}

static status ask_whether_done(PGconn *connection, bool *ret_done, struct error *err)
{
	static const char ask[] = "SELECT " SYSTEM_OBJECTS_REVISION_SQL " >= " SYSTEM_OBJECTS_REVISION
	                          " FROM pg_roles WHERE rolname = 'databricks_superuser'";
	CLEANUP(admin_clear) PGresult *answer = NULL;
	status st = admin_query(connection, ask, &answer, err);
	if (st == STATUS_OK && PQntuples(answer) != 1)
		return error_set(err, STATUS_CORRUPT, 0, "role \"databricks_superuser\" is gone");
	if (st == STATUS_OK)
		*ret_done = PQgetvalue(answer, 0, 0)[0] == 't';
	return st;
}

static status allow_connections(PGconn *connection, const char *database, bool allow, struct error *err)
{
	return admin_run_on(connection, "ALTER DATABASE ", database,
	        allow ? " ALLOW_CONNECTIONS true" : " ALLOW_CONNECTIONS false", NULL, NULL, err);
}

static status make_in(PGconn *shared, const char *database, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	status st = admin_connect(PQhost(shared), database, ADMIN_APPLICATION, &connection, err);
	if (st == STATUS_OK)
		st = admin_query(connection, system_objects_in_database, NULL, err);
	return st;
}

static status make_in_each(PGconn *connection, const char *list, struct error *err)
{
	CLEANUP(admin_clear) PGresult *databases = NULL;
	status st = admin_query(connection, list, &databases, err);
	for (int i = 0; st == STATUS_OK && i < PQntuples(databases); i++) {
		const char *name = PQgetvalue(databases, i, 0);
		bool is_closed = PQgetvalue(databases, i, 1)[0] == 'f';
		if (is_closed)
			st = allow_connections(connection, name, true, err);
		if (st == STATUS_OK)
			st = make_in(connection, name, err);
		struct error late;
		if (is_closed && allow_connections(connection, name, false, &late) != STATUS_OK &&
		        st == STATUS_OK) {
			*err = late;
			st = late.code;
		}
		if (st != STATUS_OK)
			(void)!error_prefix(err, "database \"%s\"", name);
	}
	return st;
}

/* The row is locked: nobody gives its name to another role before it has its marker. */
static status mark(PGconn *connection, const struct identity_mark *mark, struct error *err)
{
	static const char find[] =
	        "SELECT rolname FROM pg_authid WHERE (oid = $1::oid OR ($1::oid = 0 AND rolname = $2))"
	        " AND NOT rolsuper AND rolname !~ '^(pg_|databricks_|cloud_admin$)' FOR UPDATE";
	CLEANUP(admin_clear) PGresult *role = NULL;
	CLEANUP(free_text) char *oid = xasprintf("%lld", (long long)mark->oid);
	const char *marker = system_objects_marker(mark->identity);
	status st =
	        admin_query_with(connection, find, (const char *const[]){ oid, mark->name }, 2, &role, err);
	if (st != STATUS_OK || PQntuples(role) == 0 || !marker)
		return st;
	return admin_run_on(connection, "GRANT ", marker, " TO ", PQgetvalue(role, 0, 0),
	        " WITH INHERIT FALSE, SET FALSE", err);
}

/*
 * One at a time: whoever comes second finds the note, and leaves it at that. So no marker is given because of what was known before somebody else
 * changed what a role stands for.
 */
static status mark_and_note_alone(
        PGconn *connection, const struct identity_mark *marks, size_t mark_count, struct error *err)
{
	static const char lock[] = "SELECT FROM pg_authid WHERE rolname = 'databricks_superuser' FOR UPDATE";
	bool is_done = false;
	status st = admin_query(connection, lock, NULL, err);
	if (st == STATUS_OK)
		st = ask_whether_done(connection, &is_done, err);
	if (st != STATUS_OK || is_done)
		return st;
	for (size_t i = 0; i < mark_count && st == STATUS_OK; i++)
		st = mark(connection, &marks[i], err);
	return st == STATUS_OK ? admin_query(connection, system_objects_note, NULL, err) : st;
}

static status mark_and_note(
        PGconn *connection, const struct identity_mark *marks, size_t mark_count, struct error *err)
{
	struct error ignored;
	status st = admin_query(connection, "BEGIN", NULL, err);
	if (st != STATUS_OK)
		return st;
	st = mark_and_note_alone(connection, marks, mark_count, err);
	if (st != STATUS_OK)
		(void)!admin_query(connection, "ROLLBACK", NULL, &ignored);
	return st == STATUS_OK ? admin_query(connection, "COMMIT", NULL, err) : st;
}

status system_objects_ensure(
        PGconn *connection, const struct identity_mark *marks, size_t mark_count, struct error *err)
{
	/* template0 lets nobody in, whatever a crash has left. -2: half dropped. */
	static const char templates[] =
	        "SELECT datname, datallowconn AND datname <> 'template0' FROM pg_database"
	        " WHERE datistemplate AND datconnlimit <> -2";
	static const char others[] = "SELECT datname, datallowconn FROM pg_database"
	                             " WHERE NOT datistemplate AND datconnlimit <> -2";
	bool is_done = false;
	status st = ask_whether_done(connection, &is_done, err);
	if (st != STATUS_OK || is_done)
		return st;
	st = admin_query(connection, system_objects_shared, NULL, err);
	/* First what others are copied from: nothing that is created meanwhile is missed then. */
	if (st == STATUS_OK)
		st = make_in_each(connection, templates, err);
	if (st == STATUS_OK)
		st = make_in_each(connection, others, err);
	if (st == STATUS_OK)
		st = mark_and_note(connection, marks, mark_count, err);
	return st == STATUS_OK ? st : error_prefix(err, "could not prepare the branch's system objects");
}
