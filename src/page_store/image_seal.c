/* Sealing: a layer's journal, and the tree of the layer below it, become its manifest. The same after a cut and after a crash. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "page_store/disk.h"
#include "page_store/image_internal.h"

#define RECORD_EXTRA_MAX 64u /* header and padding of a record (journal.c) */

struct sealing_inode {
	struct inode base;
	struct open_map map;
	bool has_map;
};

static struct open_map *map_of(void *owner, struct inode *inode)
{
	(void)owner;
	struct sealing_inode *sealing = (struct sealing_inode *)inode;
	if (!sealing->has_map)
		open_map_init(&sealing->map);
	sealing->has_map = true;
	return &sealing->map;
}

static void on_remove(void *owner, struct inode *inode)
{
	(void)owner;
	struct sealing_inode *sealing = (struct sealing_inode *)inode;
	if (sealing->has_map)
		open_map_done(&sealing->map);
}

static void layer_releasep(struct layer **layer)
{
	*layer = layer_release(*layer);
}

static void close_folder(int *fd)
{
	if (*fd >= 0)
		(void)disk_close(*fd);
}

status image_open_layer(
        struct store *store, const struct layer_ref *ref, struct layer **ret, struct error *err)
{
	CLEANUP(close_folder) int folder_fd = -1;
	status s = store_open_layer_folder(store, ref, &folder_fd, err);
	if (s == STATUS_OK)
		s = layer_open_sealed(folder_fd, ref, ret, err);
	if (s == STATUS_OK)
		(void)TAKE_FD(folder_fd);
	return s;
}

/* Opens the layer unsealed with the tree and maps as of its end. */
static status replay_layer(struct store *store, const struct layer_ref *ref, struct layer *below,
        struct replay *replay, struct layer **ret, struct error *err)
{
	status s = STATUS_OK;
	if (below) {
		s = replay_changes(replay, layer_tree(below), err);
		if (s != STATUS_OK)
			return error_prefix(
			        err, "the tree of layer \"%s\" is damaged", layer_name(below)->id);
		file_tree_set_next_inode(replay->tree, layer_next_inode(below));
	}
	CLEANUP(close_folder) int folder_fd = -1;
	s = store_open_layer_folder(store, ref, &folder_fd, err);
	if (s == STATUS_OK)
		s = layer_open_unsealed(folder_fd, ref, replay_changes, replay, ret, err);
	if (s == STATUS_OK)
		(void)TAKE_FD(folder_fd);
	return s;
}

static void add_files(struct file_tree *tree, struct manifest_writer *writer,
        bool (*is_needed)(void *owner, uint64_t inode), void *owner, struct sealed *sealed)
{
	size_t count = 0;
	struct inode **list = file_tree_list(tree, &count);
	for (size_t i = 0; i < count; i++) {
		const struct sealing_inode *inode = (const struct sealing_inode *)list[i];
		if (list[i]->name_count > 0 && S_ISREG(list[i]->attributes.mode))
			sealed->logical_bytes += (int64_t)list[i]->attributes.size;
		if (!inode->has_map ||
		        (inode->map.page_count == 0 && inode->map.shadow_block == PAGE_BLOCKS_MAX))
			continue;
		if (list[i]->name_count == 0 && !(is_needed && is_needed(owner, list[i]->number)))
			continue;
		size_t entry_count = 0;
		struct page_entry *entries = open_map_list(&inode->map, &entry_count);
		manifest_writer_add_file(
		        writer, list[i]->number, (uint32_t)inode->map.shadow_block, entries, entry_count);
		sealed->pages += entry_count;
		free(entries);
	}
	free(list);
}

/* ---- tails that a crash left ---- */

/* The layer at its end, and those below it, bottom first. */
struct seal {
	struct layer *layer;
	struct file_tree *tree;
	struct layer *const *below;
	size_t below_count;
};

static int read_checked(
        struct layer *layer, uint64_t inode, uint32_t block, const struct page_entry *entry, uint8_t *page)
{
	int rc = layer_read_page(layer, inode, block, entry->slot, page);
	bool fits = rc == 0 && page_checksum(layer_tag(layer), inode, block, page) == entry->crc;
	return rc == 0 && !fits ? -EIO : rc;
}

/* 0: *ret_has tells whether there is one, or a hole. Negative errno. */
static int read_page(const struct seal *seal, const struct sealing_inode *inode, uint32_t block,
        bool *ret_has, uint8_t *page)
{
	struct page_entry entry;
	uint64_t number = inode->base.number;
	*ret_has = true;
	if (open_map_find(&inode->map, block, &entry))
		return read_checked(seal->layer, number, block, &entry, page);
	bool is_shown = block < inode->map.shadow_block;
	for (size_t i = seal->below_count; i-- > 0 && is_shown;) {
		struct layer_file file;
		if (!layer_find_file(seal->below[i], number, &file))
			continue;
		if (layer_file_find_page(&file, block, &entry))
			return read_checked(seal->below[i], number, block, &entry, page);
		is_shown = block < file.shadow_block;
	}
	*ret_has = false;
	return 0;
}

/* The page, durably, in the slot that nothing names, and its record in the journal. */
static status write_page(const struct seal *seal, struct sealing_inode *inode, uint32_t block,
        const uint8_t *page, struct error *err)
{
	CLEANUP(buffer_done) struct buffer changes = { 0 };
	uint64_t number = inode->base.number;
	struct page_entry entry = { .block = block,
		.slot = (uint32_t)open_map_next_slot(&inode->map, block),
		.crc = page_checksum(layer_tag(seal->layer), number, block, page) };
	struct change change = { .type = CHANGE_PAGES,
		.inode = number,
		.size = inode->base.attributes.size,
		.mtime_nsec = inode->base.attributes.mtime_nsec,
		.ctime_nsec = inode->base.attributes.ctime_nsec,
		.entries = &entry,
		.entry_count = 1 };
	change_encode(&change, &changes);
	struct journal *journal = layer_journal(seal->layer);
	int rc = layer_write_page(seal->layer, number, block, entry.slot, page);
	if (rc == 0)
		rc = layer_sync_pages(seal->layer, number, 1u << entry.slot);
	if (rc == 0)
		rc = journal_reserve(journal, changes.len + RECORD_EXTRA_MAX);
	if (rc < 0)
		return error_set(err, rc == -ENOSPC ? STATUS_NO_SPACE : STATUS_IO, -rc,
		        "could not write page %u of inode %llu", block, (unsigned long long)number);
	status s = journal_sync(journal, journal_append(journal, buffer_slice(&changes)), err);
	if (s == STATUS_OK)
		open_map_set_committed(&inode->map, &entry);
	return s;
}

static status clear_tail(const struct seal *seal, const struct cut_tail *tail, struct error *err)
{
	static const uint8_t zeros[PAGE_BYTES];
	uint8_t page[PAGE_BYTES];
	bool has_page = false;
	struct sealing_inode *inode = (struct sealing_inode *)file_tree_find(seal->tree, tail->inode);
	if (!inode || inode->base.name_count == 0 ||
	        inode->base.attributes.size <= (uint64_t)tail->block * PAGE_BYTES)
		return STATUS_OK; /* it is gone, or what shows of it ends before */
	int rc = read_page(seal, inode, tail->block, &has_page, page);
	if (rc < 0)
		return error_set(err, STATUS_IO, -rc, "could not read page %u of inode %llu", tail->block,
		        (unsigned long long)tail->inode);
	if (!has_page || memcmp(page + tail->offset, zeros, PAGE_BYTES - tail->offset) == 0)
		return STATUS_OK;
	memset(page + tail->offset, 0, PAGE_BYTES - tail->offset);
	return write_page(seal, inode, tail->block, page, err);
}

/* Before there is a manifest: with it, nobody replays the journal any more, and nobody knows of the tail. */
static status clear_tails(const struct seal *seal, struct cut_tails *tails, struct error *err)
{
	struct cut_tail tail;
	status s = STATUS_OK;
	while (s == STATUS_OK && cut_tails_take(tails, &tail))
		s = clear_tail(seal, &tail, err);
	return s;
}

status image_seal_layer(struct store *store, const struct layer_ref *ref, struct layer *const *below,
        size_t below_count, bool (*is_needed)(void *owner, uint64_t inode), void *owner, struct sealed *ret,
        struct error *err)
{
	struct file_tree_owner tree_owner = { .inode_bytes = sizeof(struct sealing_inode),
		.on_remove = on_remove };
	CLEANUP(file_tree_freep) struct file_tree *tree = file_tree_new(&tree_owner);
	CLEANUP(cut_tails_done) struct cut_tails tails = { 0 };
	struct replay replay = { .tree = tree, .map_of = map_of, .tails = &tails };
	CLEANUP(layer_releasep) struct layer *unsealed = NULL;
	struct layer *top = below_count > 0 ? below[below_count - 1] : NULL;
	status s = replay_layer(store, ref, top, &replay, &unsealed, err);
	if (s == STATUS_OK)
		s = replay_check_root(tree, err);
	struct seal seal = { .layer = unsealed, .tree = tree, .below = below, .below_count = below_count };
	if (s == STATUS_OK && !is_needed)
		s = clear_tails(&seal, &tails, err);
	if (s != STATUS_OK)
		return error_prefix(err, "could not seal layer \"%s\"", ref->id);

	struct sealed sealed = { 0 };
	CLEANUP(buffer_done) struct buffer changes = { 0 };
	struct manifest_writer *writer = manifest_writer_new(layer_tag(unsealed), file_tree_next_inode(tree));
	file_tree_encode(tree, &changes);
	manifest_writer_add_tree(writer, buffer_slice(&changes));
	add_files(tree, writer, is_needed, owner, &sealed);
	s = manifest_writer_publish(writer, layer_folder(unsealed), ref, err);
	/* It may stay for long until somebody removes it. */
	if (s == STATUS_OK)
		journal_give_back(layer_journal(unsealed));
	if (s == STATUS_OK)
		s = image_open_layer(store, ref, &sealed.layer, err);
	if (s != STATUS_OK)
		return error_prefix(err, "could not seal layer \"%s\"", ref->id);
	*ret = sealed;
	return STATUS_OK;
}
