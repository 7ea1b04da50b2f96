#include "page_store/retention.h"

#include <stdlib.h>

#include "base/clock.h"
#include "page_store/restore_point.h"
#include "page_store/store.h"
#include "page_store/volume.h"
#include "wal_store/wal_archive.h"

#define HOUR_USEC (3600 * USEC_PER_SEC)

static int64_t budget_of(int64_t age_usec)
{
	return age_usec < HOUR_USEC        ? 2 * USEC_PER_SEC
	       : age_usec < 24 * HOUR_USEC ? 20 * USEC_PER_SEC
	                                   : 120 * USEC_PER_SEC;
}

/* May everything between the two points go (R2)? */
static bool is_near(const struct retention *retention, const struct retention_point *from,
        const struct retention_point *to)
{
	int64_t work;
	if (__builtin_sub_overflow(to->replay_usec, from->replay_usec, &work) || work < 0)
		return false;
	return work <= budget_of(retention->now_usec - to->time_usec);
}

/* R1: with which point the window begins. */
static size_t find_first(
        const struct retention *retention, const struct retention_point *points, size_t count)
{
	size_t first = 0;
	for (size_t i = 1; i < count; i++)
		if (points[i].time_usec <= retention->now_usec - retention->window_usec)
			first = i;
	return first;
}

/* R3: every second one of those between the first and the last, from the oldest on, again and again. */
static void limit(size_t max, size_t first, size_t count, size_t kept, bool *keep)
{
	if (max < 2)
		max = 2;
	while (kept > max) {
		bool is_second = true;
		for (size_t i = first + 1; i + 1 < count && kept > max; i++) {
			if (!keep[i])
				continue;
			if (is_second) {
				keep[i] = false;
				kept--;
			}
			is_second = !is_second;
		}
	}
}

void retention_decide(
        const struct retention *retention, const struct retention_point *points, size_t count, bool *ret_keep)
{
	if (count == 0)
		return;
	size_t first = find_first(retention, points, count), last_kept = first, kept = 1;
	for (size_t i = 0; i < first; i++)
		ret_keep[i] = false;
	ret_keep[first] = true;
	for (size_t i = first + 1; i < count; i++) {
		/* Without it, the next one would have to be reached from the last that stays. */
		ret_keep[i] = i + 1 == count || !is_near(retention, &points[last_kept], &points[i + 1]);
		if (ret_keep[i]) {
			last_kept = i;
			kept++;
		}
	}
	limit(retention->points_max ? retention->points_max : RETENTION_POINTS_MAX, first, count, kept,
	        ret_keep);
}

/* ---- for a volume ---- */

struct points {
	uint64_t *numbers;
	struct retention_point *list;
	uint64_t *redo_lsn;
	uint32_t segment_size; /* 0: there are no points */
	bool *keep;
	size_t count;
};

static void points_done(struct points *points)
{
	free(points->numbers);
	free(points->list);
	free(points->redo_lsn);
	free(points->keep);
}

static status read_points(
        const struct store *store, const char *volume_id, struct points *ret, struct error *err)
{
	size_t listed = 0;
	status st = restore_point_list(store, volume_id, &ret->numbers, &listed, err);
	if (st != STATUS_OK)
		return st;
	ret->list = xcalloc(listed + 1, sizeof *ret->list);
	ret->redo_lsn = xcalloc(listed + 1, sizeof *ret->redo_lsn);
	ret->keep = xcalloc(listed + 1, sizeof *ret->keep);
	for (size_t i = 0; i < listed; i++) {
		CLEANUP(restore_point_done) struct restore_point point = { 0 };
		st = restore_point_read(store, volume_id, ret->numbers[i], &point, err);
		if (st == STATUS_NOT_FOUND)
			continue; /* its supervisor has just replaced it */
		if (st != STATUS_OK)
			return st;
		ret->numbers[ret->count] = ret->numbers[i];
		ret->list[ret->count].time_usec = point.time_usec;
		ret->list[ret->count].replay_usec = point.replay_usec;
		ret->redo_lsn[ret->count] = point.redo_lsn;
		ret->segment_size = point.wal_segment_size;
		ret->count++;
	}
	return STATUS_OK;
}

/* The lock is for each alone: others want it too, and a point that was decided on does not come back. */
static status remove_point(struct store *store, const char *volume_id, uint64_t number, struct error *err)
{
	status st = store_lock(store, err);
	if (st != STATUS_OK)
		return st;
	st = restore_point_remove(store, volume_id, number, err);
	store_unlock(store);
	return st;
}

static status remove_wal(const struct data_directory *dd, const char *volume_id, const struct points *points,
        size_t *ret_removed, struct error *err)
{
	uint64_t keep_lsn = UINT64_MAX;
	for (size_t i = 0; i < points->count; i++)
		if (points->keep[i] && points->redo_lsn[i] < keep_lsn)
			keep_lsn = points->redo_lsn[i];
	if (keep_lsn == UINT64_MAX) {
		*ret_removed = 0;
		return STATUS_OK; /* no points, nothing known */
	}
	CLEANUP(free_text) char *archive = data_directory_path(dd, "volumes/%s/archive", volume_id);
	return wal_archive_retain(archive, points->segment_size, keep_lsn, NULL, 0, ret_removed, err);
}

static status apply(const struct data_directory *dd, struct store *store, const char *volume_id,
        const struct retention *retention, struct retention_result *ret, struct error *err)
{
	CLEANUP(points_done) struct points points = { 0 };
	struct retention_result result = { 0 };
	status st = read_points(store, volume_id, &points, err);
	if (st != STATUS_OK)
		return st;
	retention_decide(retention, points.list, points.count, points.keep);
	for (size_t i = 0; st == STATUS_OK && i < points.count; i++) {
		if (points.keep[i]) {
			result.points_kept++;
			continue;
		}
		st = remove_point(store, volume_id, points.numbers[i], err);
		result.points_removed++;
	}
	if (st == STATUS_OK)
		st = remove_wal(dd, volume_id, &points, &result.wal_removed, err);
	if (st == STATUS_OK)
		st = store_collect_garbage(store, &result.bytes, err);
	if (st == STATUS_OK)
		*ret = result;
	return st;
}

status retention_apply(const struct data_directory *dd, const char *volume_id,
        const struct retention *retention, struct retention_result *ret, struct error *err)
{
	char store_name[STORE_ID_MAX + 1];
	CLEANUP(store_closep) struct store *store = NULL;
	status st = volume_find_store(dd, volume_id, store_name, err);
	if (st == STATUS_OK)
		st = store_open(dd, store_name, &store, err);
	if (st == STATUS_OK)
		st = apply(dd, store, volume_id, retention, ret, err);
	return st == STATUS_OK ? st
	                       : error_prefix(err, "could not thin the history of volume \"%s\"", volume_id);
}
