/*
 * The format (docs/formats/store.md), as a store record:
 *
 *   {"number":12,"volume_id":"br-b","layers":[…],"redo_lsn":"0/1A2B000","redo_timeline":3,"end_lsn":"0/1A2B3C8","timeline":3,
 *    "wal_segment_size":16777216,"postgres_major":17,"is_shut_down":false,"needs_hygiene":false,"time_usec":…,"replay_usec":…,
 *    "logical_bytes":…}
 */
#include "page_store/restore_point.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"
#include "page_store/disk.h"
#include "page_store/fold.h"
#include "page_store/store_record.h"
#include "page_store/volume.h"

#define POINT_VERSION 1

void restore_point_done(struct restore_point *point)
{
	free(point->layers);
	*point = (struct restore_point){ 0 };
}

bool restore_point_is_same(const struct restore_point *a, const struct restore_point *b)
{
	return a->number == b->number && a->end_lsn == b->end_lsn && a->timeline == b->timeline &&
	       strcmp(a->volume_id, b->volume_id) == 0;
}

static bool is_segment_size(int64_t size)
{
	return size >= 1 << 20 && size <= 1 << 30 && (size & (size - 1)) == 0;
}

status restore_point_parse(struct slice text, struct restore_point *ret, struct error *err)
{
	CLEANUP(store_record_done) struct store_record record = { 0 };
	CLEANUP(restore_point_done) struct restore_point point = { 0 };
	status st = store_record_parse(text, "point", POINT_VERSION, POINT_VERSION, &record, err);
	if (st != STATUS_OK)
		return st;
	_Static_assert(sizeof point.volume_id == VOLUME_ID_MAX + 1, "a volume's name fits");
	int64_t number, redo_timeline, timeline, segment_size, major;
	bool is_valid =
	        store_record_get_number(&record, "number", 1, INT64_MAX, &number) &&
	        store_record_get_name(&record, "volume_id", point.volume_id, sizeof point.volume_id) &&
	        store_record_get_layers(&record, "layers", &point.layers, &point.layer_count) &&
	        store_record_get_lsn(&record, "redo_lsn", &point.redo_lsn) &&
	        store_record_get_lsn(&record, "end_lsn", &point.end_lsn) && point.redo_lsn > 0 &&
	        point.redo_lsn < point.end_lsn && /* it is the end of a record behind */
	        store_record_get_number(&record, "timeline", 1, UINT32_MAX - 1, &timeline) &&
	        store_record_get_number(&record, "redo_timeline", 1, timeline, &redo_timeline) &&
	        store_record_get_number(&record, "wal_segment_size", 1, INT32_MAX, &segment_size) &&
	        is_segment_size(segment_size) &&
	        store_record_get_number(&record, "postgres_major", 1, 999, &major) &&
	        store_record_get_bool(&record, "is_shut_down", &point.is_shut_down) &&
	        store_record_get_bool(&record, "needs_hygiene", &point.needs_hygiene) &&
	        store_record_get_number(&record, "time_usec", 0, INT64_MAX, &point.time_usec) &&
	        store_record_get_number(&record, "replay_usec", 0, INT64_MAX, &point.replay_usec) &&
	        store_record_get_number(&record, "logical_bytes", 0, INT64_MAX, &point.logical_bytes);
	if (!is_valid)
		return error_set(err, STATUS_CORRUPT, 0,
		        "the restore point's record lacks a member or has one that is not valid");
	point.number = (uint64_t)number;
	point.timeline = (uint32_t)timeline;
	point.redo_timeline = (uint32_t)redo_timeline;
	point.wal_segment_size = (uint32_t)segment_size;
	point.postgres_major = (int)major;
	*ret = point;
	point = (struct restore_point){ 0 };
	return STATUS_OK;
}

void restore_point_format(const struct restore_point *point, struct buffer *out)
{
	CLEANUP(store_record_writer_done) struct store_record_writer writer;
	store_record_writer_start(&writer);
	store_record_add_number(&writer, "number", (int64_t)point->number);
	store_record_add_text(&writer, "volume_id", point->volume_id);
	store_record_add_layers(&writer, "layers", point->layers, point->layer_count);
	store_record_add_lsn(&writer, "redo_lsn", point->redo_lsn);
	store_record_add_number(&writer, "redo_timeline", point->redo_timeline);
	store_record_add_lsn(&writer, "end_lsn", point->end_lsn);
	store_record_add_number(&writer, "timeline", point->timeline);
	store_record_add_number(&writer, "wal_segment_size", point->wal_segment_size);
	store_record_add_number(&writer, "postgres_major", point->postgres_major);
	store_record_add_bool(&writer, "is_shut_down", point->is_shut_down);
	store_record_add_bool(&writer, "needs_hygiene", point->needs_hygiene);
	store_record_add_number(&writer, "time_usec", point->time_usec);
	store_record_add_number(&writer, "replay_usec", point->replay_usec);
	store_record_add_number(&writer, "logical_bytes", point->logical_bytes);
	store_record_format(&writer, "point", POINT_VERSION, out);
}

/* STATUS_NOT_FOUND: the volume has no points. */
static status open_points(const struct store *store, const char *volume_id, int *ret_fd, struct error *err)
{
	if (!store_name_is_valid(volume_id, VOLUME_ID_MAX))
		return error_set(err, STATUS_INVALID, 0, "\"%.80s\" is not the name of a volume", volume_id);
	CLEANUP(free_text) char *path = xasprintf("points/%s", volume_id);
	int fd = disk_open(store_folder(store), path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0 && errno == ENOENT)
		return error_set(err, STATUS_NOT_FOUND, 0, "volume \"%s\" has no restore points", volume_id);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open folder \"%s\" of store \"%s\"", path,
		        store_id(store));
	*ret_fd = fd;
	return STATUS_OK;
}

/* Makes it, durably. */
static status make_points(const struct store *store, const char *volume_id, int *ret_fd, struct error *err)
{
	status st = open_points(store, volume_id, ret_fd, err);
	if (st != STATUS_NOT_FOUND)
		return st;
	CLEANUP(close_fd) int parent = disk_open(store_folder(store), "points", O_RDONLY | O_DIRECTORY, 0);
	if (parent < 0 || (disk_make_folder(parent, volume_id, 0700) < 0 && errno != EEXIST) ||
	        disk_sync(parent) < 0)
		return error_set(err, STATUS_IO, errno,
		        "could not create folder \"points/%s\" of store \"%s\"", volume_id, store_id(store));
	return open_points(store, volume_id, ret_fd, err);
}

static status read_in(
        int folder_fd, const char *volume_id, uint64_t number, struct restore_point *ret, struct error *err)
{
	CLEANUP(free_text) char *name = xasprintf("%" PRIu64 ".json", number);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	CLEANUP(restore_point_done) struct restore_point point = { 0 };
	status st = store_record_read_file(folder_fd, name, &text, err);
	if (st == STATUS_NOT_FOUND)
		return error_set(err, STATUS_NOT_FOUND, 0, "volume \"%s\" has no restore point %" PRIu64,
		        volume_id, number);
	if (st == STATUS_OK)
		st = restore_point_parse(buffer_slice(&text), &point, err);
	if (st == STATUS_OK && (point.number != number || strcmp(point.volume_id, volume_id) != 0))
		st = error_set(err, STATUS_CORRUPT, 0, "it says it is point %" PRIu64 " of volume \"%s\"",
		        point.number, point.volume_id);
	if (st != STATUS_OK)
		return error_prefix(err, "restore point %" PRIu64 " of volume \"%s\"", number, volume_id);
	*ret = point;
	point = (struct restore_point){ 0 };
	return STATUS_OK;
}

status restore_point_read(const struct store *store, const char *volume_id, uint64_t number,
        struct restore_point *ret, struct error *err)
{
	CLEANUP(close_fd) int folder_fd = -1;
	status st = open_points(store, volume_id, &folder_fd, err);
	return st == STATUS_OK ? read_in(folder_fd, volume_id, number, ret, err) : st;
}

status restore_point_write(const struct store *store, const struct restore_point *point, struct error *err)
{
	assert(store_is_locked(store) && point->number >= 1);
	CLEANUP(close_fd) int folder_fd = -1;
	status st = make_points(store, point->volume_id, &folder_fd, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *name = xasprintf("%" PRIu64 ".json", point->number);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	restore_point_format(point, &text);
	st = store_record_replace_file(folder_fd, name, buffer_slice(&text), err);
	return st == STATUS_OK ? st
	                       : error_prefix(err, "restore point %" PRIu64 " of volume \"%s\"",
	                                 point->number, point->volume_id);
}

status restore_point_remove(
        const struct store *store, const char *volume_id, uint64_t number, struct error *err)
{
	assert(store_is_locked(store));
	CLEANUP(close_fd) int folder_fd = -1;
	status st = open_points(store, volume_id, &folder_fd, err);
	if (st == STATUS_NOT_FOUND)
		return STATUS_OK;
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *name = xasprintf("%" PRIu64 ".json", number);
	if (disk_unlink(folder_fd, name) < 0 || disk_sync(folder_fd) < 0)
		return error_set(err, STATUS_IO, errno,
		        "could not remove restore point %" PRIu64 " of volume \"%s\"", number, volume_id);
	return STATUS_OK;
}

struct numbers {
	uint64_t *list;
	size_t count;
};

static bool take_number(void *owner, const char *name)
{
	struct numbers *numbers = owner;
	const char *dot = strchr(name, '.');
	int64_t number;
	if (!dot || strcmp(dot, ".json") != 0 || name[0] == '0' || /* one name per number */
	        !number_parse(
	                (struct slice){ (const uint8_t *)name, (size_t)(dot - name) }, 1, INT64_MAX, &number))
		return true;
	numbers->list = xrealloc(numbers->list, (numbers->count + 1) * sizeof *numbers->list);
	numbers->list[numbers->count++] = (uint64_t)number;
	return true;
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void numbers_done(struct numbers *numbers)
{
	free(numbers->list);
}

static status list_in(int folder_fd, const char *volume_id, struct numbers *ret, struct error *err)
{
	CLEANUP(numbers_done) struct numbers numbers = { 0 };
	if (disk_list(folder_fd, take_number, &numbers) < 0)
		return error_set(err, STATUS_IO, errno, "could not list the restore points of volume \"%s\"",
		        volume_id);
	if (numbers.count)
		qsort(numbers.list, numbers.count, sizeof *numbers.list, compare_numbers);
	*ret = numbers;
	numbers = (struct numbers){ 0 };
	return STATUS_OK;
}

status restore_point_list(const struct store *store, const char *volume_id, uint64_t **ret, size_t *ret_count,
        struct error *err)
{
	CLEANUP(close_fd) int folder_fd = -1;
	struct numbers numbers = { 0 };
	status st = open_points(store, volume_id, &folder_fd, err);
	if (st == STATUS_OK)
		st = list_in(folder_fd, volume_id, &numbers, err);
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		return st;
	*ret = numbers.list;
	*ret_count = numbers.count;
	return STATUS_OK;
}

/* The newest that on_point takes; points that retention removes meanwhile are passed by. */
static status find_newest(const struct store *store, const char *volume_id,
        bool (*is_wanted)(const struct restore_point *point, int64_t limit), int64_t limit,
        struct restore_point *ret, struct error *err)
{
	CLEANUP(close_fd) int folder_fd = -1;
	CLEANUP(numbers_done) struct numbers numbers = { 0 };
	status st = open_points(store, volume_id, &folder_fd, err);
	if (st == STATUS_OK)
		st = list_in(folder_fd, volume_id, &numbers, err);
	if (st != STATUS_OK)
		return st;
	for (size_t i = numbers.count; i-- > 0;) {
		CLEANUP(restore_point_done) struct restore_point point = { 0 };
		st = read_in(folder_fd, volume_id, numbers.list[i], &point, err);
		if (st == STATUS_NOT_FOUND)
			continue;
		if (st != STATUS_OK)
			return st;
		if (!is_wanted(&point, limit))
			continue;
		*ret = point;
		point = (struct restore_point){ 0 };
		return STATUS_OK;
	}
	return error_set(
	        err, STATUS_NOT_FOUND, 0, "volume \"%s\" has no restore point that is old enough", volume_id);
}

static bool is_any(const struct restore_point *point, int64_t limit)
{
	(void)point, (void)limit;
	return true;
}

static bool is_before_lsn(const struct restore_point *point, int64_t limit)
{
	return point->end_lsn <= (uint64_t)limit;
}

static bool is_before_time(const struct restore_point *point, int64_t limit)
{
	return point->time_usec <= limit;
}

status restore_point_newest(
        const struct store *store, const char *volume_id, struct restore_point *ret, struct error *err)
{
	status st = find_newest(store, volume_id, is_any, 0, ret, err);
	return st == STATUS_NOT_FOUND
	               ? error_set(err, STATUS_NOT_FOUND, 0, "volume \"%s\" has no restore points", volume_id)
	               : st;
}

status restore_point_find_lsn(const struct store *store, const char *volume_id, uint64_t lsn,
        struct restore_point *ret, struct error *err)
{
	return find_newest(store, volume_id, is_before_lsn, (int64_t)lsn, ret, err);
}

status restore_point_find_time(const struct store *store, const char *volume_id, int64_t time_usec,
        struct restore_point *ret, struct error *err)
{
	return find_newest(store, volume_id, is_before_time, time_usec, ret, err);
}

static status add_locked(struct store *store, struct restore_point *point, struct error *err)
{
	CLEANUP(stack_done) struct stack stack = { 0 };
	CLEANUP(numbers_done) struct numbers numbers = { 0 };
	status st = stack_read(store, point->volume_id, &stack, err);
	if (st == STATUS_OK)
		st = restore_point_list(store, point->volume_id, &numbers.list, &numbers.count, err);
	if (st != STATUS_OK)
		return st;
	size_t count = fold_find_cut(&stack, point->layers, point->layer_count);
	if (count == 0)
		return error_set(err, STATUS_CONFLICT, 0,
		        "the layers of volume \"%s\" have been folded since the cut", point->volume_id);
	uint64_t number = stack.next_point;
	if (numbers.count && number <= numbers.list[numbers.count - 1])
		number = numbers.list[numbers.count - 1] + 1;
	/* The number first: one that is given away twice would overwrite a point. */
	stack.next_point = number + 1;
	st = stack_write(store, point->volume_id, &stack, err);
	if (st != STATUS_OK)
		return st;
	struct restore_point now = *point;
	now.number = number;
	now.layers = stack.layers;
	now.layer_count = count;
	st = restore_point_write(store, &now, err);
	if (st == STATUS_OK)
		point->number = number;
	return st;
}

status restore_point_add(struct store *store, struct restore_point *point, struct error *err)
{
	status st = store_lock(store, err);
	if (st != STATUS_OK)
		return st;
	st = add_locked(store, point, err);
	store_unlock(store);
	return st;
}
