/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "compute/role_removal.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "compute/admin_connection.h"
#include "fixture.h"

#define ADMIN "admin@localhost"

static struct supervised compute;
static char *socket_folder;

static int set_up(void **state)
{
	int rc = one_compute_set_up(state, "r", &compute);
	if (rc == 0 && *state)
		socket_folder = supervised_socket(&compute);
	return rc;
}

static int tear_down(void **state)
{
	free(socket_folder);
	return one_compute_tear_down(state, &compute);
}

static PGconn *open_database(const char *database)
{
	struct error err;
	PGconn *connection = NULL;
	must(admin_connect(socket_folder, database, "test", &connection, &err), &err);
	return connection;
}

/* One after the other: some cannot be part of a transaction. */
static void run_in(const char *database, const char *statements)
{
	CLEANUP(admin_disconnect) PGconn *connection = open_database(database);
	CLEANUP(free_text) char *copy = xstrdup(statements);
	for (char *rest = copy, *statement; (statement = strsep(&rest, ";"));)
		run(connection, statement);
}

static void expect_in(const char *database, const char *statement, const char *expected)
{
	CLEANUP(admin_disconnect) PGconn *connection = open_database(database);
	CLEANUP(free_text) char *value = value_of(connection, statement);
	assert_string_equal(value, expected);
}

static void expect_role(const char *role, bool is_there)
{
	CLEANUP(free_text)
	char *statement = xasprintf("SELECT count(*) FROM pg_roles WHERE rolname = '%s'", role);
	expect_in("postgres", statement, is_there ? "1" : "0");
}

static void expect_ended(PGconn *session)
{
	PGresult *result = execute(session, "SELECT 1");
	assert_int_not_equal(PQresultStatus(result), PGRES_TUPLES_OK);
	PQclear(result);
	PQfinish(session);
}

static void who_owns_nothing_goes(void **state)
{
	(void)cluster_of(state);
	struct error err;
	run_in("postgres", "CREATE ROLE \"o'reilly \"\"x\"\"@example.com\" LOGIN");
	PGconn *session = supervised_connect(&compute, "o'reilly \"x\"@example.com");
	must(role_removal(socket_folder, "o'reilly \"x\"@example.com", NULL, &err), &err);
	expect_role("o''reilly \"x\"@example.com", false);
	/* Its sessions go with it, also those of a removal that a crash cut short. */
	expect_ended(session);
	run_in("postgres", "CREATE ROLE late LOGIN");
	session = supervised_connect(&compute, "late");
	run_in("postgres", "DROP ROLE late");
	must(role_removal(socket_folder, "late", NULL, &err), &err);
	expect_ended(session);
	must(role_removal(socket_folder, "late", ADMIN, &err), &err);
}

static void who_owns_something_stays_until_it_is_handed_over(void **state)
{
	(void)cluster_of(state);
	struct error err;
	run_in("postgres", "CREATE ROLE alice LOGIN CREATEROLE; CREATE ROLE bob; CREATE ROLE \"s\"\"ally\";"
	                   "CREATE DATABASE shop OWNER alice; CREATE DATABASE other; CREATE DATABASE closed "
	                   "ALLOW_CONNECTIONS false;"
	                   "GRANT CONNECT ON DATABASE other TO alice");
	run_in("shop", "SET ROLE alice; CREATE SCHEMA mine; CREATE TABLE mine.t (i int PRIMARY KEY); INSERT "
	               "INTO mine.t VALUES (7);"
	               "GRANT SELECT ON mine.t TO bob; CREATE FUNCTION mine.f() RETURNS int LANGUAGE sql AS "
	               "'SELECT 1';"
	               "CREATE TYPE mine.e AS ENUM ('a'); CREATE EXTENSION hstore SCHEMA mine;"
	               "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bob; CREATE PUBLICATION p FOR "
	               "TABLE mine.t;"
	               "SELECT lo_create(4711)");
	run_in("other", "CREATE TABLE public.seen (i int); GRANT SELECT ON public.seen TO alice;"
	                "ALTER TABLE public.seen ENABLE ROW LEVEL SECURITY; CREATE POLICY hers ON "
	                "public.seen TO alice USING "
	                "(true);"
	                "GRANT CREATE ON SCHEMA public TO alice; SET ROLE alice; CREATE TABLE public.\"Other "
	                "One\" (i int)");
	/* An administrator of a role has let somebody in. */
	run_in("postgres", "SET ROLE alice; CREATE ROLE team; GRANT team TO bob WITH INHERIT FALSE");

	assert_int_equal(role_removal(socket_folder, "alice", NULL, &err), STATUS_CONFLICT);
	assert_non_null(strstr(err.message, "cannot be dropped because some objects depend on it"));
	assert_true(err.hint[0]);
	expect_in("shop", "SELECT tableowner FROM pg_tables WHERE tablename = 't'", "alice");
	expect_in("postgres", "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'alice'", "t");

	static const struct {
		const char *role, *to;
		status code;
	} wrong[] = {
		{ "alice", "alice", STATUS_INVALID },
		{ "alice", "nobody", STATUS_NOT_FOUND },
		{ "alice", "cloud_admin", STATUS_INVALID },
		{ "alice", "databricks_superuser", STATUS_INVALID },
		{ "alice", "pg_monitor", STATUS_INVALID },
		{ "cloud_admin", "alice", STATUS_INVALID },
		{ "databricks_superuser", NULL, STATUS_INVALID },
		{ "pg_read_all_data", NULL, STATUS_INVALID },
	};
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(
		        role_removal(socket_folder, wrong[i].role, wrong[i].to, &err), wrong[i].code);
	expect_in("shop", "SELECT tableowner FROM pg_tables WHERE tablename = 't'", "alice");

	PGconn *session = supervised_connect(&compute, "alice");
	run(session, "BEGIN; CREATE TEMP TABLE held (i int)");
	must(role_removal(socket_folder, "alice", "s\"ally", &err), &err);
	PQfinish(session);
	expect_role("alice", false);
	static const char *const owners[] = {
		"SELECT datdba::regrole FROM pg_database WHERE datname = 'shop'",
		"SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'mine'",
		"SELECT relowner::regrole FROM pg_class WHERE relname = 't'",
		"SELECT proowner::regrole FROM pg_proc WHERE proname = 'f'",
		"SELECT typowner::regrole FROM pg_type WHERE typname = 'e'",
		"SELECT extowner::regrole FROM pg_extension WHERE extname = 'hstore'",
		"SELECT pubowner::regrole FROM pg_publication WHERE pubname = 'p'",
		"SELECT lomowner::regrole FROM pg_largeobject_metadata WHERE oid = 4711",
	};
	for (size_t i = 0; i < ARRAY_LEN(owners); i++)
		expect_in("shop", owners[i], "\"s\"\"ally\"");
	expect_in("shop", "SELECT i FROM mine.t", "7");
	expect_in("shop", "SELECT has_table_privilege('bob', 'mine.t', 'SELECT')", "t");
	expect_in("other", "SELECT relowner::regrole FROM pg_class WHERE relname = 'Other One'",
	        "\"s\"\"ally\"");
	expect_in("other", "SELECT count(*) FROM pg_policy", "0");
	expect_in("postgres",
	        "SELECT format('%s %s %s %s', grantor::regrole, admin_option, inherit_option, set_option) "
	        "FROM pg_auth_members"
	        " WHERE roleid = 'team'::regrole",
	        "cloud_admin f f t");
	must(role_removal(socket_folder, "alice", "s\"ally", &err), &err);
}

/* What the owner of a database has set for its sessions does not reach the supervisor's. */
static void a_database_cannot_lame_it(void **state)
{
	(void)cluster_of(state);
	struct error err;
	run_in("postgres", "CREATE ROLE carol; CREATE DATABASE trap OWNER carol; SET ROLE carol;"
	                   "ALTER DATABASE trap SET role = carol; ALTER DATABASE trap SET "
	                   "default_transaction_read_only = on;"
	                   "ALTER DATABASE trap SET local_preload_libraries = 'nowhere'; ALTER DATABASE trap "
	                   "SET search_path = 'x'");
	expect_in("trap", "SELECT current_user || ' ' || session_user", "cloud_admin cloud_admin");
	run_in("trap", "SET ROLE carol; CREATE TABLE public.t (i int)");
	must(role_removal(socket_folder, "carol", ADMIN, &err), &err);
	expect_in("trap", "SELECT tableowner FROM pg_tables WHERE tablename = 't'", ADMIN);
}

static void expect_untouched(const char *role)
{
	CLEANUP(free_text)
	char *statement = xasprintf(
	        "SELECT rolcanlogin AND rolconnlimit = -1 FROM pg_roles WHERE rolname = '%s'", role);
	expect_in("postgres", statement, "t");
}

/* Kills a removal that waits for a lock of ours. */
static void be_killed_in_a_removal(const char *role)
{
	static const char waiting[] = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
	CLEANUP(admin_disconnect) PGconn *connection = open_database("postgres");
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct error err;
		_exit(role_removal(socket_folder, role, ADMIN, &err) == STATUS_OK ? 0 : 1);
	}
	for (int64_t end = clock_monotonic_usec() + 30 * USEC_PER_SEC;;) {
		CLEANUP(free_text) char *count = value_of(connection, waiting);
		if (strcmp(count, "0") != 0)
			break;
		assert_true(clock_monotonic_usec() < end);
		(void)usleep(10000);
	}
	assert_int_equal(kill(child, SIGKILL), 0);
	int how = 0;
	assert_int_equal(waitpid(child, &how, 0), child);
	assert_true(WIFSIGNALED(how));
}

static void somebody_elses_lock_is_not_waited_for_long(void **state)
{
	(void)cluster_of(state);
	struct error err;
	run_in("postgres", "CREATE ROLE dave LOGIN; GRANT CREATE ON SCHEMA public TO dave; SET ROLE dave;"
	                   "CREATE TABLE public.busy (i int); GRANT SELECT ON public.busy TO PUBLIC");
	CLEANUP(admin_disconnect) PGconn *holder = open_database("postgres");
	run(holder, "BEGIN; SELECT FROM public.busy");
	assert_int_equal(role_removal(socket_folder, "dave", ADMIN, &err), STATUS_UNAVAILABLE);
	assert_non_null(strstr(err.message, "lock timeout"));
	expect_untouched("dave");
	/* However it ends: nothing has been taken from the role that somebody would have to give back. */
	be_killed_in_a_removal("dave");
	expect_untouched("dave");
	assert_int_equal(role_removal(socket_folder, "dave", ADMIN, &err), STATUS_UNAVAILABLE);
	expect_untouched("dave");
	run(holder, "ROLLBACK");
	must(role_removal(socket_folder, "dave", ADMIN, &err), &err);
	expect_role("dave", false);
	expect_in("postgres", "SELECT tableowner FROM pg_tables WHERE tablename = 'busy'", ADMIN);
}

/* DROP OWNED sees what was committed since REASSIGN did not. */
static void what_is_not_committed_yet_is_not_lost(void **state)
{
	(void)cluster_of(state);
	struct error err;
	run_in("databricks_postgres",
	        "CREATE ROLE erin; GRANT CREATE ON SCHEMA public TO erin; CREATE ROLE frank LOGIN; GRANT "
	        "erin TO frank");
	PGconn *friend = supervised_connect(&compute, "frank");
	run(friend, "BEGIN; SET ROLE erin; CREATE TABLE public.new (i int)");
	assert_int_equal(role_removal(socket_folder, "erin", ADMIN, &err), STATUS_UNAVAILABLE);
	assert_non_null(strstr(err.message, "that is to belong to role \"erin\""));
	/* Nobody else is held up while it waits. */
	run_in("databricks_postgres", "SET statement_timeout = '30s'; CREATE TABLE public.free (i int)");
	run(friend, "COMMIT");
	must(role_removal(socket_folder, "erin", ADMIN, &err), &err);
	expect_role("erin", false);
	expect_in("databricks_postgres", "SELECT tableowner FROM pg_tables WHERE tablename = 'new'", ADMIN);
	PQfinish(friend);
	must(role_removal(socket_folder, "frank", ADMIN, &err), &err);
}

#define TABLES 300

/* As a member of the role, until it is gone; says how many it made. */
static void make_tables(int answer)
{
	int made = 0;
	PGconn *connection = supervised_connect(&compute, "heidi");
	run(connection, "SET ROLE gina");
	for (int i = 0; i < TABLES; i++) {
		CLEANUP(free_text) char *statement = xasprintf("CREATE TABLE public.made_%d (i int)", i);
		PGresult *result = execute(connection, statement);
		bool is_made = PQresultStatus(result) == PGRES_COMMAND_OK;
		PQclear(result);
		if (!is_made)
			break;
		made++;
	}
	if (write(answer, &made, sizeof made) != sizeof made)
		_exit(1);
	PQfinish(connection);
	_exit(0);
}

static void what_is_created_meanwhile_is_handed_over_too(void **state)
{
	(void)cluster_of(state);
	struct error err;
	int answer[2], made = 0, how = 0;
	status st;
	run_in("databricks_postgres",
	        "CREATE ROLE gina; GRANT CREATE ON SCHEMA public TO gina; CREATE ROLE heidi LOGIN; GRANT "
	        "gina TO heidi");
	assert_int_equal(pipe(answer), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		make_tables(answer[1]);
	do { /* whoever creates all the time is told so */
		st = role_removal(socket_folder, "gina", ADMIN, &err);
	} while (st == STATUS_CONFLICT || st == STATUS_UNAVAILABLE);
	must(st, &err);
	assert_int_equal(waitpid(child, &how, 0), child);
	assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
	assert_int_equal(read(answer[0], &made, sizeof made), sizeof made);
	assert_int_equal(close(answer[0]), 0);
	assert_int_equal(close(answer[1]), 0);
	assert_true(made > 0);
	CLEANUP(free_text) char *expected = xasprintf("%d", made);
	expect_in("databricks_postgres",
	        "SELECT count(*) FROM pg_tables WHERE tablename ~ '^made_' AND tableowner = '" ADMIN "'",
	        expected);
	must(role_removal(socket_folder, "heidi", ADMIN, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_owns_nothing_goes),
		cmocka_unit_test(who_owns_something_stays_until_it_is_handed_over),
		cmocka_unit_test(a_database_cannot_lame_it),
		cmocka_unit_test(somebody_elses_lock_is_not_waited_for_long),
		cmocka_unit_test(what_is_not_committed_yet_is_not_lost),
		cmocka_unit_test(what_is_created_meanwhile_is_handed_over_too),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
