/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/number.h"
#include "base/program.h"
#include "cluster.h"
#include "compute/template.h"
#include "page_store/control_file.h"
#include "page_store/image.h"
#include "page_store/volume_record.h"
#include "page_store/volume_tree.h"
#include "wal_store/wal_archive.h"
#include "wal_store/wal_file.h"

#define must cluster_must

static char *volume_path(const struct cluster_fixture *f, const char *name)
{
	return data_directory_path(f->dd, "volumes/%s", name);
}

static bool has(const struct cluster_fixture *f, const char *name)
{
	CLEANUP(free_text) char *path = volume_path(f, name);
	return file_exists(path);
}

static status create(const struct cluster_fixture *f, const char *id, struct error *err)
{
	return volume_create(
	        f->dd, PROJECT, id, f->template_store, f->installation.bin_dir, f->installation.major, err);
}

static void destroy(const struct cluster_fixture *f, const char *id)
{
	struct error err;
	must(volume_destroy(f->dd, id, &err), &err);
}

static struct image *open_image(const struct cluster_fixture *f, const char *id, struct store **store)
{
	struct image *image = NULL;
	struct error err;
	must(store_open(f->dd, PROJECT, store, &err), &err);
	must(image_open(f->dd, *store, id, &image, &err), &err);
	return image;
}

static void close_image(struct image *image, struct store *store)
{
	struct error err;
	must(image_close(image, &err), &err);
	store_close(store);
}

static struct control_file control_of(const struct cluster_fixture *f, const char *id)
{
	struct store *store = NULL;
	struct image *image = open_image(f, id, &store);
	CLEANUP(buffer_done) struct buffer bytes = { 0 };
	struct control_file control;
	struct error err;
	must(volume_tree_read(image, "global/pg_control", CONTROL_FILE_BYTES, &bytes, &err), &err);
	must(control_file_parse(buffer_slice(&bytes), &control, &err), &err);
	close_image(image, store);
	return control;
}

/* How many layers there are, the template's left out. */
static size_t count_in(const struct cluster_fixture *f, const char *folder)
{
	CLEANUP(free_text) char *path = data_directory_path(f->dd, "stores/" PROJECT "/%s", folder);
	CLEANUP(free_text) char *command = xasprintf("ls -A %s 2>/dev/null | grep -vc '[.]lock$'", path);
	FILE *output = popen(command, "r");
	size_t count = 0;
	assert_non_null(output);
	assert_int_equal(fscanf(output, "%zu", &count), 1);
	(void)pclose(output);
	return count;
}

static void a_new_one_is_whole_and_unique(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	must(create(f, "br-a", &err), &err);
	must(create(f, "br-b", &err), &err);
	assert_int_equal(create(f, "br-a", &err), STATUS_EXISTS);
	struct control_file a = control_of(f, "br-a"), b = control_of(f, "br-b");
	assert_true(a.system_identifier != b.system_identifier);
	assert_int_equal(a.state, CONTROL_SHUT_DOWN);
	assert_int_equal(a.checksum_version, 1);
	assert_false(has(f, "br-a.new"));
	/* V6: what Postgres can write in is only its own folders. */
	struct stat st;
	CLEANUP(free_text) char *path = volume_path(f, "br-a");
	CLEANUP(free_text) char *archive = volume_path(f, "br-a/archive");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(stat(archive, &st), 0);
	assert_int_equal(st.st_uid, geteuid());
	/* Nothing of the template is copied: the layers have pg_control and their own records. */
	struct volume_usage usage;
	must(volume_usage(f->dd, "br-a", &usage, &err), &err);
	assert_in_range(usage.own_bytes, 1, 1 << 20);
	assert_in_range(usage.shared_bytes, 15 << 20, 200 << 20);
	assert_in_range(usage.logical_bytes, 15 << 20, 200 << 20);
	assert_int_equal(usage.wal_bytes, 16 << 20);
	assert_int_equal(volume_usage(f->dd, "br-none", &usage, &err), STATUS_NOT_FOUND);
	char store[STORE_ID_MAX + 1];
	must(volume_find_store(f->dd, "br-a", store, &err), &err);
	assert_string_equal(store, PROJECT);
	destroy(f, "br-a");
	destroy(f, "br-b");
	destroy(f, "br-b");
	assert_false(has(f, "br-a") || has(f, "br-a.dead"));
	assert_int_equal(count_in(f, "layers") + count_in(f, "stacks") + count_in(f, "points"), 0);
}

static void names_cannot_lead_astray(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	static const char *const names[] = { "", ".", "..", "../x", "a/b", "a.new", "A", "-a", "a b",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	struct restore_point point = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct error err;
		struct volume *volume;
		struct volume_usage usage;
		struct volume_clone clone = { .store = PROJECT, .id = names[i], .point = &point };
		assert_int_equal(create(f, names[i], &err), STATUS_INVALID);
		assert_int_equal(volume_open(f->dd, names[i], &volume, &err), STATUS_INVALID);
		assert_int_equal(volume_destroy(f->dd, names[i], &err), STATUS_INVALID);
		assert_int_equal(volume_usage(f->dd, names[i], &usage, &err), STATUS_INVALID);
		assert_int_equal(volume_clone(f->dd, &clone, &err), STATUS_INVALID);
		if (strcmp(names[i], "A") != 0)
			assert_int_equal(store_destroy(f->dd, names[i], &err), STATUS_INVALID);
	}
	struct error err;
	assert_int_equal(store_destroy(f->dd, f->template_store, &err), STATUS_INVALID);
}

/* Counts the complete volumes that a sweep tells of. */
static void count_volume(void *owner, const char *id)
{
	(void)id;
	if (owner)
		++*(int *)owner;
}

static void one_user_at_a_time(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	struct volume *volume = NULL, *second = NULL;
	must(create(f, "br-a", &err), &err);
	must(volume_open(f->dd, "br-a", &volume, &err), &err);
	assert_int_equal(volume_postgres_major(volume), f->installation.major);
	assert_int_equal(volume_recovery_timeline(volume), 0);
	assert_string_equal(volume_store(volume), PROJECT);
	assert_int_equal(volume_open(f->dd, "br-a", &second, &err), STATUS_CONFLICT);
	assert_int_equal(volume_destroy(f->dd, "br-a", &err), STATUS_CONFLICT);
	must(volume_sweep(f->dd, count_volume, NULL, &err), &err);
	assert_true(has(f, "br-a"));

	must(volume_set_applied_revision(volume, 41, &err), &err);
	volume = volume_close(volume);
	must(volume_open(f->dd, "br-a", &volume, &err), &err);
	assert_int_equal(volume_applied_revision(volume), 41);
	volume_close(volume);
	destroy(f, "br-a");
	assert_int_equal(volume_open(f->dd, "br-a", &volume, &err), STATUS_NOT_FOUND);
}

/* A holder that is killed lets go: the kernel drops the lease. */
static void a_dead_user_holds_nothing(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	struct volume *volume = NULL;
	int ends[2];
	char byte;
	must(create(f, "br-a", &err), &err);
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		if (volume_open(f->dd, "br-a", &volume, &err) != STATUS_OK || write(ends[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	assert_int_equal(volume_open(f->dd, "br-a", &volume, &err), STATUS_CONFLICT);
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
	must(volume_open(f->dd, "br-a", &volume, &err), &err);
	volume_close(volume);
	(void)close(ends[0]), (void)close(ends[1]);
	destroy(f, "br-a");
}

static void a_damaged_record_is_refused(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	struct volume *volume = NULL;
	must(create(f, "br-a", &err), &err);
	CLEANUP(free_text) char *path = xasprintf("%s/volumes/br-a", f->dd->path);
	struct volume_record record;
	must(volume_record_read(path, &record, &err), &err);
	memcpy(record.id, "br-other", 9);
	must(volume_record_write(path, &record, &err), &err);
	assert_int_equal(volume_open(f->dd, "br-a", &volume, &err), STATUS_CORRUPT);
	CLEANUP(free_text) char *file = xasprintf("%s/volume.json", path);
	assert_int_equal(truncate(file, 20), 0);
	assert_int_equal(volume_open(f->dd, "br-a", &volume, &err), STATUS_CORRUPT);
	/* It can be destroyed all the same; what its record would have told is found by the sweep. */
	destroy(f, "br-a");
	must(volume_sweep(f->dd, count_volume, NULL, &err), &err);
	assert_int_equal(count_in(f, "layers") + count_in(f, "stacks") + count_in(f, "points"), 0);
}

/* ---- clones ---- */

static status clone_at(const struct cluster_fixture *f, const char *from, const char *id,
        const struct restore_point *point, uint64_t lsn, uint32_t source_timeline, uint32_t timeline,
        struct error *err)
{
	CLEANUP(free_text) char *archive = data_directory_path(f->dd, "volumes/%s/archive", from);
	struct volume_clone clone = { .store = PROJECT,
		.id = id,
		.point = point,
		.lsn = lsn,
		.archive_path = archive,
		.source_timeline = source_timeline,
		.timeline = timeline };
	return volume_clone(f->dd, &clone, err);
}

/* The first points of new volumes: nothing was ever started, and all of it works. */
static void a_volume_that_never_ran_can_be_branched(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	cluster_make_volume(f, "br-a");
	struct restore_point point = cluster_newest_point(f, "br-a");
	assert_int_equal(point.number, 1);
	assert_true(point.is_shut_down);
	must(clone_at(f, "br-a", "br-b", &point, point.end_lsn, 1, 2, &err), &err);
	assert_int_equal(clone_at(f, "br-a", "br-b", &point, point.end_lsn, 1, 2, &err), STATUS_EXISTS);
	assert_int_equal(clone_at(f, "br-a", "br-c", &point, point.end_lsn - 1, 1, 2, &err), STATUS_INVALID);
	assert_int_equal(clone_at(f, "br-a", "br-c", &point, point.end_lsn, 1, 3, &err), STATUS_INVALID);
	assert_int_equal(clone_at(f, "br-a", "br-c", &point, point.end_lsn, 3, 2, &err), STATUS_INVALID);
	assert_false(has(f, "br-c") || has(f, "br-c.new"));
	struct control_file control = control_of(f, "br-b");
	assert_int_equal(control.state, CONTROL_IN_ARCHIVE_RECOVERY);
	assert_true(control.min_recovery_lsn == point.end_lsn && control.min_recovery_timeline == 1);
	restore_point_done(&point);

	struct postgres postgres;
	cluster_export(f, "br-b");
	postgres_start(f, "br-b", &postgres);
	CLEANUP(free_text)
	char *timeline = postgres_ask(&postgres, "SELECT timeline_id FROM pg_control_checkpoint();");
	assert_string_equal(timeline, "3");
	postgres_do(&postgres, "CREATE TABLE t AS SELECT generate_series(1, 100) AS i;");
	postgres_stop(&postgres);
	destroy(f, "br-a"); /* the clone does not need it */
	postgres_start(f, "br-b", &postgres);
	CLEANUP(free_text) char *count = postgres_ask(&postgres, "SELECT count(*) FROM t;");
	assert_string_equal(count, "100");
	postgres_stop(&postgres);
	destroy(f, "br-b");
	assert_int_equal(count_in(f, "layers") + count_in(f, "stacks") + count_in(f, "points"), 0);
}

/* The row counts of branches at three positions, and of a branch of a branch at positions on both sides of its fork. */
static void a_position_is_opened_as_it_was(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	struct postgres postgres;
	cluster_make_volume(f, "br-a");
	cluster_export(f, "br-a");
	postgres_start(f, "br-a", &postgres);
	uint64_t lsn[4];
	postgres_do(&postgres, "CREATE TABLE t (i int);");
	for (int i = 0; i < 3; i++) {
		postgres_do(&postgres, "INSERT INTO t SELECT generate_series(1, 1000);");
		lsn[i] = postgres_flushed(&postgres);
		if (i == 1)
			postgres_do(&postgres, "SELECT pg_switch_wal();"); /* over the border of a segment */
	}
	postgres_do(&postgres, "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'prepared';");
	lsn[3] = postgres_flushed(&postgres);
	postgres_kill(&postgres);
	struct restore_point point = cluster_newest_point(f, "br-a");
	uint32_t timeline = 2;
	for (int i = 0; i < 4; i++, timeline += 2) {
		char expected[16];
		(void)snprintf(expected, sizeof expected, "%d", i < 3 ? 1000 * (i + 1) : 3000);
		/* Also three bytes into the record behind: what is not whole did not happen. */
		uint64_t at = lsn[i] + (i == 2 ? 3 : 0);
		must(clone_at(f, "br-a", "br-b", &point, at, 1, timeline, &err), &err);
		cluster_export(f, "br-b");
		postgres_start(f, "br-b", &postgres);
		CLEANUP(free_text) char *count = postgres_ask(&postgres, "SELECT count(*) FROM t;");
		assert_string_equal(count, expected);
		if (i < 3) {
			postgres_kill(&postgres);
			destroy(f, "br-b");
		}
	}
	timeline -= 2; /* of br-b, which runs on the next one */
	CLEANUP(free_text)
	char *prepared = postgres_ask(&postgres, "SELECT count(*) FROM pg_prepared_xacts;");
	assert_string_equal(prepared, "1");
	postgres_do(&postgres, "INSERT INTO t SELECT generate_series(1, 500);");
	uint64_t child_lsn = postgres_flushed(&postgres);
	postgres_kill(&postgres);
	restore_point_done(&point);
	destroy(f, "br-a"); /* the clone has all that its branches need */

	point = cluster_newest_point(f, "br-b");
	assert_int_equal(point.number, 1);
	assert_string_equal(point.volume_id, "br-b");
	static const char *const counts[] = { "1000", "3500" };
	for (int i = 0; i < 2; i++) {
		must(clone_at(f, "br-b", "br-c", &point, i == 0 ? lsn[0] : child_lsn, timeline + 1,
		             timeline + 2, &err),
		        &err);
		cluster_export(f, "br-c");
		postgres_start(f, "br-c", &postgres);
		CLEANUP(free_text) char *count = postgres_ask(&postgres, "SELECT count(*) FROM t;");
		assert_string_equal(count, counts[i]);
		CLEANUP(free_text)
		char *now = postgres_ask(&postgres, "SELECT timeline_id FROM pg_control_checkpoint();");
		char expected[16];
		(void)snprintf(expected, sizeof expected, "%u", timeline + 3);
		assert_string_equal(now, expected);
		postgres_kill(&postgres);
		destroy(f, "br-c");
	}
	restore_point_done(&point);
	destroy(f, "br-b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_one_is_whole_and_unique),
		cmocka_unit_test(names_cannot_lead_astray),
		cmocka_unit_test(one_user_at_a_time),
		cmocka_unit_test(a_dead_user_holds_nothing),
		cmocka_unit_test(a_damaged_record_is_refused),
		cmocka_unit_test(a_volume_that_never_ran_can_be_branched),
		cmocka_unit_test(a_position_is_opened_as_it_was),
	};
	cmocka_set_test_filter(getenv("TEST_FILTER"));
	return cmocka_run_group_tests(tests, cluster_set_up, cluster_tear_down);
}
