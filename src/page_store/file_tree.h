/*
 * File tree: the namespace of a volume in memory: inodes by number, names per folder, hard links, symbolic links.
 *
 * Invariants
 *   F1  a folder's entry keeps its offset from when it is added until it is removed, and offsets only grow: reading on from an offset
 *       shows nothing twice and leaves out nothing that was there all the time.
 *   F2  an inode without a name stays until its owner removes it (the kernel may hold it; a replay may give it its name later).
 *
 * Memory only: no file is touched, nothing fails. Threads: the caller's lock; `attributes` are the owner's to guard.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"
#include "page_store/change.h"

#define FILE_TREE_ROOT         1
#define FILE_TREE_OFFSET_FIRST 3 /* of a folder's first entry; "." and ".." have 1 and 2 */

struct inode_attributes {
	uint32_t mode, uid, gid, device;
	uint64_t size;
	int64_t atime_nsec, mtime_nsec, ctime_nsec;
};

struct tree_folder;

/* Owners embed it at the start of what they know of a file. */
struct inode {
	uint64_t number;
	uint32_t name_count;        /* in folders; a folder has at most one, but for a moment in a replay */
	uint32_t folder_count;      /* of a folder: folders in it */
	struct inode *parent;       /* of a folder; the root's is itself; NULL: it has no name */
	struct tree_folder *folder; /* NULL: not a folder */
	char *target;               /* of a symbolic link; never changes */
	struct inode_attributes attributes;
	struct inode *next_in_bucket;
};

struct file_tree_owner {
	size_t inode_bytes; /* of the struct that begins with struct inode */
	void (*on_add)(void *owner, struct inode *inode);
	void (*on_remove)(void *owner, struct inode *inode); /* just before it is freed */
	void *owner;
};

struct file_tree;

struct file_tree *file_tree_new(const struct file_tree_owner *owner);
struct file_tree *file_tree_free(struct file_tree *tree); /* NULL is fine; always returns NULL */
static inline void file_tree_freep(struct file_tree **tree)
{
	*tree = file_tree_free(*tree);
}

struct inode *file_tree_find(const struct file_tree *tree, uint64_t number); /* NULL */
/* `number` must be free. A folder (by mode) is empty; target is copied. */
struct inode *file_tree_add(struct file_tree *tree, uint64_t number,
        const struct inode_attributes *attributes, struct slice target);
/* It must have no name, and, a folder, no entry. */
void file_tree_remove(struct file_tree *tree, struct inode *inode);
size_t file_tree_count(const struct file_tree *tree);
uint64_t file_tree_next_inode(const struct file_tree *tree); /* no number from here on was ever used */
void file_tree_set_next_inode(struct file_tree *tree, uint64_t next); /* never lowers it */

struct inode *file_tree_lookup(const struct file_tree *tree, const struct inode *folder, struct slice name);
/* The name must be free. */
void file_tree_add_name(struct file_tree *tree, struct inode *folder, struct slice name, struct inode *inode);
/* It must be there; returns what had it. */
struct inode *file_tree_remove_name(struct file_tree *tree, struct inode *folder, struct slice name);
bool file_tree_is_empty(const struct inode *folder);
uint32_t file_tree_link_count(const struct inode *inode); /* as stat tells it: 2 + folders of a folder */

struct file_tree_entry {
	uint64_t offset;
	const char *name; /* NUL-terminated; valid until the tree changes */
	struct inode *inode;
};
/* The first entry with an offset > `offset`; false at the end. */
bool file_tree_next(const struct inode *folder, uint64_t offset, struct file_tree_entry *ret);

/* Every inode, ascending by number; the array is the caller's to free. */
struct inode **file_tree_list(const struct file_tree *tree, size_t *ret_count);
/* What has a name, as a manifest's tree has it: all inodes by number, then all names. */
void file_tree_encode(const struct file_tree *tree, struct buffer *out);
void file_tree_encode_inode(const struct inode *inode, struct buffer *out); /* CHANGE_INODE */
