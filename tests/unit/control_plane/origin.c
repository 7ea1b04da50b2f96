/*
 * Which restore point and which WAL a moment is taken from, on a real store; taking it, and pg_waldump, are scripted. The history:
 *
 *   br-root  points at 0/1000 (t=10), 0/2000 (t=20), 0/3000 (t=30); ends at 0/3800
 *   br-child left br-root at 0/2400; points at 0/2600 (t=25), 0/2A00 (t=29); ends at 0/2C00
 */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_plane/origin.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "control_plane/wal_end.h"
#include "page_store/restore_point.h"
#include "page_store/stack.h"
#include "page_store/store.h"
#include "page_store/volume.h"
#include "wal_store/wal_time.h"

#define SEGMENT (16u << 20)
#define SECOND  USEC_PER_SEC

struct fixture {
	char folder[32];
	struct data_directory dd;
	struct store *store;
	int64_t base_usec; /* t=0 */
};

/* What the scripted functions were asked, and what they answer. */
static struct {
	struct volume_clone clone;
	char clone_archive[256], point_volume[64];
	uint64_t point_lsn;
	bool needs_hygiene;
	int clones, vanishing; /* the next ones do not find their point any more */
	uint64_t found_lsn;    /* by time; 0: the end of the range */
	struct wal_range searched;
	uint64_t searched_start, searched_end;
	char searched_archive[256];
	int searches;
	uint64_t record_size; /* records end at its multiples */
	int64_t ended_usec;   /* when the last transaction did; 0: none in the range */
} script;

status volume_clone(const struct data_directory *dd, const struct volume_clone *clone, struct error *err)
{
	(void)dd;
	script.clone = *clone;
	script.clones++;
	(void)snprintf(script.clone_archive, sizeof script.clone_archive, "%s", clone->archive_path);
	(void)snprintf(script.point_volume, sizeof script.point_volume, "%s", clone->point->volume_id);
	script.point_lsn = clone->point->end_lsn;
	script.needs_hygiene = clone->point->needs_hygiene;
	if (script.vanishing > 0) {
		script.vanishing--;
		return error_set(err, STATUS_NOT_FOUND, 0, "restore point is gone");
	}
	return STATUS_OK;
}

status wal_time_find(const char *bin_dir, const char *archive_path, const struct wal_range *range,
        int64_t time_usec, uint64_t *ret_lsn, struct error *err)
{
	(void)bin_dir, (void)time_usec, (void)err;
	script.searches++;
	script.searched_start = range->start_lsn;
	script.searched_end = range->end_lsn;
	(void)snprintf(script.searched_archive, sizeof script.searched_archive, "%s", archive_path);
	bool is_inside = script.found_lsn >= range->start_lsn && script.found_lsn < range->end_lsn;
	*ret_lsn = is_inside ? script.found_lsn : range->end_lsn;
	return STATUS_OK;
}

status wal_time_last_record(const char *bin_dir, const char *archive_path, const struct wal_range *range,
        uint64_t *ret_lsn, int64_t *ret_time_usec, struct error *err)
{
	(void)bin_dir, (void)archive_path, (void)err;
	*ret_time_usec = script.ended_usec;
	*ret_lsn = range->end_lsn / script.record_size * script.record_size;
	return STATUS_OK;
}

static void must(status st, const struct error *err)
{
	if (st != STATUS_OK)
		fail_msg("%s", err->message);
}

static void add_point(
        struct fixture *f, const char *volume, uint64_t number, uint64_t lsn, int second, uint32_t timeline)
{
	struct error err;
	struct layer_ref layer = { .version = 0 };
	(void)snprintf(layer.store, sizeof layer.store, "project");
	(void)snprintf(layer.id, sizeof layer.id, "%s.%d", volume, (int)number);
	struct restore_point point = { .number = number,
		.layers = &layer,
		.layer_count = 1,
		.redo_lsn = lsn - 0x100,
		.end_lsn = lsn,
		.redo_timeline = timeline,
		.timeline = timeline,
		.wal_segment_size = SEGMENT,
		.postgres_major = 17,
		.time_usec = f->base_usec + second * SECOND,
		.logical_bytes = 77 };
	(void)snprintf(point.volume_id, sizeof point.volume_id, "%s", volume);
	must(store_lock(f->store, &err), &err);
	must(restore_point_write(f->store, &point, &err), &err);
	store_unlock(f->store);
}

static void make_folder(struct fixture *f, const char *rest)
{
	CLEANUP(free_text) char *make = xasprintf("mkdir -p %s/%s", f->folder, rest);
	assert_int_equal(system(make), 0);
}

static void write_text(struct fixture *f, const char *rest, const char *text)
{
	struct error err;
	CLEANUP(free_text) char *path = xasprintf("%s/%s", f->folder, rest);
	must(file_replace_durably(path, slice_from_text(text), 0600, &err), &err);
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	struct error err;
	strcpy(f->folder, "/tmp/tarn-unit-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->dd = (struct data_directory){ .path = f->folder };
	f->base_usec = clock_wall_usec() - 3600 * SECOND;
	memset(&script, 0, sizeof script);
	script.record_size = 1;
	make_folder(f, "stores");
	make_folder(f, "volumes/br-root/archive");
	make_folder(f, "volumes/br-root/wal");
	make_folder(f, "volumes/br-child/archive");
	make_folder(f, "volumes/br-child/wal");
	must(store_create(&f->dd, "project", &f->store, &err), &err);
	add_point(f, "br-root", 1, 0x1000, 10, 1);
	add_point(f, "br-root", 2, 0x2000, 20, 1);
	add_point(f, "br-root", 3, 0x3000, 30, 1);
	add_point(f, "br-child", 1, 0x2600, 25, 3);
	add_point(f, "br-child", 2, 0x2A00, 29, 3);
	write_text(f, "volumes/br-child/archive/00000003.history", "1\t0/2400\tbranch\n");
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct error err;
	store_close(f->store);
	must(tree_remove(f->folder, &err), &err);
	free(f);
	return 0;
}

static struct origin_request of_root(struct fixture *f)
{
	struct origin_request request = { .store = "project",
		.lineage = { .volumes = { { .id = "br-root" } }, .count = 1 },
		.end = { .number = 3, .lsn = 0x3800, .timeline = 1, .time_usec = f->base_usec + 38 * SECOND },
		.bin_dir = "/bin" };
	return request;
}

static struct origin_request of_child(struct fixture *f)
{
	struct origin_request request = { .store = "project",
		.lineage = { .volumes = { { .id = "br-child", .fork_lsn = 0x2400 }, { .id = "br-root" } },
		        .count = 2 },
		.end = { .lsn = 0x2C00, .timeline = 3, .time_usec = f->base_usec + 31 * SECOND },
		.bin_dir = "/bin" };
	return request;
}

static struct origin_result take(struct fixture *f, const struct origin_request *request)
{
	struct origin_result result;
	struct error err;
	must(origin_clone(&f->dd, request, "br-new", 4, &result, &err), &err);
	return result;
}

static void expect_refusal(struct fixture *f, const struct origin_request *request, const char *text)
{
	struct origin_result result;
	struct error err;
	assert_int_equal(origin_clone(&f->dd, request, "br-new", 4, &result, &err), STATUS_INVALID);
	if (!strstr(err.message, text))
		fail_msg("\"%s\" is not in \"%s\"", text, err.message);
}

/* volume: whose archive; point: of whom, and where it ends. */
static void expect_choice(
        const char *volume, const char *point_volume, uint64_t point_lsn, uint64_t lsn, uint32_t timeline)
{
	CLEANUP(free_text) char *archive = xasprintf("/volumes/%s/archive", volume);
	assert_non_null(strstr(script.clone_archive, archive));
	assert_string_equal(script.point_volume, point_volume);
	assert_int_equal(script.point_lsn, point_lsn);
	assert_int_equal(script.clone.lsn, lsn);
	assert_int_equal(script.clone.source_timeline, timeline);
	assert_int_equal(script.clone.timeline, 4);
}

static void the_head_is_the_point_just_made(void **state)
{
	struct fixture *f = *state;
	struct origin_request request = of_root(f);
	request.end.lsn = 0x3000;
	struct origin_result result = take(f, &request);
	expect_choice("br-root", "br-root", 0x3000, 0x3000, 1);
	assert_int_equal(result.lsn, 0x3000);
	assert_int_equal(result.time_usec, f->base_usec + 38 * SECOND);
	assert_int_equal(result.logical_bytes, 77);
	assert_string_equal(result.volume, "br-root");
	assert_false(script.needs_hygiene);
	/* Without the point, WAL leads there. The head is now, whenever the last commit was. */
	request = of_root(f);
	script.ended_usec = f->base_usec + 31 * SECOND;
	result = take(f, &request);
	assert_int_equal(result.time_usec, f->base_usec + 38 * SECOND);
	expect_choice("br-root", "br-root", 0x3000, 0x3800, 1);
	assert_true(script.needs_hygiene); /* somebody may have subscribed in between */
}

static void an_lsn_is_reached_from_the_point_before_it(void **state)
{
	struct fixture *f = *state;
	struct origin_request request = of_root(f);
	request.moment = (struct moment){ .kind = MOMENT_LSN, .lsn = 0x2FFF };
	script.record_size = 0x10;
	struct origin_result result = take(f, &request);
	expect_choice("br-root", "br-root", 0x2000, 0x2FF0, 1); /* the last whole record is what counts */
	assert_int_equal(result.lsn, 0x2FF0);
	assert_int_equal(
	        result.time_usec, f->base_usec + 20 * SECOND); /* nothing was committed since the point */
	script.ended_usec = f->base_usec + 26 * SECOND;
	result = take(f, &request);
	assert_int_equal(result.time_usec, f->base_usec + 26 * SECOND);
	request.moment.lsn = 0x2000;
	result = take(f, &request);
	assert_int_equal(result.time_usec, f->base_usec + 20 * SECOND);
	expect_choice("br-root", "br-root", 0x2000, 0x2000, 1);
	assert_false(script.needs_hygiene);
	request.moment.lsn = 0x2005; /* in the middle of the first record behind the point */
	take(f, &request);
	expect_choice("br-root", "br-root", 0x2000, 0x2000, 1);
	request.moment.lsn = 0x3800;
	take(f, &request);
	expect_choice("br-root", "br-root", 0x3000, 0x3800, 1);
}

static void what_is_outside_is_refused_with_the_limit(void **state)
{
	struct fixture *f = *state;
	struct origin_request request = of_root(f);
	request.moment = (struct moment){ .kind = MOMENT_LSN, .lsn = 0x3801 };
	expect_refusal(f, &request, "LSN 0/3801 is in the future: the newest LSN of the source is 0/3800");
	request.moment.lsn = 0xFFF;
	expect_refusal(
	        f, &request, "LSN 0/FFF is before what can be restored: the earliest is LSN 0/1000, time 20");
	request.moment = (struct moment){ .kind = MOMENT_TIME, .time_usec = f->base_usec };
	expect_refusal(f, &request, "is before what can be restored: the earliest is LSN 0/1000");
	request.moment.time_usec = f->base_usec + 15 * SECOND;
	request.window_usec = 60 * SECOND; /* an hour is over: the history is there, the window is not */
	expect_refusal(f, &request, "is before what can be restored");
	assert_int_equal(script.clones, 0);
	/* Where the next record would begin, at the end of a page: the header is not written yet. */
	request = of_root(f);
	request.end.lsn = 0x4000;
	request.moment = (struct moment){ .kind = MOMENT_LSN, .lsn = 0x4018 };
	take(f, &request);
	expect_choice("br-root", "br-root", 0x3000, 0x4000, 1);
	request.moment.lsn = 0x4029;
	expect_refusal(f, &request, "in the future");
}

static void an_lsn_before_the_fork_is_the_origin_s(void **state)
{
	struct fixture *f = *state;
	struct origin_request request = of_child(f);
	request.moment = (struct moment){ .kind = MOMENT_LSN, .lsn = 0x2A80 };
	struct origin_result result = take(f, &request);
	expect_choice("br-child", "br-child", 0x2A00, 0x2A80, 3);
	assert_string_equal(result.volume, "br-child");
	request.moment.lsn = 0x2200;
	result = take(f, &request);
	/* The root's archive has no history of timeline 3, and needs none: the byte is on timeline 1. */
	expect_choice("br-root", "br-root", 0x2000, 0x2200, 1);
	assert_string_equal(result.volume, "br-root");
	request.moment.lsn = 0x2400;
	take(f, &request);
	expect_choice("br-root", "br-root", 0x2000, 0x2400, 1);
	/* Between the fork and the first point of its own: a point of the origin, and the child's WAL. */
	request.moment.lsn = 0x2500;
	take(f, &request);
	expect_choice("br-child", "br-root", 0x2000, 0x2500, 3);
	/* Of the root's own later history nothing is the child's. */
	request.moment.lsn = 0x3000;
	expect_refusal(f, &request, "in the future");
	request.moment.lsn = 0x800;
	expect_refusal(f, &request, "the earliest is LSN 0/1000");
	request.lineage.count = 1; /* the origin is gone */
	request.moment.lsn = 0x2200;
	expect_refusal(f, &request, "the earliest is LSN 0/2600");
	/* The point that the child inherited leads there too, whether the origin is gone or has lost its own. */
	add_point(f, "br-child", 9, 0x2100, 21, 1);
	take(f, &request);
	expect_choice("br-child", "br-child", 0x2100, 0x2200, 1);
	request.lineage.count = 2;
	struct error err;
	must(store_lock(f->store, &err), &err);
	for (uint64_t n = 1; n <= 2; n++)
		must(restore_point_remove(f->store, "br-root", n, &err), &err);
	store_unlock(f->store);
	take(f, &request);
	expect_choice("br-child", "br-child", 0x2100, 0x2200, 1);
}

static void a_time_is_found_in_the_wal_behind_its_point(void **state)
{
	struct fixture *f = *state;
	struct origin_request request = of_root(f);
	request.moment = (struct moment){ .kind = MOMENT_TIME, .time_usec = f->base_usec + 24 * SECOND };
	script.found_lsn = 0x2345;
	struct origin_result result = take(f, &request);
	expect_choice("br-root", "br-root", 0x2000, 0x2345, 1);
	assert_int_equal(script.searched_start, 0x2000);
	assert_int_equal(script.searched_end, 0x3800);
	script.ended_usec =
	        f->base_usec + 23 * SECOND; /* the commit before it is not the moment that was asked for */
	result = take(f, &request);
	assert_int_equal(result.time_usec, f->base_usec + 24 * SECOND);
	assert_int_equal(result.lsn, 0x2345);
	script.found_lsn = 0; /* nothing was committed later: the end of WAL */
	request.moment.time_usec = f->base_usec + 100 * SECOND;
	take(f, &request);
	expect_choice("br-root", "br-root", 0x3000, 0x3800, 1);
	request.end.lsn = 0x3000; /* it sleeps: nothing to search */
	int searches = script.searches;
	take(f, &request);
	expect_choice("br-root", "br-root", 0x3000, 0x3000, 1);
	assert_int_equal(script.searches, searches);
}

static void a_time_before_the_fork_is_the_origin_s(void **state)
{
	struct fixture *f = *state;
	struct origin_request request = of_child(f);
	request.moment = (struct moment){ .kind = MOMENT_TIME, .time_usec = f->base_usec + 22 * SECOND };
	script.found_lsn = 0x2300;
	take(f, &request);
	expect_choice("br-root", "br-root", 0x2000, 0x2300, 1);
	assert_int_equal(script.searched_end, 0x2400); /* the root's later commits are not the child's */
	/* Nothing in the root's part is later: then in what the child wrote before its first point. */
	script.found_lsn = 0x2480;
	request.moment.time_usec = f->base_usec + 24 * SECOND;
	take(f, &request);
	assert_int_equal(script.searched_start, 0x2400);
	assert_int_equal(script.searched_end, 0x2600);
	expect_choice("br-child", "br-root", 0x2000, 0x2480, 3);
	/* A newer point of the root, of after the fork, is not in the way. */
	add_point(f, "br-root", 4, 0x2480, 21, 1);
	script.found_lsn = 0x2300;
	request.moment.time_usec = f->base_usec + 22 * SECOND;
	take(f, &request);
	expect_choice("br-root", "br-root", 0x2000, 0x2300, 1);
	request.moment.time_usec = f->base_usec + 5 * SECOND;
	expect_refusal(f, &request, "the earliest is LSN 0/1000");
}

static void a_point_that_retention_took_is_chosen_again(void **state)
{
	struct fixture *f = *state;
	struct origin_request request = of_root(f);
	struct origin_result result;
	struct error err;
	script.vanishing = 2;
	take(f, &request);
	assert_int_equal(script.clones, 3);
	script.vanishing = 100; /* but not for ever */
	assert_int_equal(origin_clone(&f->dd, &request, "br-new", 4, &result, &err), STATUS_NOT_FOUND);
	assert_true(script.clones < 20);
}

static void the_window_is_that_of_all_the_lineage(void **state)
{
	struct fixture *f = *state;
	struct origin_window window;
	struct error err;
	struct origin_request root = of_root(f), child = of_child(f);
	must(origin_window(&f->dd, "project", &root.lineage, 0, &window, &err), &err);
	assert_int_equal(window.earliest_lsn, 0x1000);
	assert_int_equal(window.earliest_usec, f->base_usec + 10 * SECOND);
	assert_int_equal(window.latest_lsn, 0x3000);
	must(origin_window(&f->dd, "project", &child.lineage, 0, &window, &err), &err);
	assert_int_equal(window.earliest_lsn, 0x1000);
	assert_int_equal(window.latest_lsn, 0x2A00);
	child.lineage.count = 1;
	must(origin_window(&f->dd, "project", &child.lineage, 60 * SECOND, &window, &err), &err);
	assert_int_equal(window.earliest_lsn, 0x2600);
	assert_true(window.earliest_usec > clock_wall_usec() - 61 * SECOND);
	strcpy(child.lineage.volumes[0].id, "br-none");
	assert_int_equal(
	        origin_window(&f->dd, "project", &child.lineage, 0, &window, &err), STATUS_NOT_FOUND);

	window = (struct origin_window){ .earliest_lsn = 0x1000,
		.earliest_usec = 1000 * SECOND,
		.latest_lsn = 0x3000,
		.latest_usec = 2000 * SECOND };
	struct moment moment = { .kind = MOMENT_LSN, .lsn = 0xFFF };
	assert_int_equal(origin_check(&window, &moment, 2000 * SECOND, &err), STATUS_INVALID);
	moment.lsn = 0x100000; /* may be in Postgres' memory: only asking it can tell */
	assert_int_equal(origin_check(&window, &moment, 2000 * SECOND, &err), STATUS_OK);
	moment.lsn = UINT64_MAX;
	assert_int_equal(origin_check(&window, &moment, 2000 * SECOND, &err), STATUS_INVALID);
	moment = (struct moment){ .kind = MOMENT_TIME, .time_usec = 2001 * SECOND };
	assert_int_equal(origin_check(&window, &moment, 2000 * SECOND, &err), STATUS_INVALID);
	moment.time_usec = 999 * SECOND;
	assert_int_equal(origin_check(&window, &moment, 2000 * SECOND, &err), STATUS_INVALID);
	moment.time_usec = 1000 * SECOND;
	assert_int_equal(origin_check(&window, &moment, 2000 * SECOND, &err), STATUS_OK);
}

/* ---- pg_wal ---- */

static void write_wal(struct fixture *f, const char *name, uint64_t start, unsigned pages, size_t extra)
{
	CLEANUP(free_text) char *path = xasprintf("%s/volumes/br-root/wal/%s", f->folder, name);
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_true(fd >= 0 && ftruncate(fd, SEGMENT) == 0);
	for (unsigned page = 0; page < pages; page++) {
		uint8_t bytes[8192] = { 0 };
		uint64_t address = start + page * 8192u;
		memcpy(bytes + 8, &address, sizeof address);
		size_t used = page + 1 < pages || extra == 0 ? sizeof bytes : extra;
		memset(bytes + 16, 1, used - 16);
		assert_int_equal(pwrite(fd, bytes, sizeof bytes, page * 8192), sizeof bytes);
	}
	close(fd);
}

static void the_end_of_wal_is_where_zeros_begin(void **state)
{
	struct fixture *f = *state;
	CLEANUP(free_text) char *wal = xasprintf("%s/volumes/br-root/wal", f->folder);
	assert_int_equal(wal_end_look(wal, SEGMENT), 0);
	assert_int_equal(wal_end_look("/nowhere", SEGMENT), 0);
	write_wal(f, "000000010000000000000001", 0x1000000, 2048, 0);
	write_wal(f, "000000010000000000000002", 0x2000000, 3, 100);
	write_wal(f, "000000010000000000000003", 0x3000000, 0, 0); /* made beforehand */
	assert_int_equal(wal_end_look(wal, SEGMENT), 0x2000000 + 3 * 8192);
	assert_true(wal_end_goes_on(wal, 0x2000000, SEGMENT));
	assert_true(wal_end_goes_on(wal, 0x2000000 + 2 * 8192 + 99, SEGMENT));
	assert_false(wal_end_goes_on(wal, 0x2000000 + 2 * 8192 + 104, SEGMENT));
	assert_false(wal_end_goes_on(wal, 0x2000000 + 3 * 8192, SEGMENT));
	assert_false(wal_end_goes_on(wal, 0x3000000, SEGMENT));
	assert_false(wal_end_goes_on(wal, 0x4000000, SEGMENT)); /* the segment is not made yet */
	assert_true(wal_end_goes_on(wal, 0x4000010, SEGMENT));  /* it must be there: nobody can tell */
	assert_true(wal_end_goes_on("/nowhere", 0x2000010, SEGMENT));
	/* A clone writes on a timeline of its own: a copy of what was before, and more. */
	write_wal(f, "000000030000000000000002", 0x2000000, 3, 200);
	assert_true(wal_end_goes_on(wal, 0x2000000 + 2 * 8192 + 104, SEGMENT));
	assert_false(wal_end_goes_on(wal, 0x2000000 + 2 * 8192 + 200, SEGMENT));
	/* What Postgres' user puts there is not followed, nor waited for. */
	CLEANUP(free_text) char *link = xasprintf("%s/000000010000000000000005", wal);
	CLEANUP(free_text) char *pipe_path = xasprintf("%s/000000010000000000000006", wal);
	assert_int_equal(symlink("000000010000000000000001", link), 0);
	assert_int_equal(mkfifo(pipe_path, 0600), 0);
	assert_int_equal(wal_end_look(wal, SEGMENT), 0x2000000 + 3 * 8192);
	assert_true(wal_end_goes_on(wal, 0x5000000, SEGMENT));
	assert_true(wal_end_goes_on(wal, 0x6000000, SEGMENT));
}

static void only_a_clean_end_is_an_end(void **state)
{
	struct fixture *f = *state;
	struct fleet_point end;
	struct error err;
	assert_int_equal(origin_find_end(&f->dd, "project", "br-root", &end, &err), STATUS_CONFLICT);
	assert_int_equal(origin_find_end(&f->dd, "project", "br-none", &end, &err), STATUS_CONFLICT);
	CLEANUP(restore_point_done) struct restore_point point = { 0 };
	must(restore_point_read(f->store, "br-root", 3, &point, &err), &err);
	point.number = 5;
	point.redo_lsn = 0x2000028;
	point.end_lsn = 0x2000000 + 100 + 4;
	point.is_shut_down = true;
	must(store_lock(f->store, &err), &err);
	must(restore_point_write(f->store, &point, &err), &err);
	store_unlock(f->store);
	write_wal(f, "000000010000000000000002", 0x2000000, 1, 100);
	must(origin_find_end(&f->dd, "project", "br-root", &end, &err), &err);
	assert_int_equal(end.number, 5);
	assert_int_equal(end.lsn, 0x2000068);
	assert_int_equal(end.timeline, 1);
	/* It was started again, and killed before a restore point was made. */
	write_wal(f, "000000010000000000000002", 0x2000000, 1, 200);
	assert_int_equal(origin_find_end(&f->dd, "project", "br-root", &end, &err), STATUS_CONFLICT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(the_head_is_the_point_just_made),
		TEST(an_lsn_is_reached_from_the_point_before_it),
		TEST(what_is_outside_is_refused_with_the_limit),
		TEST(an_lsn_before_the_fork_is_the_origin_s),
		TEST(a_time_is_found_in_the_wal_behind_its_point),
		TEST(a_time_before_the_fork_is_the_origin_s),
		TEST(a_point_that_retention_took_is_chosen_again),
		TEST(the_window_is_that_of_all_the_lineage),
		TEST(the_end_of_wal_is_where_zeros_begin),
		TEST(only_a_clean_end_is_an_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
