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
#include "page_store/retention.h"
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
	/* A snapshot of a moment behind the point goes to that moment. */
	struct store *store = NULL;
	struct restore_point later = point, kept;
	CLEANUP(free_text) char *archive = volume_path(f, "br-a/archive");
	CLEANUP(free_text)
	char *kept_wal = data_directory_path(f->dd, "stores/" PROJECT "/snapshots/snap-l/wal");
	later.end_lsn = lsn[1];
	later.is_shut_down = false;
	later.needs_hygiene = true;
	must(store_open(f->dd, PROJECT, &store, &err), &err);
	must(snapshot_create(store, "snap-l", &later, archive, &err), &err);
	must(snapshot_read(store, "snap-l", &kept, &err), &err);
	assert_true(kept.end_lsn == lsn[1] && kept.needs_hygiene && !kept.is_shut_down);
	struct volume_clone of_snapshot = { .store = PROJECT,
		.id = "br-s",
		.point = &kept,
		.lsn = kept.end_lsn,
		.archive_path = kept_wal,
		.source_timeline = 1,
		.timeline = 100 };
	must(volume_clone(f->dd, &of_snapshot, &err), &err);
	cluster_export(f, "br-s");
	postgres_start(f, "br-s", &postgres);
	CLEANUP(free_text) char *kept_count = postgres_ask(&postgres, "SELECT count(*) FROM t;");
	assert_string_equal(kept_count, "2000");
	postgres_kill(&postgres);
	destroy(f, "br-s");
	must(snapshot_remove(store, "snap-l", &err), &err);
	restore_point_done(&kept);
	store_close(store);

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

/* ---- what a clone refuses and repairs ---- */

static void touch(const struct cluster_fixture *f, const char *name)
{
	struct error err;
	CLEANUP(free_text) char *path = volume_path(f, name);
	struct system_user user;
	must(system_user_find(f->dd->settings.postgres_user, &user, &err), &err);
	must(file_replace_durably(path, slice_from_text("left over"), 0600, &err), &err);
	assert_int_equal(chown(path, user.uid, user.gid), 0);
}

/*
 * V4: a promotion cut off by a crash. What it wrote of its timeline is gone from wal/ and from the archive, where it would get in the way of
 * what the next attempt writes.
 */
static void a_promotion_cut_off_is_repaired(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	cluster_make_volume(f, "br-a");
	struct restore_point point = cluster_newest_point(f, "br-a");
	must(clone_at(f, "br-a", "br-b", &point, point.end_lsn, 1, 2, &err), &err);
	for (int has_signal = 0; has_signal < 2; has_signal++) {
		cluster_export(f, "br-b");
		char segment[WAL_FILE_NAME_MAX];
		wal_segment_name(3, point.end_lsn / point.wal_segment_size, point.wal_segment_size, segment);
		CLEANUP(free_text) char *wal = volume_path(f, "br-b/wal");
		CLEANUP(free_text) char *archive = volume_path(f, "br-b/archive");
		CLEANUP(free_text) char *in_wal = xasprintf("br-b/wal/%s", segment);
		CLEANUP(free_text) char *archived = xasprintf("br-b/archive/%s", segment);
		touch(f, in_wal);
		touch(f, "br-b/wal/00000003.history");
		size_t linked = 0;
		must(wal_archive_update(wal, archive, &linked, &err), &err);
		assert_int_equal(linked, 2);
		CLEANUP(free_text) char *signal_path = volume_path(f, "br-b/data/recovery.signal");
		if (!has_signal)
			assert_int_equal(unlink(signal_path), 0);

		struct volume *volume = NULL;
		struct volume_start start;
		must(volume_open(f->dd, "br-b", &volume, &err), &err);
		must(volume_plan_start(volume, &start, &err), &err);
		volume_close(volume);
		assert_int_equal(start.recovery_timeline, 2);
		assert_true(file_exists(signal_path));
		assert_false(has(f, in_wal) || has(f, archived) || has(f, "br-b/wal/00000003.history") ||
		             has(f, "br-b/archive/00000003.history"));
		assert_true(has(f, "br-b/wal/00000002.history") && has(f, "br-b/archive/00000002.history"));
	}
	struct postgres postgres;
	postgres_start(f, "br-b", &postgres);
	(void)postgres_flushed(&postgres); /* takes timeline 3 into the archive */
	assert_true(has(f, "br-b/archive/00000003.history"));
	postgres_kill(&postgres);
	/* Promoted: from now on an ordinary start, that touches nothing. */
	struct volume *volume = NULL;
	struct volume_start start;
	must(volume_open(f->dd, "br-b", &volume, &err), &err);
	must(volume_plan_start(volume, &start, &err), &err);
	volume_close(volume);
	assert_int_equal(start.recovery_timeline, 0);
	assert_true(has(f, "br-b/archive/00000003.history"));
	postgres_start(f, "br-b", &postgres);
	postgres_stop(&postgres);
	restore_point_done(&point);
	destroy(f, "br-a");
	destroy(f, "br-b");
}

/* A point of br-a, whose image `change` has changed. */
static struct restore_point point_with(
        const struct cluster_fixture *f, void (*change)(struct image *image, const struct system_user *user))
{
	struct store *store = NULL;
	struct image *image = open_image(f, "br-a", &store);
	struct error err;
	struct system_user user;
	struct image_cut cut;
	must(system_user_find(f->dd->settings.postgres_user, &user, &err), &err);
	change(image, &user);
	must(image_cut(image, &cut, &err), &err);
	close_image(image, store);
	struct restore_point point = cluster_newest_point(f, "br-a");
	free(point.layers);
	point.layers = cut.layers;
	point.layer_count = cut.layer_count;
	must(store_open(f->dd, PROJECT, &store, &err), &err);
	must(restore_point_add(store, &point, &err), &err);
	store_close(store);
	return point;
}

static void add_tablespace(struct image *image, const struct system_user *user)
{
	struct error err;
	must(volume_tree_make_link(image, "pg_tblspc/16500", "/elsewhere", user->uid, user->gid, &err), &err);
}

static void damage_control(struct image *image, const struct system_user *user)
{
	struct error err;
	must(volume_tree_remove(image, "pg_tblspc/16500", &err), &err);
	must(volume_tree_write(
	             image, "global/pg_control", slice_from_text("nonsense"), user->uid, user->gid, &err),
	        &err);
}

static void link_control(struct image *image, const struct system_user *user)
{
	struct error err;
	must(volume_tree_remove(image, "global/pg_control", &err), &err);
	must(volume_tree_make_link(image, "global/pg_control", "/etc/shadow", user->uid, user->gid, &err),
	        &err);
}

static void what_cannot_be_branched_leaves_nothing(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	static const struct {
		void (*change)(struct image *image, const struct system_user *user);
		status expected;
	} cases[] = {
		{ add_tablespace, STATUS_UNSUPPORTED },
		{ damage_control, STATUS_CORRUPT },
		{ link_control, STATUS_CORRUPT },
	};
	cluster_make_volume(f, "br-a");
	struct restore_point good = cluster_newest_point(f, "br-a");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err;
		struct restore_point point = point_with(f, cases[i].change);
		size_t layers = count_in(f, "layers"), stacks = count_in(f, "stacks");
		assert_int_equal(
		        clone_at(f, "br-a", "br-b", &point, point.end_lsn, 1, 2, &err), cases[i].expected);
		assert_false(has(f, "br-b") || has(f, "br-b.new"));
		assert_int_equal(count_in(f, "layers"), layers);
		assert_int_equal(count_in(f, "stacks"), stacks);
		/* WAL that is not there is told by name. */
		assert_int_equal(clone_at(f, "br-a", "br-b", &good, good.end_lsn + (64 << 20), 1, 2, &err),
		        STATUS_NOT_FOUND);
		assert_non_null(strstr(err.message, "0000000100000000"));
		assert_false(has(f, "br-b") || has(f, "br-b.new"));
		restore_point_done(&point);
	}
	restore_point_done(&good);
	destroy(f, "br-a");
}

/* What pg_basebackup leaves out is not in a clone; what the image has besides is. */
static void add_remains(struct image *image, const struct system_user *user)
{
	struct error err;
	struct stat st;
	static const char *const files[] = { "postmaster.pid", "postmaster.opts", "standby.signal",
		"backup_label", "tablespace_map", "pg_replslot/slot/state", "pg_notify/0000",
		"pg_stat_tmp/global.tmp", "pg_snapshots/1", "pg_stat/kept" };
	assert_int_equal(image_resolve(image, "pg_replslot", &st), 0);
	assert_int_equal(
	        image_make(image, st.st_ino, "slot", S_IFDIR | 0700, 0, user->uid, user->gid, &st), 0);
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		must(volume_tree_write(image, files[i], slice_from_text("x"), user->uid, user->gid, &err),
		        &err);
}

static void a_clone_has_nothing_of_its_sources_life(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	cluster_make_volume(f, "br-a");
	struct restore_point point = point_with(f, add_remains);
	must(clone_at(f, "br-a", "br-b", &point, point.end_lsn, 1, 2, &err), &err);
	restore_point_done(&point);
	cluster_export(f, "br-b");
	static const char *const gone[] = { "postmaster.pid", "postmaster.opts", "standby.signal",
		"backup_label", "tablespace_map", "pg_replslot/slot", "pg_notify/0000",
		"pg_stat_tmp/global.tmp", "pg_snapshots/1" };
	static const char *const there[] = { "recovery.signal", "pg_stat/kept", "pg_replslot", "pg_notify",
		"PG_VERSION", "pg_wal/00000002.history", "base/pgsql_tmp/." };
	for (size_t i = 0; i < ARRAY_LEN(gone); i++) {
		CLEANUP(free_text) char *path = xasprintf("br-b/data/%s", gone[i]);
		if (has(f, path))
			fail_msg("\"%s\" is in the clone", gone[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(there); i++) {
		CLEANUP(free_text) char *path = xasprintf("br-b/data/%s", there[i]);
		if (!has(f, path))
			fail_msg("\"%s\" is not in the clone", there[i]);
	}
	destroy(f, "br-a");
	destroy(f, "br-b");
}

/* ---- crashes ---- */

/* Runs `work` in a child that is killed at one of many moments; false: it came to its end first. */
static bool run_killed(
        const struct cluster_fixture *f, int (*work)(const struct cluster_fixture *f), long delay_usec)
{
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(work(f));
	struct timespec pause_time = { .tv_sec = delay_usec / 1000000,
		.tv_nsec = delay_usec % 1000000 * 1000 };
	(void)nanosleep(&pause_time, NULL); /* the moment is the subject of the test */
	(void)kill(child, SIGKILL);
	int exit_status;
	assert_int_equal(waitpid(child, &exit_status, 0), child);
	if (WIFEXITED(exit_status) && WEXITSTATUS(exit_status) != 0)
		fail_msg("the child failed with %d", WEXITSTATUS(exit_status));
	return WIFSIGNALED(exit_status);
}

static int create_k(const struct cluster_fixture *f)
{
	struct error err;
	return create(f, "br-k", &err) == STATUS_OK ? 0 : 1;
}

static int clone_k(const struct cluster_fixture *f)
{
	struct error err;
	struct restore_point point = cluster_newest_point(f, "br-a");
	return clone_at(f, "br-a", "br-k", &point, point.end_lsn, 1, 2, &err) == STATUS_OK ? 0 : 1;
}

static int destroy_k(const struct cluster_fixture *f)
{
	struct error err;
	return volume_destroy(f->dd, "br-k", &err) == STATUS_OK ? 0 : 1;
}

static bool every_layer_is_named(const struct cluster_fixture *f, size_t layers, size_t stacks)
{
	return count_in(f, "layers") == layers && count_in(f, "stacks") == stacks &&
	       count_in(f, "garbage") == 0;
}

/* After a kill and a sweep: there and good, or not there and nothing left; all others untouched. */
static void check_after_kill(
        const struct cluster_fixture *f, bool may_be_there, size_t other_layers, size_t other_stacks)
{
	struct error err;
	int complete = 0;
	bool was_there = has(f, "br-k");
	must(volume_sweep(f->dd, count_volume, &complete, &err), &err);
	assert_int_equal(complete, 1 + was_there);
	assert_int_equal(has(f, "br-k"), was_there); /* a complete volume is never swept away */
	assert_false(has(f, "br-k.new") || has(f, "br-k.dead"));
	assert_true(may_be_there || !was_there);
	if (was_there) {
		struct volume *volume = NULL;
		must(volume_open(f->dd, "br-k", &volume, &err), &err);
		volume_close(volume);
		struct restore_point point = cluster_newest_point(f, "br-k");
		assert_int_equal(point.number, 1);
		restore_point_done(&point);
		(void)control_of(f, "br-k"); /* opens the image */
		destroy(f, "br-k");
	}
	if (!every_layer_is_named(f, other_layers, other_stacks))
		fail_msg("%zu layers instead of %zu, %zu stacks instead of %zu", count_in(f, "layers"),
		        other_layers, count_in(f, "stacks"), other_stacks);
	assert_int_equal(control_of(f, "br-a").state, CONTROL_SHUT_DOWN);
}

static void killed_at_any_moment(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	static int (*const works[])(const struct cluster_fixture *f) = { create_k, clone_k, destroy_k };
	struct error err;
	cluster_make_volume(f, "br-a");
	(void)control_of(f, "br-a");
	size_t layers = count_in(f, "layers"), stacks = count_in(f, "stacks");
	for (size_t i = 0; i < ARRAY_LEN(works); i++) {
		int cut = 0, rounds = 0;
		/* Until it comes to its end, or it was cut often enough. */
		for (long delay = 200; rounds < 14; delay += delay / 2, rounds++) {
			if (works[i] == destroy_k)
				cluster_make_volume(f, "br-k");
			bool was_cut = run_killed(f, works[i], delay);
			cut += was_cut;
			check_after_kill(f, works[i] != destroy_k || was_cut, layers, stacks);
			if (!was_cut)
				break;
		}
		print_message("%d of %d cut off\n", cut, rounds + 1);
		assert_true(cut > 0);
		must(volume_destroy(f->dd, "br-k", &err), &err);
	}
	/* In the way of nobody: the same name can be made. */
	cluster_make_volume(f, "br-k");
	destroy(f, "br-k");
	destroy(f, "br-a");
}

/* Guards against this: an older metadata.db put back made the sweep delete the newest databases. */
static void the_sweep_takes_only_remains(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	must(create(f, "br-a", &err), &err);
	static const char *const remains[] = { "br-y.new", "br-z.dead", "br-a.new" };
	for (size_t i = 0; i < ARRAY_LEN(remains); i++) {
		CLEANUP(free_text) char *folder = volume_path(f, remains[i]);
		CLEANUP(free_text) char *inside = xasprintf("%s/data", folder);
		must(folder_make(folder, 0700, &err), &err);
		must(folder_make(inside, 0700, &err), &err);
	}
	CLEANUP(free_text) char *foreign = volume_path(f, "Not.Ours");
	CLEANUP(free_text) char *dead_store = data_directory_path(f->dd, "stores/project-z.dead");
	must(folder_make(foreign, 0700, &err), &err);
	must(folder_make(dead_store, 0700, &err), &err);
	int complete = 0;
	must(volume_sweep(f->dd, count_volume, &complete, &err), &err);
	assert_int_equal(complete, 1);
	for (size_t i = 0; i < ARRAY_LEN(remains); i++)
		assert_false(has(f, remains[i]));
	assert_true(has(f, "br-a") && has(f, "Not.Ours"));
	assert_false(file_exists(dead_store));
	assert_int_equal(control_of(f, "br-a").state, CONTROL_SHUT_DOWN);
	must(tree_remove(foreign, &err), &err);
	destroy(f, "br-a");
}

/* A disk on which a volume does not fit: a clear error, and nothing is left behind. */
static void a_full_disk_leaves_nothing_behind(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	CLEANUP(free_text) char *volumes = data_directory_path(f->dd, "volumes");
	if (mount("tarn-unit", volumes, "tmpfs", 0, "size=24m,mode=0711") < 0) {
		print_message("skipped: cannot mount a small disk: %s\n", strerror(errno));
		skip();
	}
	struct error first = { 0 }, second = { 0 };
	status st_first = create(f, "br-a", &first);
	status st_second = create(f, "br-b", &second);
	bool is_clean = !has(f, "br-b") && !has(f, "br-b.new");
	size_t stacks = count_in(f, "stacks");
	if (st_first == STATUS_OK)
		destroy(f, "br-a");
	size_t layers = count_in(f, "layers");
	assert_int_equal(umount(volumes), 0);
	cluster_must(st_first, &first);
	if (st_second != STATUS_NO_SPACE)
		fail_msg("status %d: %s", (int)st_second, second.message);
	assert_true(is_clean);
	assert_int_equal(stacks, 1);
	assert_int_equal(layers, 0);
}

/* ---- space and history ---- */

static int64_t du(const struct cluster_fixture *f, const char *paths)
{
	/* -s: each file once, however many links it has. */
	CLEANUP(free_text)
	char *command = xasprintf("cd %s && du -sck --block-size=512 %s | tail -1", f->dd->path, paths);
	FILE *output = popen(command, "r");
	long long blocks = -1;
	assert_non_null(output);
	assert_int_equal(fscanf(output, "%lld", &blocks), 1);
	(void)pclose(output);
	return blocks * 512;
}

static struct volume_usage usage_of(const struct cluster_fixture *f, const char *id)
{
	struct volume_usage usage;
	struct error err;
	must(volume_usage(f->dd, id, &usage, &err), &err);
	return usage;
}

/* Changes a file of an image and cuts: a layer of its own, and a point if wanted. */
static void change_and_cut(const struct cluster_fixture *f, const char *id, char letter, bool with_point)
{
	struct store *store = NULL;
	struct image *image = open_image(f, id, &store);
	struct error err;
	CLEANUP(free_text) char *content = xcalloc(1, 1 << 20);
	memset(content, letter, 1 << 20);
	struct system_user user;
	must(system_user_find(f->dd->settings.postgres_user, &user, &err), &err);
	must(volume_tree_write(image, "base/big", (struct slice){ (uint8_t *)content, 1 << 20 }, user.uid,
	             user.gid, &err),
	        &err);
	struct image_cut cut;
	must(image_cut(image, &cut, &err), &err);
	close_image(image, store);
	if (with_point) {
		struct restore_point point = cluster_newest_point(f, id);
		must(store_open(f->dd, PROJECT, &store, &err), &err);
		free(point.layers);
		point.layers = TAKE_PTR(cut.layers);
		point.layer_count = cut.layer_count;
		point.time_usec++;
		point.replay_usec += 1000 * 1000000ll; /* too far for retention to thin it */
		must(restore_point_add(store, &point, &err), &err);
		restore_point_done(&point);
		store_close(store);
	}
	free(cut.layers);
}

/* own + history + wal of all, and what they share once, is what du says of layers and WAL. */
static void space_is_what_du_says(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	CLEANUP(free_text)
	char *template_layers = xasprintf("stores/%s/layers/template.1", f->template_store);
	int64_t template_bytes = du(f, template_layers);
	cluster_make_volume(f, "br-a");
	change_and_cut(f, "br-a", 'a', true);
	change_and_cut(f, "br-a", 'b', false);
	struct volume_usage a = usage_of(f, "br-a");
	assert_int_equal(a.shared_bytes, template_bytes);
	assert_int_equal(a.own_bytes, du(f, "stores/" PROJECT "/layers/*"));
	assert_int_equal(a.wal_bytes + a.history_bytes, du(f, "volumes/*/wal/0* volumes/*/archive/0*"));
	assert_int_equal(a.history_bytes, 0);

	struct restore_point point = cluster_newest_point(f, "br-a");
	must(clone_at(f, "br-a", "br-b", &point, point.end_lsn, 1, 2, &err), &err);
	restore_point_done(&point);
	change_and_cut(f, "br-b", 'c', true);
	a = usage_of(f, "br-a");
	struct volume_usage b = usage_of(f, "br-b");
	int64_t all =
	        template_bytes + du(f, "stores/" PROJECT "/layers/* volumes/*/wal/0* volumes/*/archive/0*");
	/* Two volumes: what one shares, the other shares with it. */
	assert_int_equal(a.shared_bytes, b.shared_bytes);
	assert_int_equal(a.own_bytes + a.history_bytes + a.wal_bytes + b.own_bytes + b.history_bytes +
	                         b.wal_bytes + a.shared_bytes,
	        all);
	assert_true(b.own_bytes >= 1 << 20 && b.own_bytes < 3 << 20);

	/* What only the clone needs now is its own. */
	destroy(f, "br-a");
	b = usage_of(f, "br-b");
	assert_int_equal(b.shared_bytes, template_bytes);
	assert_int_equal(b.own_bytes + b.history_bytes + b.wal_bytes + b.shared_bytes,
	        template_bytes + du(f, "stores/" PROJECT "/layers/* volumes/*/wal/0* volumes/*/archive/0*"));
	destroy(f, "br-b");
}

/* A snapshot outlives its volume; what it alone needs goes with it. */
static void a_snapshot_outlives_its_volume(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	struct store *store = NULL;
	cluster_make_volume(f, "br-a");
	change_and_cut(f, "br-a", 'a', true);
	struct restore_point point = cluster_newest_point(f, "br-a"), kept;
	CLEANUP(free_text) char *archive = volume_path(f, "br-a/archive");
	must(store_open(f->dd, PROJECT, &store, &err), &err);
	must(snapshot_create(store, "snap-1", &point, archive, &err), &err);
	assert_int_equal(snapshot_create(store, "snap-1", &point, archive, &err), STATUS_EXISTS);
	assert_int_equal(snapshot_create(store, "../x", &point, archive, &err), STATUS_INVALID);
	destroy(f, "br-a");
	assert_true(count_in(f, "layers") > 0);
	must(volume_sweep(f->dd, count_volume, NULL, &err), &err);
	must(snapshot_read(store, "snap-1", &kept, &err), &err);
	assert_true(restore_point_is_same(&kept, &point));
	CLEANUP(free_text) char *wal = store_path(store, "snapshots/snap-1/wal");
	struct volume_clone clone = { .store = PROJECT,
		.id = "br-b",
		.point = &kept,
		.lsn = kept.end_lsn,
		.archive_path = wal,
		.source_timeline = 1,
		.timeline = 2 };
	must(volume_clone(f->dd, &clone, &err), &err);
	must(snapshot_remove(store, "snap-1", &err), &err);
	must(snapshot_remove(store, "snap-1", &err), &err);
	assert_int_equal(snapshot_read(store, "snap-1", &kept, &err), STATUS_NOT_FOUND);
	must(store_collect_garbage(store, NULL, &err), &err);
	struct postgres postgres;
	cluster_export(f, "br-b");
	postgres_start(f, "br-b", &postgres);
	postgres_stop(&postgres);
	/* The point is gone with volume and snapshot: a clone of it is refused, and leaves nothing. */
	clone.id = "br-c";
	clone.timeline = 4;
	assert_int_equal(volume_clone(f->dd, &clone, &err), STATUS_NOT_FOUND);
	assert_false(has(f, "br-c") || has(f, "br-c.new"));
	destroy(f, "br-b");
	assert_int_equal(count_in(f, "layers") + count_in(f, "stacks") + count_in(f, "points"), 0);
	restore_point_done(&point);
	restore_point_done(&kept);
	store_close(store);
}

/* The window moves on: points, layers and WAL in front of it go, and what is inside can still be branched. */
static void history_is_thinned(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	struct retention_result result;
	cluster_make_volume(f, "br-a");
	struct restore_point first = cluster_newest_point(f, "br-a");
	for (char letter = 'a'; letter <= 'e'; letter++)
		change_and_cut(f, "br-a", letter, true);
	struct retention all = { .now_usec = first.time_usec + 10, .window_usec = 100 * 86400 * 1000000ll };
	must(retention_apply(f->dd, "br-a", &all, &result, &err), &err);
	assert_int_equal(result.points_kept, 6);
	assert_int_equal(result.points_removed, 0);
	/* The third one's moment is where the window begins. */
	struct retention some = { .now_usec = first.time_usec + 10, .window_usec = 8 };
	must(retention_apply(f->dd, "br-a", &some, &result, &err), &err);
	assert_int_equal(result.points_kept, 4);
	assert_int_equal(result.points_removed, 2);
	must(retention_apply(f->dd, "br-a", &some, &result, &err), &err);
	assert_int_equal(result.points_removed, 0);
	assert_int_equal(clone_at(f, "br-a", "br-b", &first, first.end_lsn, 1, 2, &err), STATUS_NOT_FOUND);
	assert_false(has(f, "br-b.new"));
	struct restore_point newest = cluster_newest_point(f, "br-a");
	assert_int_equal(newest.number, 6);
	must(clone_at(f, "br-a", "br-b", &newest, newest.end_lsn, 1, 2, &err), &err);
	assert_int_equal(retention_apply(f->dd, "br-none", &some, &result, &err), STATUS_NOT_FOUND);
	restore_point_done(&first);
	restore_point_done(&newest);
	destroy(f, "br-a");
	destroy(f, "br-b");
	assert_int_equal(count_in(f, "layers"), 0);
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
		cmocka_unit_test(a_promotion_cut_off_is_repaired),
		cmocka_unit_test(what_cannot_be_branched_leaves_nothing),
		cmocka_unit_test(a_clone_has_nothing_of_its_sources_life),
		cmocka_unit_test(killed_at_any_moment),
		cmocka_unit_test(the_sweep_takes_only_remains),
		cmocka_unit_test(a_full_disk_leaves_nothing_behind),
		cmocka_unit_test(space_is_what_du_says),
		cmocka_unit_test(a_snapshot_outlives_its_volume),
		cmocka_unit_test(history_is_thinned),
	};
	cmocka_set_test_filter(getenv("TEST_FILTER"));
	return cmocka_run_group_tests(tests, cluster_set_up, cluster_tear_down);
}
