/*
 * Epochs, records and syncs.
 *
 * Commit of an inode's pages, step by step; the writer of a page waits while it is committing:
 *
 *   0. without marks, if there is much: the slot files are synced, which may take seconds, so that step 2 is short
 *   1. with io and lock: no write is under way; every dirty page becomes committing, is_syncing is set
 *   2. without locks: the slot files that have them are synced
 *   3. with lock: CHANGE_PAGES is appended, with the size as it is now (a record with a newer size may be in front of it)
 *   4. without locks: the journals are synced, oldest first
 *   5. with lock: the pages are committed; is_syncing is over
 *
 * A truncation waits until is_syncing is over, so that no page it dropped comes back behind its record.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "page_store/image_internal.h"

#define ENTRIES_PER_RECORD 8192
/* From so many dirty pages on, step 0 is worth its system calls. */
#define MUCH_DIRTY 64
/* Inodes whose pages wait together for one sync of the journal. */
#define COMMIT_BATCH 64

/* ---- epochs ---- */

static void unlink_unsealed(struct unsealed *unsealed)
{
	*unsealed->link = unsealed->next;
	if (unsealed->next)
		unsealed->next->link = unsealed->link;
}

void unsealed_free(struct image *image, struct unsealed *unsealed)
{
	if (!unsealed)
		return;
	(void)pthread_mutex_lock(&image->epoch_lock);
	unlink_unsealed(unsealed);
	(void)pthread_mutex_unlock(&image->epoch_lock);
	(void)atomic_fetch_sub(&unsealed->epoch->page_count, unsealed->map.page_count);
	(void)atomic_fetch_sub(&unsealed->epoch->dirty_count, unsealed->map.dirty_count);
	open_map_done(&unsealed->map);
	free(unsealed);
}

void image_settle(struct image *image, struct image_inode *inode)
{
	struct unsealed *open = inode->open;
	if (!open || open->epoch == atomic_load(&image->open))
		return;
	assert(!inode->sealing);
	open->size = inode->base.attributes.size;
	open->mtime_nsec = inode->base.attributes.mtime_nsec;
	open->ctime_nsec = inode->base.attributes.ctime_nsec;
	inode->sealing = TAKE_PTR(inode->open);
}

struct unsealed *image_enter(struct image *image, struct image_inode *inode)
{
	if (inode->open && inode->open->epoch == atomic_load(&image->open))
		return inode->open;
	struct unsealed *added = xcalloc(1, sizeof *added);
	open_map_init(&added->map);
	added->inode = inode;
	(void)pthread_mutex_lock(&image->epoch_lock);
	image_settle(image, inode);
	assert(!inode->open);
	struct epoch *epoch = atomic_load(&image->open);
	added->epoch = epoch;
	added->next = epoch->first;
	added->link = &epoch->first;
	if (epoch->first)
		epoch->first->link = &added->next;
	epoch->first = added;
	(void)pthread_mutex_unlock(&image->epoch_lock);
	inode->open = added;
	return added;
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
	return left < right ? -1 : left > right;
}

uint64_t *image_list_changed(struct image *image, const struct epoch *epoch, size_t *ret_count)
{
	size_t count = 0, capacity = 0;
	uint64_t *inodes = NULL;
	(void)pthread_mutex_lock(&image->epoch_lock);
	const struct epoch *const all[] = { image->sealing, atomic_load(&image->open) };
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (!all[i] || (epoch && epoch != all[i]))
			continue;
		for (const struct unsealed *unsealed = all[i]->first; unsealed; unsealed = unsealed->next) {
			if (count == capacity) {
				capacity = capacity ? capacity * 2 : 64;
				inodes = xrealloc(inodes, capacity * sizeof *inodes);
			}
			inodes[count++] = unsealed->inode->base.number;
		}
	}
	(void)pthread_mutex_unlock(&image->epoch_lock);
	/* Ascending and each once: batches of commits that overlap would else wait for each other. */
	if (count > 0)
		qsort(inodes, count, sizeof *inodes, compare_numbers);
	size_t kept = 0;
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || inodes[kept - 1] != inodes[i])
			inodes[kept++] = inodes[i];
	*ret_count = kept;
	return inodes;
}

/* ---- records ---- */

/* With epoch_lock. A record of an epoch that is over does not count: the sync of a newer one makes it durable first. */
static void note_record(struct image_inode *inode, const struct epoch *epoch, uint64_t end)
{
	if (!inode || epoch->number < inode->record_epoch)
		return;
	inode->record_epoch = epoch->number;
	inode->record_end = end;
}

void image_append(
        struct image *image, struct slice changes, struct image_inode *first, struct image_inode *second)
{
	(void)pthread_mutex_lock(&image->epoch_lock);
	struct epoch *epoch = atomic_load(&image->open);
	uint64_t end = journal_append(layer_journal(epoch->layer), changes);
	note_record(first, epoch, end);
	note_record(second, epoch, end);
	(void)pthread_mutex_unlock(&image->epoch_lock);
}

void image_append_attributes(struct image *image, struct image_inode *inode)
{
	CLEANUP(buffer_done) struct buffer changes = { 0 };
	file_tree_encode_inode(&inode->base, &changes);
	(void)pthread_mutex_lock(&image->epoch_lock);
	/* The record has the size: what the inode changed before the cut must be told with the size of then. */
	image_settle(image, inode);
	struct epoch *epoch = atomic_load(&image->open);
	note_record(inode, epoch, journal_append(layer_journal(epoch->layer), buffer_slice(&changes)));
	(void)pthread_mutex_unlock(&image->epoch_lock);
}

static struct change content_change(enum change_type type, const struct image_inode *inode)
{
	const struct inode_attributes *now = &inode->base.attributes;
	return (struct change){ .type = type,
		.inode = inode->base.number,
		.size = now->size,
		.mtime_nsec = now->mtime_nsec,
		.ctime_nsec = now->ctime_nsec };
}

void image_append_truncate(
        struct image *image, struct image_inode *inode, struct unsealed *open, uint64_t first_block)
{
	uint64_t pages = open->map.page_count, dirty = open->map.dirty_count;
	open_map_truncate(&open->map, first_block);
	(void)atomic_fetch_sub(&open->epoch->page_count, pages - open->map.page_count);
	(void)atomic_fetch_sub(&open->epoch->dirty_count, dirty - open->map.dirty_count);

	CLEANUP(buffer_done) struct buffer changes = { 0 };
	struct change change = content_change(CHANGE_TRUNCATE, inode);
	change.first_block = (uint32_t)first_block;
	change_encode(&change, &changes);
	(void)pthread_mutex_lock(&image->epoch_lock);
	note_record(inode, open->epoch,
	        journal_append(layer_journal(open->epoch->layer), buffer_slice(&changes)));
	(void)pthread_mutex_unlock(&image->epoch_lock);
}

static void append_pages(const struct image_inode *inode, const struct unsealed *unsealed)
{
	struct change change = content_change(CHANGE_PAGES, inode);
	if (unsealed == inode->sealing) {
		change.size = unsealed->size;
		change.mtime_nsec = unsealed->mtime_nsec;
		change.ctime_nsec = unsealed->ctime_nsec;
	}
	struct page_entry *entries = xcalloc(ENTRIES_PER_RECORD, sizeof *entries);
	CLEANUP(buffer_done) struct buffer changes = { 0 };
	uint64_t from = 0;
	for (;;) {
		change.entries = entries;
		change.entry_count =
		        open_map_list_committing(&unsealed->map, &from, entries, ENTRIES_PER_RECORD);
		if (change.entry_count == 0)
			break;
		changes.len = 0;
		change_encode(&change, &changes);
		(void)journal_append(layer_journal(unsealed->epoch->layer), buffer_slice(&changes));
	}
	free(entries);
}

/* ---- journals ---- */

int image_sync_journals(struct image *image)
{
	(void)pthread_mutex_lock(&image->epoch_lock);
	struct layer *older = image->sealing ? layer_hold(image->sealing->layer) : NULL;
	struct layer *newest = layer_hold(atomic_load(&image->open)->layer);
	(void)pthread_mutex_unlock(&image->epoch_lock);

	struct error err;
	int rc = atomic_load(&image->broken_errno) ? -EIO : 0;
	struct layer *const oldest_first[] = { older, newest };
	for (size_t i = 0; i < ARRAY_LEN(oldest_first) && rc == 0; i++) {
		struct journal *journal = oldest_first[i] ? layer_journal(oldest_first[i]) : NULL;
		if (!journal)
			continue;
		uint64_t end = journal_end(journal);
		if (journal_synced(journal) < end && journal_sync(journal, end, &err) != STATUS_OK) {
			log_error("volume \"%s\": %s", image->volume_id, err.message);
			rc = image_break(image, err.sys_errno);
		}
	}
	(void)layer_release(older);
	(void)layer_release(newest);
	return rc;
}

/* Is a record that concerns the inode not durable yet? */
static bool has_open_record(struct image *image, const struct image_inode *inode)
{
	(void)pthread_mutex_lock(&image->epoch_lock);
	const struct epoch *open = atomic_load(&image->open);
	bool is_open = inode->record_epoch == open->number &&
	               journal_synced(layer_journal(open->layer)) < inode->record_end;
	if (image->sealing) {
		const struct journal *older = layer_journal(image->sealing->layer);
		is_open = is_open || journal_synced(older) < journal_end(older);
	}
	(void)pthread_mutex_unlock(&image->epoch_lock);
	return is_open;
}

/* ---- commit ---- */

struct commit {
	struct image_inode *inode;
	struct unsealed *parts[2]; /* oldest first */
	unsigned slots[2];
};

static uint64_t dirty_pages(const struct image_inode *inode)
{
	return (inode->sealing ? inode->sealing->map.dirty_count : 0) +
	       (inode->open ? inode->open->map.dirty_count : 0);
}

/* Step 0. What is open may become sealed meanwhile: its layer is held. */
static int commit_prepare(struct image *image, struct image_inode *inode)
{
	(void)pthread_mutex_lock(&inode->lock);
	const struct unsealed *open = inode->open;
	struct layer *layer = NULL;
	unsigned slots = 0;
	if (open && open->map.dirty_count >= MUCH_DIRTY) {
		layer = layer_hold(open->epoch->layer);
		slots = open_map_dirty_slots(&open->map);
	}
	(void)pthread_mutex_unlock(&inode->lock);
	int rc = slots ? layer_sync_pages(layer, inode->base.number, slots) : 0;
	(void)layer_release(layer);
	if (rc < 0) {
		log_error("volume \"%s\": could not sync inode %llu: %s", image->volume_id,
		        (unsigned long long)inode->base.number, strerror(-rc));
		return image_break(image, -rc);
	}
	return 0;
}

/*
 * Step 1. False: nothing of the inode is dirty, or a write has broken the image, of which no record may be made: a page that it left half
 * written would get the checksum of the one before. only_sealing: what belongs to a cut, and nothing newer.
 */
static bool commit_begin(
        struct image *image, struct image_inode *inode, bool only_sealing, struct commit *commit)
{
	for (;;) {
		(void)pthread_mutex_lock(&inode->io);
		(void)pthread_mutex_lock(&inode->lock);
		if (!inode->is_syncing)
			break;
		/* Not with io: writers of other pages go on. */
		(void)pthread_mutex_unlock(&inode->io);
		while (inode->is_syncing)
			(void)pthread_cond_wait(&inode->is_synced, &inode->lock);
		(void)pthread_mutex_unlock(&inode->lock);
	}
	bool is_dirty = dirty_pages(inode) > 0 && !atomic_load(&image->broken_errno);
	*commit = (struct commit){ .inode = inode };
	if (is_dirty) {
		inode->is_syncing = true;
		commit->parts[0] = inode->sealing;
		commit->parts[1] = only_sealing ? NULL : inode->open;
		for (size_t i = 0; i < 2; i++)
			if (commit->parts[i])
				commit->slots[i] = open_map_begin_commit(&commit->parts[i]->map);
	}
	(void)pthread_mutex_unlock(&inode->lock);
	(void)pthread_mutex_unlock(&inode->io);
	return is_dirty;
}

/* Steps 2 and 3. */
static int commit_write(struct image *image, struct commit *commit)
{
	struct image_inode *inode = commit->inode;
	for (size_t i = 0; i < 2; i++) {
		if (commit->slots[i] == 0)
			continue;
		int rc = layer_sync_pages(
		        commit->parts[i]->epoch->layer, inode->base.number, commit->slots[i]);
		if (rc < 0) {
			log_error("volume \"%s\": could not sync inode %llu: %s", image->volume_id,
			        (unsigned long long)inode->base.number, strerror(-rc));
			return image_break(image, -rc);
		}
	}
	(void)pthread_mutex_lock(&inode->lock);
	for (size_t i = 0; i < 2; i++)
		if (commit->slots[i])
			append_pages(inode, commit->parts[i]);
	(void)pthread_mutex_unlock(&inode->lock);
	return 0;
}

/* Step 5. After a failure the pages stay as they are: nobody may write to either of their slots any more (image_break). */
static void commit_end(struct commit *commit, int rc)
{
	struct image_inode *inode = commit->inode;
	(void)pthread_mutex_lock(&inode->lock);
	for (size_t i = 0; i < 2 && rc == 0; i++) {
		if (!commit->slots[i])
			continue;
		struct unsealed *part = commit->parts[i];
		uint64_t dirty = part->map.dirty_count;
		open_map_end_commit(&part->map);
		(void)atomic_fetch_sub(&part->epoch->dirty_count, dirty - part->map.dirty_count);
	}
	inode->is_syncing = false;
	(void)pthread_cond_broadcast(&inode->is_synced);
	(void)pthread_mutex_unlock(&inode->lock);
}

static int commit_batch(struct image *image, const uint64_t *inodes, size_t count, bool only_sealing)
{
	struct commit commits[COMMIT_BATCH];
	size_t begun = 0;
	int rc = 0;
	for (size_t i = 0; i < count && rc == 0; i++) {
		struct image_inode *inode = image_take(image, inodes[i]);
		if (!inode)
			continue;
		if (!only_sealing)
			rc = commit_prepare(image, inode);
		if (rc < 0 || !commit_begin(image, inode, only_sealing, &commits[begun])) {
			image_give_back(image, inode);
			continue;
		}
		rc = commit_write(image, &commits[begun++]);
	}
	if (rc == 0 && atomic_load(&image->broken_errno))
		rc = -EIO;
	if (rc == 0 && begun > 0)
		rc = image_sync_journals(image);
	for (size_t i = 0; i < begun; i++) {
		commit_end(&commits[i], rc);
		image_give_back(image, commits[i].inode);
	}
	return rc;
}

int image_commit(struct image *image, const uint64_t *inodes, size_t count, bool only_sealing)
{
	int rc = atomic_load(&image->broken_errno) ? -EIO : 0;
	for (size_t i = 0; i < count && rc == 0; i += COMMIT_BATCH)
		rc = commit_batch(
		        image, inodes + i, count - i < COMMIT_BATCH ? count - i : COMMIT_BATCH, only_sealing);
	return rc;
}

int image_sync(struct image *image, uint64_t number)
{
	struct image_inode *inode = image_take(image, number);
	if (!inode)
		return -ESTALE;
	int rc = atomic_load(&image->broken_errno) ? -EIO : 0;
	if (rc == 0) {
		(void)pthread_mutex_lock(&inode->lock);
		bool is_dirty = dirty_pages(inode) > 0;
		(void)pthread_mutex_unlock(&inode->lock);
		if (is_dirty)
			rc = image_commit(image, &number, 1, false);
		if (rc == 0 && has_open_record(image, inode))
			rc = image_sync_journals(image);
	}
	image_give_back(image, inode);
	return rc;
}

int image_sync_all(struct image *image)
{
	image_flush_times(image);
	size_t count = 0;
	uint64_t *inodes = image_list_changed(image, NULL, &count);
	int rc = image_commit(image, inodes, count, false);
	free(inodes);
	return rc == 0 ? image_sync_journals(image) : rc;
}

/* ---- what the flusher does ---- */

void image_flush_times(struct image *image)
{
	CLEANUP(buffer_done) struct buffer changes = { 0 };
	(void)pthread_rwlock_wrlock(&image->tree_lock);
	for (size_t i = 0; i < image->new_time_count; i++) {
		struct inode *found = file_tree_find(image->tree, image->new_times[i]);
		if (!found)
			continue;
		struct image_inode *inode = image_inode_of(found);
		(void)pthread_mutex_lock(&inode->lock);
		inode->are_times_new = false;
		if (found->parent) {
			changes.len = 0;
			file_tree_encode_inode(found, &changes);
			image_append(image, buffer_slice(&changes), NULL, NULL);
		}
		(void)pthread_mutex_unlock(&inode->lock);
	}
	image_pay(image, image->new_time_count * IMAGE_TIMES_MAX);
	image->new_time_count = 0;
	(void)pthread_rwlock_unlock(&image->tree_lock);
}

void image_do_removals(struct image *image)
{
	(void)pthread_mutex_lock(&image->epoch_lock);
	struct epoch *open = atomic_load(&image->open);
	struct layer *layer = layer_hold(open->layer);
	uint64_t synced = journal_synced(layer_journal(layer));
	size_t kept = 0, ready_count = 0;
	uint64_t *ready = xcalloc(image->removal_count + 1, sizeof *ready);
	for (size_t i = 0; i < image->removal_count; i++) {
		const struct removal *removal = &image->removals[i];
		if (removal->epoch == open->number && removal->position <= synced)
			ready[ready_count++] = removal->inode;
		else if (removal->epoch >= open->number)
			image->removals[kept++] = *removal;
		/* Of a sealed layer: layer_finish_seal() sees to it. */
	}
	image->removal_count = kept;
	(void)pthread_mutex_unlock(&image->epoch_lock);
	for (size_t i = 0; i < ready_count; i++)
		(void)!layer_remove_file(layer, ready[i]); /* what stays goes when the layer is sealed */
	free(ready);
	(void)layer_release(layer);
}
