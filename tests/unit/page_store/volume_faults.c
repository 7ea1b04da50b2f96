/*
 * Everything that makes, branches, keeps or removes volumes, with a disk of which the first, second, third … call fails, until one round
 * comes through without: each failure is told, loses nothing, and leaves nothing that a sweep does not find.
 */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "cluster.h"
#include "counted_disk.h"
#include "page_store/image.h"
#include "page_store/retention.h"
#include "page_store/volume_tree.h"

#define must cluster_must

struct round {
	const struct cluster_fixture *f;
	struct restore_point point; /* of br-a, the one that everything is made of */
	char *archive;              /* br-a's */
};

static status make(const struct round *r, struct error *err)
{
	return volume_create(r->f->dd, PROJECT, "br-k", r->f->template_store, r->f->installation.bin_dir,
	        r->f->installation.major, err);
}

static status branch(const struct round *r, struct error *err)
{
	struct volume_clone clone = { .store = PROJECT,
		.id = "br-k",
		.point = &r->point,
		.lsn = r->point.end_lsn,
		.archive_path = r->archive,
		.source_timeline = 1,
		.timeline = 2 };
	return volume_clone(r->f->dd, &clone, err);
}

static status destroy(const struct round *r, struct error *err)
{
	return volume_destroy(r->f->dd, "br-k", err);
}

static status take_snapshot(const struct round *r, struct error *err)
{
	CLEANUP(store_closep) struct store *store = NULL;
	status st = store_open(r->f->dd, PROJECT, &store, err);
	return st == STATUS_OK ? snapshot_create(store, "snap-k", &r->point, r->archive, err) : st;
}

static status remove_snapshot(const struct round *r, struct error *err)
{
	CLEANUP(store_closep) struct store *store = NULL;
	status st = store_open(r->f->dd, PROJECT, &store, err);
	if (st == STATUS_OK)
		st = snapshot_remove(store, "snap-k", err);
	return st == STATUS_OK ? store_collect_garbage(store, NULL, err) : st;
}

static status thin(const struct round *r, struct error *err)
{
	struct retention retention = { .now_usec = r->point.time_usec, .window_usec = 1000000 };
	struct retention_result result;
	return retention_apply(r->f->dd, "br-a", &retention, &result, err);
}

static void ignore_volume(void *owner, const char *id)
{
	(void)owner, (void)id;
}

static status sweep_up(const struct round *r, struct error *err)
{
	return volume_sweep(r->f->dd, ignore_volume, NULL, err);
}

static size_t count_lines(const struct cluster_fixture *f, const char *command)
{
	CLEANUP(free_text) char *text = xasprintf("cd %s && %s | wc -l", f->path, command);
	return cluster_number(text);
}

static size_t count_layers(const struct cluster_fixture *f)
{
	return count_lines(f, "ls stores/" PROJECT "/layers");
}

static bool has(const struct cluster_fixture *f, const char *path)
{
	CLEANUP(free_text) char *full = data_directory_path(f->dd, "%s", path);
	return file_exists(full);
}

/* br-a and the point are as they were: a branch of it opens, and has what was written. */
static void check_source(const struct round *r)
{
	struct error err;
	struct store *store = NULL;
	struct image *image = NULL;
	struct restore_point now;
	CLEANUP(buffer_done) struct buffer content = { 0 };
	must(store_open(r->f->dd, PROJECT, &store, &err), &err);
	must(restore_point_read(store, "br-a", r->point.number, &now, &err), &err);
	assert_true(restore_point_is_same(&now, &r->point));
	restore_point_done(&now);
	must(image_open(r->f->dd, store, "br-a", &image, &err), &err);
	must(volume_tree_read(image, "base/mark", 100, &content, &err), &err);
	assert_string_equal(content.data, "precious");
	must(image_close(image, &err), &err);
	store_close(store);
}

static void clean_up(const struct round *r)
{
	struct error err;
	counted_disk_fail(0, 0, false);
	must(sweep_up(r, &err), &err);
	must(volume_destroy(r->f->dd, "br-k", &err), &err);
	must(remove_snapshot(r, &err), &err);
}

static const struct operation {
	const char *name;
	status (*run)(const struct round *r, struct error *err);
	status (*prepare)(
	        const struct round *r, struct error *err); /* what has to be there first; may be NULL */
	const char *made; /* is there afterwards if and only if it was successful */
} operations[] = {
	{ "make", make, NULL, "volumes/br-k" },
	{ "branch", branch, NULL, "volumes/br-k" },
	{ "destroy", destroy, branch, NULL },
	{ "take a snapshot", take_snapshot, NULL, "stores/" PROJECT "/snapshots/snap-k" },
	{ "remove a snapshot", remove_snapshot, take_snapshot, NULL },
	{ "thin", thin, NULL, NULL },
	{ "sweep", sweep_up, NULL, NULL },
};

/* False: it came through without meeting the failure. */
static bool run_once(const struct round *r, const struct operation *operation, unsigned long number,
        int failure, bool for_ever)
{
	struct error err = { 0 };
	if (operation->prepare)
		must(operation->prepare(r, &err), &err);
	counted_disk_fail(number, failure, for_ever);
	status st = operation->run(r, &err);
	bool has_failed = counted_disk_has_failed();
	counted_disk_fail(0, 0, false);
	if (!has_failed)
		must(st, &err);
	if (st != STATUS_OK)
		assert_true(err.message[0]);
	/* A failure behind the moment in which it counts may still be told, and the other way round; but half of it there is not. */
	if (operation->made && st == STATUS_OK)
		assert_true(has(r->f, operation->made));
	must(sweep_up(r, &err), &err);
	assert_int_equal(count_lines(r->f, "ls -d volumes/*.new volumes/*.dead stores/" PROJECT "/garbage/* "
	                                   "stores/" PROJECT "/snapshots/*.* 2>/dev/null"),
	        0);
	if (has(r->f, "volumes/br-k")) {
		struct volume *volume = NULL;
		must(volume_open(r->f->dd, "br-k", &volume, &err), &err);
		volume_close(volume);
		struct restore_point first = cluster_newest_point(r->f, "br-k");
		restore_point_done(&first);
	}
	return has_failed;
}

static void every_call_fails_once(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct error err;
	struct store *store = NULL;
	struct image *image = NULL;
	struct round r = { .f = f, .archive = data_directory_path(f->dd, "volumes/br-a/archive") };
	cluster_make_volume(f, "br-a");
	must(store_open(f->dd, PROJECT, &store, &err), &err);
	must(image_open(f->dd, store, "br-a", &image, &err), &err);
	must(volume_tree_write(image, "base/mark", slice_from_text("precious"), 0, 0, &err), &err);
	struct image_cut cut;
	must(image_cut(image, &cut, &err), &err);
	must(image_close(image, &err), &err);
	r.point = cluster_newest_point(f, "br-a");
	free(r.point.layers);
	r.point.layers = cut.layers;
	r.point.layer_count = cut.layer_count;
	r.point.time_usec += 100 * 1000000ll;
	must(restore_point_add(store, &r.point, &err), &err);
	store_close(store);
	clean_up(&r);
	size_t layers = count_layers(f);
	for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
		const struct operation *operation = &operations[i];
		unsigned long failures = 0;
		/* Every call at first; later ones, which are like them, by steps. */
		for (unsigned long number = 1;; number += 1 + number / 24) {
			static const int kinds[] = { EIO, ENOSPC };
			bool for_ever = number % 3 == 0;
			if (!run_once(&r, operation, number, kinds[number % 2], for_ever))
				break;
			failures++;
			clean_up(&r);
			check_source(&r);
			if (count_layers(f) != layers && operation->run != thin)
				fail_msg("%s, call %lu: %zu layers instead of %zu", operation->name, number,
				        count_layers(f), layers);
		}
		print_message("%s: %lu failures\n", operation->name, failures);
		assert_true(failures > 0);
		clean_up(&r);
		if (operation->run == thin)
			layers = count_layers(f);
	}
	restore_point_done(&r.point);
	free(r.archive);
	must(volume_destroy(f->dd, "br-a", &err), &err);
	assert_int_equal(count_layers(f), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_call_fails_once),
	};
	return cmocka_run_group_tests(tests, cluster_set_up, cluster_tear_down);
}
