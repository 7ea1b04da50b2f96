#include "compute/role_removal.h"

#include <stdlib.h>

#include "base/clock.h"
#include "compute/admin_connection.h"

/* Nobody's transaction holds up an operation for longer; nor does the operation hold up others for more than a moment, see hand_over_alone(). */
#define PATIENCE_USEC (10 * USEC_PER_SEC)
#define LOCK_TIMEOUT  "10s"
#define SHORT_TIMEOUT "2s"
#define PAUSE_SQL     "SELECT pg_sleep(0.1)"

/* Something may be created between the last database and the end; whoever creates all the time is told so. */
#define PASSES_MAX 3

struct removal {
	const char *socket_folder;
	const char *role;
	const char *reassign_to;
	PGconn *connection; /* to "postgres" */
	char *oid;
};

/* *ret_oid stays NULL when there is no such role. */
static status look_at(struct removal *r, const char *name, char **ret_oid, struct error *err)
{
	static const char look[] = "SELECT oid, rolsuper OR rolname ~ '^(pg_|databricks_|cloud_admin$)'"
	                           " FROM pg_roles WHERE rolname = $1";
	CLEANUP(admin_clear) PGresult *found = NULL;
	status st = admin_query_with(r->connection, look, (const char *const[]){ name }, 1, &found, err);
	if (st != STATUS_OK || PQntuples(found) == 0)
		return st;
	/* What a tenant wrote must never belong to a superuser: its functions and triggers run with their owner's rights. */
	if (PQgetvalue(found, 0, 1)[0] == 't')
		return error_set(err, STATUS_INVALID, 0, "role \"%s\" is the system's", name);
	*ret_oid = xstrdup(PQgetvalue(found, 0, 0));
	return STATUS_OK;
}

/* One that is in a transaction would hold us up. Whoever comes back can go on working until there is no role any more. */
static status end_sessions(struct removal *r, struct error *err)
{
	return admin_query_with(r->connection,
	        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usesysid = $1::oid",
	        (const char *const[]){ r->oid }, 1, NULL, err);
}

/* Those of roles that are gone: an earlier removal may have come no further than DROP ROLE. */
static status end_orphaned_sessions(PGconn *connection, struct error *err)
{
	return admin_query(connection,
	        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usesysid <> 0"
	        " AND NOT EXISTS (SELECT FROM pg_authid WHERE oid = usesysid)",
	        NULL, err);
}

/* DROP OWNED would take the memberships of others with it that the role has granted as an administrator of a role. */
static status keep_memberships(const struct removal *r, PGconn *connection, struct error *err)
{
	CLEANUP(free_text)
	char *statement = xasprintf("DO $$ DECLARE m record; BEGIN"
	                            " FOR m IN SELECT g.rolname AS granted, u.rolname AS member, "
	                            "a.admin_option, a.inherit_option, a.set_option"
	                            " FROM pg_auth_members a JOIN pg_authid g ON g.oid = a.roleid JOIN "
	                            "pg_authid u ON u.oid = a.member"
	                            " WHERE a.grantor = %s AND a.member <> %s LOOP"
	                            " EXECUTE format('GRANT %%I TO %%I WITH ADMIN %%s, INHERIT %%s, SET "
	                            "%%s', m.granted, m.member,"
	                            " m.admin_option::text, m.inherit_option::text, m.set_option::text);"
	                            " END LOOP; END $$",
	        r->oid, r->oid);
	return admin_query(connection, statement, NULL, err);
}

/* Who has made something the role's, or is about to, and has not committed. */
static status check_alone(const struct removal *r, PGconn *connection, struct error *err)
{
	static const char ask[] =
	        "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND database = 0 AND classid = "
	        "'pg_authid'::regclass AND objid = $1::oid AND pid IS DISTINCT FROM pg_backend_pid()";
	CLEANUP(admin_clear) PGresult *others = NULL;
	status st = admin_query_with(connection, ask, (const char *const[]){ r->oid }, 1, &others, err);
	if (st == STATUS_OK && strcmp(PQgetvalue(others, 0, 0), "0") != 0)
		return error_set(err, STATUS_UNAVAILABLE, 0,
		        "somebody's transaction has made something that is to belong to role \"%s\"",
		        r->role);
	return st;
}

static status reassign(const struct removal *r, PGconn *connection, struct error *err)
{
	return admin_run_on_within(connection, ADMIN_LONG_PATIENCE, "REASSIGN OWNED BY ", r->role, " TO ",
	        r->reassign_to, NULL, err);
}

/*
 * What comes to belong to the role between REASSIGN and DROP OWNED would be lost: so nothing does. Whoever makes something somebody's first locks
 * pg_shdepend for a moment and then, to the end of his transaction, the role. With pg_shdepend locked, nobody having the role means that
 * everything there is can be seen. All of this ends with the transaction, whatever becomes of us: the role itself is as it was.
 */
static status hand_over_alone(const struct removal *r, PGconn *connection, struct error *err)
{
	status st = admin_query(connection, "SET LOCAL lock_timeout = '" SHORT_TIMEOUT "'", NULL, err);
	if (st == STATUS_OK)
		st = admin_query(connection, "LOCK TABLE pg_catalog.pg_shdepend IN SHARE ROW EXCLUSIVE MODE",
		        NULL, err);
	if (st == STATUS_OK)
		st = check_alone(r, connection, err);
	if (st == STATUS_OK)
		st = keep_memberships(r, connection, err);
	if (st == STATUS_OK)
		st = reassign(r, connection, err);
	return st == STATUS_OK ? admin_run_on_within(connection, ADMIN_LONG_PATIENCE, "DROP OWNED BY ",
	                                 r->role, NULL, NULL, NULL, err)
	                       : st;
}

/* Everything that changes catalogs waits meanwhile, so it must not take long: most has changed hands before. */
static status hand_over_rest(const struct removal *r, PGconn *connection, struct error *err)
{
	for (int64_t end = clock_monotonic_usec() + PATIENCE_USEC;;) {
		struct error ignored;
		status st = admin_query(connection, "BEGIN", NULL, err);
		if (st == STATUS_OK)
			st = hand_over_alone(r, connection, err);
		if (st == STATUS_OK)
			return admin_query(connection, "COMMIT", NULL, err);
		if (st != STATUS_UNAVAILABLE || clock_monotonic_usec() >= end ||
		        admin_query(connection, "ROLLBACK", NULL, &ignored) != STATUS_OK ||
		        admin_query(connection, PAUSE_SQL, NULL, &ignored) != STATUS_OK)
			return st;
	}
}

static status hand_over_in(const struct removal *r, const char *database, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	status st = admin_connect(r->socket_folder, database, CHANGE_APPLICATION, &connection, err);
	if (st == STATUS_OK)
		st = admin_query(connection, "SET lock_timeout = '" LOCK_TIMEOUT "'", NULL, err);
	if (st == STATUS_OK)
		st = reassign(r, connection, err);
	if (st == STATUS_OK)
		st = hand_over_rest(r, connection, err);
	return st == STATUS_OK ? st : error_prefix(err, "database \"%s\"", database);
}

/* "postgres" always, for what no database has: databases themselves, memberships, privileges on databases. */
static status hand_over(struct removal *r, struct error *err)
{
	static const char list[] =
	        "SELECT datname FROM pg_database d WHERE datname <> 'postgres' AND datallowconn AND "
	        "datconnlimit <> -2"
	        " AND EXISTS (SELECT FROM pg_shdepend s WHERE s.dbid = d.oid AND s.refobjid = $1::oid"
	        " AND s.refclassid = 'pg_authid'::regclass)";
	CLEANUP(admin_clear) PGresult *databases = NULL;
	status st =
	        admin_query_with(r->connection, list, (const char *const[]){ r->oid }, 1, &databases, err);
	if (st == STATUS_OK)
		st = hand_over_in(r, "postgres", err);
	for (int i = 0; st == STATUS_OK && i < PQntuples(databases); i++)
		st = hand_over_in(r, PQgetvalue(databases, i, 0), err);
	return st;
}

static status drop(struct removal *r, struct error *err)
{
	return admin_run_on(r->connection, "DROP ROLE IF EXISTS ", r->role, NULL, NULL, NULL, err);
}

static status reassign_and_drop(struct removal *r, struct error *err)
{
	status st = end_sessions(r, err);
	for (int pass = 1; st == STATUS_OK; pass++) {
		st = hand_over(r, err);
		if (st == STATUS_OK)
			st = drop(r, err);
		if (st != STATUS_CONFLICT || pass == PASSES_MAX)
			break;
		st = STATUS_OK;
	}
	return st;
}

static status check_new_owner(struct removal *r, struct error *err)
{
	CLEANUP(free_text) char *oid = NULL;
	if (strcmp(r->role, r->reassign_to) == 0)
		return error_set(err, STATUS_INVALID, 0, "role \"%s\" cannot inherit from itself", r->role);
	status st = look_at(r, r->reassign_to, &oid, err);
	if (st == STATUS_OK && !oid)
		return error_set(err, STATUS_NOT_FOUND, 0, "role \"%s\" does not exist", r->reassign_to);
	return st;
}

static status remove_role(struct removal *r, struct error *err)
{
	status st = look_at(r, r->role, &r->oid, err);
	if (st == STATUS_OK && r->oid) {
		if (r->reassign_to)
			st = check_new_owner(r, err);
		if (st == STATUS_OK)
			st = r->reassign_to ? reassign_and_drop(r, err) : drop(r, err);
	}
	return st == STATUS_OK ? end_orphaned_sessions(r->connection, err) : st;
}

status role_removal(const char *socket_folder, const char *role, const char *reassign_to, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	status st = admin_connect(socket_folder, "postgres", CHANGE_APPLICATION, &connection, err);
	if (st != STATUS_OK)
		return st;
	struct removal removal = { .socket_folder = socket_folder,
		.role = role,
		.reassign_to = reassign_to,
		.connection = connection };
	st = remove_role(&removal, err);
	free(removal.oid);
	return st;
}
