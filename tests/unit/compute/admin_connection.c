/* Statements of the supervisor and of control: what Postgres answers, and that a Postgres that does not answer holds nobody. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "compute/admin_connection.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "compute/inventory.h"
#include "fixture.h"

#define LARGE  (12 << 20)
#define SOON   (200 * 1000) /* microseconds */
#define LATEST (30 * USEC_PER_SEC)

static struct supervised compute;
static char *socket_folder;

static int set_up(void **state)
{
	int rc = one_compute_set_up(state, "c", &compute);
	if (rc == 0 && *state)
		socket_folder = supervised_socket(&compute);
	return rc;
}

static int tear_down(void **state)
{
	free(socket_folder);
	return one_compute_tear_down(state, &compute);
}

static PGconn *connect_as(const char *application)
{
	struct error err;
	PGconn *connection = NULL;
	must(admin_connect(socket_folder, "postgres", application, &connection, &err), &err);
	return connection;
}

static pid_t backend_of(PGconn *connection)
{
	CLEANUP(free_text) char *pid = value_of(connection, "SELECT pg_backend_pid()");
	return (pid_t)atol(pid);
}

static void await_gone(const char *application)
{
	CLEANUP(admin_disconnect) PGconn *connection = connect_as("looker");
	CLEANUP(free_text)
	char *ask =
	        xasprintf("SELECT count(*) FROM pg_stat_activity WHERE application_name = '%s'", application);
	for (int64_t end = clock_monotonic_usec() + LATEST;;) {
		CLEANUP(free_text) char *count = value_of(connection, ask);
		if (strcmp(count, "0") == 0)
			return;
		assert_true(clock_monotonic_usec() < end);
		(void)usleep(50000);
	}
}

static void what_is_asked_is_answered(void **state)
{
	(void)cluster_of(state);
	struct error err;
	CLEANUP(admin_disconnect) PGconn *connection = connect_as("test");
	CLEANUP(admin_clear) PGresult *rows = NULL;
	must(admin_query(connection, "SELECT 1; SELECT 2 AS b UNION SELECT 3 ORDER BY b", &rows, &err), &err);
	assert_int_equal(PQntuples(rows), 2);
	assert_string_equal(PQgetvalue(rows, 1, 0), "3");
	must(admin_query(connection, "", NULL, &err) == STATUS_OK ? STATUS_INTERNAL : STATUS_OK, &err);
	/* What a statement did before the one that fails is not told; the next one has nothing of it. */
	assert_int_equal(
	        admin_query(connection, "SELECT 1; SELECT 1/0; SELECT 3", NULL, &err), STATUS_UNAVAILABLE);
	assert_non_null(strstr(err.message, "division by zero"));
	assert_int_equal(err.sys_errno, 0);
	assert_int_equal(
	        admin_query(connection, "CREATE ROLE databricks_superuser", NULL, &err), STATUS_EXISTS);
	assert_int_equal(admin_run_on(connection, "DROP ROLE ", "no \"one\"", NULL, NULL, NULL, &err),
	        STATUS_NOT_FOUND);
	CLEANUP(admin_clear) PGresult *value = NULL;
	must(admin_query_with(
	             connection, "SELECT $1 || $2", (const char *const[]){ "a'", "b" }, 2, &value, &err),
	        &err);
	assert_string_equal(PQgetvalue(value, 0, 0), "a'b");
}

/* More than the socket takes at once, in both directions. */
static void large_ones_are_answered_too(void **state)
{
	(void)cluster_of(state);
	struct error err;
	CLEANUP(admin_disconnect) PGconn *connection = connect_as("test");
	CLEANUP(buffer_done) struct buffer statement = { 0 };
	CLEANUP(admin_clear) PGresult *rows = NULL;
	char *text = xcalloc(1, LARGE + 1);
	memset(text, 'x', LARGE);
	buffer_printf(&statement, "SELECT '%s'", text);
	must(admin_query(connection, statement.data, &rows, &err), &err);
	assert_string_equal(PQgetvalue(rows, 0, 0), text);
	free(text);
}

/* Postgres was stopped, or hangs on its disk. */
static void one_that_is_silent_is_given_up(void **state)
{
	(void)cluster_of(state);
	struct error err;
	CLEANUP(admin_disconnect) PGconn *connection = connect_as("silent");
	pid_t pid = backend_of(connection);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	int64_t begin = clock_monotonic_usec();
	status st = admin_query_within(connection, SOON, "SELECT 1", NULL, &err);
	int64_t took = clock_monotonic_usec() - begin;
	int later = admin_query(connection, "SELECT 2", NULL, &(struct error){ 0 }) == STATUS_OK;
	assert_int_equal(kill(pid, SIGCONT), 0);
	assert_int_equal(st, STATUS_UNAVAILABLE);
	assert_int_equal(err.sys_errno, ETIMEDOUT);
	assert_string_equal(err.message, "Postgres did not answer within 200 ms");
	assert_in_range(took, SOON, LATEST);
	/* Its late answer is nobody's. */
	assert_int_equal(later, 0);
	assert_int_equal(admin_query(connection, "SELECT 3", NULL, &err), STATUS_UNAVAILABLE);
	await_gone("silent");
}

static void nothing_goes_on_that_nobody_waits_for(void **state)
{
	(void)cluster_of(state);
	struct error err;
	CLEANUP(admin_disconnect) PGconn *connection = connect_as("sleeper");
	assert_int_equal(admin_query_within(connection, SOON, "SELECT pg_sleep(3600)", NULL, &err),
	        STATUS_UNAVAILABLE);
	assert_int_equal(err.sys_errno, ETIMEDOUT);
	await_gone("sleeper");
	/* Nor when the client just goes, as in a crash. */
	CLEANUP(admin_disconnect) PGconn *other = connect_as("sleeper");
	assert_int_equal(PQsendQuery(other, "SELECT pg_sleep(3600)"), 1);
	while (PQflush(other) > 0)
		;
	admin_disconnect(&other);
	await_gone("sleeper");
}

static void one_that_is_gone_is_told_at_once(void **state)
{
	(void)cluster_of(state);
	struct error err;
	CLEANUP(admin_disconnect) PGconn *connection = connect_as("victim");
	pid_t pid = backend_of(connection);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		(void)usleep(300000);
		_exit(kill(pid, SIGTERM) == 0 ? 0 : 1);
	}
	assert_int_equal(admin_query(connection, "SELECT pg_sleep(3600)", NULL, &err), STATUS_UNAVAILABLE);
	assert_int_equal(err.sys_errno, 0);
	assert_non_null(strstr(err.message, "terminating connection"));
	assert_int_equal(admin_query(connection, "SELECT 1", NULL, &err), STATUS_UNAVAILABLE);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

/* The kept session is not asked twice. */
static void an_inventory_of_a_silent_one_takes_one_deadline(void **state)
{
	(void)cluster_of(state);
	struct error err;
	CLEANUP(inventory_done) struct inventory inventory = { 0 };
	struct inventory_session *session = inventory_session_create(socket_folder);
	must(inventory_session_take(session, &inventory, &err), &err);
	inventory_done(&inventory);
	CLEANUP(admin_disconnect) PGconn *connection = connect_as("looker");
	CLEANUP(free_text)
	char *pid = value_of(connection,
	        "SELECT max(pid) FROM pg_stat_activity WHERE query = 'COMMIT'"
	        " AND application_name = '" ADMIN_APPLICATION "' AND usename = 'cloud_admin'");
	assert_int_equal(kill((pid_t)atol(pid), SIGSTOP), 0);
	int64_t begin = clock_monotonic_usec();
	status st = inventory_session_take(session, &inventory, &err);
	int64_t took = clock_monotonic_usec() - begin;
	assert_int_equal(kill((pid_t)atol(pid), SIGCONT), 0);
	assert_int_equal(st, STATUS_UNAVAILABLE);
	assert_non_null(strstr(err.message, "did not answer within 30000 ms"));
	assert_in_range(took, ADMIN_PATIENCE, 2 * ADMIN_PATIENCE - 1);
	must(inventory_session_take(session, &inventory, &err), &err);
	(void)inventory_session_free(session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_asked_is_answered),
		cmocka_unit_test(large_ones_are_answered_too),
		cmocka_unit_test(one_that_is_silent_is_given_up),
		cmocka_unit_test(nothing_goes_on_that_nobody_waits_for),
		cmocka_unit_test(one_that_is_gone_is_told_at_once),
		cmocka_unit_test(an_inventory_of_a_silent_one_takes_one_deadline),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
