/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/system_user.h"
#include "compute/branching.h"
#include "fixture.h"
#include "page_store/volume.h"

static struct supervised start_ready(const struct fixture *f, const struct spec_text *spec)
{
	spec_write(f, spec);
	struct supervised s = supervised_start(f, spec->uid);
	(void)supervised_wait(&s, "ready");
	return s;
}

static struct branching_result clone_of(
        const struct supervised *parent, const char *parent_id, const char *id, uint32_t timeline)
{
	struct error err;
	struct branching_result result = { 0 };
	CLEANUP(free_text) char *socket = supervised_socket(parent);
	must(branching_clone(parent->fixture->dd, parent_id, socket, id, timeline, &result, &err), &err);
	return result;
}

static void is_value(PGconn *connection, const char *statement, const char *expected)
{
	CLEANUP(free_text) char *value = value_of(connection, statement);
	assert_string_equal(value, expected);
}

static void destroy(const struct fixture *f, const char *id)
{
	struct error err;
	must(volume_destroy(f->dd, id, &err), &err);
}

/* Inserts rows one by one, each its own transaction, and counts what was acknowledged. */
struct writer {
	pthread_t thread;
	const struct supervised *parent;
	int number;
	atomic_int acknowledged;
	atomic_bool must_stop;
	bool has_failed;
};

static void *write_rows(void *arg)
{
	struct writer *writer = arg;
	PGconn *connection = supervised_connect(writer->parent, "admin@localhost");
	CLEANUP(free_text)
	char *statement =
	        xasprintf("INSERT INTO t (writer, filler) VALUES (%d, repeat('x', 200))", writer->number);
	while (!atomic_load(&writer->must_stop)) {
		PGresult *result = PQexec(connection, statement);
		writer->has_failed = writer->has_failed || PQresultStatus(result) != PGRES_COMMAND_OK;
		PQclear(result);
		atomic_fetch_add(&writer->acknowledged, 1);
	}
	PQfinish(connection);
	return NULL;
}

#define WRITERS 4

static void every_acknowledged_row_is_in_the_branch(void **state)
{
	struct fixture *f = fixture_of(state);
	fixture_make_volume(f, "br-a");
	struct supervised parent = start_ready(f, &(struct spec_text){ .uid = "ep-a", .volume = "br-a" });
	PGconn *connection = supervised_connect(&parent, "admin@localhost");
	run(connection, "CREATE TABLE t (id bigserial PRIMARY KEY, writer int, filler text);"
	                "CREATE UNLOGGED TABLE u (i int); INSERT INTO u VALUES (1)");
	struct writer writers[WRITERS] = { 0 };
	for (int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ .parent = &parent, .number = i };
		assert_int_equal(pthread_create(&writers[i].thread, NULL, write_rows, &writers[i]), 0);
	}
	for (uint32_t round = 1; round <= 2; round++) {
		CLEANUP(free_text) char *id = xasprintf("br-b%u", round);
		int before[WRITERS];
		for (int i = 0; i < WRITERS; i++) {
			while ((before[i] = atomic_load(&writers[i].acknowledged)) < 50 * (int)round)
				(void)sched_yield();
		}
		(void)clone_of(&parent, "br-a", id, 2 * round);
		struct supervised branch = start_ready(f, &(struct spec_text){ .uid = "ep-b", .volume = id });
		PGconn *there = supervised_connect(&branch, "admin@localhost");
		for (int i = 0; i < WRITERS; i++) {
			CLEANUP(free_text)
			char *statement = xasprintf("SELECT count(*) FROM t WHERE writer = %d", i);
			CLEANUP(free_text) char *count = value_of(there, statement);
			if (atoi(count) < before[i])
				fail_msg("writer %d: %s rows of %d", i, count, before[i]);
		}
		is_value(there, "SELECT count(*) = (SELECT count(DISTINCT id) FROM t) FROM t", "t");
		is_value(there, "SELECT count(*) FROM u", "0"); /* unlogged: documented */
		CLEANUP(free_text) char *timeline = xasprintf("%u", 2 * round + 1);
		PGconn *root = supervised_connect(&branch, "cloud_admin");
		is_value(root, "SELECT timeline_id FROM pg_control_checkpoint()", timeline);
		is_value(root, "SELECT count(*) FROM pg_replication_slots", "0");
		run(root, "CREATE EXTENSION IF NOT EXISTS amcheck");
		is_value(root,
		        "SELECT count(*) FROM (SELECT bt_index_check(indexrelid, true) FROM pg_index i"
		        " JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam"
		        " WHERE amname = 'btree' AND relpersistence = 'p') x WHERE false",
		        "0");
		is_value(root,
		        "SELECT count(*) FROM pg_class c, verify_heapam(c.oid) WHERE relkind = 'r'"
		        " AND relpersistence = 'p'",
		        "0");
		PQfinish(root);
		PQfinish(there);
		supervised_stop(&branch);
		destroy(f, id);
	}
	for (int i = 0; i < WRITERS; i++) {
		atomic_store(&writers[i].must_stop, true);
		assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
		assert_false(writers[i].has_failed);
	}
	is_value(connection, "SELECT count(*) FROM pg_replication_slots", "0");
	PQfinish(connection);
	supervised_stop(&parent);
	destroy(f, "br-a");
}

static void branches_go_their_own_ways(void **state)
{
	struct fixture *f = fixture_of(state);
	fixture_make_volume(f, "br-a");
	struct supervised parent = start_ready(f, &(struct spec_text){ .uid = "ep-a", .volume = "br-a" });
	PGconn *a = supervised_connect(&parent, "admin@localhost");
	run(a, "CREATE TABLE t (name text); INSERT INTO t VALUES ('both')");
	struct branching_result result = clone_of(&parent, "br-a", "br-b", 2);
	assert_true(result.lsn > 0 && result.wall_usec > 0);
	run(a, "INSERT INTO t VALUES ('parent')");
	struct supervised child = start_ready(f, &(struct spec_text){ .uid = "ep-b", .volume = "br-b" });
	PGconn *b = supervised_connect(&child, "admin@localhost");
	is_value(b, "SELECT string_agg(name, ' ') FROM t", "both");
	run(b, "INSERT INTO t VALUES ('child')");

	/* A branch of the branch has both histories behind it. */
	(void)clone_of(&child, "br-b", "br-c", 4);
	struct supervised grandchild = start_ready(f, &(struct spec_text){ .uid = "ep-c", .volume = "br-c" });
	PGconn *c = supervised_connect(&grandchild, "admin@localhost");
	is_value(c, "SELECT string_agg(name, ' ') FROM t", "both child");
	PQfinish(c);
	CLEANUP(buffer_done) struct buffer history = { 0 };
	CLEANUP(free_text) char *path = data_directory_path(f->dd, "volumes/br-c/wal/00000005.history");
	struct error err;
	must(file_read(path, 10000, &history, &err), &err);
	const char *first = strstr(history.data, "branch of br-a"),
	           *second = strstr(history.data, "branch of br-b");
	assert_true(first && second && first < second);
	supervised_stop(&grandchild);
	grandchild = start_ready(f, &(struct spec_text){ .uid = "ep-c", .volume = "br-c" });
	supervised_stop(&grandchild);

	is_value(a, "SELECT string_agg(name, ' ') FROM t", "both parent");
	is_value(b, "SELECT string_agg(name, ' ') FROM t", "both child");
	PQfinish(a);
	PQfinish(b);

	/* What exists is not made again, and what is not even is refused. */
	CLEANUP(free_text) char *socket = supervised_socket(&parent);
	assert_int_equal(branching_clone(f->dd, "br-a", socket, "br-b", 6, &result, &err), STATUS_EXISTS);
	assert_int_equal(branching_clone(f->dd, "br-a", socket, "br-d", 7, &result, &err), STATUS_INVALID);
	/* The socket of another compute than the parent's */
	CLEANUP(free_text) char *other = supervised_socket(&child);
	assert_int_equal(branching_clone(f->dd, "br-a", other, "br-d", 8, &result, &err), STATUS_INTERNAL);
	CLEANUP(free_text) char *half = data_directory_path(f->dd, "volumes/br-d.new");
	assert_false(file_exists(half));
	supervised_stop(&child);
	supervised_stop(&parent);
	assert_int_equal(
	        branching_clone(f->dd, "br-a", socket, "br-d", 8, &result, &err), STATUS_UNAVAILABLE);
	assert_false(file_exists(half));
	destroy(f, "br-a"), destroy(f, "br-b"), destroy(f, "br-c");
}

static void a_branch_leaves_its_parents_outside_life_alone(void **state)
{
	struct fixture *f = fixture_of(state);
	const char *settings = "\"max_prepared_transactions\":\"5\"";
	fixture_make_volume(f, "br-a");
	struct supervised parent =
	        start_ready(f, &(struct spec_text){ .uid = "ep-a", .volume = "br-a", .settings = settings });
	PGconn *root = supervised_connect(&parent, "cloud_admin");
	CLEANUP(free_text) char *socket = supervised_socket(&parent);
	run(root, "SELECT pg_create_logical_replication_slot('consumer', 'pgoutput')");
	CLEANUP(free_text)
	char *subscribe =
	        xasprintf("CREATE SUBSCRIPTION \"su'b\" CONNECTION 'host=%s dbname=postgres user=cloud_admin'"
	                  " PUBLICATION nothing WITH (connect = false, slot_name = 'consumer')",
	                socket);
	run(root, subscribe);
	run(root, "ALTER SUBSCRIPTION \"su'b\" ENABLE");
	run(root,
	        "CREATE TABLE p (i int); BEGIN; INSERT INTO p VALUES (1); PREPARE TRANSACTION 'it''s open'");

	(void)clone_of(&parent, "br-a", "br-b", 2);
	/* The branch's own settings would be too small for the prepared transaction (T15). */
	struct supervised branch = start_ready(f, &(struct spec_text){ .uid = "ep-b", .volume = "br-b" });
	PGconn *there = supervised_connect(&branch, "cloud_admin");
	is_value(there, "SELECT subenabled OR subslotname IS NOT NULL FROM pg_subscription", "f");
	is_value(there, "SELECT count(*) FROM pg_prepared_xacts", "0");
	is_value(there, "SELECT count(*) FROM pg_replication_slots", "0");
	is_value(
	        there, "SHOW max_logical_replication_workers", "4"); /* the second start is an ordinary one */
	run(there, "DROP SUBSCRIPTION \"su'b\"");
	PQfinish(there);
	supervised_stop(&branch);
	CLEANUP(free_text) char *log_path = data_directory_path(f->dd, "computes/ep-b/postgres.log");
	CLEANUP(buffer_done) struct buffer log = { 0 };
	struct error err;
	must(file_read(log_path, 1 << 20, &log, &err), &err);
	assert_null(strstr(log.data, "apply worker"));

	is_value(root, "SELECT subenabled FROM pg_subscription", "t");
	is_value(root, "SELECT count(*) FROM pg_prepared_xacts", "1");
	is_value(root, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'consumer'", "1");
	run(root, "ALTER SUBSCRIPTION \"su'b\" DISABLE");
	run(root, "ROLLBACK PREPARED 'it''s open'");

	/* Tablespaces are outside of the volume (T18). */
	char outside[] = "/tmp/tarn-unit-ts-XXXXXX";
	assert_non_null(mkdtemp(outside));
	struct system_user user;
	must(system_user_find(f->dd->settings.postgres_user, &user, &err), &err);
	must(tree_give_to(outside, user.uid, user.gid, &err), &err);
	CLEANUP(free_text) char *make_space = xasprintf("CREATE TABLESPACE outside LOCATION '%s'", outside);
	run(root, make_space);
	struct branching_result result;
	assert_int_equal(
	        branching_clone(f->dd, "br-a", socket, "br-t", 4, &result, &err), STATUS_UNSUPPORTED);
	assert_non_null(strstr(err.message, "tablespace"));
	run(root, "DROP TABLESPACE outside");
	is_value(root, "SELECT count(*) FROM pg_replication_slots", "1");
	PQfinish(root);
	supervised_stop(&parent);
	must(tree_remove(outside, &err), &err);
	destroy(f, "br-a"), destroy(f, "br-b");
}

/* Kills supervisor and Postgres at many moments of the first start: the branch ends on its own timeline, with all rows. */
static void killed_during_recovery_and_promotion(void **state)
{
	struct fixture *f = fixture_of(state);
	fixture_make_volume(f, "br-a");
	struct supervised parent = start_ready(f, &(struct spec_text){ .uid = "ep-a", .volume = "br-a" });
	PGconn *connection = supervised_connect(&parent, "admin@localhost");
	run(connection, "CREATE TABLE t AS SELECT generate_series(1, 10000) AS i");
	(void)clone_of(&parent, "br-a", "br-b", 10);
	PQfinish(connection);
	supervised_stop(&parent);
	spec_write(f, &(struct spec_text){ .uid = "ep-b", .volume = "br-b" });
	for (int round = 0; round < 14; round++) {
		struct supervised s = supervised_start(f, "ep-b");
		const char *line = supervised_next(&s, 60000);
		struct timespec pause_time = { .tv_nsec = 15000000L * round };
		(void)nanosleep(&pause_time, NULL); /* the moment is the subject of the test */
		if (line && strstr(line, "postgres_pid"))
			(void)kill(supervised_postgres(&s), SIGKILL);
		supervised_kill(&s);
	}
	struct supervised s = supervised_start(f, "ep-b");
	(void)supervised_wait(&s, "ready");
	PGconn *root = supervised_connect(&s, "cloud_admin");
	is_value(root, "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)", "0000000B");
	is_value(root, "SELECT count(*) FROM t", "10000");
	PQfinish(root);
	supervised_stop(&s);
	destroy(f, "br-a"), destroy(f, "br-b");
}

static void copying_keeps_the_parent_awake(void **state)
{
	struct fixture *f = fixture_of(state);
	fixture_make_volume(f, "br-a");
	struct supervised parent = start_ready(
	        f, &(struct spec_text){ .uid = "ep-a", .volume = "br-a", .suspend_timeout_sec = 4 });
	/* Longer than the timeout, with gaps that stay below it even on a busy machine. */
	int64_t until = clock_monotonic_usec() + 6 * USEC_PER_SEC;
	uint32_t count = 0;
	while (clock_monotonic_usec() < until) {
		count++;
		CLEANUP(free_text) char *id = xasprintf("br-c%u", count);
		(void)clone_of(&parent, "br-a", id, 2 * count);
		destroy(f, id);
	}
	assert_true(count > 0);
	(void)supervised_wait(&parent, "stopped");
	assert_int_equal(supervised_end(&parent), 0);
	destroy(f, "br-a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_acknowledged_row_is_in_the_branch),
		cmocka_unit_test(branches_go_their_own_ways),
		cmocka_unit_test(a_branch_leaves_its_parents_outside_life_alone),
		cmocka_unit_test(killed_during_recovery_and_promotion),
		cmocka_unit_test(copying_keeps_the_parent_awake),
	};
	return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
