/* Sealing: a layer's journal, and the tree of the layer below it, become its manifest. The same after a cut and after a crash. */
#include <assert.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "page_store/disk.h"
#include "page_store/image_internal.h"

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

status image_seal_layer(struct store *store, const struct layer_ref *ref, struct layer *below,
        struct cut_tails *tails, bool (*is_needed)(void *owner, uint64_t inode), void *owner,
        struct sealed *ret, struct error *err)
{
	struct file_tree_owner tree_owner = { .inode_bytes = sizeof(struct sealing_inode),
		.on_remove = on_remove };
	CLEANUP(file_tree_freep) struct file_tree *tree = file_tree_new(&tree_owner);
	struct replay replay = { .tree = tree, .map_of = map_of, .tails = tails };
	CLEANUP(layer_releasep) struct layer *unsealed = NULL;
	status s = replay_layer(store, ref, below, &replay, &unsealed, err);
	if (s == STATUS_OK)
		s = replay_check_root(tree, err);
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
