#include "control_plane/housekeeper.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "control_plane/disk_space.h"
#include "metadata/branch_row.h"
#include "metadata/project_row.h"
#include "page_store/retention.h"
#include "page_store/volume.h"

#define SOON_MS     500                   /* several changes are one round */
#define PAUSE_MS    10000                 /* between rounds, whatever happens */
#define RETAIN_USEC (3600 * USEC_PER_SEC) /* points grow old also where nothing happens */

struct item {
	int64_t branch, project;
	char store[RESOURCE_ID_MAX + 1], volume[RESOURCE_ID_MAX + 1];
	int64_t window_usec;
	/*
	 * When its records, restore points and WAL last changed, together. An item that is as it was in the round before, in a project that has the
	 * same volumes, keeps its results: a project that sleeps costs nothing.
	 */
	int64_t changed_nsec;
	int64_t retained_usec; /* monotonic; the last retention */
	/* Results. */
	bool is_measured;
	struct branch_space space;
	int64_t project_bytes; /* of the last item of a project; else -1 */
};

struct housekeeper {
	const struct services *services;
	uv_timer_t timer;
	uv_work_t work;
	struct item *items; /* of the round, in the order of projects */
	size_t count;
	struct item *old_items; /* of the round before */
	size_t old_count;
	int64_t began_usec; /* monotonic; the last round */
	bool is_working, is_asked, is_timer_closed;
	atomic_bool is_closing;
};

static void on_timer(uv_timer_t *timer);

static void free_when_done(struct housekeeper *h)
{
	if (!h->is_timer_closed || h->is_working)
		return;
	free(h->items);
	free(h->old_items);
	free(h);
}

struct housekeeper *housekeeper_create(struct services *services)
{
	struct housekeeper *h = xcalloc(1, sizeof *h);
	h->services = services;
	services->housekeeper = h;
	(void)uv_timer_init(services->loop, &h->timer);
	h->timer.data = h->work.data = h;
	return h;
}

static void schedule(struct housekeeper *h, int64_t delay_ms)
{
	if (!h->is_closing)
		(void)uv_timer_start(&h->timer, on_timer, (uint64_t)delay_ms, 0);
}

void housekeeper_look(struct housekeeper *h)
{
	if (!h)
		return;
	h->is_asked = true;
	if (h->is_working)
		return;
	int64_t since_ms = (clock_monotonic_usec() - h->began_usec) / 1000;
	schedule(h, h->began_usec == 0 || since_ms > PAUSE_MS ? SOON_MS : PAUSE_MS - since_ms + SOON_MS);
}

static status add_items(struct housekeeper *h, const struct project_row *project, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = branch_row_list_all(h->services->md, project->id, &st, err);
	while (code == STATUS_OK) {
		struct branch_row branch;
		code = branch_row_next(&st, &branch, err);
		if (code != STATUS_OK || !branch.is_ready || branch.is_purged)
			continue;
		h->items = xrealloc(h->items, (h->count + 1) * sizeof *h->items);
		struct item *item = &h->items[h->count++];
		*item = (struct item){ .branch = branch.id,
			.project = project->id,
			.window_usec = project->history_retention_usec,
			.project_bytes = -1 };
		memcpy(item->store, project->uid, sizeof item->store);
		memcpy(item->volume, branch.volume_id, sizeof item->volume);
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

static status list_items(struct housekeeper *h, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	free(h->old_items);
	h->old_items = h->items;
	h->old_count = h->count;
	h->items = NULL;
	h->count = 0;
	status code = project_row_list(h->services->md, 0, true, INT64_MAX, &st, err);
	while (code == STATUS_OK) {
		CLEANUP(project_row_done) struct project_row project = { 0 };
		code = project_row_next(&st, &project, err);
		if (code == STATUS_OK)
			code = add_items(h, &project, err);
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

static int64_t newer(
        const struct data_directory *dd, int64_t nsec, const char *folder, const char *id, const char *rest)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "%s/%s/%s", folder, id, rest);
	struct stat st;
	if (stat(path, &st) < 0)
		return nsec;
	int64_t changed = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
	return changed > nsec ? changed : nsec;
}

/* Folders change with every file that comes or goes in them. */
static int64_t last_change(const struct data_directory *dd, const struct item *item)
{
	CLEANUP(free_text) char *stack = xasprintf("stacks/%s.json", item->volume);
	CLEANUP(free_text) char *points = xasprintf("points/%s", item->volume);
	int64_t nsec = newer(dd, 0, "stores", item->store, stack);
	nsec = newer(dd, nsec, "stores", item->store, points);
	nsec = newer(dd, nsec, "stores", item->store, "snapshots");
	nsec = newer(dd, nsec, "volumes", item->volume, "archive");
	return newer(dd, nsec, "volumes", item->volume, "wal");
}

/* The projects of both rounds are in the same order, and so are their volumes unless one came or went. */
static const struct item *find_old(const struct housekeeper *h, const struct item *item)
{
	for (size_t i = 0; i < h->old_count; i++)
		if (strcmp(h->old_items[i].volume, item->volume) == 0)
			return &h->old_items[i];
	return NULL;
}

static size_t project_end(const struct item *items, size_t count, size_t begin)
{
	size_t end = begin;
	while (end < count && items[end].project == items[begin].project)
		end++;
	return end;
}

static size_t count_of_project(const struct item *items, size_t count, int64_t project)
{
	size_t found = 0;
	for (size_t i = 0; i < count; i++)
		found += items[i].project == project;
	return found;
}

/* Takes over the results of the round before; false when something of the project is to be done. */
static bool is_as_before(
        const struct housekeeper *h, const struct data_directory *dd, size_t begin, size_t end)
{
	bool is_same = count_of_project(h->old_items, h->old_count, h->items[begin].project) == end - begin;
	for (size_t i = begin; i < end; i++) {
		struct item *item = &h->items[i];
		const struct item *old = find_old(h, item);
		item->changed_nsec = last_change(dd, item);
		is_same = is_same && old && old->is_measured && old->changed_nsec == item->changed_nsec &&
		          old->window_usec == item->window_usec &&
		          clock_monotonic_usec() - old->retained_usec < RETAIN_USEC;
		if (old) {
			item->is_measured = old->is_measured;
			item->space = old->space;
			item->project_bytes = old->project_bytes;
			item->retained_usec = old->retained_usec;
		}
	}
	return is_same;
}

static void apply_retention(const struct data_directory *dd, const struct item *item)
{
	struct retention retention = { .now_usec = clock_wall_usec(), .window_usec = item->window_usec };
	struct retention_result result;
	struct error err;
	status st = retention_apply(dd, item->volume, &retention, &result, &err);
	if (st != STATUS_OK && st != STATUS_NOT_FOUND) /* it was destroyed meanwhile */
		log_warning("could not thin the history of volume \"%s\": %s", item->volume, err.message);
	else if (st == STATUS_OK && (result.points_removed > 0 || result.wal_removed > 0 || result.bytes > 0))
		log_info("volume \"%s\": %zu restore points and %zu files of WAL removed, %zu points stay, "
		         "%lld bytes of layers given back",
		        item->volume, result.points_removed, result.wal_removed, result.points_kept,
		        (long long)result.bytes);
}

static void measure(const struct data_directory *dd, struct item *item)
{
	struct volume_usage usage;
	struct error err;
	status st = volume_usage(dd, item->volume, &usage, &err);
	if (st == STATUS_OK) {
		item->is_measured = true;
		item->space = (struct branch_space){ .logical = usage.logical_bytes,
			.own = usage.own_bytes,
			.shared = usage.shared_bytes,
			.history = usage.history_bytes + usage.wal_bytes };
	} else if (st != STATUS_NOT_FOUND) { /* it was destroyed meanwhile */
		log_warning("could not measure volume \"%s\": %s", item->volume, err.message);
	}
}

/* Its store is measured once, its volumes' files beside it. */
static void look_after(struct housekeeper *h, size_t begin, size_t end)
{
	const struct data_directory *dd = h->services->dd;
	CLEANUP(disk_space_freep) struct disk_space *space = disk_space_new();
	for (size_t i = begin; i < end && !h->is_closing; i++) {
		apply_retention(dd, &h->items[i]);
		h->items[i].retained_usec = clock_monotonic_usec();
	}
	for (size_t i = begin; i < end && !h->is_closing; i++) {
		struct item *item = &h->items[i];
		item->is_measured = false;
		measure(dd, item);
		disk_space_add_volume(space, dd, item->volume);
		item->changed_nsec = last_change(dd, item); /* by retention too */
		item->project_bytes = -1;
	}
	disk_space_add_store(space, dd, h->items[begin].store);
	h->items[end - 1].project_bytes = disk_space_total(space);
}

/* In a worker thread. */
static void work(uv_work_t *request)
{
	struct housekeeper *h = request->data;
	for (size_t begin = 0, end; begin < h->count && !h->is_closing; begin = end) {
		end = project_end(h->items, h->count, begin);
		if (!is_as_before(h, h->services->dd, begin, end))
			look_after(h, begin, end);
	}
}

static status keep_results(struct housekeeper *h, struct error *err)
{
	struct metadata *md = h->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	for (size_t i = 0; i < h->count && st == STATUS_OK; i++) {
		const struct item *item = &h->items[i];
		if (item->is_measured)
			st = branch_row_note_space(md, item->branch, &item->space, err);
		if (st == STATUS_OK && item->project_bytes >= 0)
			st = project_row_note_storage(md, item->project, item->project_bytes, err);
	}
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

static void after_work(uv_work_t *request, int code)
{
	struct housekeeper *h = request->data;
	struct error err;
	h->is_working = false;
	if (h->is_closing) {
		free_when_done(h);
		return;
	}
	if (code == 0 && keep_results(h, &err) != STATUS_OK)
		log_warning("could not keep what was measured: %s", err.message);
	int64_t interval_ms = h->services->dd->settings.housekeeping_interval_sec * 1000;
	schedule(h, h->is_asked && interval_ms > PAUSE_MS ? PAUSE_MS : interval_ms);
}

static void on_timer(uv_timer_t *timer)
{
	struct housekeeper *h = timer->data;
	struct error err;
	h->is_asked = false;
	h->began_usec = clock_monotonic_usec();
	if (list_items(h, &err) != STATUS_OK) {
		log_warning("could not list the volumes to look after: %s", err.message);
		schedule(h, PAUSE_MS);
		return;
	}
	h->is_working = true;
	(void)uv_queue_work(h->services->loop, &h->work, work, after_work);
}

static void on_closed(uv_handle_t *timer)
{
	struct housekeeper *h = timer->data;
	h->is_timer_closed = true;
	free_when_done(h);
}

void housekeeper_close(struct housekeeper *h)
{
	if (!h)
		return;
	h->is_closing = true;
	(void)uv_timer_stop(&h->timer);
	uv_close((uv_handle_t *)&h->timer, on_closed);
}
