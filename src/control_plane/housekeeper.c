#include "control_plane/housekeeper.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "control_plane/disk_space.h"
#include "metadata/branch_row.h"
#include "metadata/endpoint_row.h"
#include "metadata/project_row.h"
#include "page_store/retention.h"
#include "page_store/volume.h"

#define SOON_MS      500                   /* several changes are one round */
#define PAUSE_MS     10000                 /* between rounds, whatever happens */
#define RETAIN_USEC  (3600 * USEC_PER_SEC) /* points grow old also where nothing happens */
#define GROWTH_SHARE 20                    /* measuring what grows takes at most this part of the time */

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
	bool has_grown;        /* since the round before, its compute says */
	bool is_archived;      /* and asleep when the round began: nobody else folds its layers */
	atomic_bool
	        shall_stop_folding; /* its compute starts, or we close; set by the loop, and never taken back in the round */
	/* Results. */
	bool is_measured;
	bool is_kept; /* in the metadata */
	struct branch_space space;
	int64_t project_bytes; /* of the last item of a project; else -1 */
};

/* What a running compute says of its volume: newer than its last restore point. */
struct live {
	struct live *next;
	char uid[FLEET_UID_MAX + 1];      /* of the endpoint */
	char volume[RESOURCE_ID_MAX + 1]; /* as of the last round; a reset or restore gives it another */
	int64_t logical_bytes, open_pages;
	bool has_grown; /* since it was measured */
};

struct housekeeper {
	const struct services *services;
	uv_timer_t timer;
	uv_work_t work;
	struct item *items; /* of the round, in the order of projects */
	size_t count;
	struct item *old_items;     /* of the round before */
	size_t old_count, old_next; /* old_next: where to look next */
	struct item *grown; /* of a round in between: those that are measured; NULL: it is a whole one */
	size_t grown_count;
	struct live *lives;
	int64_t began_usec, took_usec; /* monotonic; the last round, of either kind */
	int64_t whole_usec; /* monotonic; when the next whole round is due; 0: when it is asked for */
	bool is_working, is_asked, is_timer_closed;
	atomic_bool is_closing;
};

static void on_timer(uv_timer_t *timer);

static void free_when_done(struct housekeeper *h)
{
	if (!h->is_timer_closed || h->is_working)
		return;
	while (h->lives) {
		struct live *live = h->lives;
		h->lives = live->next;
		free(live);
	}
	free(h->items);
	free(h->old_items);
	free(h->grown);
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

static bool has_grown(const struct housekeeper *h)
{
	for (const struct live *live = h->lives; live; live = live->next)
		if (live->has_grown)
			return true;
	return false;
}

/* The first round is at once, later ones leave a pause of at least `pause_usec` from beginning to beginning. */
static int64_t soon(const struct housekeeper *h, int64_t now, int64_t pause_usec)
{
	int64_t earliest = h->began_usec == 0 ? 0 : h->began_usec + pause_usec;
	return (earliest > now ? earliest : now) + SOON_MS * 1000;
}

static void schedule(struct housekeeper *h)
{
	int64_t now = clock_monotonic_usec(), pause = PAUSE_MS * INT64_C(1000), due = h->whole_usec;
	int64_t slow = h->took_usec * GROWTH_SHARE > pause ? h->took_usec * GROWTH_SHARE : pause;
	if (h->is_closing || h->is_working)
		return;
	if (h->is_asked && (due == 0 || soon(h, now, pause) < due))
		due = soon(h, now, pause);
	if (has_grown(h) && (due == 0 || soon(h, now, slow) < due))
		due = soon(h, now, slow);
	if (due != 0)
		(void)uv_timer_start(&h->timer, on_timer, due > now ? (uint64_t)(due - now) / 1000 : 0, 0);
}

void housekeeper_look(struct housekeeper *h)
{
	if (!h)
		return;
	h->is_asked = true;
	schedule(h);
}

static void forget_live(struct housekeeper *h, const char *uid)
{
	struct live **at = &h->lives;
	while (*at && strcmp((*at)->uid, uid) != 0)
		at = &(*at)->next;
	struct live *live = *at;
	if (!live)
		return;
	*at = live->next;
	free(live);
}

static void stop_folding(struct housekeeper *h, const char *uid)
{
	struct error ignored;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	bool is_known = endpoint_row_find_uid(h->services->md, uid, &endpoint, &ignored) == STATUS_OK;
	for (size_t i = 0; i < h->count; i++) {
		if (h->items[i].is_archived && (!is_known || h->items[i].branch == endpoint.branch))
			atomic_store(&h->items[i].shall_stop_folding, true);
	}
}

void housekeeper_note(struct housekeeper *h, const struct fleet_member *member)
{
	if (!h)
		return;
	if (member->state == FLEET_STARTING && h->is_working)
		stop_folding(h, member->uid);
	if (member->state != FLEET_RUNNING) {
		forget_live(h, member->uid);
		return;
	}
	const struct fleet_storage *storage = &member->storage;
	if (!storage->is_known || storage->logical_bytes == 0) /* it has not looked yet */
		return;
	struct live *live = h->lives;
	while (live && strcmp(live->uid, member->uid) != 0)
		live = live->next;
	if (!live) {
		live = xcalloc(1, sizeof *live);
		(void)snprintf(live->uid, sizeof live->uid, "%s", member->uid);
		live->next = h->lives;
		h->lives = live;
	} else if (live->logical_bytes == storage->logical_bytes && live->open_pages == storage->open_pages) {
		return;
	}
	live->logical_bytes = storage->logical_bytes;
	live->open_pages = storage->open_pages;
	live->has_grown = true;
	schedule(h);
}

/* Which volume each compute has now. */
static void find_volumes(struct housekeeper *h)
{
	struct error ignored; /* deleted meanwhile: then nobody asks for its size */
	for (struct live *live = h->lives; live; live = live->next) {
		CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
		struct branch_row branch;
		live->volume[0] = '\0';
		if (endpoint_row_find_uid(h->services->md, live->uid, &endpoint, &ignored) == STATUS_OK &&
		        branch_row_get(h->services->md, endpoint.branch, &branch, &ignored) == STATUS_OK &&
		        branch.is_ready && !branch.is_purged)
			memcpy(live->volume, branch.volume_id, sizeof live->volume);
	}
}

static const struct live *find_live(const struct housekeeper *h, const char *volume)
{
	const struct live *live = h->lives;
	while (live && strcmp(live->volume, volume) != 0)
		live = live->next;
	return live;
}

/* Those of the last whole round that have grown since; a volume that is newer is in the next one, which has been asked for. */
static void list_grown(struct housekeeper *h)
{
	h->grown = xcalloc(h->count + 1, sizeof *h->grown);
	h->grown_count = 0;
	for (size_t i = 0; i < h->count; i++) {
		const struct live *live = find_live(h, h->items[i].volume);
		if (live && live->has_grown)
			h->grown[h->grown_count++] = h->items[i];
	}
}

/* Whoever starts it from now on is noted (stop_folding()). */
static bool is_asleep(const struct housekeeper *h, int64_t branch)
{
	struct error ignored;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	if (endpoint_row_find_writer(h->services->md, branch, &endpoint, &ignored) != STATUS_OK)
		return false;
	const struct fleet_member *member = fleet_look(h->services->fleet, endpoint.uid);
	return member && member->state == FLEET_ASLEEP;
}

static status list_items(struct housekeeper *h, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	struct branch_upkeep branch;
	size_t capacity = 0;
	free(h->old_items);
	h->old_items = h->items;
	h->old_count = h->count;
	h->items = NULL;
	h->count = 0;
	status code = branch_row_list_upkeep(h->services->md, &st, err);
	while (code == STATUS_OK && (code = branch_upkeep_next(&st, &branch, err)) == STATUS_OK) {
		if (h->count == capacity) {
			capacity = capacity ? 2 * capacity : 64;
			h->items = xrealloc(h->items, capacity * sizeof *h->items);
		}
		struct item *item = &h->items[h->count++];
		*item = (struct item){ .branch = branch.branch,
			.project = branch.project,
			.window_usec = branch.window_usec,
			.is_archived = branch.is_archived && is_asleep(h, branch.branch),
			.project_bytes = -1 };
		memcpy(item->store, branch.store, sizeof item->store);
		memcpy(item->volume, branch.volume, sizeof item->volume);
		const struct live *live = find_live(h, item->volume);
		item->has_grown = live && live->has_grown;
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

/* Both rounds are in the same order but for what came or went: it is mostly behind the one that was found last. */
static const struct item *find_old(struct housekeeper *h, const struct item *item)
{
	for (size_t n = 0; n < h->old_count; n++) {
		size_t i = (h->old_next + n) % h->old_count;
		if (strcmp(h->old_items[i].volume, item->volume) != 0)
			continue;
		h->old_next = i + 1;
		return &h->old_items[i];
	}
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
static bool is_as_before(struct housekeeper *h, const struct data_directory *dd, size_t begin, size_t end)
{
	bool is_same = count_of_project(h->old_items, h->old_count, h->items[begin].project) == end - begin;
	for (size_t i = begin; i < end; i++) {
		struct item *item = &h->items[i];
		const struct item *old = find_old(h, item);
		item->changed_nsec = last_change(dd, item);
		is_same = is_same && old && old->is_measured && !item->has_grown &&
		          old->changed_nsec == item->changed_nsec && old->window_usec == item->window_usec &&
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

/* True: restore points have gone. */
static bool apply_retention(const struct data_directory *dd, const struct item *item)
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
	return st == STATUS_OK && result.points_removed > 0;
}

/* A branch was archived before all points went that its window is over for: without them more can be folded. */
static void fold_again(struct housekeeper *h, struct item *item)
{
	struct volume_archived done;
	struct error err;
	status st = volume_archive(h->services->dd, item->volume, &item->shall_stop_folding, &done, &err);
	if (st != STATUS_OK && st != STATUS_CONFLICT && st != STATUS_NOT_FOUND) /* in use; destroyed */
		log_warning("could not fold the layers of volume \"%s\": %s", item->volume, err.message);
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
		if (apply_retention(dd, &h->items[i]) && h->items[i].is_archived &&
		        !atomic_load(&h->items[i].shall_stop_folding))
			fold_again(h, &h->items[i]);
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
	for (size_t i = 0; i < h->grown_count && !h->is_closing; i++) {
		h->grown[i].is_measured = false;
		measure(h->services->dd, &h->grown[i]);
	}
	if (h->grown)
		return;
	for (size_t begin = 0, end; begin < h->count && !h->is_closing; begin = end) {
		end = project_end(h->items, h->count, begin);
		if (!is_as_before(h, h->services->dd, begin, end))
			look_after(h, begin, end);
	}
}

static int64_t space_of(const struct branch_space *space)
{
	return space->own + space->history;
}

/* Into the results of the last whole round, which the next one may take over; the project has as much more as the volume. */
static void take_grown(struct housekeeper *h)
{
	for (size_t g = 0; g < h->grown_count; g++) {
		const struct item *grown = &h->grown[g];
		size_t i = 0, end;
		while (strcmp(h->items[i].volume, grown->volume) != 0)
			i++;
		for (end = i; h->items[end].project_bytes < 0 && end + 1 < h->count &&
		              h->items[end + 1].project == grown->project;)
			end++;
		if (!grown->is_measured)
			continue;
		if (h->items[i].is_measured && h->items[end].project_bytes >= 0)
			h->items[end].project_bytes += space_of(&grown->space) - space_of(&h->items[i].space);
		h->items[i].is_measured = true;
		h->items[i].space = grown->space;
		h->items[i].is_kept = h->items[end].is_kept = false;
	}
}

/* A restore point tells how large the files were at its cut, a running compute how large they are. */
static void take_live_sizes(struct housekeeper *h)
{
	for (size_t i = 0; i < h->count; i++) {
		const struct live *live = find_live(h, h->items[i].volume);
		if (!live || h->items[i].space.logical == live->logical_bytes)
			continue;
		h->items[i].space.logical = live->logical_bytes;
		h->items[i].is_kept = false;
	}
}

static status keep_results(struct housekeeper *h, struct error *err)
{
	struct metadata *md = h->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	for (size_t i = 0; i < h->count && st == STATUS_OK; i++) {
		const struct item *item = &h->items[i];
		if (item->is_kept)
			continue;
		if (item->is_measured)
			st = branch_row_note_space(md, item->branch, &item->space, err);
		if (st == STATUS_OK && item->project_bytes >= 0)
			st = project_row_note_storage(md, item->project, item->project_bytes, err);
	}
	if (st == STATUS_OK)
		st = transaction_commit(&tx, err);
	for (size_t i = 0; i < h->count && st == STATUS_OK; i++)
		h->items[i].is_kept = true;
	return st;
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
	int64_t now = clock_monotonic_usec();
	h->took_usec = now - h->began_usec;
	if (h->grown)
		take_grown(h);
	else
		h->whole_usec = now + h->services->dd->settings.housekeeping_interval_sec * USEC_PER_SEC;
	free(h->grown);
	h->grown = NULL;
	h->grown_count = 0;
	take_live_sizes(h);
	if (code == 0 && keep_results(h, &err) != STATUS_OK)
		log_warning("could not keep what was measured: %s", err.message);
	schedule(h);
}

static void on_timer(uv_timer_t *timer)
{
	struct housekeeper *h = timer->data;
	struct error err;
	h->began_usec = clock_monotonic_usec();
	bool is_whole = h->is_asked || (h->whole_usec != 0 && h->began_usec >= h->whole_usec);
	find_volumes(h);
	if (is_whole) {
		h->is_asked = false;
		if (list_items(h, &err) != STATUS_OK) {
			log_warning("could not list the volumes to look after: %s", err.message);
			h->whole_usec = h->began_usec + PAUSE_MS * INT64_C(1000);
			schedule(h);
			return;
		}
	} else {
		list_grown(h);
	}
	for (struct live *live = h->lives; live; live = live->next)
		live->has_grown = false;
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
	for (size_t i = 0; i < h->count; i++)
		atomic_store(&h->items[i].shall_stop_folding, true);
	(void)uv_timer_stop(&h->timer);
	uv_close((uv_handle_t *)&h->timer, on_closed);
}
