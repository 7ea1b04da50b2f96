/* Changes of roles and databases in a real Postgres: each once, whatever becomes of the answer (catalog_change.h). */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "compute/catalog_change.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "compute/admin_connection.h"
#include "fixture.h"

#define ADMIN "admin@localhost"
#define FIRST "00000000000000000000000000000001" /* operations */
#define NEXT  "00000000000000000000000000000002"

static struct supervised compute;
static char *socket_folder;

static int set_up(void **state)
{
	int rc = one_compute_set_up(state, "g", &compute);
	if (rc == 0 && *state)
		socket_folder = supervised_socket(&compute);
	return rc;
}

static int tear_down(void **state)
{
	free(socket_folder);
	return one_compute_tear_down(state, &compute);
}

static PGconn *connect_here(void)
{
	struct error err;
	PGconn *connection = NULL;
	must(admin_connect(socket_folder, "postgres", "test", &connection, &err), &err);
	return connection;
}

static void sql(const char *statement)
{
	CLEANUP(admin_disconnect) PGconn *connection = connect_here();
	run(connection, statement);
}

static void expect(const char *statement, const char *expected)
{
	CLEANUP(admin_disconnect) PGconn *connection = connect_here();
	CLEANUP(free_text) char *value = value_of(connection, statement);
	assert_string_equal(value, expected);
}

static const struct role_wish plain = { .name = "o'app", .login = true };

static void a_role_is_made_and_changed_once(void **state)
{
	(void)cluster_of(state);
	struct error err;
	static const char createdb[] = "SELECT rolcreatedb FROM pg_roles WHERE rolname = 'o''app'";
	must(catalog_create_role(socket_folder, &plain, FIRST, &err), &err);
	sql("ALTER ROLE \"o'app\" CREATEDB");
	must(catalog_create_role(socket_folder, &plain, FIRST, &err), &err);
	expect(createdb, "t");
	assert_int_equal(catalog_create_role(socket_folder, &plain, NEXT, &err), STATUS_EXISTS);
	/* One that failed is not noted: it can still be done. */
	sql("ALTER ROLE \"o'app\" RENAME TO other");
	must(catalog_create_role(socket_folder, &plain, NEXT, &err), &err);
	expect(createdb, "f");

	struct role_wish wish = plain;
	wish.createdb = true;
	must(catalog_alter_role(socket_folder, &wish, ROLE_CREATEDB, FIRST, &err), &err);
	expect(createdb, "t");
	sql("ALTER ROLE \"o'app\" NOCREATEDB");
	must(catalog_alter_role(socket_folder, &wish, ROLE_CREATEDB, FIRST, &err), &err);
	expect(createdb, "f");
	must(catalog_alter_role(socket_folder, &wish, ROLE_CREATEDB, NEXT, &err), &err);
	expect(createdb, "t");
	/* What has been done and is gone stays gone. */
	sql("DROP ROLE \"o'app\"");
	must(catalog_alter_role(socket_folder, &wish, ROLE_CREATEDB, NEXT, &err), &err);
	assert_int_equal(
	        catalog_alter_role(socket_folder, &wish, ROLE_CREATEDB, FIRST, &err), STATUS_NOT_FOUND);
	/* Where nobody is yet, what is there counts as done. */
	must(catalog_create_role(socket_folder, &plain, NULL, &err), &err);
	must(catalog_create_role(socket_folder, &wish, NULL, &err), &err);
	expect(createdb, "t");
	must(catalog_drop_role(socket_folder, "o'app", NULL, &err), &err);
	must(catalog_drop_role(socket_folder, "other", NULL, &err), &err);
}

static void a_database_has_the_oid_that_was_chosen(void **state)
{
	(void)cluster_of(state);
	struct error err;
	static const char oid[] = "SELECT oid FROM pg_database WHERE datname = 'sh''op'";
	must(catalog_create_database(socket_folder, "sh'op", ADMIN, OIDS_MAX, &err), &err);
	expect(oid, "2147483647");
	assert_int_equal(
	        catalog_create_database(socket_folder, "sh'op", ADMIN, OIDS_MIN, &err), STATUS_EXISTS);
	assert_int_equal(
	        catalog_create_database(socket_folder, "another", ADMIN, OIDS_MAX, &err), STATUS_UNAVAILABLE);
	must(catalog_drop_database(socket_folder, "sh'op", &err), &err);
	must(catalog_create_database(socket_folder, "sh'op", ADMIN, OIDS_MIN, &err), &err);
	expect(oid, "1073741824");
	sql("CREATE DATABASE plain");
	must(catalog_create_database(socket_folder, "plain", ADMIN, 0, &err), &err);
	expect("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'plain'", ADMIN);
	must(catalog_drop_database(socket_folder, "plain", &err), &err);
	must(catalog_drop_database(socket_folder, "sh'op", &err), &err);
}

static void a_database_is_changed_once_and_as_a_whole(void **state)
{
	(void)cluster_of(state);
	struct error err;
	static const char owner[] = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '%s'";
	CLEANUP(free_text) char *of_shop = xasprintf(owner, "shop");
	CLEANUP(free_text) char *of_third = xasprintf(owner, "third");
	sql("CREATE ROLE keeper");
	must(catalog_create_database(socket_folder, "shop", ADMIN, 0, &err), &err);
	sql("CREATE DATABASE taken");
	assert_int_equal(
	        catalog_alter_database(socket_folder, "shop", "taken", "keeper", FIRST, &err), STATUS_EXISTS);
	assert_int_equal(catalog_alter_database(socket_folder, "shop", "renamed", "nobody", FIRST, &err),
	        STATUS_NOT_FOUND);
	/* A rename that never can be had does not change the owner. */
	PGconn *holder = connect_here();
	run(holder, "BEGIN; LOCK TABLE pg_database IN SHARE ROW EXCLUSIVE MODE");
	assert_int_equal(catalog_alter_database(socket_folder, "shop", "renamed", "keeper", FIRST, &err),
	        STATUS_UNAVAILABLE);
	admin_disconnect(&holder);
	expect(of_shop, ADMIN);

	must(catalog_alter_database(socket_folder, "shop", "renamed", "keeper", FIRST, &err), &err);
	sql("ALTER DATABASE renamed RENAME TO third");
	must(catalog_alter_database(socket_folder, "third", "renamed", ADMIN, FIRST, &err), &err);
	expect(of_third, "keeper");
	must(catalog_alter_database(socket_folder, "third", NULL, ADMIN, NEXT, &err), &err);
	expect(of_third, ADMIN);
	must(catalog_drop_database(socket_folder, "third", &err), &err);
	must(catalog_drop_database(socket_folder, "taken", &err), &err);
	must(catalog_drop_role(socket_folder, "keeper", NULL, &err), &err);
}

/* ---- attempts that a crash left ---- */

static status attempt(int kind, struct error *err)
{
	const struct role_wish wish = { .name = "late", .login = true, .createdb = true };
	switch (kind) {
	case 0:
		return catalog_create_role(socket_folder, &wish, FIRST, err);
	case 1:
		return catalog_alter_role(socket_folder, &wish, ROLE_CREATEDB, FIRST, err);
	case 2:
		return catalog_create_database(socket_folder, "late", ADMIN, OIDS_MIN, err);
	case 3:
		return catalog_drop_role(socket_folder, "late", ADMIN, err);
	default:
		return catalog_drop_database(socket_folder, "late", err);
	}
}

/* Of what is locked it knows that it is held up. */
static pid_t begin_attempt(int kind)
{
	static const char waiting[] = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
	                              " AND application_name = '" CHANGE_APPLICATION "'";
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct error err;
		_exit(attempt(kind, &err) == STATUS_OK ? 0 : 1);
	}
	CLEANUP(admin_disconnect) PGconn *connection = connect_here();
	for (int64_t end = clock_monotonic_usec() + 30 * USEC_PER_SEC;;) {
		CLEANUP(free_text) char *count = value_of(connection, waiting);
		if (strcmp(count, "0") != 0)
			return child;
		assert_true(clock_monotonic_usec() < end);
		(void)usleep(10000);
	}
}

static void nothing_is_done_any_more_by_who_was_killed(void **state)
{
	(void)cluster_of(state);
	static const char *const locks[] = { "pg_authid", "pg_authid", "pg_database", "pg_shdepend",
		"pg_database" };
	static const char *const before[] = { "", "CREATE ROLE late LOGIN", "", "", "CREATE DATABASE late" };
	static const char *const checks[] = { "SELECT count(*) = 0 FROM pg_roles WHERE rolname = 'late'",
		"SELECT NOT rolcreatedb FROM pg_roles WHERE rolname = 'late'",
		"SELECT count(*) = 0 FROM pg_database WHERE datname = 'late'",
		"SELECT count(*) = 1 FROM pg_roles WHERE rolname = 'late'",
		"SELECT count(*) = 1 FROM pg_database WHERE datname = 'late'" };
	struct error err;
	for (int kind = 0; kind < 5; kind++) {
		if (before[kind][0])
			sql(before[kind]);
		CLEANUP(admin_disconnect) PGconn *holder = connect_here();
		CLEANUP(free_text)
		char *lock = xasprintf("BEGIN; LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE", locks[kind]);
		run(holder, lock);
		pid_t child = begin_attempt(kind);
		assert_int_equal(kill(child, SIGKILL), 0);
		assert_int_equal(waitpid(child, NULL, 0), child);
		must(catalog_end_attempts(socket_folder, &err), &err);
		run(holder, "COMMIT");
		expect(checks[kind], "t");
	}
	must(attempt(3, &err), &err);
	must(attempt(4, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_role_is_made_and_changed_once),
		cmocka_unit_test(a_database_has_the_oid_that_was_chosen),
		cmocka_unit_test(a_database_is_changed_once_and_as_a_whole),
		cmocka_unit_test(nothing_is_done_any_more_by_who_was_killed),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
