#include "page_store/fold.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "page_store/disk.h"
#include "page_store/fold_references.h"
#include "page_store/manifest.h"

#define RUN_PAGES_MAX 32u /* copied at once */

struct fold {
	struct store *store;
	char *volume_id;
	struct layer_ref lower_ref, upper_ref, result_ref;
	int lock; /* F4 */
	struct layer *lower, *upper, *result;
	bool is_resumed;  /* the result was published by one that was interrupted */
	bool is_pointing; /* from now on references may name the result */
	bool is_published;
	bool has_failed; /* and is undone: nothing more can come of it */

	uint64_t *inodes; /* of the upper layer's tree, ascending: all others are dropped */
	size_t inode_count;
	struct page_entry *
	        copied; /* of all files of the upper layer, in their order: where they are in the lower one now */
	size_t file_index, page_index, copied_count;
	uint64_t page_count;
	uint8_t *pages;
};

static void fold_check(const struct fold *fold)
{
	assert(fold->lock >= 0 && fold->lower && fold->upper);
	assert(fold->result_ref.version > fold->lower_ref.version);
	assert(fold->copied_count <= fold->page_count);
	assert(!fold->is_published || fold->result);
}

struct fold *fold_free(struct fold *fold)
{
	if (!fold)
		return NULL;
	(void)layer_release(fold->lower);
	(void)layer_release(fold->upper);
	(void)layer_release(fold->result);
	disk_close_fd(&fold->lock); /* last: whoever waits for the layer may remove what we had open */
	free(fold->volume_id);
	free(fold->inodes);
	free(fold->copied);
	free(fold->pages);
	free(fold);
	return NULL;
}

static void fold_freep(struct fold **fold)
{
	*fold = fold_free(*fold);
}

/* ---- choosing ---- */

static status open_layer(
        const struct store *store, const struct layer_ref *ref, struct layer **ret, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	status s = store_open_layer_folder(store, ref, &fd, err);
	if (s == STATUS_OK)
		s = layer_open_sealed(fd, ref, ret, err);
	if (s == STATUS_OK)
		(void)TAKE_FD(fd);
	return s;
}

static int compare_inodes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static status list_inodes(struct fold *fold, struct error *err)
{
	struct slice rest = layer_tree(fold->upper);
	size_t count = 0;
	while (rest.len > 0) {
		struct change change;
		status s = change_decode(&rest, &change, err);
		if (s != STATUS_OK)
			return s;
		if (change.type != CHANGE_INODE)
			continue;
		if ((count & (count - 1)) == 0)
			fold->inodes = xrealloc(fold->inodes, (count ? 2 * count : 1) * sizeof *fold->inodes);
		fold->inodes[count++] = change.inode;
	}
	fold->inode_count = count;
	if (count)
		qsort(fold->inodes, count, sizeof *fold->inodes, compare_inodes);
	return STATUS_OK;
}

static bool is_in_tree(const struct fold *fold, uint64_t inode)
{
	return fold->inode_count &&
	       bsearch(&inode, fold->inodes, fold->inode_count, sizeof inode, compare_inodes);
}

/* Takes the lock on the lower layer's folder; *ret is NULL while another has it. */
static status begin(struct store *store, const char *volume_id, const struct layer_ref *lower,
        const struct layer_ref *upper, struct fold **ret, struct error *err)
{
	CLEANUP(close_fd) int folder_fd = -1;
	status s = store_open_layer_folder(store, lower, &folder_fd, err);
	if (s != STATUS_OK)
		return s;
	int lock = layer_lock_folder(folder_fd);
	if (lock < 0) {
		if (errno != EWOULDBLOCK)
			return error_set(err, STATUS_IO, errno, "could not lock layer \"%s\"", lower->id);
		*ret = NULL;
		return STATUS_OK;
	}
	struct fold *fold = xcalloc(1, sizeof *fold);
	*fold = (struct fold){ .store = store,
		.volume_id = xstrdup(volume_id),
		.lower_ref = *lower,
		.upper_ref = *upper,
		.result_ref = *lower,
		.lock = lock };
	fold->result_ref.version++;
	*ret = fold;
	return STATUS_OK;
}

/* Asked when there is something to remove. */
static bool are_references_durable(void *owner, const struct layer_ref *ref)
{
	const struct fold *fold = owner;
	struct error ignored;
	(void)ref;
	return store_sync_references(fold->store, &ignored) == STATUS_OK;
}

/*
 * Without the store's lock: F2 was seen to hold, nobody else can make a version of the lower layer, and none of its others can become
 * named again. They are removed before a slot is written that one of them may name, unless somebody still reads one (*ret_is_busy).
 */
static status open_both(struct fold *fold, bool *ret_is_busy, struct error *err)
{
	bool is_busy = false;
	status s = open_layer(fold->store, &fold->lower_ref, &fold->lower, err);
	if (s == STATUS_OK)
		s = open_layer(fold->store, &fold->upper_ref, &fold->upper, err);
	if (s == STATUS_OK && !fold->is_resumed)
		s = layer_tidy_locked(fold->lower, are_references_durable, fold, &is_busy, err);
	if (s == STATUS_OK)
		s = list_inodes(fold, err);
	if (s != STATUS_OK)
		return s;
	for (size_t i = 0; i < layer_file_count(fold->upper); i++)
		fold->page_count += layer_file_at(fold->upper, i).entry_count;
	if (!fold->is_resumed) {
		fold->copied = xcalloc(fold->page_count + 1, sizeof *fold->copied);
		fold->pages = xcalloc(RUN_PAGES_MAX, PAGE_BYTES);
	}
	*ret_is_busy = is_busy;
	return STATUS_OK;
}

/* Was `newer` made of the two? Such a one was published, and then some references were pointed to it, but not all. */
static status is_made_of(const struct store *store, const struct layer_ref *newer,
        const struct layer_ref *lower, const struct layer_ref *upper, bool *ret, struct error *err)
{
	struct layer *layer = NULL;
	status s = open_layer(store, newer, &layer, err);
	if (s != STATUS_OK)
		return s;
	const struct manifest_origin *origin = &layer_manifest(layer)->origin;
	*ret = origin->is_fold && origin->lower_version == lower->version &&
	       layer_ref_equals(&origin->upper, upper);
	(void)layer_release(layer);
	return STATUS_OK;
}

/*
 * A reference of ours that has [X@v, Y] while another has X@w, made of them. In a point it is put right at once; if it is in the stack it
 * is handed out as a fold, since an open image has to follow.
 */
struct interrupted {
	bool is_found;
	struct layer_ref lower, upper, result;
};

static status look_for_interrupted(struct store *store, const struct fold_references *references,
        struct interrupted *ret, struct error *err)
{
	struct interrupted interrupted = { .is_found = false };
	size_t count = 0;
	struct fold_versions *several = fold_references_list_several(references, &count);
	status s = STATUS_OK;
	for (size_t i = 0; s == STATUS_OK && i < count && !interrupted.is_found; i++) {
		const struct layer_ref *lower = &several[i].older, *upper = NULL;
		if (strcmp(lower->store, store_id(store)) != 0 ||
		        !(upper = fold_references_find_next(references, lower)))
			continue;
		struct layer_ref result = *lower;
		result.version = several[i].newest;
		s = is_made_of(store, &result, lower, upper, &interrupted.is_found, err);
		interrupted.lower = *lower;
		interrupted.upper = *upper;
		interrupted.result = result;
	}
	free(several);
	if (s == STATUS_OK)
		*ret = interrupted;
	return s;
}

/* More layers than this are folded whatever it costs; below, a fold has to pay for the manifest that it writes anew. */
#define DEPTH_AT_EASE  16
#define SMALL_MANIFEST (UINT64_C(1) << 20)

struct candidate {
	struct layer_ref lower, upper;
	uint64_t cost; /* bytes to be written */
	bool is_worth_it;
};

static int compare_candidates(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	return (x->cost > y->cost) - (x->cost < y->cost);
}

static status count_pages(
        const struct store *store, const struct layer_ref *ref, uint64_t *ret, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	status s = store_open_layer_folder(store, ref, &fd, err);
	return s == STATUS_OK ? manifest_peek(fd, ref, ret, err) : s;
}

/*
 * The manifest that is written has the entries of both: with a big lower layer that is more than the pages of a small upper one. Such small
 * ones are folded into each other until it pays.
 */
static status estimate(
        const struct store *store, size_t depth, struct candidate *candidate, struct error *err)
{
	uint64_t lower = 0, upper = 0;
	status s = count_pages(store, &candidate->lower, &lower, err);
	if (s == STATUS_OK)
		s = count_pages(store, &candidate->upper, &upper, err);
	if (s != STATUS_OK)
		return s;
	uint64_t manifest = (lower + upper) * PAGE_ENTRY_BYTES;
	candidate->cost = upper * PAGE_BYTES + manifest;
	candidate->is_worth_it =
	        manifest <= SMALL_MANIFEST || manifest <= upper * PAGE_BYTES || depth > DEPTH_AT_EASE;
	return STATUS_OK;
}

static status list_candidates(const struct store *store, const struct stack *stack,
        const struct fold_references *references, struct candidate **ret, size_t *ret_count,
        struct error *err)
{
	struct candidate *list = xcalloc(stack->count + 1, sizeof *list);
	size_t count = 0;
	/* The last is open; the one before it may be without a manifest, or a restore point that ends at it is about to be written. */
	for (size_t i = 0; i + 3 < stack->count; i++) {
		struct candidate *candidate = &list[count];
		*candidate = (struct candidate){ .lower = stack->layers[i], .upper = stack->layers[i + 1] };
		if (!fold_references_allow(
		            references, store_id(store), &candidate->lower, &candidate->upper, NULL))
			continue;
		status s = estimate(store, stack->count, candidate, err);
		if (s != STATUS_OK) {
			free(list);
			return s;
		}
		count += candidate->is_worth_it;
	}
	if (count)
		qsort(list, count, sizeof *list, compare_candidates);
	*ret = list;
	*ret_count = count;
	return STATUS_OK;
}

/* With the store's lock: what an interrupted fold left undone in points is done; *ret is what is to be done in the stack. */
static status finish_points(struct store *store, const char *volume_id, struct fold_references *references,
        struct interrupted *ret, struct error *err)
{
	for (;;) {
		struct interrupted interrupted = { 0 };
		status s = look_for_interrupted(store, references, &interrupted, err);
		if (s != STATUS_OK)
			return s;
		bool is_in_stack = false;
		for (size_t i = 0; interrupted.is_found && i < references->count; i++) {
			const struct fold_reference *reference = &references->list[i];
			is_in_stack |=
			        reference->is_own && reference->is_stack &&
			        fold_reference_has_pair(reference, &interrupted.lower, &interrupted.upper);
		}
		if (!interrupted.is_found || is_in_stack) {
			*ret = interrupted;
			return STATUS_OK;
		}
		s = fold_references_rewrite(store, volume_id, references, &interrupted.lower,
		        &interrupted.upper, &interrupted.result, err);
		fold_references_done(references);
		if (s == STATUS_OK)
			s = fold_references_read(store, volume_id, references, err);
		if (s != STATUS_OK)
			return s;
	}
}

/* With the store's lock. Passes over the first `skip` pairs; *ret NULL: that one is locked, or there is none (*ret_is_over). */
static status look(struct store *store, const char *volume_id, size_t skip, struct fold **ret,
        bool *ret_is_over, struct error *err)
{
	CLEANUP(fold_references_done) struct fold_references references = { 0 };
	CLEANUP(stack_done) struct stack stack = { 0 };
	status s = stack_read(store, volume_id, &stack, err);
	if (s == STATUS_OK)
		s = fold_references_read(store, volume_id, &references, err);
	struct interrupted interrupted = { 0 };
	if (s == STATUS_OK)
		s = finish_points(store, volume_id, &references, &interrupted, err);
	if (s != STATUS_OK)
		return s;
	if (interrupted.is_found) {
		struct fold *fold = NULL;
		if (skip == 0)
			s = begin(store, volume_id, &interrupted.lower, &interrupted.upper, &fold, err);
		if (s != STATUS_OK)
			return s;
		if (fold) {
			fold->is_resumed = true;
			fold->result_ref = interrupted.result;
		}
		*ret = fold;
		*ret_is_over = skip > 0;
		return STATUS_OK;
	}

	struct candidate *candidates = NULL;
	size_t count = 0;
	s = list_candidates(store, &stack, &references, &candidates, &count, err);
	struct fold *fold = NULL;
	if (s == STATUS_OK && skip < count)
		s = begin(store, volume_id, &candidates[skip].lower, &candidates[skip].upper, &fold, err);
	free(candidates);
	if (s != STATUS_OK)
		return s;
	*ret = fold;
	*ret_is_over = skip >= count;
	return STATUS_OK;
}

status fold_choose(struct store *store, const char *volume_id, struct fold **ret, struct error *err)
{
	for (size_t skip = 0;; skip++) {
		CLEANUP(fold_freep) struct fold *fold = NULL;
		bool is_over = false, is_busy = false;
		status s = store_lock(store, err);
		if (s != STATUS_OK)
			return s;
		s = look(store, volume_id, skip, &fold, &is_over, err);
		store_unlock(store);
		if (s == STATUS_OK && fold)
			s = open_both(fold, &is_busy, err);
		if (s != STATUS_OK)
			return error_prefix(
			        err, "could not begin to fold layers of volume \"%s\"", volume_id);
		if (is_over || (fold && !is_busy)) {
			*ret = TAKE_PTR(fold);
			return STATUS_OK;
		}
	}
}

const struct layer_ref *fold_lower(const struct fold *fold)
{
	return &fold->lower_ref;
}

const struct layer_ref *fold_upper(const struct fold *fold)
{
	return &fold->upper_ref;
}

uint64_t fold_page_count(const struct fold *fold)
{
	return fold->is_resumed ? 0 : fold->page_count;
}

/* ---- copying ---- */

/* The slot of the lower layer that no version in use names (F1); also of a page that the upper layer hides. */
static uint32_t free_slot(const struct layer_file *lower, bool has_lower, uint32_t block)
{
	struct page_entry entry;
	return has_lower && layer_file_find_page(lower, block, &entry) ? 1 - entry.slot : 0;
}

/* Pages [from, from + ret) of the file: consecutive blocks, of one slot, that go to one slot. */
static uint32_t find_run(const struct layer_file *upper, const struct layer_file *lower, bool has_lower,
        size_t from, uint64_t max, struct page_entry entries[RUN_PAGES_MAX], uint32_t *ret_to_slot)
{
	uint32_t count = 0, to_slot = 0;
	for (; count < max && count < RUN_PAGES_MAX && from + count < upper->entry_count; count++) {
		struct page_entry entry =
		        page_entry_unpack(upper->entries + (from + count) * PAGE_ENTRY_BYTES);
		uint32_t slot = free_slot(lower, has_lower, entry.block);
		if (count == 0)
			to_slot = slot;
		else if (slot != to_slot || entry.slot != entries[0].slot ||
		         entry.block != entries[count - 1].block + 1)
			break;
		entries[count] = entry;
	}
	*ret_to_slot = to_slot;
	return count;
}

static status io_error(const struct layer_ref *ref, int rc, const char *what, struct error *err)
{
	return error_set(err, STATUS_IO, -rc, "could not %s layer \"%s\"", what, ref->id);
}

static status copy_run(struct fold *fold, const struct layer_file *upper, const struct layer_file *lower,
        bool has_lower, uint64_t max, struct error *err)
{
	struct page_entry entries[RUN_PAGES_MAX] = { 0 };
	uint32_t to_slot = 0;
	uint32_t count = find_run(upper, lower, has_lower, fold->page_index, max, entries, &to_slot);
	int rc = layer_read_pages(
	        fold->upper, upper->inode, entries[0].block, count, entries[0].slot, fold->pages);
	if (rc < 0)
		return io_error(&fold->upper_ref, rc, "read pages of", err);
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *page = fold->pages + (size_t)i * PAGE_BYTES;
		uint32_t block = entries[i].block;
		if (page_checksum(layer_tag(fold->upper), upper->inode, block, page) != entries[i].crc)
			return error_set(err, STATUS_CORRUPT, 0,
			        "page %u of file %llx of layer \"%s\" does not fit its checksum", block,
			        (unsigned long long)upper->inode, fold->upper_ref.id);
		fold->copied[fold->copied_count + i] = (struct page_entry){ .block = block,
			.slot = to_slot,
			.crc = page_checksum(layer_tag(fold->lower), upper->inode, block, page) };
	}
	fold->page_index += count;
	fold->copied_count += count; /* before it is done: a part of it may be there if it fails */
	rc = layer_write_pages(fold->lower, upper->inode, entries[0].block, count, to_slot, fold->pages);
	return rc < 0 ? io_error(&fold->lower_ref, rc, "write pages of", err) : STATUS_OK;
}

/*
 * Gives back what was copied in vain, when nothing names it: a full disk would else get fuller with each attempt. What stays because this
 * fails too, or because the process was killed, is overwritten by the next fold of the two.
 */
static void undo(struct fold *fold)
{
	assert(!fold->is_resumed && !fold->is_pointing);
	fold->has_failed = true;
	fold->result = layer_release(fold->result);
	char name[MANIFEST_NAME_BYTES];
	manifest_name(name, fold->result_ref.version);
	int rc = disk_unlink(layer_folder(fold->lower), name);
	size_t first = 0;
	for (size_t i = 0; rc == 0 && i < layer_file_count(fold->upper) && first < fold->copied_count; i++) {
		struct layer_file upper = layer_file_at(fold->upper, i);
		const struct page_entry *copied = fold->copied + first;
		size_t count = fold->copied_count - first < upper.entry_count ? fold->copied_count - first
		                                                              : upper.entry_count;
		first += count;
		for (size_t from = 0, to; rc == 0 && from < count && is_in_tree(fold, upper.inode);
		        from = to) {
			for (to = from + 1; to < count && copied[to].slot == copied[from].slot &&
			                    copied[to].block == copied[to - 1].block + 1;)
				to++;
			rc = layer_punch_pages(fold->lower, upper.inode, copied[from].block,
			        (uint32_t)(to - from), copied[from].slot);
		}
	}
}

static status copy_pages(struct fold *fold, uint64_t budget, bool *ret_done, struct error *err)
{
	while (fold->file_index < layer_file_count(fold->upper)) {
		struct layer_file upper = layer_file_at(fold->upper, fold->file_index), lower = { 0 };
		bool has_lower = layer_find_file(fold->lower, upper.inode, &lower);
		if (!is_in_tree(fold, upper.inode)) {
			fold->copied_count += upper.entry_count - fold->page_index;
			fold->page_index = upper.entry_count;
		}
		while (fold->page_index < upper.entry_count) {
			if (budget == 0) {
				*ret_done = false;
				return STATUS_OK;
			}
			size_t before = fold->page_index;
			status s = copy_run(fold, &upper, &lower, has_lower, budget, err);
			if (s != STATUS_OK)
				return s;
			budget -= fold->page_index - before;
		}
		int rc = layer_sync_pages(fold->lower, upper.inode, 3);
		if (rc < 0)
			return io_error(&fold->lower_ref, rc, "sync pages of", err);
		fold->file_index++;
		fold->page_index = 0;
	}
	*ret_done = true;
	return STATUS_OK;
}

status fold_pages(struct fold *fold, uint64_t budget, bool *ret_done, struct error *err)
{
	fold_check(fold);
	assert(budget > 0 && !fold->has_failed);
	if (fold->is_resumed) {
		*ret_done = true;
		return STATUS_OK;
	}
	status s = copy_pages(fold, budget, ret_done, err);
	if (s != STATUS_OK)
		undo(fold);
	return s;
}

/* ---- publishing ---- */

/* Takes pages of the lower layer before `shadow` and all of the upper one, which win. */
static void merge_pages(struct manifest_writer *writer, const struct layer_file *lower,
        const struct layer_file *upper, const struct page_entry *copied, uint64_t inode, uint32_t shadow)
{
	size_t lower_count = lower ? lower->entry_count : 0, upper_count = upper ? upper->entry_count : 0;
	uint32_t hidden_from = upper ? upper->shadow_block : (uint32_t)PAGE_BLOCKS_MAX;
	struct page_entry *merged = xcalloc(lower_count + upper_count + 1, sizeof *merged);
	size_t count = 0, j = 0;
	for (size_t i = 0; i < lower_count; i++) {
		struct page_entry entry = page_entry_unpack(lower->entries + i * PAGE_ENTRY_BYTES);
		if (entry.block >= hidden_from)
			break;
		while (j < upper_count && copied[j].block < entry.block)
			merged[count++] = copied[j++];
		if (j < upper_count && copied[j].block == entry.block)
			continue; /* the upper one's comes next */
		merged[count++] = entry;
	}
	while (j < upper_count)
		merged[count++] = copied[j++];
	manifest_writer_add_file(writer, inode, shadow, merged, count);
	free(merged);
}

static struct manifest_writer *merge(const struct fold *fold)
{
	struct manifest_writer *writer =
	        manifest_writer_new(layer_tag(fold->lower), layer_next_inode(fold->upper));
	manifest_writer_set_origin(writer, &(struct manifest_origin){ .is_fold = true,
	                                           .lower_version = fold->lower_ref.version,
	                                           .upper = fold->upper_ref });
	manifest_writer_add_tree(writer, layer_tree(fold->upper));
	size_t lower_count = layer_file_count(fold->lower), upper_count = layer_file_count(fold->upper);
	const struct page_entry *copied = fold->copied;
	for (size_t i = 0, j = 0; i < lower_count || j < upper_count;) {
		struct layer_file lower = { 0 }, upper = { 0 };
		if (i < lower_count)
			lower = layer_file_at(fold->lower, i);
		if (j < upper_count)
			upper = layer_file_at(fold->upper, j);
		bool has_lower = i < lower_count && (j == upper_count || lower.inode <= upper.inode);
		bool has_upper = j < upper_count && (i == lower_count || upper.inode <= lower.inode);
		uint64_t inode = has_lower ? lower.inode : upper.inode;
		uint32_t shadow = PAGE_BLOCKS_MAX;
		if (has_lower)
			shadow = lower.shadow_block;
		if (has_upper && upper.shadow_block < shadow)
			shadow = upper.shadow_block;
		if (is_in_tree(fold, inode))
			merge_pages(writer, has_lower ? &lower : NULL, has_upper ? &upper : NULL, copied,
			        inode, shadow);
		i += has_lower;
		if (has_upper) {
			copied += upper.entry_count;
			j++;
		}
	}
	return writer;
}

/* With the store's lock. */
static status point_to_result(struct fold *fold, bool *ret_is_published, struct error *err)
{
	CLEANUP(fold_references_done) struct fold_references references = { 0 };
	status s = fold_references_read(fold->store, fold->volume_id, &references, err);
	if (s != STATUS_OK)
		return s;
	if (!fold->is_resumed && !fold_references_allow(&references, store_id(fold->store), &fold->lower_ref,
	                                 &fold->upper_ref, NULL)) {
		*ret_is_published = false;
		return STATUS_OK;
	}
	fold->is_pointing = true;
	s = fold_references_rewrite(fold->store, fold->volume_id, &references, &fold->lower_ref,
	        &fold->upper_ref, &fold->result_ref, err);
	if (s == STATUS_OK)
		*ret_is_published = true;
	return s;
}

static status publish(struct fold *fold, bool *ret_is_published, struct error *err)
{
	status s = STATUS_OK;
	if (!fold->is_resumed)
		s = manifest_writer_publish(merge(fold), layer_folder(fold->lower), &fold->result_ref, err);
	if (s == STATUS_OK && !fold->result)
		s = open_layer(fold->store, &fold->result_ref, &fold->result, err);
	if (s == STATUS_OK)
		s = store_lock(fold->store, err);
	if (s != STATUS_OK)
		return s;
	s = point_to_result(fold, ret_is_published, err);
	store_unlock(fold->store);
	return s;
}

status fold_publish(struct fold *fold, bool *ret_is_published, struct error *err)
{
	fold_check(fold);
	assert(!fold->has_failed && (fold->is_resumed || fold->file_index == layer_file_count(fold->upper)));
	bool is_published = false;
	status s = publish(fold, &is_published, err);
	if (!fold->is_pointing && !fold->is_resumed)
		undo(fold);
	if (s != STATUS_OK)
		return error_prefix(err, "could not fold layer \"%s\" into \"%s\"", fold->upper_ref.id,
		        fold->lower_ref.id);
	fold->is_published = is_published;
	*ret_is_published = is_published;
	return STATUS_OK;
}

struct layer *fold_result(struct fold *fold)
{
	assert(fold->is_published);
	return fold->result;
}

size_t fold_find_cut(const struct stack *stack, const struct layer_ref *layers, size_t count)
{
	for (size_t i = 0; count > 0 && i + 1 < stack->count; i++) {
		if (layer_ref_equals(&stack->layers[i], &layers[count - 1]))
			return i + 1;
	}
	return 0;
}
