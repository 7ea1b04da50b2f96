/* Folds of an open image: choosing, copying in small steps, and taking the result in the place of the pair. */
#include <assert.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "page_store/fold.h"
#include "page_store/fold_references.h"
#include "page_store/image_internal.h"

#define STEP_PAGES 2048 /* 16 MiB */

/* ---- files without a name ---- */

/*
 * A fold drops files that have no name in the upper layer's tree. One that is held, and shows pages of the two layers, would lose them. Postgres
 * makes a file empty before it removes it, so this is rare.
 */
static bool is_in_the_way(const struct inode *inode, const struct layer *lower, const struct layer *upper)
{
	struct layer_file file;
	return inode->name_count == 0 && S_ISREG(inode->attributes.mode) && inode->attributes.size > 0 &&
	       (layer_find_file(lower, inode->number, &file) || layer_find_file(upper, inode->number, &file));
}

static bool has_orphan(struct image *image, const struct layer *lower, const struct layer *upper)
{
	bool has = false;
	(void)pthread_rwlock_rdlock(&image->tree_lock);
	size_t count = 0;
	struct inode **list = file_tree_list(image->tree, &count);
	for (size_t i = 0; i < count && !has; i++) {
		struct image_inode *inode = image_inode_of(list[i]);
		(void)pthread_mutex_lock(&inode->lock);
		has = is_in_the_way(list[i], lower, upper);
		(void)pthread_mutex_unlock(&inode->lock);
	}
	(void)pthread_rwlock_unlock(&image->tree_lock);
	free(list);
	return has;
}

/* ---- the pair among the image's layers ---- */

/* With layers_lock. The position of the lower one in the order; order_count: it is not there. */
static size_t find_pair(const struct image *image, const struct fold *fold)
{
	for (size_t i = 0; i + 1 < image->order_count; i++) {
		const struct layer *lower = image->layers[image->order[i]];
		const struct layer *upper = image->layers[image->order[i + 1]];
		if (layer_ref_equals(layer_name(lower), fold_lower(fold)) &&
		        layer_ref_equals(layer_name(upper), fold_upper(fold)))
			return i;
	}
	return image->order_count;
}

static bool may_fold(struct image *image, const struct fold *fold)
{
	struct layer *lower = NULL, *upper = NULL;
	(void)pthread_rwlock_rdlock(&image->layers_lock);
	size_t at = find_pair(image, fold);
	if (at < image->order_count) {
		lower = layer_hold(image->layers[image->order[at]]);
		upper = layer_hold(image->layers[image->order[at + 1]]);
	}
	(void)pthread_rwlock_unlock(&image->layers_lock);
	bool may = lower && !has_orphan(image, lower, upper);
	(void)layer_release(lower);
	(void)layer_release(upper);
	return may;
}

/* With cut_lock. Indexes of both layers become those of the result: no map has to be changed. */
static void exchange(struct image *image, struct fold *fold)
{
	struct layer *result = layer_hold(fold_result(fold));
	(void)pthread_rwlock_wrlock(&image->layers_lock);
	size_t at = find_pair(image, fold);
	assert(at < image->order_count);
	struct layer *lower = image->layers[image->order[at]], *upper = image->layers[image->order[at + 1]];
	for (size_t i = 1; i < image->index_count; i++)
		if (image->layers[i] == lower || image->layers[i] == upper)
			image->layers[i] = result;
	memmove(&image->order[at + 1], &image->order[at + 2],
	        (image->order_count - at - 2) * sizeof *image->order);
	image->order_count--;
	if (image->scrub_position > at)
		image->scrub_position--;
	(void)pthread_rwlock_unlock(&image->layers_lock);

	struct stack *stack = &image->stack;
	assert(at + 1 < stack->count && layer_ref_equals(&stack->layers[at], fold_lower(fold)));
	stack->layers[at] = *layer_name(result);
	memmove(&stack->layers[at + 1], &stack->layers[at + 2],
	        (stack->count - at - 2) * sizeof *stack->layers);
	stack->count--;
	/* Who still reads one of them holds it; a fold waits for that (fold.h F4), and a page that does not fit is looked up again. */
	(void)layer_release(lower);
	(void)layer_release(upper);
}

/* ---- steps ---- */

static status publish(struct image *image, struct error *err)
{
	bool is_published = false;
	(void)pthread_mutex_lock(&image->cut_lock);
	status s = fold_publish(image->fold, &is_published, err);
	if (s == STATUS_OK && is_published)
		exchange(image, image->fold);
	(void)pthread_mutex_unlock(&image->cut_lock);
	return s;
}

static status fold_step(struct image *image, bool *ret_done, struct error *err)
{
	status s = STATUS_OK;
	if (atomic_load(&image->broken_errno)) {
		*ret_done = true;
		return STATUS_OK;
	}
	image_finish_seals(image);
	if (!image->fold) {
		s = fold_choose(image->store, image->volume_id, &image->fold, err);
		if (s != STATUS_OK)
			return s;
		if (!image->fold || !may_fold(image, image->fold)) {
			image->fold = fold_free(image->fold);
			*ret_done = true;
			return STATUS_OK;
		}
	}
	bool is_copied = false;
	s = fold_pages(image->fold, STEP_PAGES, &is_copied, err);
	if (s == STATUS_OK && is_copied)
		s = publish(image, err);
	if (s == STATUS_OK && !is_copied) {
		*ret_done = false;
		return STATUS_OK;
	}
	image->fold = fold_free(image->fold);
	if (s != STATUS_OK)
		return s;
	/* What has become garbage stays until the next time if this fails. */
	struct error garbage_err;
	if (store_collect_garbage(image->store, NULL, &garbage_err) != STATUS_OK)
		log_warning("volume \"%s\": %s", image->volume_id, garbage_err.message);
	*ret_done = false;
	return STATUS_OK;
}

status image_fold_step(struct image *image, bool *ret_done, struct error *err)
{
	(void)pthread_mutex_lock(&image->fold_lock);
	status s = fold_step(image, ret_done, err);
	(void)pthread_mutex_unlock(&image->fold_lock);
	return s;
}
