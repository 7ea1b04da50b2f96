#include "compute/catalog_change.h"

#include <stdlib.h>

#include "compute/admin_connection.h"
#include "compute/role_removal.h"
#include "compute/system_objects.h"

#define RENAME_ATTEMPTS 10 /* sessions may begin between the end of the last one and the renaming */

static status check_role_name(const char *name, struct error *err)
{
	size_t len = strlen(name);
	if (len == 0 || len > POSTGRES_NAME_MAX || inventory_role_is_reserved(name))
		return error_set(err, STATUS_INVALID, 0,
		        "role \"%.100s\": the name is reserved, empty or too long", name);
	return STATUS_OK;
}

static status check_database_name(const char *name, struct error *err)
{
	size_t len = strlen(name);
	if (len == 0 || len > POSTGRES_NAME_MAX || inventory_database_is_reserved(name))
		return error_set(err, STATUS_INVALID, 0,
		        "database \"%.100s\": the name is reserved, empty or too long", name);
	return STATUS_OK;
}

/* ---- once for each operation ---- */

static char *note_of(const char *operation)
{
	return xasprintf("changed by operation %s", operation);
}

/* BEGIN. *ret_is_done: the change has been made already. operation: NULL is none. */
static status begin_change(PGconn *connection, const char *operation, bool *ret_is_done, struct error *err)
{
	static const char ask[] = "SELECT coalesce(shobj_description(oid, 'pg_authid') = $1, false)"
	                          " FROM pg_authid WHERE rolname = 'cloud_admin'";
	CLEANUP(admin_clear) PGresult *answer = NULL;
	*ret_is_done = false;
	status st = admin_query(connection, "BEGIN", NULL, err);
	if (st != STATUS_OK || !operation)
		return st;
	CLEANUP(free_text) char *note = note_of(operation);
	st = admin_query_with(connection, ask, (const char *const[]){ note }, 1, &answer, err);
	if (st == STATUS_OK)
		*ret_is_done = PQntuples(answer) == 1 && PQgetvalue(answer, 0, 0)[0] == 't';
	return st;
}

/* The note, and COMMIT. */
static status end_change(PGconn *connection, const char *operation, struct error *err)
{
	status st = STATUS_OK;
	if (operation) {
		CLEANUP(free_text) char *note = note_of(operation);
		char *quoted = PQescapeLiteral(connection, note, strlen(note));
		if (!quoted)
			return error_set(err, STATUS_INTERNAL, 0, "the operation's id cannot be quoted");
		CLEANUP(free_text) char *statement = xasprintf("COMMENT ON ROLE cloud_admin IS %s", quoted);
		PQfreemem(quoted);
		st = admin_query(connection, statement, NULL, err);
	}
	return st == STATUS_OK ? admin_query(connection, "COMMIT", NULL, err) : st;
}

status catalog_end_attempts(const char *socket_folder, struct error *err)
{
	/* Not a condition beside the others: nobody says which one is looked at first. */
	static const char text[] = "SELECT count(*) FILTER (WHERE NOT is_gone) FROM (SELECT "
	                           "pg_terminate_backend(pid, 5000) AS is_gone"
	                           " FROM pg_stat_activity WHERE application_name = '" CHANGE_APPLICATION "'"
	                           " AND usename = 'cloud_admin' OFFSET 0) ended";
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	CLEANUP(admin_clear) PGresult *left = NULL;
	status st = admin_connect(socket_folder, "postgres", ADMIN_APPLICATION, &connection, err);
	if (st == STATUS_OK)
		st = admin_query(connection, text, &left, err);
	if (st == STATUS_OK && strcmp(PQgetvalue(left, 0, 0), "0") != 0)
		return error_set(err, STATUS_UNAVAILABLE, 0, "an earlier attempt is still at work");
	return st;
}

/* ---- roles ---- */

static status find_role(PGconn *connection, const char *name, bool *ret_exists, struct error *err)
{
	CLEANUP(admin_clear) PGresult *found = NULL;
	status st = admin_query_with(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = $1",
	        (const char *const[]){ name }, 1, &found, err);
	if (st != STATUS_OK)
		return st;
	*ret_exists = PQntuples(found) == 1;
	if (*ret_exists && PQgetvalue(found, 0, 0)[0] == 't')
		return error_set(err, STATUS_INVALID, 0, "role \"%s\" is a superuser of the system", name);
	return STATUS_OK;
}

static void append_switch(struct buffer *out, bool is_meant, bool value, const char *word)
{
	if (is_meant)
		buffer_printf(out, " %s%s", value ? "" : "NO", word);
}

/* "CREATE ROLE "x" WITH …", or ALTER. The verifier is no password: nothing of it is worth hiding from the server's log. */
static status set_attributes(PGconn *connection, const char *verb, const struct role_wish *wish,
        unsigned fields, struct error *err)
{
	CLEANUP(buffer_done) struct buffer attributes = { 0 };
	buffer_append_text(&attributes, " WITH");
	append_switch(&attributes, fields & ROLE_LOGIN, wish->login, "LOGIN");
	append_switch(&attributes, fields & ROLE_CREATEDB, wish->createdb, "CREATEDB");
	append_switch(&attributes, fields & ROLE_CREATEROLE, wish->createrole, "CREATEROLE");
	append_switch(&attributes, fields & ROLE_BYPASSRLS, wish->bypassrls, "BYPASSRLS");
	append_switch(&attributes, fields & ROLE_MEMBERSHIP, wish->is_superuser_member, "REPLICATION");
	if ((fields & ROLE_PASSWORD) && wish->verifier) {
		char *quoted = PQescapeLiteral(connection, wish->verifier, strlen(wish->verifier));
		if (!quoted)
			return error_set(err, STATUS_INTERNAL, 0, "the verifier cannot be quoted");
		buffer_printf(&attributes, " PASSWORD %s", quoted);
		PQfreemem(quoted);
	} else if (fields & ROLE_PASSWORD) {
		buffer_append_text(&attributes, " PASSWORD NULL");
	}
	return admin_run_on(connection, verb, wish->name, attributes.data, NULL, NULL, err);
}

/* Takes a role out of a group if it is in it; Postgres warns of what is not there. */
static status leave(
        PGconn *connection, const char *group, const char *member, const char *after, struct error *err)
{
	CLEANUP(admin_clear) PGresult *found = NULL;
	status st = admin_query_with(connection,
	        "SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid "
	        "= m.member"
	        " WHERE g.rolname = $1 AND r.rolname = $2",
	        (const char *const[]){ group, member }, 2, &found, err);
	if (st != STATUS_OK || PQntuples(found) == 0)
		return st;
	return admin_run_on(connection, "REVOKE ", group, " FROM ", member, after, err);
}

static status set_identity(PGconn *connection, const struct role_wish *wish, struct error *err)
{
	status st = STATUS_OK;
	for (enum inventory_identity i = INVENTORY_USER; i <= INVENTORY_GROUP && st == STATUS_OK; i++) {
		if (i == wish->identity)
			st = admin_run_on(connection, "GRANT ", system_objects_marker(i), " TO ", wish->name,
			        " WITH INHERIT FALSE, SET FALSE", err);
		else
			st = leave(connection, system_objects_marker(i), wish->name, NULL, err);
	}
	return st;
}

/*
 * Members of databricks_superuser may administer the roles that the API made, as if they had created them; the role itself as a
 * member would make a circle, and needs no warden.
 */
static status set_membership(PGconn *connection, const struct role_wish *wish, struct error *err)
{
	static const char group[] = "databricks_superuser";
	status st;
	if (wish->is_superuser_member) {
		st = leave(connection, wish->name, group, NULL, err);
		return st == STATUS_OK
		               ? admin_run_on(connection, "GRANT ", group, " TO ", wish->name, NULL, err)
		               : st;
	}
	st = leave(connection, group, wish->name, " CASCADE", err);
	return st == STATUS_OK ? admin_run_on(connection, "GRANT ", wish->name, " TO ", group,
	                                 " WITH ADMIN TRUE, INHERIT FALSE, SET FALSE", err)
	                       : st;
}

static status set_role(PGconn *connection, const char *verb, const struct role_wish *wish, unsigned fields,
        struct error *err)
{
	status st = set_attributes(connection, verb, wish, fields, err);
	if (st == STATUS_OK && (fields & ROLE_IDENTITY))
		st = set_identity(connection, wish, err);
	if (st == STATUS_OK && (fields & ROLE_MEMBERSHIP))
		st = set_membership(connection, wish, err);
	return st;
}

status catalog_put_role(PGconn *connection, const struct role_wish *wish, struct error *err)
{
	bool exists = false;
	status st = check_role_name(wish->name, err);
	if (st == STATUS_OK)
		st = admin_query(connection, "BEGIN", NULL, err);
	if (st == STATUS_OK)
		st = find_role(connection, wish->name, &exists, err);
	if (st == STATUS_OK)
		st = set_role(connection, exists ? "ALTER ROLE " : "CREATE ROLE ", wish, ROLE_ALL, err);
	return st == STATUS_OK ? admin_query(connection, "COMMIT", NULL, err) : st;
}

/* With the system objects, unless it is about a password alone: that needs none, and is given where nobody has looked yet what roles stand for. */
static status connect_for_roles(const char *socket_folder, unsigned fields, PGconn **ret, struct error *err)
{
	status st = admin_connect(socket_folder, "postgres", CHANGE_APPLICATION, ret, err);
	return st == STATUS_OK && fields != ROLE_PASSWORD ? system_objects_ensure(*ret, NULL, 0, err) : st;
}

status catalog_mark_identities(
        const char *socket_folder, const struct identity_mark *marks, size_t mark_count, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	status st = admin_connect(socket_folder, "postgres", ADMIN_APPLICATION, &connection, err);
	return st == STATUS_OK ? system_objects_ensure(connection, marks, mark_count, err) : st;
}

status catalog_create_role(
        const char *socket_folder, const struct role_wish *wish, const char *operation, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	bool exists = false, is_done = false;
	status st = check_role_name(wish->name, err);
	if (st == STATUS_OK)
		st = connect_for_roles(socket_folder, ROLE_ALL, &connection, err);
	if (st == STATUS_OK)
		st = begin_change(connection, operation, &is_done, err);
	if (st != STATUS_OK || is_done)
		return st;
	st = find_role(connection, wish->name, &exists, err);
	if (st == STATUS_OK && exists && operation)
		return error_set(err, STATUS_EXISTS, 0, "role with that name already exists");
	if (st == STATUS_OK)
		st = set_role(connection, exists ? "ALTER ROLE " : "CREATE ROLE ", wish, ROLE_ALL, err);
	return st == STATUS_OK ? end_change(connection, operation, err) : st;
}

status catalog_alter_role(const char *socket_folder, const struct role_wish *wish, unsigned fields,
        const char *operation, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	bool exists = false, is_done = false;
	status st = check_role_name(wish->name, err);
	if (st == STATUS_OK)
		st = connect_for_roles(socket_folder, fields, &connection, err);
	if (st == STATUS_OK)
		st = begin_change(connection, operation, &is_done, err);
	if (st != STATUS_OK || is_done)
		return st;
	st = find_role(connection, wish->name, &exists, err);
	if (st == STATUS_OK && !exists)
		return error_set(err, STATUS_NOT_FOUND, 0, "role \"%s\" does not exist any more", wish->name);
	if (st == STATUS_OK)
		st = set_role(connection, "ALTER ROLE ", wish, fields, err);
	return st == STATUS_OK ? end_change(connection, operation, err) : st;
}

status catalog_drop_role(
        const char *socket_folder, const char *name, const char *reassign_to, struct error *err)
{
	status st = check_role_name(name, err);
	if (st == STATUS_OK && reassign_to)
		st = check_role_name(reassign_to, err);
	return st == STATUS_OK ? role_removal(socket_folder, name, reassign_to, err) : st;
}

/* ---- databases ---- */

static status find_database(PGconn *connection, const char *name, bool *ret_exists, struct error *err)
{
	CLEANUP(admin_clear) PGresult *found = NULL;
	status st = admin_query_with(connection, "SELECT FROM pg_database WHERE datname = $1",
	        (const char *const[]){ name }, 1, &found, err);
	if (st == STATUS_OK)
		*ret_exists = PQntuples(found) == 1;
	return st;
}

static status set_owner(PGconn *connection, const char *name, const char *owner, struct error *err)
{
	return admin_run_on(connection, "ALTER DATABASE ", name, " OWNER TO ", owner, NULL, err);
}

static status end_sessions(PGconn *connection, const char *name, struct error *err)
{
	return admin_query_with(connection,
	        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1",
	        (const char *const[]){ name }, 1, NULL, err);
}

status catalog_create_database(
        const char *socket_folder, const char *name, const char *owner, int64_t oid, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	bool exists = false;
	status st = check_database_name(name, err);
	if (st == STATUS_OK)
		st = check_role_name(owner, err);
	if (st == STATUS_OK)
		st = admin_connect(socket_folder, "postgres", CHANGE_APPLICATION, &connection, err);
	if (st == STATUS_OK)
		st = find_database(connection, name, &exists, err);
	if (st != STATUS_OK)
		return st;
	if (exists && oid != 0)
		return error_set(err, STATUS_EXISTS, 0, "database with that name already exists");
	if (exists)
		return set_owner(connection, name, owner, err);
	CLEANUP(free_text) char *with_oid = oid != 0 ? xasprintf(" OID = %lld", (long long)oid) : NULL;
	return admin_run_on_within(
	        connection, ADMIN_LONG_PATIENCE, "CREATE DATABASE ", name, " OWNER ", owner, with_oid, err);
}

/* STATUS_CONFLICT: a session has begun since the others were ended. */
static status alter_database(PGconn *connection, const char *name, const char *new_name, const char *owner,
        const char *operation, struct error *err)
{
	bool is_done = false, exists = false, new_exists = false;
	status st = begin_change(connection, operation, &is_done, err);
	if (st != STATUS_OK || is_done)
		return st;
	st = find_database(connection, name, &exists, err);
	if (st == STATUS_OK && new_name)
		st = find_database(connection, new_name, &new_exists, err);
	if (st != STATUS_OK)
		return st;
	if (!exists)
		return error_set(err, STATUS_NOT_FOUND, 0, "database \"%s\" does not exist any more", name);
	if (new_exists)
		return error_set(err, STATUS_EXISTS, 0, "database with that name already exists");
	if (owner)
		st = set_owner(connection, name, owner, err);
	if (st == STATUS_OK && new_name)
		st = end_sessions(connection, name, err);
	if (st == STATUS_OK && new_name)
		st = admin_run_on(connection, "ALTER DATABASE ", name, " RENAME TO ", new_name, NULL, err);
	return st == STATUS_OK ? end_change(connection, operation, err) : st;
}

status catalog_alter_database(const char *socket_folder, const char *name, const char *new_name,
        const char *owner, const char *operation, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	struct error ignored;
	status st = check_database_name(name, err);
	if (st == STATUS_OK && new_name)
		st = check_database_name(new_name, err);
	if (st == STATUS_OK && owner)
		st = check_role_name(owner, err);
	if (st == STATUS_OK)
		st = admin_connect(socket_folder, "postgres", CHANGE_APPLICATION, &connection, err);
	if (st != STATUS_OK)
		return st;
	for (int i = 1;; i++) {
		st = alter_database(connection, name, new_name, owner, operation, err);
		if (st != STATUS_CONFLICT || i == RENAME_ATTEMPTS ||
		        admin_query(connection, "ROLLBACK", NULL, &ignored) != STATUS_OK)
			return st;
	}
}

status catalog_drop_database(const char *socket_folder, const char *name, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	status st = check_database_name(name, err);
	if (st == STATUS_OK)
		st = admin_connect(socket_folder, "postgres", CHANGE_APPLICATION, &connection, err);
	return st == STATUS_OK ? admin_run_on_within(connection, ADMIN_LONG_PATIENCE,
	                                 "DROP DATABASE IF EXISTS ", name, " WITH (FORCE)", NULL, NULL, err)
	                       : st;
}
