/* References of a store as a fold sees them: which layers may be folded (fold.h, F2), and what is to be pointed anew (F3). */
#pragma once

#include "page_store/fold.h"

struct fold_reference {
	bool is_own; /* of the volume that folds */
	bool is_stack;
	uint64_t point;
	struct layer_ref *layers;
	size_t count;
};

struct fold_references {
	struct fold_reference *list;
	size_t count;
};

void fold_references_done(struct fold_references *references); /* for CLEANUP */
/* Under the store's lock. */
MUST_CHECK status fold_references_read(
        const struct store *store, const char *volume_id, struct fold_references *ret, struct error *err);

bool layer_ref_equals(const struct layer_ref *a, const struct layer_ref *b);
/*
 * F2 for [lower, upper]. `result` (NULL: none) is the version of the lower layer that an interrupted fold has made of the two:
 * references to it are fine.
 */
bool fold_references_allow(const struct fold_references *references, const char *store,
        const struct layer_ref *lower, const struct layer_ref *upper, const struct layer_ref *result);
/* Is [lower, upper] anywhere in it? */
bool fold_reference_has_pair(
        const struct fold_reference *reference, const struct layer_ref *lower, const struct layer_ref *upper);
/* A version of a layer that the volume names while it names a newer one too. */
struct fold_versions {
	struct layer_ref older;
	uint32_t newest;
};
/* The caller frees. Normally there are none. */
struct fold_versions *fold_references_list_several(
        const struct fold_references *references, size_t *ret_count);
/* What is above it wherever the volume names it first; NULL: nothing. */
const struct layer_ref *fold_references_find_next(
        const struct fold_references *references, const struct layer_ref *layer);
/*
 * Points the volume's points and then its stack to `result` wherever they have [lower, upper]. Under the store's lock; `references` are as
 * they are on disk.
 */
MUST_CHECK status fold_references_rewrite(struct store *store, const char *volume_id,
        const struct fold_references *references, const struct layer_ref *lower,
        const struct layer_ref *upper, const struct layer_ref *result, struct error *err);
