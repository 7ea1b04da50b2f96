#include "compute/inventory.h"

#include <errno.h>
#include <stdlib.h>
#include <yyjson.h>

#include "base/file.h"
#include "base/number.h"
#include "base/utf8.h"
#include "compute/admin_connection.h"
#include "compute/system_objects.h"
#include "page_store/store_record.h"

#define KIND "inventory"

static const char *const identity_names[] = {
	[INVENTORY_PLAIN] = "",
	[INVENTORY_USER] = "user",
	[INVENTORY_SERVICE_PRINCIPAL] = "service_principal",
	[INVENTORY_GROUP] = "group",
};

void inventory_done(struct inventory *inventory)
{
	free(inventory->roles);
	free(inventory->databases);
	*inventory = (struct inventory){ 0 };
}

void inventory_file_done(struct inventory_file *file)
{
	inventory_done(&file->inventory);
}

/* ---- from Postgres ---- */

static bool is_true(const PGresult *rows, int row, int column)
{
	return PQgetvalue(rows, row, column)[0] == 't';
}

static int64_t number(const PGresult *rows, int row, int column)
{
	int64_t value = 0;
	(void)!number_parse(slice_from_text(PQgetvalue(rows, row, column)), 0, INT64_MAX, &value);
	return value;
}

static enum inventory_identity identity_of(const char *name)
{
	for (size_t i = 1; i < ARRAY_LEN(identity_names); i++) {
		if (strcmp(name, identity_names[i]) == 0)
			return (enum inventory_identity)i;
	}
	return INVENTORY_PLAIN;
}

static void copy(char *to, size_t size, const char *from)
{
	(void)snprintf(to, size, "%s", from);
}

static status take_roles(PGconn *connection, struct inventory *ret, struct error *err)
{
	/* A membership that the system did not make, as it makes them, marks nobody: there may be others until system_objects_ensure(). */
	static const char text[] =
	        "SELECT r.oid, r.rolname, r.rolcanlogin, r.rolcreatedb, r.rolcreaterole, r.rolbypassrls,"
	        " coalesce(bool_or(g.rolname = 'databricks_superuser'), false),"
	        " coalesce(min(substr(g.rolname::text, 21)) FILTER (WHERE g.rolname ~ "
	        "'^databricks_identity_' AND m.grantor = 10"
	        " AND NOT (m.admin_option OR m.inherit_option OR m.set_option)), ''),"
	        " coalesce(r.rolpassword, ''),"
	        " CASE WHEN r.rolvaliduntil IS NULL OR r.rolvaliduntil = 'infinity' THEN 0"
	        "  WHEN r.rolvaliduntil <= '1970-01-02' THEN 1"
	        "  ELSE least(floor(extract(epoch FROM r.rolvaliduntil) * 1000000), 9e18)::bigint END,"
	        " " SYSTEM_OBJECTS_REVISION_SQL " = 0"
	        " FROM pg_authid r LEFT JOIN pg_auth_members m ON m.member = r.oid LEFT JOIN pg_authid g ON "
	        "g.oid = m.roleid"
	        " WHERE r.rolname !~ '^(pg_|databricks_)' AND r.rolname <> 'cloud_admin'"
	        " GROUP BY r.oid, r.rolname, r.rolcanlogin, r.rolcreatedb, r.rolcreaterole, r.rolbypassrls, "
	        "r.rolpassword, r.rolvaliduntil"
	        " ORDER BY r.oid LIMIT 5000";
	CLEANUP(admin_clear) PGresult *rows = NULL;
	status st = admin_query(connection, text, &rows, err);
	if (st != STATUS_OK)
		return st;
	ret->role_count = (size_t)PQntuples(rows);
	ret->roles = xcalloc(ret->role_count + 1, sizeof *ret->roles);
	for (int i = 0; i < PQntuples(rows); i++) {
		struct inventory_role *role = &ret->roles[i];
		role->oid = number(rows, i, 0);
		copy(role->name, sizeof role->name, PQgetvalue(rows, i, 1));
		role->login = is_true(rows, i, 2);
		role->createdb = is_true(rows, i, 3);
		role->createrole = is_true(rows, i, 4);
		role->bypassrls = is_true(rows, i, 5);
		role->is_superuser_member = is_true(rows, i, 6);
		role->identity = identity_of(PQgetvalue(rows, i, 7));
		copy(role->verifier, sizeof role->verifier, PQgetvalue(rows, i, 8));
		role->valid_until_usec = number(rows, i, 9);
		ret->lacks_markers = is_true(rows, i, 10);
	}
	return STATUS_OK;
}

static status take_databases(PGconn *connection, struct inventory *ret, struct error *err)
{
	static const char text[] =
	        "SELECT d.oid, d.datname, pg_get_userbyid(d.datdba) FROM pg_database d"
	        " WHERE d.datname <> 'postgres' AND d.datname !~ '^template' AND d.datconnlimit <> -2"
	        " ORDER BY d.oid LIMIT 5000";
	CLEANUP(admin_clear) PGresult *rows = NULL;
	status st = admin_query(connection, text, &rows, err);
	if (st != STATUS_OK)
		return st;
	ret->database_count = (size_t)PQntuples(rows);
	ret->databases = xcalloc(ret->database_count + 1, sizeof *ret->databases);
	for (int i = 0; i < PQntuples(rows); i++) {
		struct inventory_database *database = &ret->databases[i];
		database->oid = number(rows, i, 0);
		copy(database->name, sizeof database->name, PQgetvalue(rows, i, 1));
		copy(database->owner, sizeof database->owner, PQgetvalue(rows, i, 2));
	}
	return STATUS_OK;
}

static status take_on(PGconn *connection, struct inventory *ret, struct error *err)
{
	CLEANUP(inventory_done) struct inventory taken = { 0 };
	/* Both lists of one snapshot: an owner that is not among the roles would be a lie. */
	status st = admin_query(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", NULL, err);
	if (st == STATUS_OK)
		st = take_roles(connection, &taken, err);
	if (st == STATUS_OK)
		st = take_databases(connection, &taken, err);
	if (st == STATUS_OK)
		st = admin_query(connection, "COMMIT", NULL, err);
	if (st != STATUS_OK)
		return st;
	*ret = taken;
	taken = (struct inventory){ 0 };
	return STATUS_OK;
}

struct inventory_session {
	char *socket_folder;
	PGconn *connection; /* NULL: none yet, or it failed */
};

struct inventory_session *inventory_session_create(const char *socket_folder)
{
	struct inventory_session *session = xcalloc(1, sizeof *session);
	session->socket_folder = xstrdup(socket_folder);
	return session;
}

struct inventory_session *inventory_session_free(struct inventory_session *session)
{
	if (!session)
		return NULL;
	admin_disconnect(&session->connection);
	free(session->socket_folder);
	free(session);
	return NULL;
}

status inventory_session_take(struct inventory_session *session, struct inventory *ret, struct error *err)
{
	status st = STATUS_UNAVAILABLE;
	if (session->connection)
		st = take_on(session->connection, ret, err);
	bool is_silent = session->connection && st != STATUS_OK && err->sys_errno == ETIMEDOUT;
	if (st != STATUS_OK && !is_silent) { /* of a Postgres that is gone, maybe */
		admin_disconnect(&session->connection);
		st = admin_connect(
		        session->socket_folder, "postgres", ADMIN_APPLICATION, &session->connection, err);
		if (st == STATUS_OK)
			st = take_on(session->connection, ret, err);
	}
	if (st == STATUS_OK)
		return STATUS_OK;
	admin_disconnect(&session->connection);
	return error_prefix(err, "could not read the roles and databases");
}

static void session_freep(struct inventory_session **session)
{
	*session = inventory_session_free(*session);
}

status inventory_take(const char *socket_folder, struct inventory *ret, struct error *err)
{
	CLEANUP(session_freep) struct inventory_session *session = inventory_session_create(socket_folder);
	return inventory_session_take(session, ret, err);
}

/* ---- the file ---- */

/* One from a database of another encoding need not be: it cannot be written as JSON. */
static bool is_text(const char *name)
{
	return utf8_valid_prefix(slice_from_text(name)) == strlen(name);
}

void inventory_format(const struct inventory_file *file, struct buffer *out)
{
	CLEANUP(store_record_writer_done) struct store_record_writer writer;
	store_record_writer_start(&writer);
	store_record_add_text(&writer, "volume", file->volume_id);
	store_record_add_number(&writer, "stamp", file->stamp);
	if (file->inventory.lacks_markers)
		yyjson_mut_obj_add_bool(writer.doc, writer.value, "lacks_markers", true);
	yyjson_mut_val *roles = yyjson_mut_obj_add_arr(writer.doc, writer.value, "roles");
	for (size_t i = 0; i < file->inventory.role_count; i++) {
		const struct inventory_role *role = &file->inventory.roles[i];
		if (!is_text(role->name))
			continue;
		yyjson_mut_val *item = yyjson_mut_arr_add_obj(writer.doc, roles);
		yyjson_mut_obj_add_sint(writer.doc, item, "oid", role->oid);
		yyjson_mut_obj_add_str(writer.doc, item, "name", role->name);
		yyjson_mut_obj_add_str(writer.doc, item, "identity", identity_names[role->identity]);
		yyjson_mut_obj_add_bool(writer.doc, item, "login", role->login);
		yyjson_mut_obj_add_bool(writer.doc, item, "createdb", role->createdb);
		yyjson_mut_obj_add_bool(writer.doc, item, "createrole", role->createrole);
		yyjson_mut_obj_add_bool(writer.doc, item, "bypassrls", role->bypassrls);
		yyjson_mut_obj_add_bool(writer.doc, item, "superuser_member", role->is_superuser_member);
		yyjson_mut_obj_add_str(writer.doc, item, "verifier", role->verifier);
		if (role->valid_until_usec > 0)
			yyjson_mut_obj_add_sint(writer.doc, item, "valid_until_usec", role->valid_until_usec);
	}
	yyjson_mut_val *databases = yyjson_mut_obj_add_arr(writer.doc, writer.value, "databases");
	for (size_t i = 0; i < file->inventory.database_count; i++) {
		const struct inventory_database *database = &file->inventory.databases[i];
		if (!is_text(database->name))
			continue;
		yyjson_mut_val *item = yyjson_mut_arr_add_obj(writer.doc, databases);
		yyjson_mut_obj_add_sint(writer.doc, item, "oid", database->oid);
		yyjson_mut_obj_add_str(writer.doc, item, "name", database->name);
		yyjson_mut_obj_add_str(
		        writer.doc, item, "owner", is_text(database->owner) ? database->owner : "");
	}
	store_record_format(&writer, KIND, INVENTORY_VERSION, out);
}

static bool read_text(yyjson_val *object, const char *key, char *ret, size_t size)
{
	yyjson_val *value = yyjson_obj_get(object, key);
	const char *text = yyjson_get_str(value);
	if (!text || yyjson_get_len(value) >= size || strlen(text) != yyjson_get_len(value))
		return false;
	copy(ret, size, text);
	return true;
}

static bool read_bool(yyjson_val *object, const char *key, bool *ret)
{
	yyjson_val *value = yyjson_obj_get(object, key);
	*ret = yyjson_get_bool(value);
	return yyjson_is_bool(value);
}

static bool read_oid(yyjson_val *object, int64_t *ret)
{
	yyjson_val *value = yyjson_obj_get(object, "oid");
	*ret = yyjson_get_sint(value);
	return yyjson_is_int(value) && *ret > 0 && *ret <= UINT32_MAX;
}

/* Missing in a file from before it was kept, and of a password without an end. */
static bool read_valid_until(yyjson_val *object, int64_t *ret)
{
	yyjson_val *value = yyjson_obj_get(object, "valid_until_usec");
	*ret = yyjson_get_sint(value);
	return !value || (yyjson_is_int(value) && *ret > 0);
}

static bool read_role(yyjson_val *item, struct inventory_role *ret)
{
	char identity[32];
	if (!read_oid(item, &ret->oid) || !read_text(item, "name", ret->name, sizeof ret->name) ||
	        !read_text(item, "identity", identity, sizeof identity) ||
	        !read_bool(item, "login", &ret->login) || !read_bool(item, "createdb", &ret->createdb) ||
	        !read_bool(item, "createrole", &ret->createrole) ||
	        !read_bool(item, "bypassrls", &ret->bypassrls) ||
	        !read_bool(item, "superuser_member", &ret->is_superuser_member) ||
	        !read_text(item, "verifier", ret->verifier, sizeof ret->verifier) ||
	        !read_valid_until(item, &ret->valid_until_usec))
		return false;
	ret->identity = identity_of(identity);
	return ret->name[0] && (ret->identity != INVENTORY_PLAIN || !identity[0]);
}

static bool read_database(yyjson_val *item, struct inventory_database *ret)
{
	return read_oid(item, &ret->oid) && read_text(item, "name", ret->name, sizeof ret->name) &&
	       ret->name[0] && read_text(item, "owner", ret->owner, sizeof ret->owner);
}

static bool read_lists(yyjson_val *value, struct inventory *ret)
{
	yyjson_val *lacks_markers = yyjson_obj_get(value, "lacks_markers");
	yyjson_val *roles = yyjson_obj_get(value, "roles"), *databases = yyjson_obj_get(value, "databases");
	yyjson_val *item;
	size_t i, max;
	if ((lacks_markers && !yyjson_is_bool(lacks_markers)) || !yyjson_is_arr(roles) ||
	        !yyjson_is_arr(databases) || yyjson_arr_size(roles) > INVENTORY_ITEMS_MAX ||
	        yyjson_arr_size(databases) > INVENTORY_ITEMS_MAX)
		return false;
	ret->lacks_markers = yyjson_get_bool(lacks_markers);
	ret->roles = xcalloc(yyjson_arr_size(roles) + 1, sizeof *ret->roles);
	ret->databases = xcalloc(yyjson_arr_size(databases) + 1, sizeof *ret->databases);
	yyjson_arr_foreach(roles, i, max, item)
	{
		if (!read_role(item, &ret->roles[ret->role_count++]))
			return false;
	}
	yyjson_arr_foreach(databases, i, max, item)
	{
		if (!read_database(item, &ret->databases[ret->database_count++]))
			return false;
	}
	return true;
}

status inventory_parse(struct slice text, struct inventory_file *ret, struct error *err)
{
	CLEANUP(store_record_done) struct store_record record = { 0 };
	CLEANUP(inventory_file_done) struct inventory_file file = { 0 };
	status st = store_record_parse(text, KIND, INVENTORY_VERSION, INVENTORY_VERSION, &record, err);
	if (st != STATUS_OK)
		return st;
	if (!store_record_get_name(&record, "volume", file.volume_id, sizeof file.volume_id) ||
	        !store_record_get_number(&record, "stamp", 1, INT64_MAX, &file.stamp) ||
	        !read_lists(record.value, &file.inventory))
		return error_set(
		        err, STATUS_CORRUPT, 0, "the inventory has a member that is missing or wrong");
	*ret = file;
	file = (struct inventory_file){ 0 };
	return STATUS_OK;
}

status inventory_write(const char *path, const struct inventory_file *file, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	inventory_format(file, &text);
	return file_replace_durably(path, buffer_slice(&text), 0600, err);
}

status inventory_read(const char *path, struct inventory_file *ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = file_read(path, INVENTORY_MAX_BYTES, &text, err);
	return st == STATUS_OK ? inventory_parse(buffer_slice(&text), ret, err) : st;
}
