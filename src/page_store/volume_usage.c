/* Disk space of a volume (volume.h). */
#include <errno.h>
#include <stdlib.h>

#include "base/file.h"
#include "page_store/restore_point.h"
#include "page_store/store.h"
#include "page_store/volume.h"
#include "wal_store/wal_archive.h"

enum {
	NAMED_BY_STACK = 1,  /* ours */
	NAMED_BY_POINTS = 2, /* ours */
	NAMED_BY_OTHERS = 4,
};

struct layer_use {
	char store[STORE_ID_MAX + 1];
	char id[LAYER_ID_MAX + 1];
	unsigned named;
};

struct uses {
	const char *volume_id;
	struct layer_use *list; /* one per naming, then sorted and merged */
	size_t count, capacity;
};

static void uses_done(struct uses *uses)
{
	free(uses->list);
}

static void note_use(void *owner, const struct store_reference *reference)
{
	struct uses *uses = owner;
	bool is_ours = reference->volume_id && strcmp(reference->volume_id, uses->volume_id) == 0;
	unsigned named = !is_ours ? NAMED_BY_OTHERS : reference->is_stack ? NAMED_BY_STACK : NAMED_BY_POINTS;
	for (size_t i = 0; i < reference->stack_count; i++) {
		if (uses->count == uses->capacity) {
			uses->capacity = uses->capacity ? 2 * uses->capacity : 256;
			uses->list = xrealloc(uses->list, uses->capacity * sizeof *uses->list);
		}
		struct layer_use *use = &uses->list[uses->count++];
		memcpy(use->store, reference->stack[i].store, sizeof use->store);
		memcpy(use->id, reference->stack[i].id, sizeof use->id);
		use->named = named;
	}
}

static int compare_uses(const void *a, const void *b)
{
	const struct layer_use *x = a, *y = b;
	int order = strcmp(x->store, y->store);
	return order ? order : strcmp(x->id, y->id);
}

static void merge(struct uses *uses)
{
	if (uses->count == 0)
		return;
	qsort(uses->list, uses->count, sizeof *uses->list, compare_uses);
	size_t kept = 1;
	for (size_t i = 1; i < uses->count; i++) {
		if (compare_uses(&uses->list[i], &uses->list[kept - 1]) == 0)
			uses->list[kept - 1].named |= uses->list[i].named;
		else
			uses->list[kept++] = uses->list[i];
	}
	uses->count = kept;
}

/* A template's layers are everybody's. */
static status add_layer(const struct data_directory *dd, const struct layer_use *use, bool is_of_store,
        struct volume_usage *usage, struct error *err)
{
	if (!(use->named & (NAMED_BY_STACK | NAMED_BY_POINTS)))
		return STATUS_OK;
	CLEANUP(free_text) char *path = data_directory_path(dd, "stores/%s/layers/%s", use->store, use->id);
	int64_t bytes = 0;
	status st = tree_space(path, &bytes, err);
	if (st != STATUS_OK && err->sys_errno == ENOENT)
		return STATUS_OK; /* folded and collected since the references were read */
	if (st != STATUS_OK)
		return st;
	if (use->named & NAMED_BY_OTHERS || !is_of_store)
		usage->shared_bytes += bytes;
	else if (use->named & NAMED_BY_STACK)
		usage->own_bytes += bytes;
	else
		usage->history_bytes += bytes;
	return STATUS_OK;
}

static status add_layers(const struct data_directory *dd, struct store *store, const char *id,
        struct volume_usage *usage, struct error *err)
{
	CLEANUP(uses_done) struct uses uses = { .volume_id = id };
	status st = store_lock(store, err);
	if (st != STATUS_OK)
		return st;
	st = store_each_reference(store, note_use, &uses, err);
	store_unlock(store);
	merge(&uses);
	for (size_t i = 0; st == STATUS_OK && i < uses.count; i++)
		st = add_layer(
		        dd, &uses.list[i], strcmp(uses.list[i].store, store_id(store)) == 0, usage, err);
	return st;
}

static status add_wal(
        const struct data_directory *dd, const char *id, struct volume_usage *usage, struct error *err)
{
	CLEANUP(free_text) char *wal_path = data_directory_path(dd, "volumes/%s/wal", id);
	CLEANUP(free_text) char *archive_path = data_directory_path(dd, "volumes/%s/archive", id);
	struct wal_space space;
	status st = wal_archive_space(wal_path, archive_path, &space, err);
	if (st != STATUS_OK)
		return st;
	usage->wal_bytes += space.live;
	usage->history_bytes += space.history;
	usage->shared_bytes += space.shared;
	return STATUS_OK;
}

status volume_usage(
        const struct data_directory *dd, const char *id, struct volume_usage *ret, struct error *err)
{
	char store_name[STORE_ID_MAX + 1];
	CLEANUP(store_closep) struct store *store = NULL;
	CLEANUP(restore_point_done) struct restore_point point = { 0 };
	struct volume_usage usage = { 0 };
	status st = volume_find_store(dd, id, store_name, err);
	if (st == STATUS_OK)
		st = store_open(dd, store_name, &store, err);
	if (st != STATUS_OK)
		return st;
	st = restore_point_newest(store, id, &point, err);
	if (st == STATUS_OK)
		usage.logical_bytes = point.logical_bytes;
	if (st == STATUS_OK || st == STATUS_NOT_FOUND)
		st = add_layers(dd, store, id, &usage, err);
	if (st == STATUS_OK)
		st = add_wal(dd, id, &usage, err);
	if (st != STATUS_OK)
		return error_prefix(err, "could not measure volume \"%s\"", id);
	*ret = usage;
	return STATUS_OK;
}
