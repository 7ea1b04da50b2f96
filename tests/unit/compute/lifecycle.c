/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <yyjson.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/number.h"
#include "fixture.h"
#include "page_store/restore_point.h"
#include "page_store/volume.h"
#include "wal_store/wal_file.h"

/* Starts endpoint and volume of one test, both named so; waits until it is ready. */
static struct supervised start_ready(const struct cluster_fixture *f, const struct spec_text *spec)
{
	spec_write(f, spec);
	struct supervised s = supervised_start(f, spec->uid);
	(void)supervised_wait(&s, "ready");
	return s;
}

/* The supervisor says "failed" with these words, durably, and exits with 1. */
static void fails_with(const struct cluster_fixture *f, const char *uid, const char *words)
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
	struct cluster_fixture *f = cluster_of(state);
	cluster_make_volume(f, "br-a");
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
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	CLEANUP(free_text) char *missing = data_directory_path(f->dd, "computes/ep-b");
	must(folder_make(missing, 0711, &err), &err);
	fails_with(f, "ep-b", "spec.json");
	spec_write(f, &(struct spec_text){ .uid = "ep-b", .volume = "br-b" });
	fails_with(f, "ep-b", "does not exist");
	cluster_make_volume(f, "br-b");
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
	struct cluster_fixture *f = cluster_of(state);
	cluster_make_volume(f, "br-c");
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
	struct cluster_fixture *f = cluster_of(state);
	cluster_make_volume(f, "br-e");
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
	struct cluster_fixture *f = cluster_of(state);
	cluster_make_volume(f, "br-k");
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

static bool has_member(const char *line, const char *text)
{
	return line && strstr(line, text);
}

static bool is_alive(pid_t pid)
{
	CLEANUP(free_text) char *path = xasprintf("/proc/%d/exe", (int)pid);
	char target[8];
	return readlink(path, target, sizeof target) > 0; /* a zombie has no program */
}

/* Of a session that was open when the mount was lost: no answer may come from it any more. */
static bool gives_an_answer(PGconn *connection)
{
	PGresult *result = execute(connection, "SELECT count(*) FROM t");
	bool has_answer = PQresultStatus(result) == PGRES_TUPLES_OK;
	PQclear(result);
	return has_answer;
}

static void a_lost_mount_takes_its_postgres_along(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	cluster_make_volume(f, "br-m");
	struct supervised s = start_ready(f, &(struct spec_text){ .uid = "ep-m", .volume = "br-m" });
	PGconn *connection = supervised_connect(&s, "admin@localhost");
	run(connection, "CREATE TABLE t (i int)");
	for (int round = 1; round <= 3; round++) {
		run(connection, "INSERT INTO t SELECT generate_series(1, 1000)");
		CLEANUP(free_text) char *backend = value_of(connection, "SELECT pg_backend_pid()");
		pid_t postmaster = supervised_postgres(&s), pagefs = supervised_pagefs(&s);
		/* A stopped postmaster can end nobody: the supervisor must find the backends itself. */
		if (round == 2)
			assert_int_equal(kill(postmaster, SIGSTOP), 0);
		assert_int_equal(kill(pagefs, SIGKILL), 0);
		int64_t begun = clock_monotonic_usec();
		while (is_alive(postmaster) || is_alive((pid_t)atoi(backend))) {
			if (clock_monotonic_usec() - begun > 5 * USEC_PER_SEC)
				fail_msg("Postgres lives on a mount that is gone");
		}
		print_message(
		        "Postgres was dead after %.1f ms\n", (double)(clock_monotonic_usec() - begun) / 1e3);
		assert_false(gives_an_answer(connection));
		PQfinish(connection);
		(void)supervised_wait(&s, "starting");
		(void)supervised_wait(&s, "ready");
		assert_true(supervised_pagefs(&s) != pagefs);
		connection = supervised_connect(&s, "admin@localhost");
		CLEANUP(free_text) char *rows = value_of(connection, "SELECT count(*) FROM t");
		assert_int_equal(atoi(rows), round * 1000);
	}
	PQfinish(connection);
	/* Both at once, and then the supervisor, too. */
	assert_int_equal(kill(supervised_postgres(&s), SIGKILL), 0);
	assert_int_equal(kill(supervised_pagefs(&s), SIGKILL), 0);
	(void)supervised_wait(&s, "starting");
	(void)supervised_wait(&s, "ready");
	pid_t pagefs = supervised_pagefs(&s);
	supervised_kill(&s);
	s = start_ready(f, &(struct spec_text){ .uid = "ep-m", .volume = "br-m" });
	assert_false(is_alive(pagefs));
	connection = supervised_connect(&s, "admin@localhost");
	CLEANUP(free_text) char *rows = value_of(connection, "SELECT count(*) FROM t");
	assert_string_equal(rows, "3000");
	PQfinish(connection);
	supervised_stop(&s);
	struct error err;
	must(volume_destroy(f->dd, "br-m", &err), &err);
}

static void pause_ms(int ms)
{
	(void)nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000l }, NULL);
}

/* Whatever is going on in a start: the volume is let go of, and the exit is clean. */
static void a_suspend_may_come_at_any_moment(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	const struct spec_text spec = { .uid = "ep-z", .volume = "br-z" };
	cluster_make_volume(f, "br-z");
	spec_write(f, &spec);
	for (int ms = 0; ms < 240; ms += 15) {
		struct supervised s = supervised_start(f, "ep-z");
		pause_ms(ms);
		supervised_order(&s, "suspend");
		const char *line;
		do {
			line = supervised_next(&s, 60000);
			if (!line || has_member(line, "\"state\":\"failed\""))
				fail_msg("after %d ms: %s", ms, line ? line : "nothing");
		} while (!has_member(line, "\"state\":\"stopped\""));
		assert_int_equal(supervised_end(&s), 0);
	}
	struct supervised s = start_ready(f, &spec);
	supervised_stop(&s);
	struct error err;
	must(volume_destroy(f->dd, "br-z", &err), &err);
}

/* The page file system is killed somewhere in a start: the start is completed all the same. */
static void a_mount_may_be_lost_at_any_moment_of_a_start(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	const struct spec_text spec = { .uid = "ep-y", .volume = "br-y" };
	cluster_make_volume(f, "br-y");
	spec_write(f, &spec);
	for (int ms = 0; ms < 200; ms += 20) {
		struct supervised s = supervised_start(f, "ep-y");
		/* The first line that names it comes when Postgres has been started; sometimes that is too late to disturb. */
		const char *line;
		do {
			line = supervised_next(&s, 60000);
			assert_non_null(line);
		} while (!has_member(line, "\"pagefs_pid\""));
		pause_ms(ms);
		(void)kill(supervised_pagefs(&s), SIGKILL);
		pause_ms(300);
		do
			(void)supervised_wait(&s, "ready");
		while (!is_alive(supervised_pagefs(&s)));
		PGconn *connection = supervised_connect(&s, "admin@localhost");
		run(connection, "CREATE TABLE IF NOT EXISTS t (i int); INSERT INTO t VALUES (1)");
		PQfinish(connection);
		supervised_stop(&s);
	}
	struct supervised s = start_ready(f, &spec);
	PGconn *connection = supervised_connect(&s, "admin@localhost");
	CLEANUP(free_text) char *rows = value_of(connection, "SELECT count(*) FROM t");
	assert_string_equal(rows, "10");
	PQfinish(connection);
	supervised_stop(&s);
	struct error err;
	must(volume_destroy(f->dd, "br-y", &err), &err);
}

static uint64_t member_of(const char *line, const char *member)
{
	yyjson_doc *doc = yyjson_read(line, strlen(line), 0);
	yyjson_val *point = yyjson_obj_get(yyjson_doc_get_root(doc), "point");
	yyjson_val *value = yyjson_obj_get(point, member);
	uint64_t number = yyjson_get_uint(value);
	uint64_t lsn = 0;
	if (yyjson_is_str(value) &&
	        !lsn_parse((struct slice){ (const uint8_t *)yyjson_get_str(value), yyjson_get_len(value) },
	                &lsn))
		fail_msg("no LSN: %s", line);
	if (!value)
		fail_msg("no \"%s\" in %s", member, line);
	yyjson_doc_free(doc);
	return lsn ? lsn : number;
}

static uint64_t lsn_of(PGconn *connection, const char *statement)
{
	CLEANUP(free_text) char *text = value_of(connection, statement);
	uint64_t lsn;
	assert_true(lsn_parse(slice_from_text(text), &lsn));
	return lsn;
}

/* The points of a volume: how many, and the newest. */
static size_t newest_point(const struct cluster_fixture *f, const char *volume, struct restore_point *ret)
{
	CLEANUP(store_closep) struct store *store = NULL;
	struct error err;
	uint64_t *numbers;
	size_t count;
	must(store_open(f->dd, PROJECT, &store, &err), &err);
	must(restore_point_list(store, volume, &numbers, &count, &err), &err);
	must(restore_point_newest(store, volume, ret, &err), &err);
	free(numbers);
	return count;
}

/* Of br-o at the LSN, from its first point, with the 24 bytes of WAL at lost_lsn gone. */
static void clone_with_a_hole(const struct cluster_fixture *f, uint64_t lsn, uint64_t lost_lsn)
{
	static const char zeros[24];
	struct error err;
	struct restore_point point;
	struct store *store = NULL;
	CLEANUP(free_text) char *archive = data_directory_path(f->dd, "volumes/br-o/archive");
	must(store_open(f->dd, PROJECT, &store, &err), &err);
	must(restore_point_read(store, "br-o", 1, &point, &err), &err);
	store_close(store);
	const struct volume_clone clone = { .store = PROJECT,
		.id = "br-h",
		.point = &point,
		.lsn = lsn,
		.archive_path = archive,
		.source_timeline = 1,
		.timeline = 2 };
	must(volume_clone(f->dd, &clone, &err), &err);
	char name[WAL_FILE_NAME_MAX];
	wal_segment_name(1, lost_lsn / point.wal_segment_size, point.wal_segment_size, name);
	CLEANUP(free_text) char *segment = data_directory_path(f->dd, "volumes/br-h/wal/%s", name);
	CLEANUP(close_fd) int fd = open(segment, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, zeros, sizeof zeros, (off_t)(lost_lsn % point.wal_segment_size)), 24);
	restore_point_done(&point);
}

static uint64_t flushed(struct supervised *s, int id)
{
	const char *line = strstr(supervised_ask(s, "flush", id), "\"lsn\":\"");
	uint64_t lsn;
	assert_non_null(line);
	line += strlen("\"lsn\":\"");
	assert_true(lsn_parse((struct slice){ (const uint8_t *)line, strcspn(line, "\"") }, &lsn));
	return lsn;
}

/* Promoted in front of what it should have: it fails before anybody gets in, each time that it is started. */
static void a_clone_that_lacks_records_never_gets_ready(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	cluster_make_volume(f, "br-o");
	struct supervised s = start_ready(f, &(struct spec_text){ .uid = "ep-o", .volume = "br-o" });
	PGconn *connection = supervised_connect(&s, "admin@localhost");
	run(connection, "CREATE TABLE t (i int)");
	uint64_t lost_lsn = flushed(&s, 1);
	run(connection, "INSERT INTO t SELECT generate_series(1, 1000)");
	uint64_t lsn = flushed(&s, 2);
	PQfinish(connection);
	supervised_stop(&s);
	clone_with_a_hole(f, lsn, lost_lsn);
	spec_write(f, &(struct spec_text){ .uid = "ep-h", .volume = "br-h" });
	char lost[LSN_TEXT_MAX], wanted[LSN_TEXT_MAX];
	lsn_format(lost_lsn, lost);
	lsn_format(lsn, wanted);
	CLEANUP(free_text)
	char *words = xasprintf("branch volume \\\"br-h\\\" ended at LSN %s and not at LSN %s", lost, wanted);
	for (int i = 0; i < 2; i++) {
		fails_with(f, "ep-h", words);
		CLEANUP(free_text)
		char *history = data_directory_path(f->dd, "volumes/br-h/wal/00000003.history");
		assert_true(file_exists(history)); /* the second start has a promoted clone */
	}
	must(volume_destroy(f->dd, "br-h", &err), &err);
	must(volume_destroy(f->dd, "br-o", &err), &err);
}

static void points_and_flushes_are_answered(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	cluster_make_volume(f, "br-p");
	struct supervised s = start_ready(f, &(struct spec_text){ .uid = "ep-p", .volume = "br-p" });
	PGconn *connection = supervised_connect(&s, "admin@localhost");
	run(connection, "SET synchronous_commit = off; CREATE TABLE t (i int); INSERT INTO t VALUES (1)");
	uint64_t before = lsn_of(connection, "SELECT pg_current_wal_insert_lsn()");
	/* A commit that nobody has flushed is before the flush. */
	uint64_t flushed = member_of(supervised_ask(&s, "flush", 4711), "lsn");
	assert_true(flushed >= before);
	assert_true(lsn_of(connection, "SELECT pg_current_wal_flush_lsn()") >= flushed);
	assert_int_equal(member_of(s.line, "number"), 0);
	assert_int_equal(member_of(s.line, "timeline"), 1);

	run(connection, "INSERT INTO t VALUES (2)");
	before = lsn_of(connection, "SELECT pg_current_wal_insert_lsn()");
	int64_t asked_usec = clock_wall_usec();
	uint64_t number = member_of(supervised_ask(&s, "point", 1), "number");
	assert_true(member_of(s.line, "lsn") > before);
	assert_true((int64_t)member_of(s.line, "time_usec") >= asked_usec);
	struct restore_point point = { 0 };
	(void)newest_point(f, "br-p", &point);
	assert_int_equal(point.number, number);
	assert_int_equal(point.end_lsn, member_of(s.line, "lsn"));
	assert_true(point.redo_lsn >= before && point.redo_lsn < point.end_lsn);
	assert_false(point.is_shut_down || point.needs_hygiene);
	restore_point_done(&point);
	/* Nothing has happened since: the same one is the answer. */
	assert_int_equal(member_of(supervised_ask(&s, "point", 2), "number"), number);
	run(connection, "INSERT INTO t VALUES (3)");
	assert_int_equal(member_of(supervised_ask(&s, "point", 3), "number"), number + 1);

	/* What a clone must be rid of is seen. */
	PGconn *admin = supervised_connect(&s, "cloud_admin");
	run(admin, "CREATE SUBSCRIPTION s CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false)");
	(void)supervised_ask(&s, "point", 4);
	(void)newest_point(f, "br-p", &point);
	assert_true(point.needs_hygiene);
	restore_point_done(&point);
	PQfinish(admin);
	PQfinish(connection);
	supervised_stop(&s);
	size_t count = newest_point(f, "br-p", &point);
	assert_true(count >= 4 && point.is_shut_down && point.needs_hygiene);
	restore_point_done(&point);

	/* One who asks too early is told so. */
	s = supervised_start(f, "ep-p");
	assert_non_null(strstr(supervised_ask(&s, "point", 9), "\"code\":\"UNAVAILABLE\""));
	(void)supervised_wait(&s, "ready");
	supervised_stop(&s);
	struct error err;
	must(volume_destroy(f->dd, "br-p", &err), &err);
}

static void idle_suspends_do_not_pile_up(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	const struct spec_text spec = { .uid = "ep-i", .volume = "br-i" };
	cluster_make_volume(f, "br-i");
	struct supervised s = start_ready(f, &spec);
	PGconn *connection = supervised_connect(&s, "admin@localhost");
	run(connection, "CREATE TABLE t (i int); INSERT INTO t VALUES (1)");
	PQfinish(connection);
	supervised_stop(&s);
	struct restore_point used = { 0 }, idle = { 0 };
	size_t count = newest_point(f, "br-i", &used);
	CLEANUP(free_text) char *archive = data_directory_path(f->dd, "volumes/br-i/archive");
	int64_t space_before, space_after;
	struct error err;
	must(tree_space(archive, &space_before, &err), &err);
	for (int i = 0; i < 4; i++) {
		s = start_ready(f, &spec);
		supervised_stop(&s);
	}
	assert_int_equal(newest_point(f, "br-i", &idle), count);
	/* The last one is the newest, and as good for every moment since the rows were written. */
	assert_true(idle.end_lsn > used.end_lsn && idle.is_shut_down && !idle.needs_hygiene);
	assert_int_equal(idle.time_usec, used.time_usec);
	/* A segment for each, of which a few pages take space. */
	must(tree_space(archive, &space_after, &err), &err);
	assert_true(space_after - space_before < 4 * 65536);

	s = start_ready(f, &spec);
	connection = supervised_connect(&s, "admin@localhost");
	run(connection, "INSERT INTO t VALUES (2)");
	PQfinish(connection);
	supervised_stop(&s);
	restore_point_done(&used);
	assert_int_equal(newest_point(f, "br-i", &used), count + 1); /* nobody's work is thrown away */
	assert_true(used.time_usec > idle.time_usec);
	restore_point_done(&used);
	restore_point_done(&idle);
	must(volume_destroy(f->dd, "br-i", &err), &err);
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
	struct cluster_fixture *f = cluster_of(state);
	const struct spec_text spec = { .uid = "ep-s", .volume = "br-s", .suspend_timeout_sec = 1 };
	cluster_make_volume(f, "br-s");
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
	PGresult *result = execute(connection, statement);
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	bool is_refused = code && strcmp(code, "42501") == 0;
	PQclear(result);
	return is_refused;
}

static void members_create_extensions_and_others_do_not(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	if (!f->installation.has_extension_whitelist) {
		print_message("skipped: pgextwlist is not installed\n");
		skip();
	}
	cluster_make_volume(f, "br-x");
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
		cmocka_unit_test(a_lost_mount_takes_its_postgres_along),
		cmocka_unit_test(a_suspend_may_come_at_any_moment),
		cmocka_unit_test(a_mount_may_be_lost_at_any_moment_of_a_start),
		cmocka_unit_test(a_clone_that_lacks_records_never_gets_ready),
		cmocka_unit_test(points_and_flushes_are_answered),
		cmocka_unit_test(idle_suspends_do_not_pile_up),
		cmocka_unit_test(sleeps_only_when_nobody_uses_it),
		cmocka_unit_test(members_create_extensions_and_others_do_not),
	};
	return cmocka_run_group_tests(tests, cluster_set_up, cluster_tear_down);
}
