#include "control_plane/origin.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "control_plane/wal_end.h"
#include "page_store/restore_point.h"
#include "page_store/store.h"
#include "page_store/volume.h"
#include "wal_store/wal_history.h"
#include "wal_store/wal_time.h"

#define UNWRITTEN_MAX  (256ull << 20) /* WAL that may still be in Postgres' memory */
#define WAL_PAGE_BYTES 8192u
#define WAL_HEADER_MAX 40u
#define CHOICES_MAX    5 /* retention takes a point at most once in a while */

/* A moment found: the restore point, and the WAL that leads from it there. */
struct choice {
	struct restore_point point;
	char *archive_path;
	uint64_t lsn;
	int64_t time_usec;
	uint32_t timeline;  /* of the byte before lsn */
	const char *volume; /* "": a snapshot */
};

static void choice_done(struct choice *choice)
{
	restore_point_done(&choice->point);
	free_text(&choice->archive_path);
}

/* One request being looked up. */
struct search {
	const struct data_directory *dd;
	const struct origin_request *request;
	struct store *store;
	struct wal_history history; /* of the volume's timeline, with those of all its lineage */
};

static void search_done(struct search *search)
{
	wal_history_done(&search->history);
	search->store = store_close(search->store);
}

static char *archive_of(const struct data_directory *dd, const char *volume)
{
	return data_directory_path(dd, "volumes/%s/archive", volume);
}

/* ---- what can be restored ---- */

static status first_point(
        struct store *store, const char *volume, struct restore_point *ret, struct error *err)
{
	uint64_t *numbers = NULL;
	size_t count = 0;
	status st = restore_point_list(store, volume, &numbers, &count, err);
	if (st == STATUS_OK && count == 0)
		st = error_set(err, STATUS_NOT_FOUND, 0, "volume \"%s\" has no restore point", volume);
	if (st == STATUS_OK)
		st = restore_point_read(store, volume, numbers[0], ret, err);
	free(numbers);
	return st;
}

/* The oldest point of the lineage that its volume had before the next one left it. */
static status oldest_point(
        struct store *store, const struct lineage *lineage, struct restore_point *ret, struct error *err)
{
	for (size_t i = lineage->count; i > 0; i--) {
		CLEANUP(restore_point_done) struct restore_point point = { 0 };
		status st = first_point(store, lineage->volumes[i - 1].id, &point, err);
		if (st == STATUS_NOT_FOUND)
			continue;
		if (st != STATUS_OK)
			return st;
		if (i > 1 && point.end_lsn > lineage->volumes[i - 2].fork_lsn)
			continue;
		*ret = point;
		point = (struct restore_point){ 0 };
		return STATUS_OK;
	}
	return error_set(err, STATUS_NOT_FOUND, 0, "the branch has no restore point yet");
}

status origin_window(const struct data_directory *dd, const char *store_id, const struct lineage *lineage,
        int64_t window_usec, struct origin_window *ret, struct error *err)
{
	CLEANUP(store_closep) struct store *store = NULL;
	CLEANUP(restore_point_done) struct restore_point oldest = { 0 };
	CLEANUP(restore_point_done) struct restore_point newest = { 0 };
	status st = store_open(dd, store_id, &store, err);
	if (st == STATUS_OK)
		st = oldest_point(store, lineage, &oldest, err);
	if (st != STATUS_OK)
		return st;
	struct origin_window window = { .earliest_lsn = oldest.end_lsn, .earliest_usec = oldest.time_usec };
	int64_t now = clock_wall_usec();
	if (window_usec > 0 && window.earliest_usec < now - window_usec)
		window.earliest_usec = now - window_usec;
	window.latest_lsn = oldest.end_lsn;
	window.latest_usec = now;
	if (restore_point_newest(store, lineage->volumes[0].id, &newest, err) == STATUS_OK)
		window.latest_lsn = newest.end_lsn;
	CLEANUP(free_text) char *wal_path = data_directory_path(dd, "volumes/%s/wal", lineage->volumes[0].id);
	uint64_t written = wal_end_look(wal_path, oldest.wal_segment_size);
	if (written > window.latest_lsn)
		window.latest_lsn = written;
	*ret = window;
	return STATUS_OK;
}

static status too_old(const struct origin_window *window, const char *what, struct error *err)
{
	char lsn[LSN_TEXT_MAX], time[CLOCK_TEXT_MAX];
	lsn_format(window->earliest_lsn, lsn);
	clock_format_timestamp(window->earliest_usec, time);
	return error_set(err, STATUS_INVALID, 0,
	        "%s is before what can be restored: the earliest is LSN %s, time %s", what, lsn, time);
}

static status in_the_future(const char *what, uint64_t newest_lsn, struct error *err)
{
	char newest[LSN_TEXT_MAX];
	lsn_format(newest_lsn, newest);
	return error_set(err, STATUS_INVALID, 0, "%s is in the future: the newest LSN of the source is %s",
	        what, newest);
}

static void moment_text(const struct moment *moment, char out[CLOCK_TEXT_MAX + 8])
{
	char text[CLOCK_TEXT_MAX] = "";
	if (moment->kind == MOMENT_LSN)
		lsn_format(moment->lsn, text);
	else
		clock_format_timestamp(moment->time_usec, text);
	(void)snprintf(out, CLOCK_TEXT_MAX + 8, "%s %s", moment->kind == MOMENT_LSN ? "LSN" : "time", text);
}

status origin_check(
        const struct origin_window *window, const struct moment *moment, int64_t now_usec, struct error *err)
{
	char what[CLOCK_TEXT_MAX + 8];
	moment_text(moment, what);
	if (moment->kind == MOMENT_TIME && moment->time_usec > now_usec)
		return error_set(err, STATUS_INVALID, 0, "%s is in the future", what);
	if (moment->kind == MOMENT_TIME && moment->time_usec < window->earliest_usec)
		return too_old(window, what, err);
	if (moment->kind == MOMENT_LSN && moment->lsn < window->earliest_lsn)
		return too_old(window, what, err);
	if (moment->kind == MOMENT_LSN && moment->lsn > window->latest_lsn + UNWRITTEN_MAX)
		return in_the_future(what, window->latest_lsn, err);
	return STATUS_OK;
}

/* ---- choosing ---- */

static status outside(const struct search *search, struct error *err)
{
	char what[CLOCK_TEXT_MAX + 8];
	struct origin_window window;
	const struct origin_request *request = search->request;
	moment_text(&request->moment, what);
	status st = origin_window(
	        search->dd, request->store, &request->lineage, request->window_usec, &window, err);
	return st == STATUS_OK ? too_old(&window, what, err) : st;
}

static status open_search(const struct data_directory *dd, const struct origin_request *request,
        struct search *ret, struct error *err)
{
	*ret = (struct search){ .dd = dd, .request = request };
	status st = store_open(dd, request->store, &ret->store, err);
	if (st != STATUS_OK || request->moment.kind == MOMENT_SNAPSHOT)
		return st;
	CLEANUP(free_text) char *archive = archive_of(dd, request->lineage.volumes[0].id);
	return wal_history_read(archive, request->end.timeline, &ret->history, err);
}

/* The way from a point to an LSN in one archive. `history` is for its lifetime. */
static status range_to(const struct search *search, const char *archive, uint64_t from, uint64_t to,
        uint32_t segment_size, struct wal_history *history, struct wal_range *ret, struct error *err)
{
	uint32_t timeline = wal_history_timeline_at(&search->history, to - 1);
	status st = wal_history_read(archive, timeline, history, err);
	if (st == STATUS_OK)
		*ret = (struct wal_range){
			.history = history, .start_lsn = from, .end_lsn = to, .segment_size = segment_size
		};
	return st;
}

/*
 * The newest point at or before `lsn`, which is in the history of volume i; *ret_place is the volume whose archive leads from it to there. When
 * volume i has none (any more): a point of its origin, with the WAL that the volume has had since it was made; or the point that a
 * younger volume has inherited when it was cloned.
 */
static status find_point(const struct search *search, size_t i, uint64_t lsn, struct restore_point *ret,
        size_t *ret_place, struct error *err)
{
	const struct lineage *lineage = &search->request->lineage;
	size_t place = i;
	status st = restore_point_find_lsn(search->store, lineage->volumes[i].id, lsn, ret, err);
	if (st == STATUS_NOT_FOUND && i + 1 < lineage->count)
		st = restore_point_find_lsn(
		        search->store, lineage->volumes[i + 1].id, lineage->volumes[i].fork_lsn, ret, err);
	while (st == STATUS_NOT_FOUND && place > 0) {
		place--;
		st = restore_point_find_lsn(search->store, lineage->volumes[place].id, lsn, ret, err);
	}
	if (st == STATUS_OK)
		*ret_place = place;
	return st == STATUS_NOT_FOUND ? outside(search, err) : st;
}

static void set_place(const struct search *search, size_t i, uint64_t lsn, struct choice *ret)
{
	ret->volume = search->request->lineage.volumes[i].id;
	ret->archive_path = archive_of(search->dd, ret->volume);
	ret->lsn = lsn;
	ret->timeline = wal_history_timeline_at(&search->history, lsn - 1);
}

static status choose_lsn(const struct search *search, uint64_t lsn, struct choice *ret, struct error *err)
{
	const struct origin_request *request = search->request;
	const struct lineage *lineage = &request->lineage;
	char what[CLOCK_TEXT_MAX + 8];
	moment_text(&request->moment, what);
	/* Where the next record would begin: behind the header of a page that is not written yet. */
	if (lsn > request->end.lsn && lsn - request->end.lsn <= WAL_HEADER_MAX &&
	        request->end.lsn % WAL_PAGE_BYTES == 0)
		lsn = request->end.lsn;
	if (lsn > request->end.lsn)
		return in_the_future(what, request->end.lsn, err);
	size_t i = 0, place = 0;
	while (i + 1 < lineage->count && lsn <= lineage->volumes[i].fork_lsn)
		i++;
	status st = find_point(search, i, lsn, &ret->point, &place, err);
	if (st != STATUS_OK)
		return st;
	set_place(search, place, lsn, ret);
	ret->time_usec = request->moment.kind == MOMENT_HEAD ? request->end.time_usec : ret->point.time_usec;
	return STATUS_OK;
}

/* The newest point of volume i with time_usec <= time and end_lsn <= limit. */
static status find_point_by_time(const struct search *search, size_t i, int64_t time_usec, uint64_t limit,
        struct restore_point *ret, struct error *err)
{
	const char *volume = search->request->lineage.volumes[i].id;
	CLEANUP(restore_point_done) struct restore_point point = { 0 };
	status st = restore_point_find_time(search->store, volume, time_usec, &point, err);
	if (st != STATUS_OK)
		return st;
	if (point.end_lsn > limit)
		return restore_point_find_lsn(search->store, volume, limit, ret, err);
	*ret = point;
	point = (struct restore_point){ 0 };
	return STATUS_OK;
}

static status find_position(const struct search *search, size_t i, uint64_t from, uint64_t to,
        uint32_t segment_size, uint64_t *ret, struct error *err)
{
	if (from >= to) {
		*ret = to;
		return STATUS_OK;
	}
	CLEANUP(free_text) char *archive = archive_of(search->dd, search->request->lineage.volumes[i].id);
	CLEANUP(wal_history_done) struct wal_history history = { 0 };
	struct wal_range range;
	status st = range_to(search, archive, from, to, segment_size, &history, &range, err);
	if (st == STATUS_OK)
		st = wal_time_find(search->request->bin_dir, archive, &range,
		        search->request->moment.time_usec, ret, err);
	return st;
}

/*
 * In the ancestor everything up to the fork is early enough. What the volume itself wrote between the fork and its first point is in its own
 * archive, as long as retention has left it there; nobody can have committed much by then.
 */
static void look_behind_fork(const struct search *search, size_t i, struct choice *choice)
{
	const struct lineage_volume *volume = &search->request->lineage.volumes[i];
	CLEANUP(restore_point_done) struct restore_point first = { 0 };
	struct error ignored;
	uint64_t lsn = 0, to = search->request->end.lsn;
	if (first_point(search->store, volume->id, &first, &ignored) == STATUS_OK && first.end_lsn < to)
		to = first.end_lsn;
	if (find_position(search, i, volume->fork_lsn, to, choice->point.wal_segment_size, &lsn, &ignored) !=
	                STATUS_OK ||
	        lsn <= volume->fork_lsn)
		return;
	free_text(&choice->archive_path);
	set_place(search, i, lsn, choice);
}

static status choose_time(const struct search *search, struct choice *ret, struct error *err)
{
	const struct origin_request *request = search->request;
	const struct lineage *lineage = &request->lineage;
	int64_t time_usec = request->moment.time_usec;
	if (request->window_usec > 0 && time_usec < clock_wall_usec() - request->window_usec)
		return outside(search, err);
	uint64_t limit = request->end.lsn;
	size_t i = 0;
	for (; i < lineage->count; i++) {
		status st = find_point_by_time(search, i, time_usec, limit, &ret->point, err);
		if (st == STATUS_OK)
			break;
		if (st != STATUS_NOT_FOUND)
			return st;
		limit = lineage->volumes[i].fork_lsn;
	}
	if (i == lineage->count || limit == 0)
		return outside(search, err);
	uint64_t lsn = 0;
	status st =
	        find_position(search, i, ret->point.end_lsn, limit, ret->point.wal_segment_size, &lsn, err);
	if (st != STATUS_OK)
		return st;
	set_place(search, i, lsn, ret);
	ret->time_usec = time_usec;
	if (i > 0 && lsn == limit)
		look_behind_fork(search, i - 1, ret);
	return STATUS_OK;
}

static status choose_snapshot(const struct search *search, struct choice *ret, struct error *err)
{
	const char *uid = search->request->moment.snapshot;
	status st = snapshot_read(search->store, uid, &ret->point, err);
	if (st != STATUS_OK)
		return st;
	ret->archive_path = store_path(search->store, "snapshots/%s/wal", uid);
	ret->volume = "";
	ret->lsn = ret->point.end_lsn;
	ret->time_usec = ret->point.time_usec;
	ret->timeline = ret->point.timeline;
	return STATUS_OK;
}

/* To the end of the last whole record: what recovery gets to, and what a point must end with. */
static status align(const struct search *search, struct choice *choice, struct error *err)
{
	if (choice->lsn <= choice->point.end_lsn)
		return STATUS_OK;
	CLEANUP(wal_history_done) struct wal_history history = { 0 };
	struct wal_range range;
	uint64_t lsn = 0;
	int64_t time_usec = 0;
	status st = range_to(search, choice->archive_path, choice->point.end_lsn, choice->lsn,
	        choice->point.wal_segment_size, &history, &range, err);
	if (st == STATUS_OK)
		st = wal_time_last_record(
		        search->request->bin_dir, choice->archive_path, &range, &lsn, &time_usec, err);
	if (st != STATUS_OK)
		return st;
	/* An LSN is the moment of what was committed last; when nothing was since the point, the point's time still holds. */
	if (search->request->moment.kind == MOMENT_LSN && time_usec != 0)
		choice->time_usec = time_usec;
	choice->lsn = lsn > choice->point.end_lsn ? lsn : choice->point.end_lsn;
	choice->timeline = wal_history_timeline_at(&search->history, choice->lsn - 1);
	return STATUS_OK;
}

static status choose(const struct search *search, struct choice *ret, struct error *err)
{
	const struct moment *moment = &search->request->moment;
	status st;
	switch (moment->kind) {
	case MOMENT_SNAPSHOT:
		st = choose_snapshot(search, ret, err);
		break;
	case MOMENT_TIME:
		st = choose_time(search, ret, err);
		break;
	case MOMENT_LSN:
		st = choose_lsn(search, moment->lsn, ret, err);
		break;
	case MOMENT_HEAD:
	default:
		st = choose_lsn(search, search->request->end.lsn, ret, err);
		break;
	}
	if (st == STATUS_OK)
		st = align(search, ret, err);
	/* A subscription or prepared transaction may have come and gone between the point and the moment. */
	if (st == STATUS_OK && ret->lsn > ret->point.end_lsn)
		ret->point.needs_hygiene = true;
	return st;
}

static void tell(const struct choice *choice, struct origin_result *ret)
{
	*ret = (struct origin_result){ .lsn = choice->lsn,
		.time_usec = choice->time_usec,
		.logical_bytes = choice->point.logical_bytes };
	(void)snprintf(ret->volume, sizeof ret->volume, "%s", choice->volume);
}

/* ---- taking ---- */

struct taking {
	const char *id; /* of the volume or snapshot to make */
	uint32_t timeline;
};

static status take_clone(const struct search *search, const struct taking *taking,
        const struct choice *choice, struct error *err)
{
	struct volume_clone clone = {
		.store = search->request->store,
		.id = taking->id,
		.point = &choice->point,
		.lsn = choice->lsn,
		.archive_path = choice->archive_path,
		.source_timeline = choice->timeline,
		.timeline = taking->timeline,
	};
	return volume_clone(search->dd, &clone, err);
}

static status take_snapshot(const struct search *search, const struct taking *taking,
        const struct choice *choice, struct error *err)
{
	/* The same layers, with WAL up to the moment: recovery of a branch goes there before anybody sees it. */
	struct restore_point point = choice->point;
	point.is_shut_down = point.is_shut_down && choice->lsn == point.end_lsn;
	point.end_lsn = choice->lsn;
	point.timeline = choice->timeline;
	if (choice->time_usec >
	        point.time_usec) /* a commit just behind a point can be older than what the point says */
		point.time_usec = choice->time_usec;
	return snapshot_create(search->store, taking->id, &point, choice->archive_path, err);
}

typedef status (*take_fn)(const struct search *search, const struct taking *taking,
        const struct choice *choice, struct error *err);

static status take(const struct data_directory *dd, const struct origin_request *request, take_fn fn,
        const struct taking *taking, struct origin_result *ret, struct error *err)
{
	CLEANUP(search_done) struct search search = { 0 };
	status st = open_search(dd, request, &search, err);
	for (int i = 0; st == STATUS_OK; i++) {
		CLEANUP(choice_done) struct choice choice = { 0 };
		st = choose(&search, &choice, err);
		if (st != STATUS_OK)
			break;
		st = fn(&search, taking, &choice, err);
		if (st == STATUS_OK) {
			tell(&choice, ret);
			return STATUS_OK;
		}
		if (st == STATUS_NOT_FOUND && i < CHOICES_MAX) /* O2 */
			st = STATUS_OK;
	}
	return st;
}

status origin_clone(const struct data_directory *dd, const struct origin_request *request,
        const char *volume_id, uint32_t timeline, struct origin_result *ret, struct error *err)
{
	const struct taking taking = { .id = volume_id, .timeline = timeline };
	status st = volume_destroy(dd, volume_id, err); /* of an earlier attempt; nothing has opened it yet */
	return st == STATUS_OK ? take(dd, request, take_clone, &taking, ret, err) : st;
}

status origin_forget(
        const struct data_directory *dd, const char *store_id, const char *uid, struct error *err)
{
	CLEANUP(store_closep) struct store *store = NULL;
	status st = store_open(dd, store_id, &store, err);
	if (st == STATUS_OK)
		st = snapshot_remove(store, uid, err);
	return st == STATUS_NOT_FOUND ? STATUS_OK : st;
}

status origin_keep(const struct data_directory *dd, const struct origin_request *request, const char *uid,
        struct origin_result *ret, struct error *err)
{
	const struct taking taking = { .id = uid };
	status st = origin_forget(dd, request->store, uid, err); /* of an earlier attempt */
	return st == STATUS_OK ? take(dd, request, take_snapshot, &taking, ret, err) : st;
}

status origin_find_end(const struct data_directory *dd, const char *store_id, const char *volume_id,
        struct fleet_point *ret, struct error *err)
{
	CLEANUP(store_closep) struct store *store = NULL;
	CLEANUP(restore_point_done) struct restore_point point = { 0 };
	status st = store_open(dd, store_id, &store, err);
	if (st == STATUS_OK)
		st = restore_point_newest(store, volume_id, &point, err);
	if (st == STATUS_NOT_FOUND)
		return error_set(err, STATUS_CONFLICT, 0, "volume \"%s\" has no restore point", volume_id);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *wal_path = data_directory_path(dd, "volumes/%s/wal", volume_id);
	if (!point.is_shut_down || wal_end_goes_on(wal_path, point.end_lsn, point.wal_segment_size))
		return error_set(
		        err, STATUS_CONFLICT, 0, "volume \"%s\" was not shut down cleanly", volume_id);
	*ret = (struct fleet_point){ .number = (int64_t)point.number,
		.lsn = point.end_lsn,
		.timeline = point.timeline,
		.time_usec = point.time_usec };
	return STATUS_OK;
}
