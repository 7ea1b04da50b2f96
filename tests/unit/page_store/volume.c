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

static status create(const struct cluster_fixture *f, const char *id, struct error *err)
{
	return volume_create(
	        f->dd, PROJECT, id, f->template_store, f->installation.bin_dir, f->installation.major, err);
}

static void a_new_one_is_whole_and_unique(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	must(create(f, "br-a", &err), &err);
	must(create(f, "br-b", &err), &err);
	assert_int_equal(create(f, "br-a", &err), STATUS_EXISTS);
	struct control_file a = cluster_control(f, "br-a"), b = cluster_control(f, "br-b");
	assert_true(a.system_identifier != b.system_identifier);
	assert_int_equal(a.state, CONTROL_SHUT_DOWN);
	assert_int_equal(a.checksum_version, 1);
	assert_false(cluster_has(f, "br-a.new"));
	/* V6: what Postgres can write in is only its own folders. */
	struct stat st;
	CLEANUP(free_text) char *path = cluster_volume_path(f, "br-a");
	CLEANUP(free_text) char *archive = cluster_volume_path(f, "br-a/archive");
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
	cluster_destroy(f, "br-a");
	cluster_destroy(f, "br-b");
	cluster_destroy(f, "br-b");
	assert_false(cluster_has(f, "br-a") || cluster_has(f, "br-a.dead"));
	assert_int_equal(
	        cluster_count(f, "layers") + cluster_count(f, "stacks") + cluster_count(f, "points"), 0);
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
	assert_true(cluster_has(f, "br-a"));

	must(volume_set_applied_revision(volume, 41, &err), &err);
	volume = volume_close(volume);
	must(volume_open(f->dd, "br-a", &volume, &err), &err);
	assert_int_equal(volume_applied_revision(volume), 41);
	volume_close(volume);
	cluster_destroy(f, "br-a");
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
	cluster_destroy(f, "br-a");
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
	cluster_destroy(f, "br-a");
	must(volume_sweep(f->dd, count_volume, NULL, &err), &err);
	assert_int_equal(
	        cluster_count(f, "layers") + cluster_count(f, "stacks") + cluster_count(f, "points"), 0);
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
	return cluster_clone(f, "br-a", "br-k", &point, point.end_lsn, 1, 2, &err) == STATUS_OK ? 0 : 1;
}

static int destroy_k(const struct cluster_fixture *f)
{
	struct error err;
	return volume_destroy(f->dd, "br-k", &err) == STATUS_OK ? 0 : 1;
}

static bool every_layer_is_named(const struct cluster_fixture *f, size_t layers, size_t stacks)
{
	return cluster_count(f, "layers") == layers && cluster_count(f, "stacks") == stacks &&
	       cluster_count(f, "garbage") == 0;
}

/* After a kill and a sweep: there and good, or not there and nothing left; all others untouched. */
static void check_after_kill(
        const struct cluster_fixture *f, bool may_be_there, size_t other_layers, size_t other_stacks)
{
	struct error err;
	int complete = 0;
	bool was_there = cluster_has(f, "br-k");
	must(volume_sweep(f->dd, count_volume, &complete, &err), &err);
	assert_int_equal(complete, 1 + was_there);
	assert_int_equal(cluster_has(f, "br-k"), was_there); /* a complete volume is never swept away */
	assert_false(cluster_has(f, "br-k.new") || cluster_has(f, "br-k.dead"));
	assert_true(may_be_there || !was_there);
	if (was_there) {
		struct volume *volume = NULL;
		must(volume_open(f->dd, "br-k", &volume, &err), &err);
		volume_close(volume);
		struct restore_point point = cluster_newest_point(f, "br-k");
		assert_int_equal(point.number, 1);
		restore_point_done(&point);
		(void)cluster_control(f, "br-k"); /* opens the image */
		cluster_destroy(f, "br-k");
	}
	if (!every_layer_is_named(f, other_layers, other_stacks))
		fail_msg("%zu layers instead of %zu, %zu stacks instead of %zu", cluster_count(f, "layers"),
		        other_layers, cluster_count(f, "stacks"), other_stacks);
	assert_int_equal(cluster_control(f, "br-a").state, CONTROL_SHUT_DOWN);
}

static void killed_at_any_moment(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	static int (*const works[])(const struct cluster_fixture *f) = { create_k, clone_k, destroy_k };
	struct error err;
	cluster_make_volume(f, "br-a");
	(void)cluster_control(f, "br-a");
	size_t layers = cluster_count(f, "layers"), stacks = cluster_count(f, "stacks");
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
	cluster_destroy(f, "br-k");
	cluster_destroy(f, "br-a");
}

/* Guards against this: an older metadata.db put back made the sweep delete the newest databases. */
static void the_sweep_takes_only_remains(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	must(create(f, "br-a", &err), &err);
	static const char *const remains[] = { "br-y.new", "br-z.dead", "br-a.new" };
	for (size_t i = 0; i < ARRAY_LEN(remains); i++) {
		CLEANUP(free_text) char *folder = cluster_volume_path(f, remains[i]);
		CLEANUP(free_text) char *inside = xasprintf("%s/data", folder);
		must(folder_make(folder, 0700, &err), &err);
		must(folder_make(inside, 0700, &err), &err);
	}
	CLEANUP(free_text) char *foreign = cluster_volume_path(f, "Not.Ours");
	CLEANUP(free_text) char *dead_store = data_directory_path(f->dd, "stores/project-z.dead");
	must(folder_make(foreign, 0700, &err), &err);
	must(folder_make(dead_store, 0700, &err), &err);
	int complete = 0;
	must(volume_sweep(f->dd, count_volume, &complete, &err), &err);
	assert_int_equal(complete, 1);
	for (size_t i = 0; i < ARRAY_LEN(remains); i++)
		assert_false(cluster_has(f, remains[i]));
	assert_true(cluster_has(f, "br-a") && cluster_has(f, "Not.Ours"));
	assert_false(file_exists(dead_store));
	assert_int_equal(cluster_control(f, "br-a").state, CONTROL_SHUT_DOWN);
	must(tree_remove(foreign, &err), &err);
	cluster_destroy(f, "br-a");
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
	bool is_clean = !cluster_has(f, "br-b") && !cluster_has(f, "br-b.new");
	size_t stacks = cluster_count(f, "stacks");
	if (st_first == STATUS_OK)
		cluster_destroy(f, "br-a");
	size_t layers = cluster_count(f, "layers");
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
	struct image *image = cluster_open_image(f, id, &store);
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
	cluster_close_image(image, store);
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
	must(cluster_clone(f, "br-a", "br-b", &point, point.end_lsn, 1, 2, &err), &err);
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
	cluster_destroy(f, "br-a");
	b = usage_of(f, "br-b");
	assert_int_equal(b.shared_bytes, template_bytes);
	assert_int_equal(b.own_bytes + b.history_bytes + b.wal_bytes + b.shared_bytes,
	        template_bytes + du(f, "stores/" PROJECT "/layers/* volumes/*/wal/0* volumes/*/archive/0*"));
	cluster_destroy(f, "br-b");
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
	CLEANUP(free_text) char *archive = cluster_volume_path(f, "br-a/archive");
	must(store_open(f->dd, PROJECT, &store, &err), &err);
	must(snapshot_create(store, "snap-1", &point, archive, &err), &err);
	assert_int_equal(snapshot_create(store, "snap-1", &point, archive, &err), STATUS_EXISTS);
	assert_int_equal(snapshot_create(store, "../x", &point, archive, &err), STATUS_INVALID);
	cluster_destroy(f, "br-a");
	assert_true(cluster_count(f, "layers") > 0);
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
	assert_false(cluster_has(f, "br-c") || cluster_has(f, "br-c.new"));
	cluster_destroy(f, "br-b");
	assert_int_equal(
	        cluster_count(f, "layers") + cluster_count(f, "stacks") + cluster_count(f, "points"), 0);
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
	assert_int_equal(
	        cluster_clone(f, "br-a", "br-b", &first, first.end_lsn, 1, 2, &err), STATUS_NOT_FOUND);
	assert_false(cluster_has(f, "br-b.new"));
	struct restore_point newest = cluster_newest_point(f, "br-a");
	assert_int_equal(newest.number, 6);
	must(cluster_clone(f, "br-a", "br-b", &newest, newest.end_lsn, 1, 2, &err), &err);
	assert_int_equal(retention_apply(f->dd, "br-none", &some, &result, &err), STATUS_NOT_FOUND);
	restore_point_done(&first);
	restore_point_done(&newest);
	cluster_destroy(f, "br-a");
	cluster_destroy(f, "br-b");
	assert_int_equal(cluster_count(f, "layers"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_one_is_whole_and_unique),
		cmocka_unit_test(names_cannot_lead_astray),
		cmocka_unit_test(one_user_at_a_time),
		cmocka_unit_test(a_dead_user_holds_nothing),
		cmocka_unit_test(a_damaged_record_is_refused),
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
