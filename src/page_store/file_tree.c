#include "page_store/file_tree.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/stat.h>

struct name {
	struct name *next_in_bucket;
	struct inode *folder;
	struct inode *inode;
	size_t position; /* in the folder's entries */
	uint8_t len;
	char text[]; /* and a NUL */
};

/* Ascending by offset; a removed one has no name, until the folder is made compact. */
struct folder_entry {
	uint64_t offset;
	struct name *name;
};

struct tree_folder {
	struct folder_entry *entries;
	size_t count, capacity; /* removed ones included */
	size_t live_count;
	uint64_t next_offset;
};

struct file_tree {
	struct file_tree_owner owner;
	struct inode **inodes;
	size_t inode_buckets, inode_count; /* buckets: a power of two */
	struct name **names;
	size_t name_buckets, name_count;
	uint64_t next_inode;
};

#define FIRST_BUCKETS 256

static size_t hash_number(uint64_t number, size_t buckets)
{
	return (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (buckets - 1);
}

static size_t hash_name(const struct inode *folder, struct slice name, size_t buckets)
{
	uint64_t hash = folder->number ^ UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < name.len; i++)
		hash = (hash ^ name.data[i]) * UINT64_C(0x100000001b3);
	return (size_t)(hash ^ hash >> 32) & (buckets - 1);
}

static struct slice name_slice(const struct name *name)
{
	return (struct slice){ (const uint8_t *)name->text, name->len };
}

static void grow_inodes(struct file_tree *tree)
{
	size_t buckets = tree->inode_buckets ? tree->inode_buckets * 2 : FIRST_BUCKETS;
	struct inode **table = xcalloc(buckets, sizeof *table);
	for (size_t i = 0; i < tree->inode_buckets; i++)
		for (struct inode *inode = tree->inodes[i], *next; inode; inode = next) {
			next = inode->next_in_bucket;
			size_t at = hash_number(inode->number, buckets);
			inode->next_in_bucket = table[at];
			table[at] = inode;
		}
	free(tree->inodes);
	tree->inodes = table;
	tree->inode_buckets = buckets;
}

static void grow_names(struct file_tree *tree)
{
	size_t buckets = tree->name_buckets ? tree->name_buckets * 2 : FIRST_BUCKETS;
	struct name **table = xcalloc(buckets, sizeof *table);
	for (size_t i = 0; i < tree->name_buckets; i++)
		for (struct name *name = tree->names[i], *next; name; name = next) {
			next = name->next_in_bucket;
			size_t at = hash_name(name->folder, name_slice(name), buckets);
			name->next_in_bucket = table[at];
			table[at] = name;
		}
	free(tree->names);
	tree->names = table;
	tree->name_buckets = buckets;
}

struct file_tree *file_tree_new(const struct file_tree_owner *owner)
{
	assert(owner->inode_bytes >= sizeof(struct inode));
	struct file_tree *tree = xcalloc(1, sizeof *tree);
	tree->owner = *owner;
	tree->next_inode = FILE_TREE_ROOT;
	grow_inodes(tree);
	grow_names(tree);
	return tree;
}

static void free_inode(struct file_tree *tree, struct inode *inode)
{
	if (tree->owner.on_remove)
		tree->owner.on_remove(tree->owner.owner, inode);
	if (inode->folder)
		free(inode->folder->entries);
	free(inode->folder);
	free(inode->target);
	free(inode);
}

struct file_tree *file_tree_free(struct file_tree *tree)
{
	if (!tree)
		return NULL;
	for (size_t i = 0; i < tree->name_buckets; i++)
		for (struct name *name = tree->names[i], *next; name; name = next) {
			next = name->next_in_bucket;
			free(name);
		}
	for (size_t i = 0; i < tree->inode_buckets; i++)
		for (struct inode *inode = tree->inodes[i], *next; inode; inode = next) {
			next = inode->next_in_bucket;
			free_inode(tree, inode);
		}
	free(tree->inodes);
	free(tree->names);
	free(tree);
	return NULL;
}

struct inode *file_tree_find(const struct file_tree *tree, uint64_t number)
{
	struct inode *inode = tree->inodes[hash_number(number, tree->inode_buckets)];
	while (inode && inode->number != number)
		inode = inode->next_in_bucket;
	return inode;
}

struct inode *file_tree_add(struct file_tree *tree, uint64_t number,
        const struct inode_attributes *attributes, struct slice target)
{
	assert(!file_tree_find(tree, number));
	if (tree->inode_count >= tree->inode_buckets)
		grow_inodes(tree);
	struct inode *inode = xcalloc(1, tree->owner.inode_bytes);
	inode->number = number;
	inode->attributes = *attributes;
	if (S_ISDIR(attributes->mode)) {
		inode->folder = xcalloc(1, sizeof *inode->folder);
		inode->folder->next_offset = FILE_TREE_OFFSET_FIRST;
	}
	if (S_ISLNK(attributes->mode))
		inode->target = xstrndup(target.data, target.len);
	if (number == FILE_TREE_ROOT)
		inode->parent = inode;
	size_t at = hash_number(number, tree->inode_buckets);
	inode->next_in_bucket = tree->inodes[at];
	tree->inodes[at] = inode;
	tree->inode_count++;
	file_tree_set_next_inode(tree, number + 1);
	if (tree->owner.on_add)
		tree->owner.on_add(tree->owner.owner, inode);
	return inode;
}

void file_tree_remove(struct file_tree *tree, struct inode *inode)
{
	assert(inode->name_count == 0 && (!inode->folder || inode->folder->live_count == 0));
	struct inode **link = &tree->inodes[hash_number(inode->number, tree->inode_buckets)];
	while (*link != inode)
		link = &(*link)->next_in_bucket;
	*link = inode->next_in_bucket;
	tree->inode_count--;
	free_inode(tree, inode);
}

size_t file_tree_count(const struct file_tree *tree)
{
	return tree->inode_count;
}

uint64_t file_tree_next_inode(const struct file_tree *tree)
{
	return tree->next_inode;
}

void file_tree_set_next_inode(struct file_tree *tree, uint64_t next)
{
	if (next > tree->next_inode)
		tree->next_inode = next;
}

/* ---- names ---- */

static struct name **find_name(const struct file_tree *tree, const struct inode *folder, struct slice text)
{
	struct name **link = &tree->names[hash_name(folder, text, tree->name_buckets)];
	while (*link && ((*link)->folder != folder || (*link)->len != text.len ||
	                        memcmp((*link)->text, text.data, text.len) != 0))
		link = &(*link)->next_in_bucket;
	return link;
}

struct inode *file_tree_lookup(const struct file_tree *tree, const struct inode *folder, struct slice name)
{
	struct name *found = *find_name(tree, folder, name);
	return found ? found->inode : NULL;
}

static void folder_append(struct tree_folder *folder, struct name *name)
{
	if (folder->count == folder->capacity) {
		folder->capacity = folder->capacity ? folder->capacity * 2 : 8;
		folder->entries = xrealloc(folder->entries, folder->capacity * sizeof *folder->entries);
	}
	name->position = folder->count;
	folder->entries[folder->count++] =
	        (struct folder_entry){ .offset = folder->next_offset++, .name = name };
	folder->live_count++;
}

static void folder_drop(struct tree_folder *folder, const struct name *name)
{
	assert(folder->entries[name->position].name == name);
	folder->entries[name->position].name = NULL;
	folder->live_count--;
	if (folder->count < 32 || folder->live_count > folder->count / 2)
		return;
	size_t kept = 0;
	for (size_t i = 0; i < folder->count; i++) {
		if (!folder->entries[i].name)
			continue;
		folder->entries[i].name->position = kept;
		folder->entries[kept++] = folder->entries[i];
	}
	folder->count = kept;
}

void file_tree_add_name(struct file_tree *tree, struct inode *folder, struct slice name, struct inode *inode)
{
	assert(folder->folder && name.len >= 1 && name.len <= CHANGE_NAME_MAX);
	assert(!file_tree_lookup(tree, folder, name));
	if (tree->name_count >= tree->name_buckets)
		grow_names(tree);
	struct name *added = xcalloc(1, sizeof *added + name.len + 1);
	added->folder = folder;
	added->inode = inode;
	added->len = (uint8_t)name.len;
	memcpy(added->text, name.data, name.len);
	size_t at = hash_name(folder, name, tree->name_buckets);
	added->next_in_bucket = tree->names[at];
	tree->names[at] = added;
	tree->name_count++;
	folder_append(folder->folder, added);
	inode->name_count++;
	if (inode->folder) {
		inode->parent = folder;
		folder->folder_count++;
	}
}

struct inode *file_tree_remove_name(struct file_tree *tree, struct inode *folder, struct slice name)
{
	struct name **link = find_name(tree, folder, name);
	struct name *gone = *link;
	assert(gone);
	struct inode *inode = gone->inode;
	*link = gone->next_in_bucket;
	tree->name_count--;
	folder_drop(folder->folder, gone);
	free(gone);
	inode->name_count--;
	if (inode->folder) {
		folder->folder_count--;
		if (inode->name_count == 0 && inode->number != FILE_TREE_ROOT)
			inode->parent = NULL;
	}
	return inode;
}

bool file_tree_is_empty(const struct inode *folder)
{
	return folder->folder->live_count == 0;
}

uint32_t file_tree_link_count(const struct inode *inode)
{
	if (!inode->folder)
		return inode->name_count;
	return inode->parent ? 2 + inode->folder_count : 0;
}

bool file_tree_next(const struct inode *folder, uint64_t offset, struct file_tree_entry *ret)
{
	const struct tree_folder *list = folder->folder;
	size_t low = 0, high = list->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (list->entries[middle].offset <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	while (low < list->count && !list->entries[low].name)
		low++;
	if (low == list->count)
		return false;
	*ret = (struct file_tree_entry){ .offset = list->entries[low].offset,
		.name = list->entries[low].name->text,
		.inode = list->entries[low].name->inode };
	return true;
}

/* ---- the whole ---- */

static int compare_inodes(const void *a, const void *b)
{
	uint64_t left = (*(struct inode *const *)a)->number, right = (*(struct inode *const *)b)->number;
	return left < right ? -1 : left > right;
}

struct inode **file_tree_list(const struct file_tree *tree, size_t *ret_count)
{
	struct inode **list = xcalloc(tree->inode_count + 1, sizeof(struct inode *));
	size_t count = 0;
	for (size_t i = 0; i < tree->inode_buckets; i++)
		for (struct inode *inode = tree->inodes[i]; inode; inode = inode->next_in_bucket)
			list[count++] = inode;
	assert(count == tree->inode_count);
	qsort(list, count, sizeof(struct inode *), compare_inodes);
	*ret_count = count;
	return list;
}

void file_tree_encode_inode(const struct inode *inode, struct buffer *out)
{
	const struct inode_attributes *attributes = &inode->attributes;
	struct change change = { .type = CHANGE_INODE,
		.inode = inode->number,
		.mode = attributes->mode,
		.uid = attributes->uid,
		.gid = attributes->gid,
		.device = attributes->device,
		.size = S_ISREG(attributes->mode) ? attributes->size : 0,
		.mtime_nsec = attributes->mtime_nsec,
		.ctime_nsec = attributes->ctime_nsec };
	if (inode->target)
		change.target = slice_from_text(inode->target);
	change_encode(&change, out);
}

void file_tree_encode(const struct file_tree *tree, struct buffer *out)
{
	size_t count = 0;
	struct inode **list = file_tree_list(tree, &count);
	for (size_t i = 0; i < count; i++)
		if (list[i]->name_count > 0 || list[i]->number == FILE_TREE_ROOT)
			file_tree_encode_inode(list[i], out);
	for (size_t i = 0; i < count; i++) {
		const struct tree_folder *folder = list[i]->folder;
		for (size_t j = 0; folder && j < folder->count; j++) {
			const struct name *name = folder->entries[j].name;
			if (!name)
				continue;
			struct change change = { .type = CHANGE_NAME,
				.inode = name->inode->number,
				.parent = list[i]->number,
				.name = name_slice(name) };
			change_encode(&change, out);
		}
	}
	free(list);
}
