/* What journals and manifests say, put into a file tree and open maps. */
#include <sys/stat.h>

#include "page_store/image_internal.h"

static void set_size_and_times(struct inode *inode, const struct change *change)
{
	inode->attributes.size = change->size;
	inode->attributes.mtime_nsec = change->mtime_nsec;
	inode->attributes.ctime_nsec = change->ctime_nsec;
}

static status apply_inode(struct replay *replay, const struct change *change, struct error *err)
{
	struct inode_attributes attributes = { .mode = change->mode,
		.uid = change->uid,
		.gid = change->gid,
		.device = change->device,
		.size = change->size,
		.atime_nsec = change->mtime_nsec,
		.mtime_nsec = change->mtime_nsec,
		.ctime_nsec = change->ctime_nsec };
	struct inode *inode = file_tree_find(replay->tree, change->inode);
	if (!inode) {
		(void)file_tree_add(replay->tree, change->inode, &attributes, change->target);
		return STATUS_OK;
	}
	if ((inode->attributes.mode & S_IFMT) != (change->mode & S_IFMT))
		return error_set(err, STATUS_CORRUPT, 0, "inode %llu becomes a file of another type",
		        (unsigned long long)change->inode);
	inode->attributes = attributes;
	return STATUS_OK;
}

static status apply_name(struct replay *replay, const struct change *change, struct error *err)
{
	struct inode *folder = file_tree_find(replay->tree, change->parent);
	struct inode *inode = file_tree_find(replay->tree, change->inode);
	if (!folder || !folder->folder || !inode || inode->number == FILE_TREE_ROOT)
		return error_set(err, STATUS_CORRUPT, 0,
		        "inode %llu gets a name in %llu, and one of the two is not there",
		        (unsigned long long)change->inode, (unsigned long long)change->parent);
	if (file_tree_lookup(replay->tree, folder, change->name))
		(void)file_tree_remove_name(replay->tree, folder, change->name);
	if (inode->folder && inode->name_count > 0)
		return error_set(err, STATUS_CORRUPT, 0, "folder %llu gets a second name",
		        (unsigned long long)change->inode);
	file_tree_add_name(replay->tree, folder, change->name, inode);
	return STATUS_OK;
}

static status apply_name_gone(struct replay *replay, const struct change *change, struct error *err)
{
	struct inode *folder = file_tree_find(replay->tree, change->parent);
	if (!folder || !folder->folder || !file_tree_lookup(replay->tree, folder, change->name))
		return error_set(err, STATUS_CORRUPT, 0, "inode %llu loses a name in %llu that is not there",
		        (unsigned long long)change->inode, (unsigned long long)change->parent);
	(void)file_tree_remove_name(replay->tree, folder, change->name);
	return STATUS_OK;
}

/* A file without a name that was held over a cut is in the journal of the next layer only: its pages. */
static struct inode *find_or_add(struct replay *replay, uint64_t number)
{
	struct inode *inode = file_tree_find(replay->tree, number);
	if (inode)
		return inode;
	struct inode_attributes attributes = { .mode = S_IFREG };
	return file_tree_add(replay->tree, number, &attributes, (struct slice){ 0 });
}

static status apply_content(struct replay *replay, const struct change *change, struct error *err)
{
	struct inode *inode = find_or_add(replay, change->inode);
	if (!S_ISREG(inode->attributes.mode))
		return error_set(err, STATUS_CORRUPT, 0, "inode %llu has pages and is no regular file",
		        (unsigned long long)change->inode);
	struct open_map *map = replay->map_of(replay->owner, inode);
	set_size_and_times(inode, change);
	if (change->type == CHANGE_TRUNCATE) {
		open_map_truncate(map, change->first_block);
		cut_tails_truncate(replay->tails, change->inode, change->size);
		return STATUS_OK;
	}
	for (size_t i = 0; i < change->entry_count; i++) {
		struct page_entry entry =
		        page_entry_unpack(change->packed_entries.data + i * PAGE_ENTRY_BYTES);
		open_map_set_committed(map, &entry);
		cut_tails_commit(replay->tails, change->inode, entry.block);
	}
	return STATUS_OK;
}

status replay_changes(void *owner, struct slice changes, struct error *err)
{
	struct replay *replay = owner;
	replay->record_count++;
	while (changes.len > 0) {
		struct change change;
		status s = change_decode(&changes, &change, err);
		if (s != STATUS_OK)
			return s;
		switch (change.type) {
		case CHANGE_INODE:
			s = apply_inode(replay, &change, err);
			break;
		case CHANGE_NAME:
			s = apply_name(replay, &change, err);
			break;
		case CHANGE_NAME_GONE:
			s = apply_name_gone(replay, &change, err);
			break;
		case CHANGE_PAGES:
		case CHANGE_TRUNCATE:
			s = apply_content(replay, &change, err);
			break;
		}
		if (s != STATUS_OK)
			return s;
	}
	return STATUS_OK;
}

status replay_check_root(const struct file_tree *tree, struct error *err)
{
	const struct inode *root = file_tree_find(tree, FILE_TREE_ROOT);
	if (!root || !root->folder)
		return error_set(err, STATUS_CORRUPT, 0, "there is no root folder");
	return STATUS_OK;
}
