#include "page_store/fold_references.h"

#include <assert.h>
#include <stdlib.h>

#include "page_store/restore_point.h"

struct gathering {
	const char *volume_id;
	struct fold_references references;
};

void fold_references_done(struct fold_references *references)
{
	for (size_t i = 0; i < references->count; i++)
		free(references->list[i].layers);
	free(references->list);
	*references = (struct fold_references){ 0 };
}

static void gather(void *owner, const struct store_reference *reference)
{
	struct gathering *gathering = owner;
	struct fold_references *all = &gathering->references;
	if ((all->count & (all->count - 1)) == 0)
		all->list = xrealloc(all->list, (all->count ? 2 * all->count : 1) * sizeof *all->list);
	struct fold_reference *fresh = &all->list[all->count++];
	*fresh = (struct fold_reference){
		.is_own = reference->volume_id && strcmp(reference->volume_id, gathering->volume_id) == 0,
		.is_stack = reference->is_stack,
		.point = reference->point,
		.layers = xcalloc(reference->stack_count + 1, sizeof *fresh->layers),
		.count = reference->stack_count,
	};
	if (reference->stack_count)
		memcpy(fresh->layers, reference->stack, reference->stack_count * sizeof *fresh->layers);
}

status fold_references_read(
        const struct store *store, const char *volume_id, struct fold_references *ret, struct error *err)
{
	struct gathering gathering = { .volume_id = volume_id };
	status s = store_each_reference(store, gather, &gathering, err);
	if (s != STATUS_OK) {
		fold_references_done(&gathering.references);
		return s;
	}
	*ret = gathering.references;
	return STATUS_OK;
}

static bool is_same_layer(const struct layer_ref *a, const struct layer_ref *b)
{
	return strcmp(a->store, b->store) == 0 && strcmp(a->id, b->id) == 0;
}

bool layer_ref_equals(const struct layer_ref *a, const struct layer_ref *b)
{
	return is_same_layer(a, b) && a->version == b->version;
}

static bool reference_allows(const struct fold_reference *reference, const struct layer_ref *lower,
        const struct layer_ref *upper, const struct layer_ref *result)
{
	for (size_t i = 0; i < reference->count; i++) {
		const struct layer_ref *layer = &reference->layers[i];
		bool is_lower = is_same_layer(layer, lower), is_upper = is_same_layer(layer, upper);
		if (!is_lower && !is_upper)
			continue;
		if (result && reference->is_own && layer_ref_equals(layer, result))
			continue;
		if (!reference->is_own || !layer_ref_equals(layer, is_lower ? lower : upper))
			return false;
		/* One that ends at the lower layer separates the two; the last of a stack is open. */
		if (is_lower && (i + 1 == reference->count || !layer_ref_equals(layer + 1, upper)))
			return false;
		if (is_upper && (i == 0 || !layer_ref_equals(layer - 1, lower) ||
		                        (reference->is_stack && i + 1 == reference->count)))
			return false;
	}
	return true;
}

bool fold_references_allow(const struct fold_references *references, const char *store,
        const struct layer_ref *lower, const struct layer_ref *upper, const struct layer_ref *result)
{
	if (strcmp(lower->store, store) != 0 || strcmp(upper->store, store) != 0 ||
	        strncmp(store, STORE_TEMPLATE_PREFIX, strlen(STORE_TEMPLATE_PREFIX)) == 0)
		return false;
	for (size_t i = 0; i < references->count; i++) {
		if (!reference_allows(&references->list[i], lower, upper, result))
			return false;
	}
	return true;
}

/* Where [lower, upper] begins; count: nowhere. */
static size_t find_pair(const struct layer_ref *layers, size_t count, const struct layer_ref *lower,
        const struct layer_ref *upper)
{
	for (size_t i = 0; i + 1 < count; i++) {
		if (layer_ref_equals(&layers[i], lower) && layer_ref_equals(&layers[i + 1], upper))
			return i;
	}
	return count;
}

bool fold_reference_has_pair(
        const struct fold_reference *reference, const struct layer_ref *lower, const struct layer_ref *upper)
{
	return find_pair(reference->layers, reference->count, lower, upper) < reference->count;
}

static int compare_refs(const void *a, const void *b)
{
	const struct layer_ref *x = a, *y = b;
	int order = strcmp(x->store, y->store);
	if (order == 0)
		order = strcmp(x->id, y->id);
	return order ? order : (x->version > y->version) - (x->version < y->version);
}

struct fold_versions *fold_references_list_several(
        const struct fold_references *references, size_t *ret_count)
{
	size_t count = 0, several_count = 0;
	for (size_t i = 0; i < references->count; i++)
		count += references->list[i].is_own ? references->list[i].count : 0;
	struct layer_ref *all = xcalloc(count + 1, sizeof *all);
	count = 0;
	for (size_t i = 0; i < references->count; i++) {
		const struct fold_reference *reference = &references->list[i];
		if (!reference->is_own || reference->count == 0)
			continue;
		memcpy(&all[count], reference->layers, reference->count * sizeof *all);
		count += reference->count;
	}
	if (count)
		qsort(all, count, sizeof *all, compare_refs);
	struct fold_versions *several = NULL;
	/* From the end, so that the newest version of a layer comes first. */
	uint32_t newest = 0;
	for (size_t i = count; i-- > 0;) {
		bool is_first = i + 1 == count || !is_same_layer(&all[i], &all[i + 1]);
		if (is_first)
			newest = all[i].version;
		else if (all[i].version != all[i + 1].version) {
			several = xrealloc(several, (several_count + 1) * sizeof *several);
			several[several_count++] =
			        (struct fold_versions){ .older = all[i], .newest = newest };
		}
	}
	free(all);
	*ret_count = several_count;
	return several;
}

const struct layer_ref *fold_references_find_next(
        const struct fold_references *references, const struct layer_ref *layer)
{
	for (size_t i = 0; i < references->count; i++) {
		const struct fold_reference *reference = &references->list[i];
		for (size_t j = 0; reference->is_own && j + 1 < reference->count; j++) {
			if (layer_ref_equals(&reference->layers[j], layer))
				return &reference->layers[j + 1];
		}
	}
	return NULL;
}

/* The two become one. */
static void replace_pair(struct layer_ref *layers, size_t *count, size_t at, const struct layer_ref *result)
{
	layers[at] = *result;
	memmove(&layers[at + 1], &layers[at + 2], (*count - at - 2) * sizeof *layers);
	--*count;
}

static status rewrite_point(struct store *store, const char *volume_id, uint64_t number,
        const struct layer_ref *lower, const struct layer_ref *upper, const struct layer_ref *result,
        struct error *err)
{
	CLEANUP(restore_point_done) struct restore_point point = { 0 };
	status s = restore_point_read(store, volume_id, number, &point, err);
	if (s != STATUS_OK)
		return s;
	size_t at = find_pair(point.layers, point.layer_count, lower, upper);
	if (at == point.layer_count)
		return STATUS_OK;
	replace_pair(point.layers, &point.layer_count, at, result);
	return restore_point_write(store, &point, err);
}

static status rewrite_stack(struct store *store, const char *volume_id, const struct layer_ref *lower,
        const struct layer_ref *upper, const struct layer_ref *result, struct error *err)
{
	CLEANUP(stack_done) struct stack stack = { 0 };
	status s = stack_read(store, volume_id, &stack, err);
	if (s != STATUS_OK)
		return s;
	size_t at = find_pair(stack.layers, stack.count, lower, upper);
	if (at == stack.count)
		return STATUS_OK;
	replace_pair(stack.layers, &stack.count, at, result);
	return stack_write(store, volume_id, &stack, err);
}

status fold_references_rewrite(struct store *store, const char *volume_id,
        const struct fold_references *references, const struct layer_ref *lower,
        const struct layer_ref *upper, const struct layer_ref *result, struct error *err)
{
	const struct fold_reference *stack = NULL;
	for (size_t i = 0; i < references->count; i++) {
		const struct fold_reference *reference = &references->list[i];
		if (!reference->is_own || !fold_reference_has_pair(reference, lower, upper))
			continue;
		if (reference->is_stack) {
			stack = reference;
			continue;
		}
		status s = rewrite_point(store, volume_id, reference->point, lower, upper, result, err);
		if (s != STATUS_OK)
			return s;
	}
	/* The stack last: while it has the two, the next fold_choose() sees by the points that this has begun. */
	return stack ? rewrite_stack(store, volume_id, lower, upper, result, err) : STATUS_OK;
}
