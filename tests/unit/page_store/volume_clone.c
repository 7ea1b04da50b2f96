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
#include <sys/stat.h>
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

/* The first points of new volumes: nothing was ever started, and all of it works. */
static void a_volume_that_never_ran_can_be_branched(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	cluster_make_volume(f, "br-a");
	struct restore_point point = cluster_newest_point(f, "br-a");
	assert_int_equal(point.number, 1);
	assert_true(point.is_shut_down);
	must(cluster_clone(f, "br-a", "br-b", &point, point.end_lsn, 1, 2, &err), &err);
	assert_int_equal(cluster_clone(f, "br-a", "br-b", &point, point.end_lsn, 1, 2, &err), STATUS_EXISTS);
	assert_int_equal(
	        cluster_clone(f, "br-a", "br-c", &point, point.end_lsn - 1, 1, 2, &err), STATUS_INVALID);
	assert_int_equal(cluster_clone(f, "br-a", "br-c", &point, point.end_lsn, 1, 3, &err), STATUS_INVALID);
	assert_int_equal(cluster_clone(f, "br-a", "br-c", &point, point.end_lsn, 3, 2, &err), STATUS_INVALID);
	assert_false(cluster_has(f, "br-c") || cluster_has(f, "br-c.new"));
	struct control_file control = cluster_control(f, "br-b");
	assert_int_equal(control.state, CONTROL_IN_ARCHIVE_RECOVERY);
	assert_true(control.min_recovery_lsn == point.end_lsn && control.min_recovery_timeline == 1);
	restore_point_done(&point);

	struct postgres postgres;
	cluster_export(f, "br-b");
	postgres_start(f, "br-b", &postgres);
	CLEANUP(free_text)
	char *timeline =
	        postgres_ask(&postgres, "SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);");
	assert_string_equal(timeline, "00000003");
	postgres_do(&postgres, "CREATE TABLE t AS SELECT generate_series(1, 100) AS i;");
	postgres_stop(&postgres);
	cluster_destroy(f, "br-a"); /* the clone does not need it */
	postgres_start(f, "br-b", &postgres);
	CLEANUP(free_text) char *count = postgres_ask(&postgres, "SELECT count(*) FROM t;");
	assert_string_equal(count, "100");
	postgres_stop(&postgres);
	cluster_destroy(f, "br-b");
	assert_int_equal(
	        cluster_count(f, "layers") + cluster_count(f, "stacks") + cluster_count(f, "points"), 0);
}

/* The row counts of branches at three positions, and of a branch of a branch at positions on both sides of its fork. */
static void a_position_is_opened_as_it_was(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	struct postgres postgres;
	cluster_start_volume(f, "br-a", &postgres);
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
	/* The point says that nothing can be prepared, what follows it has a prepared transaction (T15). */
	point.needs_hygiene = true;
	/* A snapshot of a moment behind the point goes to that moment. */
	struct store *store = NULL;
	struct restore_point later = point, kept;
	CLEANUP(free_text) char *archive = cluster_volume_path(f, "br-a/archive");
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
	cluster_destroy(f, "br-s");
	must(snapshot_remove(store, "snap-l", &err), &err);
	restore_point_done(&kept);
	store_close(store);

	uint32_t timeline = 2;
	for (int i = 0; i < 4; i++, timeline += 2) {
		char expected[16];
		(void)snprintf(expected, sizeof expected, "%d", i < 3 ? 1000 * (i + 1) : 3000);
		must(cluster_clone(f, "br-a", "br-b", &point, lsn[i], 1, timeline, &err), &err);
		cluster_export(f, "br-b");
		postgres_start(f, "br-b", &postgres);
		CLEANUP(free_text) char *count = postgres_ask(&postgres, "SELECT count(*) FROM t;");
		assert_string_equal(count, expected);
		if (i < 3) {
			postgres_kill(&postgres);
			cluster_destroy(f, "br-b");
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
	cluster_destroy(f, "br-a"); /* the clone has all that its branches need */

	point = cluster_newest_point(f, "br-b");
	assert_int_equal(point.number, 1);
	assert_string_equal(point.volume_id, "br-b");
	static const char *const counts[] = { "1000", "3500" };
	for (int i = 0; i < 2; i++) {
		must(cluster_clone(f, "br-b", "br-c", &point, i == 0 ? lsn[0] : child_lsn, timeline + 1,
		             timeline + 2, &err),
		        &err);
		cluster_export(f, "br-c");
		postgres_start(f, "br-c", &postgres);
		CLEANUP(free_text) char *count = postgres_ask(&postgres, "SELECT count(*) FROM t;");
		assert_string_equal(count, counts[i]);
		CLEANUP(free_text)
		char *now = postgres_ask(
		        &postgres, "SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);");
		char expected[16];
		(void)snprintf(expected, sizeof expected, "%08X", timeline + 3);
		assert_string_equal(now, expected);
		postgres_kill(&postgres);
		cluster_destroy(f, "br-c");
	}
	restore_point_done(&point);
	cluster_destroy(f, "br-b");
}

/*
 * A clone is promoted before what it has replayed is written: until its first checkpoint, pg_control names one of its source. A crash then is not a
 * promotion that was cut off: what was committed since is in the clone's own timeline, and is kept. As often as it happens.
 */
static void what_a_clone_commits_before_its_first_checkpoint_is_kept(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	struct postgres postgres;
	cluster_start_volume(f, "br-a", &postgres);
	postgres_do(&postgres, "CREATE TABLE t AS SELECT generate_series(1, 1000) i;");
	postgres_do(&postgres, "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'prepared';");
	uint64_t lsn = postgres_flushed(&postgres);
	postgres_kill(&postgres);
	struct restore_point point = cluster_newest_point(f, "br-a");
	point.needs_hygiene = true;
	must(cluster_clone(f, "br-a", "br-b", &point, lsn, 1, 2, &err), &err);
	restore_point_done(&point);
	cluster_export(f, "br-b");
	for (int i = 0; i < 3; i++) {
		postgres_start(f, "br-b", &postgres);
		CLEANUP(free_text) char *count = postgres_ask(&postgres, "SELECT count(*) FROM t;");
		char expected[16];
		(void)snprintf(expected, sizeof expected, "%d", 1000 + i);
		assert_string_equal(count, expected);
		postgres_do(&postgres, "INSERT INTO t VALUES (1);");
		if (i == 0)
			postgres_do(&postgres, "ROLLBACK PREPARED 'prepared';");
		CLEANUP(free_text)
		char *checkpointed =
		        postgres_ask(&postgres, "SELECT timeline_id FROM pg_control_checkpoint();");
		if (i == 0)
			assert_string_equal(checkpointed, "1"); /* or this shows nothing */
		CLEANUP(free_text)
		char *now = postgres_ask(
		        &postgres, "SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);");
		assert_string_equal(now, "00000003");
		postgres_kill(&postgres);
	}
	cluster_destroy(f, "br-b");
	cluster_destroy(f, "br-a");
}

/* ---- a recovery that ends too early ---- */

/* What a disk that lost a sector reads as, or a segment that is gone. */
static void lose_wal(const struct cluster_fixture *f, const char *id, const struct restore_point *point,
        uint64_t lsn, bool is_whole_segment)
{
	static const char zeros[24];
	char name[WAL_FILE_NAME_MAX];
	wal_segment_name(1, lsn / point->wal_segment_size, point->wal_segment_size, name);
	CLEANUP(free_text) char *relative = xasprintf("%s/wal/%s", id, name);
	CLEANUP(free_text) char *path = cluster_volume_path(f, relative);
	if (is_whole_segment) {
		assert_int_equal(unlink(path), 0);
		return;
	}
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(
	        pwrite(fd, zeros, sizeof zeros, (off_t)(lsn % point->wal_segment_size)), sizeof zeros);
}

static void says(const struct error *err, const char *id, uint64_t reached, uint64_t wanted)
{
	char reached_text[LSN_TEXT_MAX], wanted_text[LSN_TEXT_MAX];
	lsn_format(reached, reached_text);
	lsn_format(wanted, wanted_text);
	CLEANUP(free_text)
	char *words = xasprintf("\"%s\" ended at LSN %s and not at LSN %s", id, reached_text, wanted_text);
	if (!strstr(err->message, words) || !strstr(err->hint, reached_text))
		fail_msg("\"%s\" \"%s\" does not say %s", err->message, err->hint, words);
}

static status plan(const struct cluster_fixture *f, const char *id, int64_t revision, struct error *err)
{
	CLEANUP(volume_closep) struct volume *volume = NULL;
	struct volume_start start;
	must(volume_open(f->dd, id, &volume, err), err);
	if (revision)
		must(volume_set_applied_revision(volume, revision, err), err);
	return volume_plan_start(volume, &start, err);
}

/*
 * V7: Postgres takes the first record that it cannot read for the end of WAL and is promoted there. Whatever is the matter with the WAL, the clone is
 * refused, at once and after a crash, as long as nobody has used it.
 */
static void a_clone_that_lacks_records_is_refused(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	struct postgres postgres;
	cluster_start_volume(f, "br-a", &postgres);
	postgres_do(&postgres, "CREATE TABLE t (i int);");
	uint64_t middle = postgres_flushed(&postgres);
	postgres_do(&postgres, "INSERT INTO t SELECT generate_series(1, 1000);");
	uint64_t in_first = postgres_flushed(&postgres);
	postgres_do(&postgres, "SELECT pg_switch_wal(); INSERT INTO t SELECT generate_series(1, 1000);");
	uint64_t end = postgres_flushed(&postgres);
	postgres_kill(&postgres);
	struct restore_point point = cluster_newest_point(f, "br-a");
	uint64_t border = end / point.wal_segment_size * point.wal_segment_size;
	assert_true(in_first < border);
	const struct {
		uint64_t lsn;     /* of the clone */
		uint64_t lost_at; /* 0: nowhere, but the LSN is not the end of a record */
		bool is_whole_segment;
		uint64_t reached;
	} cases[] = {
		{ in_first, middle, false, middle },
		{ end, border, true, border },
		{ end + 3, 0, false, end },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		must(cluster_clone(f, "br-a", "br-b", &point, cases[i].lsn, 1, 2, &err), &err);
		if (cases[i].lost_at)
			lose_wal(f, "br-b", &point, cases[i].lost_at, cases[i].is_whole_segment);
		cluster_export(f, "br-b");
		assert_int_equal(postgres_start_checked(f, "br-b", &postgres, &err), STATUS_CORRUPT);
		says(&err, "br-b", cases[i].reached, cases[i].lsn);
		postgres_kill(&postgres);
		assert_int_equal(plan(f, "br-b", 0, &err), STATUS_CORRUPT);
		says(&err, "br-b", cases[i].reached, cases[i].lsn);
		/* One that has been used, by an older Tarn, is left alone. */
		assert_int_equal(plan(f, "br-b", 1, &err), STATUS_OK);
		cluster_destroy(f, "br-b");
	}

	/* One that has too much, or nothing to be compared with. */
	must(cluster_clone(f, "br-a", "br-b", &point, in_first, 1, 2, &err), &err);
	cluster_export(f, "br-b");
	postgres_start(f, "br-b", &postgres);
	postgres_kill(&postgres);
	assert_int_equal(plan(f, "br-b", 0, &err), STATUS_OK);
	char lsn[LSN_TEXT_MAX];
	lsn_format(middle, lsn);
	CLEANUP(free_text) char *history = cluster_volume_path(f, "br-b/wal/00000002.history");
	CLEANUP(free_text) char *text = xasprintf("1\t%s\tbranch\n", lsn);
	must(file_replace_durably(history, slice_from_text(text), 0644, &err), &err);
	assert_int_equal(plan(f, "br-b", 0, &err), STATUS_CORRUPT);
	assert_non_null(strstr(err.message, "went on to LSN"));
	must(file_replace_durably(history, slice_from_text("# none\n"), 0644, &err), &err);
	assert_int_equal(plan(f, "br-b", 0, &err), STATUS_CORRUPT);
	assert_int_equal(unlink(history), 0);
	assert_int_equal(plan(f, "br-b", 0, &err), STATUS_CORRUPT);
	assert_non_null(strstr(err.message, "has no history of timeline 2"));
	restore_point_done(&point);
	cluster_destroy(f, "br-b");
	cluster_destroy(f, "br-a");
}

/* ---- what a clone refuses and repairs ---- */

static void touch(const struct cluster_fixture *f, const char *name)
{
	struct error err;
	CLEANUP(free_text) char *path = cluster_volume_path(f, name);
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
	must(cluster_clone(f, "br-a", "br-b", &point, point.end_lsn, 1, 2, &err), &err);
	for (int has_signal = 0; has_signal < 2; has_signal++) {
		cluster_export(f, "br-b");
		char segment[WAL_FILE_NAME_MAX];
		wal_segment_name(3, point.end_lsn / point.wal_segment_size, point.wal_segment_size, segment);
		CLEANUP(free_text) char *wal = cluster_volume_path(f, "br-b/wal");
		CLEANUP(free_text) char *archive = cluster_volume_path(f, "br-b/archive");
		CLEANUP(free_text) char *in_wal = xasprintf("br-b/wal/%s", segment);
		CLEANUP(free_text) char *archived = xasprintf("br-b/archive/%s", segment);
		touch(f, in_wal);
		touch(f, "br-b/wal/00000003.history");
		size_t linked = 0;
		must(wal_archive_update(wal, archive, &linked, &err), &err);
		assert_int_equal(linked, 2);
		CLEANUP(free_text) char *signal_path = cluster_volume_path(f, "br-b/data/standby.signal");
		if (!has_signal)
			assert_int_equal(unlink(signal_path), 0);

		struct volume *volume = NULL;
		struct volume_start start;
		must(volume_open(f->dd, "br-b", &volume, &err), &err);
		must(volume_plan_start(volume, &start, &err), &err);
		volume_close(volume);
		assert_int_equal(start.recovery_timeline, 2);
		assert_true(file_exists(signal_path));
		assert_false(cluster_has(f, in_wal) || cluster_has(f, archived) ||
		             cluster_has(f, "br-b/wal/00000003.history") ||
		             cluster_has(f, "br-b/archive/00000003.history"));
		assert_true(cluster_has(f, "br-b/wal/00000002.history") &&
		            cluster_has(f, "br-b/archive/00000002.history"));
	}
	struct postgres postgres;
	postgres_start(f, "br-b", &postgres);
	(void)postgres_flushed(&postgres); /* takes timeline 3 into the archive */
	assert_true(cluster_has(f, "br-b/archive/00000003.history"));
	postgres_kill(&postgres);
	/* Promoted: from now on an ordinary start, that touches nothing. */
	struct volume *volume = NULL;
	struct volume_start start;
	must(volume_open(f->dd, "br-b", &volume, &err), &err);
	must(volume_plan_start(volume, &start, &err), &err);
	volume_close(volume);
	assert_int_equal(start.recovery_timeline, 0);
	assert_true(cluster_has(f, "br-b/archive/00000003.history"));
	postgres_start(f, "br-b", &postgres);
	postgres_stop(&postgres);
	restore_point_done(&point);
	cluster_destroy(f, "br-a");
	cluster_destroy(f, "br-b");
}

/* A point of br-a, whose image `change` has changed. */
static struct restore_point point_with(
        const struct cluster_fixture *f, void (*change)(struct image *image, const struct system_user *user))
{
	struct store *store = NULL;
	struct image *image = cluster_open_image(f, "br-a", &store);
	struct error err;
	struct system_user user;
	struct image_cut cut;
	must(system_user_find(f->dd->settings.postgres_user, &user, &err), &err);
	change(image, &user);
	must(image_cut(image, &cut, &err), &err);
	cluster_close_image(image, store);
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
		size_t layers = cluster_count(f, "layers"), stacks = cluster_count(f, "stacks");
		assert_int_equal(cluster_clone(f, "br-a", "br-b", &point, point.end_lsn, 1, 2, &err),
		        cases[i].expected);
		assert_false(cluster_has(f, "br-b") || cluster_has(f, "br-b.new"));
		assert_int_equal(cluster_count(f, "layers"), layers);
		assert_int_equal(cluster_count(f, "stacks"), stacks);
		/* WAL that is not there is told by name. */
		assert_int_equal(
		        cluster_clone(f, "br-a", "br-b", &good, good.end_lsn + (64 << 20), 1, 2, &err),
		        STATUS_NOT_FOUND);
		assert_non_null(strstr(err.message, "0000000100000000"));
		assert_false(cluster_has(f, "br-b") || cluster_has(f, "br-b.new"));
		restore_point_done(&point);
	}
	restore_point_done(&good);
	cluster_destroy(f, "br-a");
}

/* What pg_basebackup leaves out is not in a clone; what the image has besides is. */
static void add_remains(struct image *image, const struct system_user *user)
{
	struct error err;
	struct stat st;
	static const char *const files[] = { "postmaster.pid", "postmaster.opts", "recovery.signal",
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
	must(cluster_clone(f, "br-a", "br-b", &point, point.end_lsn, 1, 2, &err), &err);
	restore_point_done(&point);
	cluster_export(f, "br-b");
	static const char *const gone[] = { "postmaster.pid", "postmaster.opts", "recovery.signal",
		"backup_label", "tablespace_map", "pg_replslot/slot", "pg_notify/0000",
		"pg_stat_tmp/global.tmp", "pg_snapshots/1" };
	static const char *const there[] = { "standby.signal", "pg_stat/kept", "pg_replslot", "pg_notify",
		"PG_VERSION", "pg_wal/00000002.history", "base/pgsql_tmp/." };
	for (size_t i = 0; i < ARRAY_LEN(gone); i++) {
		CLEANUP(free_text) char *path = xasprintf("br-b/data/%s", gone[i]);
		if (cluster_has(f, path))
			fail_msg("\"%s\" is in the clone", gone[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(there); i++) {
		CLEANUP(free_text) char *path = xasprintf("br-b/data/%s", there[i]);
		if (!cluster_has(f, path))
			fail_msg("\"%s\" is not in the clone", there[i]);
	}
	cluster_destroy(f, "br-a");
	cluster_destroy(f, "br-b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_volume_that_never_ran_can_be_branched),
		cmocka_unit_test(a_position_is_opened_as_it_was),
		cmocka_unit_test(what_a_clone_commits_before_its_first_checkpoint_is_kept),
		cmocka_unit_test(a_clone_that_lacks_records_is_refused),
		cmocka_unit_test(a_promotion_cut_off_is_repaired),
		cmocka_unit_test(what_cannot_be_branched_leaves_nothing),
		cmocka_unit_test(a_clone_has_nothing_of_its_sources_life),
	};
	cmocka_set_test_filter(getenv("TEST_FILTER"));
	return cmocka_run_group_tests(tests, cluster_set_up, cluster_tear_down);
}
