/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "page_store/restore_point.h"
#include "page_store/stack.h"
#include "page_store/store.h"
#include "page_store/volume.h"

struct fixture {
	char path[64];
	struct data_directory dd;
	struct store *store;
};

static void must(status st, const struct error *err)
{
	if (st != STATUS_OK)
		fail_msg("%s", err->message);
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	struct error err;
	memcpy(f->path, "/tmp/tarn-unit-XXXXXX", 22);
	if (!mkdtemp(f->path))
		return -1;
	f->dd.path = f->path;
	*state = f;
	return store_create(&f->dd, "project-a", &f->store, &err) == STATUS_OK ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct error err;
	store_close(f->store);
	status st = tree_remove(f->path, &err);
	free(f);
	return st == STATUS_OK ? 0 : -1;
}

static struct layer_ref ref_of(const char *store, const char *id, uint32_t version)
{
	struct layer_ref ref = { .version = version };
	(void)snprintf(ref.store, sizeof ref.store, "%s", store);
	(void)snprintf(ref.id, sizeof ref.id, "%s", id);
	return ref;
}

static void make_layer(const struct fixture *f, const char *id)
{
	struct error err;
	int fd = -1;
	must(store_make_layer_folder(f->store, id, &fd, &err), &err);
	assert_int_equal(mkdirat(fd, "something", 0700), 0);
	close_fd(&fd);
}

static bool has(const struct fixture *f, const char *path)
{
	CLEANUP(free_text) char *full = store_path(f->store, "%s", path);
	return file_exists(full);
}

static void write_stack(const struct fixture *f, const char *volume, size_t count, const char *const *layers)
{
	CLEANUP(stack_done) struct stack stack = { .next_layer = 1, .next_point = 1 };
	struct error err;
	struct layer_ref template = ref_of("template-17-11-2", "template.1", 0);
	stack_push(&stack, &template);
	for (size_t i = 0; i < count; i++) {
		struct layer_ref ref = ref_of("project-a", layers[i], 0);
		stack_push(&stack, &ref);
	}
	must(stack_write(f->store, volume, &stack, &err), &err);
}

static void a_store_is_made_once(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct store *again = NULL;
	must(store_create(&f->dd, "project-a", &again, &err), &err);
	assert_string_equal(store_id(again), "project-a");
	store_close(again);
	assert_int_equal(store_open(&f->dd, "project-b", &again, &err), STATUS_NOT_FOUND);
	static const char *const names[] = { "", ".", "..", "a/b", "../a", "a.dead", "-a", "_a",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(store_create(&f->dd, names[i], &again, &err), STATUS_INVALID);
		assert_int_equal(store_open(&f->dd, names[i], &again, &err), STATUS_INVALID);
		assert_int_equal(store_destroy(&f->dd, names[i], &err), STATUS_INVALID);
	}
	/* A half-made one is not there, and is completed. */
	CLEANUP(free_text) char *half = xasprintf("%s/stores/project-c", f->path);
	assert_int_equal(mkdir(half, 0700), 0);
	assert_int_equal(store_open(&f->dd, "project-c", &again, &err), STATUS_NOT_FOUND);
	must(store_create(&f->dd, "project-c", &again, &err), &err);
	store_close(again);
	must(store_destroy(&f->dd, "project-c", &err), &err);
	must(store_destroy(&f->dd, "project-c", &err), &err);
	assert_false(file_exists(half));
	assert_int_equal(store_destroy(&f->dd, "template-17-11-2", &err), STATUS_INVALID);
	CLEANUP(free_text) char *record = store_path(f->store, "store.json");
	must(file_replace_durably(record, slice_from_text("{\"version\":9}"), 0600, &err), &err);
	assert_int_equal(store_open(&f->dd, "project-a", &again, &err), STATUS_UNSUPPORTED);
}

static void what_nobody_names_goes(void **state)
{
	struct fixture *f = *state;
	struct error err;
	int64_t bytes = -1;
	must(store_lock(f->store, &err), &err);
	static const char *const ids[] = { "br-a.1", "br-a.2", "br-a.3", "br-b.1", "br-b.2", "br-c.1" };
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		make_layer(f, ids[i]);
	write_stack(f, "br-a", 2, (const char *const[]){ "br-a.1", "br-a.3" });
	write_stack(f, "br-b", 2, (const char *const[]){ "br-a.1", "br-b.2" });
	struct layer_ref of_point[] = { ref_of("project-a", "br-a.1", 0), ref_of("project-a", "br-a.2", 0) };
	struct restore_point point = { .number = 3,
		.volume_id = "br-a",
		.layers = of_point,
		.layer_count = 2,
		.redo_lsn = 1,
		.end_lsn = 2,
		.redo_timeline = 1,
		.timeline = 1,
		.wal_segment_size = 16 << 20,
		.postgres_major = 17 };
	must(restore_point_write(f->store, &point, &err), &err);
	/* A name that somebody has cannot be taken again, one that is only left over can. */
	int fd = -1;
	assert_int_equal(store_make_layer_folder(f->store, "br-a.2", &fd, &err), STATUS_EXISTS);
	make_layer(f, "br-c.1");
	store_unlock(f->store);

	must(store_collect_garbage(f->store, &bytes, &err), &err);
	assert_true(bytes > 0);
	assert_true(has(f, "layers/br-a.1") && has(f, "layers/br-a.2") && has(f, "layers/br-a.3") &&
	            has(f, "layers/br-b.2"));
	assert_false(has(f, "layers/br-b.1") || has(f, "layers/br-c.1"));

	must(store_lock(f->store, &err), &err);
	must(restore_point_remove(f->store, "br-a", 3, &err), &err);
	must(restore_point_remove(f->store, "br-a", 3, &err), &err);
	must(stack_remove(f->store, "br-b", &err), &err);
	must(stack_remove(f->store, "br-b", &err), &err);
	store_unlock(f->store);
	must(store_collect_garbage(f->store, NULL, &err), &err);
	assert_true(has(f, "layers/br-a.1") && has(f, "layers/br-a.3"));
	assert_false(has(f, "layers/br-a.2") || has(f, "layers/br-b.2"));
	must(store_collect_garbage(f->store, &bytes, &err), &err);
	assert_int_equal(bytes, 0);
}

/* A record that cannot be read may name anything: nothing is garbage then. */
static void an_unreadable_record_saves_all(void **state)
{
	struct fixture *f = *state;
	struct error err;
	must(store_lock(f->store, &err), &err);
	make_layer(f, "br-a.1");
	make_layer(f, "br-a.2");
	write_stack(f, "br-a", 1, (const char *const[]){ "br-a.1" });
	store_unlock(f->store);
	static const char *const broken[] = { "stacks/br-b.json", "points/br-a/7.json",
		"snapshots/s/point.json", "snapshots/t" };
	for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
		CLEANUP(free_text) char *path = store_path(f->store, "%s", broken[i]);
		CLEANUP(free_text) char *folder = xstrndup(path, (size_t)(strrchr(path, '/') - path));
		must(folder_make(folder, 0700, &err), &err);
		if (i < 3)
			must(file_replace_durably(path, slice_from_text("{}"), 0600, &err), &err);
		else
			must(folder_make(path, 0700, &err), &err); /* a snapshot without a record */
		assert_int_equal(store_collect_garbage(f->store, NULL, &err), STATUS_CORRUPT);
		assert_true(has(f, "layers/br-a.2"));
		must(tree_remove(i == 2 ? folder : path, &err), &err);
	}
	must(store_collect_garbage(f->store, NULL, &err), &err);
	assert_false(has(f, "layers/br-a.2"));
}

/* Names in records cannot lead out of the store. */
static void foreign_layers_are_refused(void **state)
{
	struct fixture *f = *state;
	struct error err;
	int fd = -1;
	static const struct {
		const char *store, *id;
	} bad[] = { { "project-a", "../stacks" }, { "project-a", "" }, { "..", "br-a.1" },
		{ "project-b", "br-a.1" }, { "template-x", "missing" }, { "project-a", ".hidden" } };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct layer_ref ref = ref_of(bad[i].store, bad[i].id, 0);
		assert_int_equal(store_open_layer_folder(f->store, &ref, &fd, &err), STATUS_CORRUPT);
	}
	assert_int_equal(fd, -1);
}

struct contest {
	struct fixture *f;
	struct store *store; /* NULL: one of its own */
	int *counter;
};

static void *count_up(void *arg)
{
	const struct contest *contest = arg;
	struct store *store = contest->store;
	struct error err;
	if (!store && store_open(&contest->f->dd, "project-a", &store, &err) != STATUS_OK)
		return NULL;
	for (int i = 0; i < 500; i++) {
		if (store_lock(store, &err) != STATUS_OK)
			return NULL;
		int seen = *(volatile int *)contest->counter;
		(void)sched_yield();
		*(volatile int *)contest->counter = seen + 1;
		store_unlock(store);
	}
	if (!contest->store)
		store_close(store);
	return NULL;
}

static void the_lock_excludes_threads(void **state)
{
	struct fixture *f = *state;
	int counter = 0;
	pthread_t threads[4];
	struct contest contests[4];
	for (int i = 0; i < 4; i++) {
		contests[i] = (struct contest){ f, i < 2 ? f->store : NULL, &counter };
		assert_int_equal(pthread_create(&threads[i], NULL, count_up, &contests[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(counter, 2000);
}

/* Two processes write a stack, about different things: numbers that were given away stay given away. */
static void numbers_never_go_back(void **state)
{
	struct fixture *f = *state;
	struct error err;
	CLEANUP(stack_done) struct stack stack = { 0 };
	must(store_lock(f->store, &err), &err);
	write_stack(f, "br-a", 1, (const char *const[]){ "br-a.1" });
	must(stack_read(f->store, "br-a", &stack, &err), &err);
	stack.next_layer = 9;
	stack.next_point = 7;
	must(stack_write(f->store, "br-a", &stack, &err), &err);
	write_stack(f, "br-a", 1, (const char *const[]){ "br-a.8" });
	store_unlock(f->store);
	stack_done(&stack);
	must(stack_read(f->store, "br-a", &stack, &err), &err);
	assert_int_equal(stack.next_layer, 9);
	assert_int_equal(stack.next_point, 7);
	assert_string_equal(stack.layers[1].id, "br-a.8");
	assert_int_equal(stack_read(f->store, "br-b", &stack, &err), STATUS_NOT_FOUND);
	assert_int_equal(stack_read(f->store, "../x", &stack, &err), STATUS_INVALID);
	/* Under another name it is not believed. */
	CLEANUP(free_text) char *from = store_path(f->store, "stacks/br-a.json");
	CLEANUP(free_text) char *to = store_path(f->store, "stacks/br-b.json");
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(stack_read(f->store, "br-b", &stack, &err), STATUS_CORRUPT);
}

/* Numbers, the lists, and the search by position and time. */
static void points_are_numbered_and_found(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct layer_ref layers[] = { ref_of("template-17-11-2", "template.1", 0) };
	struct restore_point point = { .volume_id = "br-a",
		.layers = layers,
		.layer_count = 1,
		.redo_timeline = 1,
		.timeline = 1,
		.wal_segment_size = 16 << 20,
		.postgres_major = 17 };
	struct restore_point found;
	uint64_t *numbers = NULL;
	size_t count = 0;
	assert_int_equal(restore_point_newest(f->store, "br-a", &found, &err), STATUS_NOT_FOUND);
	must(store_lock(f->store, &err), &err);
	write_stack(f, "br-a", 1, (const char *const[]){ "br-a.1" });
	store_unlock(f->store);
	for (unsigned i = 1; i <= 11; i++) {
		point.redo_lsn = i * 100;
		point.end_lsn = i * 100 + 50;
		point.time_usec = i * 1000;
		must(restore_point_add(f->store, &point, &err), &err);
		assert_int_equal(point.number, i);
	}
	must(restore_point_list(f->store, "br-a", &numbers, &count, &err), &err);
	assert_int_equal(count, 11);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(numbers[i], i + 1);
	free(numbers);
	static const struct {
		uint64_t lsn;
		int64_t time;
		uint64_t number; /* 0: none */
	} cases[] = { { 149, 999, 0 }, { 150, 1000, 1 }, { 151, 1001, 1 }, { 249, 1999, 1 },
		{ 1150, 11000, 11 }, { UINT64_MAX / 2, INT64_MAX, 11 } };
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		status by_lsn = restore_point_find_lsn(f->store, "br-a", cases[i].lsn, &found, &err);
		assert_int_equal(by_lsn, cases[i].number ? STATUS_OK : STATUS_NOT_FOUND);
		if (by_lsn == STATUS_OK) {
			assert_int_equal(found.number, cases[i].number);
			restore_point_done(&found);
		}
		status by_time = restore_point_find_time(f->store, "br-a", cases[i].time, &found, &err);
		assert_int_equal(by_time, by_lsn);
		if (by_time == STATUS_OK) {
			assert_int_equal(found.number, cases[i].number);
			restore_point_done(&found);
		}
	}
	/* The last one's number is not used again, also when the stack does not know of it. */
	must(store_lock(f->store, &err), &err);
	must(restore_point_remove(f->store, "br-a", 11, &err), &err);
	store_unlock(f->store);
	must(restore_point_add(f->store, &point, &err), &err);
	assert_int_equal(point.number, 12);
	/* Layers that are not the bottom of the stack (any more) are not a point's. */
	layers[0] = ref_of("project-a", "br-a.7", 0);
	assert_int_equal(restore_point_add(f->store, &point, &err), STATUS_CONFLICT);
	must(restore_point_newest(f->store, "br-a", &found, &err), &err);
	assert_int_equal(found.number, 12);
	restore_point_done(&found);
}

static void every_flipped_bit_is_seen(void **state)
{
	(void)state;
	struct layer_ref layers[] = { ref_of("template-17-11-2", "template.1", 0), ref_of("p", "br-a.1", 3) };
	struct restore_point point = { .number = 5,
		.volume_id = "br-a",
		.layers = layers,
		.layer_count = 2,
		.redo_lsn = UINT64_C(0x1600000028),
		.end_lsn = UINT64_C(0x16B374D848),
		.redo_timeline = 1,
		.timeline = 3,
		.wal_segment_size = 1 << 20,
		.postgres_major = 17,
		.is_shut_down = true,
		.time_usec = 1795375728453065,
		.replay_usec = 17,
		.logical_bytes = INT64_MAX };
	struct buffer text = { 0 }, again = { 0 };
	struct error err;
	restore_point_format(&point, &text);
	for (size_t i = 0; i < text.len - 1; i++) {
		for (int bit = 0; bit < 8; bit++) {
			struct restore_point back;
			text.data[i] = (char)(text.data[i] ^ (1 << bit));
			status st = restore_point_parse(buffer_slice(&text), &back, &err);
			text.data[i] = (char)(text.data[i] ^ (1 << bit));
			if (st != STATUS_OK)
				continue;
			again.len = 0;
			restore_point_format(&back, &again); /* what was hit did not count */
			assert_string_equal(again.data, text.data);
			restore_point_done(&back);
		}
	}
	for (size_t len = 0; len + 1 < text.len; len++) {
		struct restore_point back;
		assert_int_equal(
		        restore_point_parse((struct slice){ (uint8_t *)text.data, len }, &back, &err),
		        STATUS_CORRUPT);
	}
	buffer_done(&text);
	buffer_done(&again);
}

/* Right checksums over values that are not valid. */
static void hostile_values_are_refused(void **state)
{
	(void)state;
	struct layer_ref good = ref_of("p", "br-a.1", 0);
	const struct restore_point valid = { .number = 5,
		.volume_id = "br-a",
		.layers = &good,
		.layer_count = 1,
		.redo_lsn = 8,
		.end_lsn = 16,
		.redo_timeline = 1,
		.timeline = 3,
		.wal_segment_size = 1 << 20,
		.postgres_major = 17 };
	for (int i = 0; i < 13; i++) {
		struct restore_point point = valid, back;
		struct layer_ref layer = good;
		struct error err;
		CLEANUP(buffer_done) struct buffer text = { 0 };
		point.layers = &layer;
		switch (i) {
		case 1:
			memcpy(layer.id, "../x", 5);
			break;
		case 2:
			memcpy(layer.store, "..", 3);
			break;
		case 3:
			point.number = 0;
			break;
		case 4:
			point.end_lsn = point.redo_lsn;
			break;
		case 5:
			point.redo_lsn = 0;
			break;
		case 6:
			point.redo_timeline = 4;
			break;
		case 7:
			point.redo_timeline = 0;
			break;
		case 8:
			point.wal_segment_size = 3 << 20;
			break;
		case 9:
			point.wal_segment_size = 1 << 10;
			break;
		case 10:
			point.layer_count = 0;
			break;
		case 11:
			point.time_usec = -1;
			break;
		case 12:
			memcpy(point.volume_id, "a/b", 4);
			break;
		}
		restore_point_format(&point, &text);
		assert_int_equal(restore_point_parse(buffer_slice(&text), &back, &err),
		        i == 0 ? STATUS_OK : STATUS_CORRUPT);
		if (i == 0)
			restore_point_done(&back);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_store_is_made_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_nobody_names_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_unreadable_record_saves_all, set_up, tear_down),
		cmocka_unit_test_setup_teardown(foreign_layers_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_lock_excludes_threads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(numbers_never_go_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(points_are_numbered_and_found, set_up, tear_down),
		cmocka_unit_test(every_flipped_bit_is_seen),
		cmocka_unit_test(hostile_values_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
