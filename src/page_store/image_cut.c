/*
 * The cut, step by step:
 *
 *   1. a new layer is made, and a stack that names it on top is written: both durable, and empty of changes
 *   2. under epoch_lock the new layer becomes the open one: the cut is between two records, and falls for every file between two changes
 *   3. what files changed before is committed in the old layer's journal, which is complete after that
 *   4. the old layer's manifest is made from its journal, as after a crash
 *   5. page maps learn the old layer by its index; later, in the background, its journal goes and what it does not name
 *
 * A crash after 1 leaves two layers unsealed; the mount replays both and seals the lower one. A failure after 2 leaves image.sealing; the next
 * cut goes on from there.
 */
#include <assert.h>
#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "page_store/disk.h"
#include "page_store/image_internal.h"

#define COMMIT_STEP 64

/* ---- indexes of layers ---- */

/* With layers_lock for writing. All maps are of an older generation after that. */
static void renumber(struct image *image)
{
	struct layer **layers = xcalloc(image->order_count + 1, sizeof *layers);
	for (size_t i = 0; i < image->order_count; i++) {
		layers[i + 1] = image->layers[image->order[i]];
		image->order[i] = (uint16_t)(i + 1);
	}
	free(image->layers);
	image->layers = layers;
	image->index_count = image->order_count + 1;
	image->generation++;
}

uint16_t image_push_layer(struct image *image, struct layer *layer)
{
	(void)pthread_rwlock_wrlock(&image->layers_lock);
	if (image->index_count > UINT16_MAX)
		renumber(image);
	uint16_t index = (uint16_t)image->index_count;
	image->layers = xrealloc(image->layers, (image->index_count + 1) * sizeof *image->layers);
	image->layers[image->index_count++] = layer;
	image->order = xrealloc(image->order, (image->order_count + 1) * sizeof *image->order);
	image->order[image->order_count++] = index;
	(void)pthread_rwlock_unlock(&image->layers_lock);
	return index;
}

static struct layer *top_sealed(struct image *image)
{
	(void)pthread_rwlock_rdlock(&image->layers_lock);
	struct layer *layer = NULL;
	if (image->order_count > 0)
		layer = layer_hold(image->layers[image->order[image->order_count - 1]]);
	(void)pthread_rwlock_unlock(&image->layers_lock);
	return layer;
}

/* ---- sealing: steps 3 to 5, with cut_lock ---- */

static status commit_changes(struct image *image, const uint64_t *inodes, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		struct image_inode *inode = image_take(image, inodes[i]);
		if (!inode)
			continue;
		/* With io: a change that began before the cut has ended now. */
		(void)pthread_mutex_lock(&inode->io);
		(void)pthread_mutex_lock(&inode->lock);
		(void)pthread_mutex_lock(&image->epoch_lock);
		image_settle(image, inode);
		(void)pthread_mutex_unlock(&image->epoch_lock);
		(void)pthread_mutex_unlock(&inode->lock);
		(void)pthread_mutex_unlock(&inode->io);
		image_give_back(image, inode);
	}
	int rc = image_commit(image, inodes, count, true);
	if (rc == 0)
		rc = image_sync_journals(image);
	if (rc < 0)
		return error_set(
		        err, STATUS_IO, atomic_load(&image->broken_errno), "could not sync the volume");
	return STATUS_OK;
}

/* A file without a name that somebody still has open. */
static bool is_needed(void *owner, uint64_t number)
{
	struct image *image = owner;
	(void)pthread_rwlock_rdlock(&image->tree_lock);
	const struct inode *inode = file_tree_find(image->tree, number);
	(void)pthread_rwlock_unlock(&image->tree_lock);
	return inode != NULL;
}

/* Page maps take over what inodes have in the sealed layer. */
static void absorb(struct image *image, const uint64_t *inodes, size_t count, uint16_t index)
{
	for (size_t i = 0; i < count; i++) {
		struct image_inode *inode = image_take(image, inodes[i]);
		if (!inode)
			continue;
		(void)pthread_mutex_lock(&inode->lock);
		while (inode->is_syncing) /* it may be at work on what is freed here */
			(void)pthread_cond_wait(&inode->is_synced, &inode->lock);
		assert(!inode->sealing || inode->sealing->map.dirty_count == 0);
		(void)pthread_rwlock_rdlock(&image->layers_lock);
		bool is_current = inode->map_generation == image->generation;
		(void)pthread_rwlock_unlock(&image->layers_lock);
		if (inode->sealing && is_current)
			page_map_absorb(&inode->map, &inode->sealing->map, index);
		unsealed_free(image, TAKE_PTR(inode->sealing));
		(void)pthread_mutex_unlock(&inode->lock);
		image_give_back(image, inode);
	}
}

static status seal(struct image *image, struct sealed *ret, struct error *err)
{
	struct epoch *epoch = image->sealing; /* only cuts change it, and we have cut_lock */
	size_t count = 0;
	uint64_t *inodes = image_list_changed(image, epoch, &count);
	status s = commit_changes(image, inodes, count, err);
	struct layer *below = top_sealed(image);
	if (s == STATUS_OK)
		s = image_seal_layer(image->store, layer_name(epoch->layer), &below, below != NULL, is_needed,
		        image, ret, err);
	(void)layer_release(below);
	if (s == STATUS_OK) {
		uint16_t index = image_push_layer(image, ret->layer);
		absorb(image, inodes, count, index);
		(void)pthread_mutex_lock(&image->epoch_lock);
		image->unfinished = xrealloc(
		        image->unfinished, (image->unfinished_count + 1) * sizeof *image->unfinished);
		image->unfinished[image->unfinished_count++] = layer_hold(ret->layer);
		image->sealing = NULL;
		(void)pthread_mutex_unlock(&image->epoch_lock);
		(void)image_epoch_free(epoch);
	}
	free(inodes);
	return s;
}

void image_finish_seals(struct image *image)
{
	(void)pthread_mutex_lock(&image->epoch_lock);
	struct layer **layers = TAKE_PTR(image->unfinished);
	size_t count = image->unfinished_count;
	image->unfinished_count = 0;
	(void)pthread_mutex_unlock(&image->epoch_lock);
	for (size_t i = 0; i < count; i++) {
		struct error err;
		/* What is not done here, garbage collection does (layer_tidy). */
		if (layer_finish_seal(layers[i], &err) != STATUS_OK)
			log_warning("volume \"%s\": %s", image->volume_id, err.message);
		(void)layer_release(layers[i]);
	}
	free(layers);
}

/* ---- the cut ---- */

static bool has_changes(struct image *image)
{
	(void)pthread_mutex_lock(&image->epoch_lock);
	const struct epoch *open = atomic_load(&image->open);
	bool has = open->first || journal_end(layer_journal(open->layer)) != open->begin;
	(void)pthread_mutex_unlock(&image->epoch_lock);
	return has;
}

/* Step 1. */
static status prepare(struct image *image, struct layer **ret, struct error *err)
{
	status s = store_lock(image->store, err);
	if (s != STATUS_OK)
		return s;
	struct layer *layer = NULL;
	struct stack stack;
	stack_copy(&image->stack, &stack);
	if (stack.count >= STACK_LAYERS_MAX)
		s = error_set(err, STATUS_LIMIT, 0, "volume \"%s\" has %zu layers, the most there can be",
		        image->volume_id, stack.count);
	if (s == STATUS_OK)
		s = image_make_next_layer(image->store, image->volume_id, &stack, &layer, err);
	int rc = s == STATUS_OK ? image_reserve_layer(image, layer) : 0;
	if (rc < 0)
		s = error_set(err, STATUS_IO, -rc, "could not reserve space for the journal of layer \"%s\"",
		        layer_name(layer)->id);
	/* Whatever becomes of it, its number is not used again: the stack on disk may name it. */
	stack.next_layer++;
	image->stack.next_layer = stack.next_layer;
	if (s == STATUS_OK) {
		stack_push(&stack, layer_name(layer));
		s = stack_write(image->store, image->volume_id, &stack, err);
	}
	store_unlock(image->store);
	if (s != STATUS_OK) {
		(void)layer_release(layer);
		stack_done(&stack);
		return s;
	}
	stack_done(&image->stack);
	image->stack = stack;
	*ret = layer;
	return STATUS_OK;
}

/* Step 2; how long changes had to wait for it. */
static int64_t swap(struct image *image, struct layer *layer)
{
	struct epoch *old = atomic_load(&image->open);
	struct epoch *next = image_epoch_new(old->number + 1, layer, journal_end(layer_journal(layer)));
	int64_t begin = clock_monotonic_usec();
	(void)pthread_mutex_lock(&image->epoch_lock);
	/* Rarely: more came to be owed since it was prepared. It is paid soon, here or by those who are at it. */
	while (!journal_has_room(layer_journal(layer), atomic_load(&image->owed_bytes))) {
		(void)pthread_mutex_unlock(&image->epoch_lock);
		image_flush_times(image);
		(void)sched_yield();
		(void)pthread_mutex_lock(&image->epoch_lock);
	}
	assert(!image->sealing);
	image->sealing = old;
	atomic_store(&image->open, next);
	(void)pthread_mutex_unlock(&image->epoch_lock);
	return clock_monotonic_usec() - begin;
}

static status cut(struct image *image, struct image_cut *ret, struct error *err)
{
	status s = STATUS_OK;
	struct sealed sealed = { 0 };
	int64_t pause_usec = 0;
	if (atomic_load(&image->broken_errno))
		return error_set(err, STATUS_IO, atomic_load(&image->broken_errno), "an earlier sync failed");
	if (image->sealing)
		s = seal(image, &sealed, err);
	sealed = (struct sealed){ .logical_bytes = atomic_load(&image->logical_bytes) };
	image_flush_times(image);
	if (s == STATUS_OK && has_changes(image)) {
		struct layer *layer = NULL;
		/* Most of the journal becomes durable before the exchange, so that little is left for after it. */
		if (image_sync_journals(image) < 0)
			s = error_set(err, STATUS_IO, atomic_load(&image->broken_errno),
			        "could not sync the volume");
		if (s == STATUS_OK)
			s = prepare(image, &layer, err);
		if (s == STATUS_OK) {
			pause_usec = swap(image, layer);
			s = seal(image, &sealed, err);
		}
	}
	if (s != STATUS_OK)
		return s;
	*ret = (struct image_cut){ .layer_count = image->stack.count - 1,
		.pause_usec = pause_usec,
		.pages = sealed.pages,
		.logical_bytes = sealed.logical_bytes };
	ret->layers = xcalloc(ret->layer_count + 1, sizeof *ret->layers);
	memcpy(ret->layers, image->stack.layers, ret->layer_count * sizeof *ret->layers);
	return STATUS_OK;
}

status image_cut(struct image *image, struct image_cut *ret, struct error *err)
{
	(void)pthread_mutex_lock(&image->cut_lock);
	status s = cut(image, ret, err);
	(void)pthread_mutex_unlock(&image->cut_lock);
	return s == STATUS_OK ? s : error_prefix(err, "could not cut volume \"%s\"", image->volume_id);
}
