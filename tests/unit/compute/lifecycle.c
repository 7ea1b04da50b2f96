/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "fixture.h"
#include "page_store/volume.h"

/* Starts endpoint and volume of one test, both named so; waits until it is ready. */
static struct supervised start_ready(const struct fixture *f, const struct spec_text *spec)
{
	spec_write(f, spec);
	struct supervised s = supervised_start(f, spec->uid);
	(void)supervised_wait(&s, "ready");
	return s;
}

/* The supervisor says "failed" with these words, durably, and exits with 1. */
static void fails_with(const struct fixture *f, const char *uid, const char *words)
{
	struct supervised s = supervised_start(f, uid);
	const char *line = NULL;
	while ((line = supervised_next(&s, 60000)) && !strstr(line, "\"state\":\"failed\"")) {
		if (strstr(line, "\"state\":\"ready\""))
			fail_msg("it got ready: %s", line);
	}
	if (!line || !strstr(line, words))
		fail_msg("\"%s\" does not say \"%s\"", line ? line : "nothing", words);
	CLEANUP(free_text) char *path = data_directory_path(f->dd, "computes/%s/last_exit.json", uid);
	CLEANUP(buffer_done) struct buffer last = { 0 };
	struct error err;
	must(file_read(path, 65536, &last, &err), &err);
	last.data[last.len - 1] = '\0'; /* the newline */
	assert_string_equal(last.data, line);
	int exit_status = supervised_end(&s);
	assert_true(WIFEXITED(exit_status) && WEXITSTATUS(exit_status) == 1);
}

static void starts_serves_and_stops(void **state)
{
	struct fixture *f = fixture_of(state);
	fixture_make_volume(f, "br-a");
	struct supervised s = start_ready(f, &(struct spec_text){ .uid = "ep-a", .volume = "br-a" });
	assert_non_null(strstr(s.line, "\"applied_revision\":1"));
	PGconn *connection = supervised_connect(&s, "admin@localhost");
	CLEANUP(free_text)
	char *owner =
	        value_of(connection, "SELECT r.rolname FROM pg_database d JOIN pg_roles r ON d.datdba = r.oid"
	                             " WHERE datname = 'databricks_postgres'");
	assert_string_equal(owner, "admin@localhost");
	CLEANUP(free_text)
	char *member =
	        value_of(connection, "SELECT pg_has_role('databricks_superuser', 'member') AND NOT rolsuper"
	                             " FROM pg_roles WHERE rolname = current_user");
	assert_string_equal(member, "t");
	CLEANUP(free_text) char *limit = value_of(connection, "SHOW max_connections");
	assert_string_equal(limit, "209");
	run(connection, "CREATE TABLE t (i int); INSERT INTO t VALUES (1)");
	PQfinish(connection);
	supervised_stop(&s);

	/* An ordinary wake runs no SQL. */
	s = start_ready(f, &(struct spec_text){ .uid = "ep-a", .volume = "br-a" });
	assert_non_null(strstr(s.line, "\"reconcile_ms\":0.0"));
	connection = supervised_connect(&s, "admin@localhost");
	CLEANUP(free_text) char *rows = value_of(connection, "SELECT count(*) FROM t");
	assert_string_equal(rows, "1");
	PQfinish(connection);

	/* SIGTERM is a suspension too. */
	assert_int_equal(kill(s.pid, SIGTERM), 0);
	assert_non_null(strstr(supervised_wait(&s, "stopped"), "\"reason\":\"requested\""));
	assert_int_equal(supervised_end(&s), 0);
	struct error err;
	must(volume_destroy(f->dd, "br-a", &err), &err);
}

static void what_cannot_start_says_why(void **state)
{
	struct fixture *f = fixture_of(state);
	struct error err;
	CLEANUP(free_text) char *missing = data_directory_path(f->dd, "computes/ep-b");
	must(folder_make(missing, 0711, &err), &err);
	fails_with(f, "ep-b", "spec.json");
	spec_write(f, &(struct spec_text){ .uid = "ep-b", .volume = "br-b" });
	fails_with(f, "ep-b", "does not exist");
	fixture_make_volume(f, "br-b");
	spec_write(f,
	        &(struct spec_text){ .uid = "ep-b", .volume = "br-b", .settings = "\"work_mem\":\"lots\"" });
	fails_with(f, "ep-b", "invalid value for parameter \\\"work_mem\\\": \\\"lots\\\"");
	spec_write(
	        f, &(struct spec_text){ .uid = "ep-b", .volume = "br-b", .settings = "\"nonsense\":\"1\"" });
	fails_with(f, "ep-b", "unrecognized configuration parameter \\\"nonsense\\\"");
	spec_write(f, &(struct spec_text){ .uid = "ep-b", .volume = "br-b", .settings = "\"port\":\"1\"" });
	fails_with(f, "ep-b", "managed by Tarn");
	spec_write(f, &(struct spec_text){ .uid = "ep-b",
	                      .volume = "br-b",
	                      .more = ",\"databases\":[{\"name\":\"d\",\"owner\":\"nobody\"}]" });
	fails_with(f, "ep-b", "role \\\"nobody\\\" does not exist");
	/* None of it has harmed the volume. */
	struct supervised s = start_ready(f, &(struct spec_text){ .uid = "ep-b", .volume = "br-b" });
	supervised_stop(&s);
	must(volume_destroy(f->dd, "br-b", &err), &err);
}

static void only_one_of_each(void **state)
{
	struct fixture *f = fixture_of(state);
	fixture_make_volume(f, "br-c");
	struct supervised s = start_ready(f, &(struct spec_text){ .uid = "ep-c", .volume = "br-c" });
	/* Another endpoint on the same volume */
	spec_write(f, &(struct spec_text){ .uid = "ep-d", .volume = "br-c" });
	fails_with(f, "ep-d", "in use");
	/* Another supervisor of the same endpoint: it must not touch the first one's socket or last words. */
	pid_t child = fork();
	if (child == 0) {
		(void)execl(getenv("TEST_SUPERVISOR"), "compute", "--data", f->dd->path, "--endpoint", "ep-c",
		        NULL);
		_exit(126);
	}
	int exit_status;
	assert_int_equal(waitpid(child, &exit_status, 0), child);
	assert_true(WIFEXITED(exit_status) && WEXITSTATUS(exit_status) == 1);
	PGconn *connection = supervised_connect(&s, "admin@localhost");
	run(connection, "SELECT 1");
	PQfinish(connection);
	supervised_stop(&s);
	struct error err;
	must(volume_destroy(f->dd, "br-c", &err), &err);
}

static void changes_are_applied_or_refused(void **state)
{
	struct fixture *f = fixture_of(state);
	fixture_make_volume(f, "br-e");
	struct supervised s = start_ready(f,
	        &(struct spec_text){ .uid = "ep-e", .volume = "br-e", .settings = "\"work_mem\":\"7MB\"" });
	/* Names with everything in them that could break out of a statement. */
	spec_write(
	        f, &(struct spec_text){ .uid = "ep-e",
	                   .volume = "br-e",
	                   .revision = 2,
	                   .settings = "\"work_mem\":\"9MB\"",
	                   .more = ",\"roles\":[{\"name\":\"x\\\"'; DROP ROLE y; -- ☃\",\"login\":true,"
	                           "\"replication\":true}],\"databases\":[{\"name\":\"a\\\" 'b' $1 \\\\ é\","
	                           "\"owner\":\"x\\\"'; DROP ROLE y; -- ☃\"}]" });
	supervised_order(&s, "apply");
	while (!strstr(supervised_wait(&s, "ready"), "\"applied_revision\":2"))
		continue;
	PGconn *connection = supervised_connect(&s, "x\"'; DROP ROLE y; -- ☃");
	CLEANUP(free_text) char *memory = value_of(connection, "SHOW work_mem");
	assert_string_equal(memory, "9MB");
	CLEANUP(free_text)
	char *database = value_of(connection,
	        "SELECT count(*) FROM pg_database WHERE datname = E'a\" \\'b\\' $1 \\\\ é'"
	        " AND pg_get_userbyid(datdba) = current_user");
	assert_string_equal(database, "1");

	/* Postgres does not take it: told once, and nothing has changed, also not on the disk (it would not start again). */
	spec_write(f, &(struct spec_text){ .uid = "ep-e",
	                      .volume = "br-e",
	                      .revision = 2,
	                      .settings = "\"work_mem\":\"many\"" });
	supervised_order(&s, "apply");
	assert_non_null(strstr(supervised_wait(&s, "ready"),
	        "\"reason\":\"setting \\\"work_mem\\\" cannot be \\\"many\\\""));
	CLEANUP(free_text) char *same = value_of(connection, "SHOW work_mem");
	assert_string_equal(same, "9MB");
	PQfinish(connection);
	assert_int_equal(kill(supervised_postgres(&s), SIGKILL), 0);
	(void)supervised_wait(&s, "starting");
	(void)supervised_wait(&s, "ready");
	supervised_stop(&s);
	struct error err;
	must(volume_destroy(f->dd, "br-e", &err), &err);
}

static void kills_lose_nothing(void **state)
{
	struct fixture *f = fixture_of(state);
	fixture_make_volume(f, "br-k");
	struct supervised s = start_ready(f, &(struct spec_text){ .uid = "ep-k", .volume = "br-k" });
	PGconn *connection = supervised_connect(&s, "admin@localhost");
	run(connection, "CREATE TABLE t (i int)");
	run(connection, "INSERT INTO t SELECT generate_series(1, 1000)");
	assert_int_equal(kill(supervised_postgres(&s), SIGKILL), 0);
	PQfinish(connection);
	assert_non_null(strstr(supervised_wait(&s, "starting"), "signal 9"));
	(void)supervised_wait(&s, "ready");
	connection = supervised_connect(&s, "admin@localhost");
	run(connection, "INSERT INTO t SELECT generate_series(1, 500)");
	PQfinish(connection);

	/* The supervisor: its Postgres goes with it, and the next one comes after it is gone. */
	pid_t orphan = supervised_postgres(&s);
	supervised_kill(&s);
	s = start_ready(f, &(struct spec_text){ .uid = "ep-k", .volume = "br-k" });
	CLEANUP(free_text) char *status_path = xasprintf("/proc/%d/cwd", (int)orphan);
	assert_int_equal(access(status_path, F_OK), -1); /* gone, or a zombie that nobody fetched */
	connection = supervised_connect(&s, "admin@localhost");
	CLEANUP(free_text) char *rows = value_of(connection, "SELECT count(*) FROM t");
	assert_string_equal(rows, "1500");
	PQfinish(connection);

	/* A Postgres that cannot hear its parent-death signal is not left running either. */
	orphan = supervised_postgres(&s);
	assert_int_equal(kill(orphan, SIGSTOP), 0);
	supervised_kill(&s);
	s = start_ready(f, &(struct spec_text){ .uid = "ep-k", .volume = "br-k" });
	supervised_stop(&s);
	struct error err;
	must(volume_destroy(f->dd, "br-k", &err), &err);
}

static double seconds_until_stopped(struct supervised *s)
{
	int64_t begun = clock_monotonic_usec();
	assert_non_null(strstr(supervised_wait(s, "stopped"), "\"reason\":\"inactive\""));
	assert_int_equal(supervised_end(s), 0);
	return (double)(clock_monotonic_usec() - begun) / 1e6;
}

/* No word within two timeouts and a half: it did not suspend. */
static void stays(struct supervised *s)
{
	const char *line = supervised_next(s, 2500);
	if (line)
		fail_msg("it did not stay: %s", line);
}

static void sleeps_only_when_nobody_uses_it(void **state)
{
	struct fixture *f = fixture_of(state);
	const struct spec_text spec = { .uid = "ep-s", .volume = "br-s", .suspend_timeout_sec = 1 };
	fixture_make_volume(f, "br-s");
	struct supervised s = start_ready(f, &spec);
	double seconds = seconds_until_stopped(&s);
	assert_true(seconds > 0.8 && seconds < 10);

	s = start_ready(f, &spec);
	PGconn *idle =
	        supervised_connect(&s, "admin@localhost"); /* stays connected: no reason to stay awake */
	run(idle, "SELECT 1");
	(void)seconds_until_stopped(&s);
	PQfinish(idle);

	s = start_ready(f, &spec);
	PGconn *connection = supervised_connect(&s, "admin@localhost");
	run(connection, "BEGIN");
	stays(&s);
	run(connection, "ROLLBACK");
	run(connection, "SELECT pg_sleep(3)"); /* would fail if it were cut off */
	PQfinish(connection);
	(void)seconds_until_stopped(&s);

	s = start_ready(f, &spec);
	CLEANUP(free_text) char *socket = supervised_socket(&s);
	const char *const names[] = { "host", "user", "dbname", "replication", NULL };
	const char *const values[] = { socket, "admin@localhost", "databricks_postgres", "database", NULL };
	PGconn *replication = PQconnectdbParams(names, values, 0);
	assert_int_equal(PQstatus(replication), CONNECTION_OK);
	stays(&s);
	PQfinish(replication);
	(void)seconds_until_stopped(&s);
	struct error err;
	must(volume_destroy(f->dd, "br-s", &err), &err);
}

static bool refuses(PGconn *connection, const char *statement)
{
	PGresult *result = PQexec(connection, statement);
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	bool is_refused = code && strcmp(code, "42501") == 0;
	PQclear(result);
	return is_refused;
}

static void members_create_extensions_and_others_do_not(void **state)
{
	struct fixture *f = fixture_of(state);
	if (!f->installation.has_extension_whitelist) {
		print_message("skipped: pgextwlist is not installed\n");
		skip();
	}
	fixture_make_volume(f, "br-x");
	struct supervised s = start_ready(f, &(struct spec_text){ .uid = "ep-x", .volume = "br-x" });
	PGconn *admin = supervised_connect(&s, "admin@localhost");
	/* A function of the tenant's that superuser scripts would run, if they looked names up in his schema. */
	run(admin, "CREATE SCHEMA trap; CREATE FUNCTION trap.format(text, regprocedure) RETURNS text "
	           "LANGUAGE sql"
	           " AS $$ SELECT 'ALTER ROLE \"admin@localhost\" SUPERUSER' $$;"
	           "SET search_path = trap, pg_catalog");
	run(admin, "CREATE EXTENSION amcheck SCHEMA trap");
	CLEANUP(free_text)
	char *is_super = value_of(admin, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user");
	assert_string_equal(is_super, "f");
	CLEANUP(free_text) char *path = value_of(admin, "SHOW search_path");
	assert_string_equal(path, "trap, pg_catalog");
	run(admin, "SELECT trap.bt_index_check('pg_class_oid_index')");
	run(admin, "RESET search_path");
	run(admin, "CREATE EXTENSION pg_stat_statements; SELECT pg_stat_statements_reset()");
	/* Where Postgres runs as Tarn's own user, "peer" would let these in as anybody. */
	if (f->dd->settings.postgres_user)
		run(admin,
		        "CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw");
	else
		assert_true(refuses(admin, "CREATE EXTENSION postgres_fdw") &&
		            refuses(admin, "CREATE EXTENSION dblink"));
	run(admin, "CREATE EXTENSION hstore"); /* trusted: without the whitelist */
	if (f->installation.has_vector)
		run(admin, "CREATE EXTENSION vector; SELECT '[1,2]'::vector");
	assert_true(refuses(admin, "CREATE EXTENSION file_fdw"));
	assert_true(refuses(admin, "CREATE EXTENSION pg_surgery"));

	run(admin, "CREATE ROLE app LOGIN");
	PGconn *app = supervised_connect(&s, "app");
	assert_true(refuses(app, "CREATE EXTENSION bloom"));
	assert_true(refuses(app, "DROP EXTENSION amcheck"));
	assert_true(refuses(app, "COMMENT ON EXTENSION amcheck IS 'mine'"));
	PQfinish(app);
	run(admin, "DROP EXTENSION amcheck");
	PQfinish(admin);
	supervised_stop(&s);
	struct error err;
	must(volume_destroy(f->dd, "br-x", &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_serves_and_stops),
		cmocka_unit_test(what_cannot_start_says_why),
		cmocka_unit_test(only_one_of_each),
		cmocka_unit_test(changes_are_applied_or_refused),
		cmocka_unit_test(kills_lose_nothing),
		cmocka_unit_test(sleeps_only_when_nobody_uses_it),
		cmocka_unit_test(members_create_extensions_and_others_do_not),
	};
	return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
