/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "compute/system_objects.h"

#include <stdlib.h>

#include "compute/admin_connection.h"
#include "fixture.h"

#define ADMIN "admin@localhost"

static struct supervised compute;

static int set_up(void **state)
{
	int rc = one_compute_set_up(state, "o", &compute);
	return rc;
}

static int tear_down(void **state)
{
	return one_compute_tear_down(state, &compute);
}

static PGconn *open_database(const char *database)
{
	CLEANUP(free_text) char *socket = supervised_socket(&compute);
	struct error err;
	PGconn *connection = NULL;
	must(admin_connect(socket, database, "test", &connection, &err), &err);
	return connection;
}

static void ensure_with(const struct identity_mark *marks, size_t count)
{
	CLEANUP(admin_disconnect) PGconn *connection = open_database("postgres");
	struct error err;
	must(system_objects_ensure(connection, marks, count, &err), &err);
}

static void ensure(void)
{
	ensure_with(NULL, 0);
}

static void look(struct inventory *ret)
{
	CLEANUP(free_text) char *socket = supervised_socket(&compute);
	struct error err;
	must(inventory_take(socket, ret, &err), &err);
}

static const struct inventory_role *role_in(const struct inventory *inventory, const char *name)
{
	for (size_t i = 0; i < inventory->role_count; i++) {
		if (strcmp(inventory->roles[i].name, name) == 0)
			return &inventory->roles[i];
	}
	fail_msg("there is no role %s", name);
	return NULL;
}

static void run_in(const char *database, const char *statement)
{
	CLEANUP(admin_disconnect) PGconn *connection = open_database(database);
	run(connection, statement);
}

static void expect(PGconn *connection, const char *statement, const char *expected)
{
	CLEANUP(free_text) char *value = value_of(connection, statement);
	assert_string_equal(value, expected);
}

static void expect_in(const char *database, const char *statement, const char *expected)
{
	CLEANUP(admin_disconnect) PGconn *connection = open_database(database);
	expect(connection, statement, expected);
}

static const char markers[] = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname "
                              "LIKE 'databricks_identity%'"
                              " AND NOT (rolcanlogin OR rolsuper OR rolcreatedb OR rolcreaterole OR "
                              "rolreplication OR rolbypassrls)";
static const char all_markers[] =
        "databricks_identity_group databricks_identity_service_principal databricks_identity_user";
static const char writable_views[] =
        "SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c WHERE relkind = 'v' AND relowner = 10"
        " AND pg_relation_is_updatable(c.oid, true) & 28 <> 0";
static const char databases[] =
        "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datallowconn";

static void the_template_has_them(void **state)
{
	(void)cluster_of(state);
	static const char *const names[] = { "postgres", "template1", "databricks_postgres", "from_zero" };
	run_in("postgres", "CREATE DATABASE from_zero TEMPLATE template0");
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		expect_in(names[i], writable_views,
		        "pg_settings"); /* by a rule, with the rights of whoever asks */
	expect_in("postgres", markers, all_markers);
	expect_in(
	        "from_zero", "SELECT has_schema_privilege('databricks_superuser', 'public', 'CREATE')", "t");
	expect_in("postgres", "SELECT has_database_privilege('" ADMIN "', 'template1', 'CONNECT')", "f");
	expect_in("postgres", databases, "databricks_postgres from_zero postgres template1");
	/* Views answer as before. */
	PGconn *tenant = supervised_connect(&compute, ADMIN);
	expect(tenant, "SELECT groname FROM pg_group WHERE grosysid = 6181", "pg_read_all_data");
	expect(tenant, "SELECT count(*) > 3 FROM information_schema.enabled_roles", "t");
	expect(tenant, "SELECT confl_lock FROM pg_stat_database_conflicts WHERE datname = 'postgres'", "0");
	PQfinish(tenant);
	run_in("postgres", "DROP DATABASE from_zero");
}

/* Back to what a template of an older version was, and a tenant who has been quicker. */
static void make_old(void)
{
	static const char *const names[] = { "postgres", "template1", "databricks_postgres", "closed",
		"template0" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		run_in(names[i], "SET allow_system_table_mods = on; CREATE OR REPLACE VIEW "
		                 "pg_catalog.pg_group AS SELECT rolname AS groname,"
		                 " oid AS grosysid, ARRAY(SELECT member FROM pg_auth_members WHERE roleid = "
		                 "pg_authid.oid) AS grolist"
		                 " FROM pg_authid WHERE NOT rolcanlogin");
	run_in("postgres",
	        "COMMENT ON ROLE databricks_superuser IS NULL; GRANT CONNECT ON DATABASE template1 TO PUBLIC;"
	        "DROP ROLE databricks_identity_user, databricks_identity_group");
}

static void an_older_branch_gets_them(void **state)
{
	(void)cluster_of(state);
	run_in("postgres", "CREATE DATABASE closed");
	run_in("postgres", "ALTER DATABASE template0 ALLOW_CONNECTIONS true");
	make_old();
	run_in("postgres", "ALTER DATABASE closed ALLOW_CONNECTIONS false");
	/* A crash of ours in the middle has left template0 open, too. */
	PGconn *tenant = supervised_connect(&compute, ADMIN);
	run(tenant,
	        "CREATE ROLE databricks_identity_user LOGIN CREATEDB PASSWORD 'x'; CREATE ROLE friend;"
	        "GRANT databricks_identity_user TO friend WITH ADMIN TRUE; GRANT databricks_identity_user TO "
	        "\"" ADMIN "\"");
	run_in("postgres",
	        "CREATE ROLE honest; GRANT databricks_identity_user TO honest WITH INHERIT FALSE, SET FALSE");

	/* What a tenant has granted marks nobody. */
	CLEANUP(inventory_done) struct inventory before = { 0 };
	look(&before);
	assert_true(before.lacks_markers);
	assert_int_equal(role_in(&before, "friend")->identity, INVENTORY_PLAIN);
	assert_int_equal(role_in(&before, ADMIN)->identity, INVENTORY_PLAIN);
	assert_int_equal(role_in(&before, "honest")->identity, INVENTORY_USER);

	ensure();
	expect_in("postgres", markers, all_markers);
	expect_in("postgres",
	        "SELECT string_agg(member::regrole::text || ' ' || grantor::regrole, ',') FROM "
	        "pg_auth_members"
	        " WHERE roleid = 'databricks_identity_user'::regrole",
	        "honest cloud_admin");
	expect_in("postgres",
	        "SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'databricks_identity_user'", "t");
	expect_in("postgres", databases, "databricks_postgres postgres template1");
	expect_in("postgres", "SELECT has_database_privilege('" ADMIN "', 'template1', 'CONNECT')", "f");
	run_in("postgres", "ALTER DATABASE closed ALLOW_CONNECTIONS true");
	run_in("postgres", "CREATE DATABASE from_zero TEMPLATE template0");
	static const char *const names[] = { "postgres", "template1", "databricks_postgres", "closed",
		"from_zero" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		expect_in(names[i], writable_views, "pg_settings");
	PGresult *refused = execute(tenant, "ALTER ROLE databricks_identity_user LOGIN");
	assert_string_equal(PQresultErrorField(refused, PG_DIAG_SQLSTATE), "42501");
	PQclear(refused);
	PQfinish(tenant);
}

static void roles_of_an_older_branch_get_their_markers(void **state)
{
	(void)cluster_of(state);
	run_in("postgres",
	        "COMMENT ON ROLE databricks_superuser IS NULL;"
	        "DROP ROLE databricks_identity_user, databricks_identity_group;"
	        "CREATE ROLE \"o'reilly\"; CREATE ROLE team; CREATE ROLE before; CREATE ROLE other");
	CLEANUP(inventory_done) struct inventory inventory = { 0 };
	look(&inventory);
	assert_true(inventory.lacks_markers);
	run_in("postgres", "ALTER ROLE before RENAME TO after; ALTER ROLE other RENAME TO before");
	const struct identity_mark marks[] = {
		{ .oid = role_in(&inventory, "o'reilly")->oid,
		        .name = "o'reilly",
		        .identity = INVENTORY_USER },
		{ .name = "team", .identity = INVENTORY_GROUP },
		{ .oid = role_in(&inventory, "before")->oid,
		        .name = "before",
		        .identity = INVENTORY_SERVICE_PRINCIPAL },
		{ .oid = 4000000000, .name = "before", .identity = INVENTORY_USER },
		{ .oid = 10, .name = "cloud_admin", .identity = INVENTORY_USER },
		{ .name = "databricks_superuser", .identity = INVENTORY_USER },
		{ .name = "gone", .identity = INVENTORY_USER },
	};
	ensure_with(marks, ARRAY_LEN(marks));
	inventory_done(&inventory);
	look(&inventory);
	assert_false(inventory.lacks_markers);
	assert_int_equal(role_in(&inventory, "o'reilly")->identity, INVENTORY_USER);
	assert_int_equal(role_in(&inventory, "team")->identity, INVENTORY_GROUP);
	assert_int_equal(role_in(&inventory, "after")->identity, INVENTORY_SERVICE_PRINCIPAL);
	assert_int_equal(role_in(&inventory, "before")->identity, INVENTORY_PLAIN);
	expect_in("postgres",
	        "SELECT count(*) FROM pg_auth_members WHERE roleid = 'databricks_identity_user'::regrole",
	        "1");
	/* Once: later it is Postgres that knows. */
	run_in("postgres", "REVOKE databricks_identity_user FROM \"o'reilly\"");
	ensure_with(marks, ARRAY_LEN(marks));
	inventory_done(&inventory);
	look(&inventory);
	assert_int_equal(role_in(&inventory, "o'reilly")->identity, INVENTORY_PLAIN);
}

static void done_is_done(void **state)
{
	(void)cluster_of(state);
	ensure();
	expect_in("postgres", "SELECT shobj_description('databricks_superuser'::regrole, 'pg_authid')",
	        "administrators of this branch; system objects, revision " SYSTEM_OBJECTS_REVISION);
	/* A newer version has left its own note: nothing is taken back. */
	run_in("postgres", "COMMENT ON ROLE databricks_superuser IS 'administrators of this branch; system "
	                   "objects, revision 4000'");
	run_in("postgres", "GRANT CONNECT ON DATABASE template1 TO PUBLIC");
	ensure();
	expect_in("postgres", "SELECT has_database_privilege('" ADMIN "', 'template1', 'CONNECT')", "t");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_template_has_them),
		cmocka_unit_test(an_older_branch_gets_them),
		cmocka_unit_test(roles_of_an_older_branch_get_their_markers),
		cmocka_unit_test(done_is_done),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
