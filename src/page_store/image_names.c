/*
 * Names and attributes. A change of names is made in the tree and appended as one record, both under tree_lock. The times of a folder are
 * not worth a record of their own: image_flush_times() appends them within about a second.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "page_store/image_internal.h"

#define LINKS_MAX 65000 /* of a file; as ext4 has it */

#define NSEC_PER_SEC 1000000000

static struct timespec time_of(int64_t nsec)
{
	struct timespec time = { .tv_sec = nsec / NSEC_PER_SEC, .tv_nsec = nsec % NSEC_PER_SEC };
	if (time.tv_nsec < 0) {
		time.tv_nsec += NSEC_PER_SEC;
		time.tv_sec--;
	}
	return time;
}

/* What is too far from now for 64 bits of nanoseconds is as far as they reach. */
static int64_t nsec_of(const struct timespec *time)
{
	int64_t nsec = 0;
	if (__builtin_mul_overflow((int64_t)time->tv_sec, (int64_t)NSEC_PER_SEC, &nsec) ||
	        __builtin_add_overflow(nsec, (int64_t)time->tv_nsec, &nsec))
		return time->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return nsec;
}

void image_fill_stat(struct image_inode *inode, struct stat *ret)
{
	const struct inode_attributes *attributes = &inode->base.attributes;
	*ret = (struct stat){ .st_ino = inode->base.number,
		.st_mode = attributes->mode,
		.st_nlink = file_tree_link_count(&inode->base),
		.st_uid = attributes->uid,
		.st_gid = attributes->gid,
		.st_rdev = attributes->device,
		.st_size = (off_t)attributes->size,
		.st_blksize = PAGE_BYTES,
		.st_blocks = (blkcnt_t)((attributes->size + 511) / 512),
		.st_atim = time_of(attributes->atime_nsec),
		.st_mtim = time_of(attributes->mtime_nsec),
		.st_ctim = time_of(attributes->ctime_nsec) };
	if (inode->base.folder)
		ret->st_size = PAGE_BYTES;
	if (inode->base.target)
		ret->st_size = (off_t)strlen(inode->base.target);
}

/* With tree_lock. */
static void stat_inode(struct inode *inode, struct stat *ret)
{
	struct image_inode *of_image = image_inode_of(inode);
	(void)pthread_mutex_lock(&of_image->lock);
	image_fill_stat(of_image, ret);
	(void)pthread_mutex_unlock(&of_image->lock);
}

/* ---- looking ---- */

static int check_name(const char *name)
{
	size_t len = strlen(name);
	if (len > CHANGE_NAME_MAX)
		return -ENAMETOOLONG;
	if (len == 0)
		return -ENOENT;
	return strchr(name, '/') ? -EINVAL : 0;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* With tree_lock: the folder to look in. */
static int find_folder(const struct image *image, uint64_t number, struct inode **ret)
{
	struct inode *folder = file_tree_find(image->tree, number);
	if (!folder)
		return -ESTALE;
	if (!folder->folder)
		return -ENOTDIR;
	*ret = folder;
	return 0;
}

static int look_up(const struct image *image, struct inode *folder, struct slice name, struct inode **ret)
{
	struct inode *found = NULL;
	if (slice_equals_text(name, "."))
		found = folder;
	else if (slice_equals_text(name, ".."))
		found = folder->parent ? folder->parent : folder;
	else
		found = file_tree_lookup(image->tree, folder, name);
	if (!found)
		return -ENOENT;
	*ret = found;
	return 0;
}

int image_lookup(struct image *image, uint64_t parent, const char *name, struct stat *ret)
{
	struct inode *folder = NULL, *found = NULL;
	int rc = check_name(name);
	if (rc < 0)
		return rc;
	(void)pthread_rwlock_rdlock(&image->tree_lock);
	rc = find_folder(image, parent, &folder);
	if (rc == 0)
		rc = look_up(image, folder, slice_from_text(name), &found);
	if (rc == 0)
		stat_inode(found, ret);
	(void)pthread_rwlock_unlock(&image->tree_lock);
	return rc;
}

static int resolve(const struct image *image, const char *path, struct inode **ret)
{
	struct inode *at = file_tree_find(image->tree, IMAGE_ROOT);
	for (;;) {
		path += strspn(path, "/");
		size_t len = strcspn(path, "/");
		if (len == 0)
			break;
		if (len > CHANGE_NAME_MAX)
			return -ENAMETOOLONG;
		if (!at->folder)
			return -ENOTDIR;
		int rc = look_up(image, at, (struct slice){ (const uint8_t *)path, len }, &at);
		if (rc < 0)
			return rc;
		path += len;
	}
	*ret = at;
	return 0;
}

int image_resolve(struct image *image, const char *path, struct stat *ret)
{
	struct inode *found = NULL;
	(void)pthread_rwlock_rdlock(&image->tree_lock);
	int rc = resolve(image, path, &found);
	if (rc == 0)
		stat_inode(found, ret);
	(void)pthread_rwlock_unlock(&image->tree_lock);
	return rc;
}

int image_read_link(struct image *image, uint64_t number, char *ret, size_t size)
{
	(void)pthread_rwlock_rdlock(&image->tree_lock);
	const struct inode *inode = file_tree_find(image->tree, number);
	int rc = !inode ? -ESTALE : !inode->target ? -EINVAL : 0;
	if (rc == 0) {
		size_t len = strlen(inode->target);
		if (len > size)
			len = size;
		memcpy(ret, inode->target, len);
		rc = (int)len;
	}
	(void)pthread_rwlock_unlock(&image->tree_lock);
	return rc;
}

/* "." and "..", at offsets 1 and 2. */
static bool show_dots(struct inode *folder, uint64_t offset, image_entry_fn on_entry, void *owner)
{
	struct stat st;
	if (offset < 1) {
		stat_inode(folder, &st);
		if (!on_entry(owner, ".", 1, &st))
			return false;
	}
	if (offset < 2) {
		stat_inode(folder->parent ? folder->parent : folder, &st);
		if (!on_entry(owner, "..", 2, &st))
			return false;
	}
	return true;
}

int image_read_folder(
        struct image *image, uint64_t number, uint64_t offset, image_entry_fn on_entry, void *owner)
{
	struct inode *folder = NULL;
	(void)pthread_rwlock_rdlock(&image->tree_lock);
	int rc = find_folder(image, number, &folder);
	if (rc == 0 && show_dots(folder, offset, on_entry, owner)) {
		struct file_tree_entry entry;
		while (file_tree_next(folder, offset, &entry)) {
			struct stat st;
			stat_inode(entry.inode, &st);
			if (!on_entry(owner, entry.name, entry.offset, &st))
				break;
			offset = entry.offset;
		}
	}
	(void)pthread_rwlock_unlock(&image->tree_lock);
	return rc;
}

int image_stat(struct image *image, uint64_t number, struct stat *ret)
{
	(void)pthread_rwlock_rdlock(&image->tree_lock);
	struct inode *inode = file_tree_find(image->tree, number);
	if (inode)
		stat_inode(inode, ret);
	(void)pthread_rwlock_unlock(&image->tree_lock);
	return inode ? 0 : -ESTALE;
}

/* ---- changing names; all with tree_lock for writing ---- */

/* A folder's entries changed. */
static void touch_folder(struct image *image, struct inode *folder, int64_t now)
{
	struct image_inode *inode = image_inode_of(folder);
	(void)pthread_mutex_lock(&inode->lock);
	folder->attributes.mtime_nsec = folder->attributes.ctime_nsec = now;
	(void)pthread_mutex_unlock(&inode->lock);
	if (inode->are_times_new)
		return;
	inode->are_times_new = true;
	image->new_times = xrealloc(image->new_times, (image->new_time_count + 1) * sizeof *image->new_times);
	image->new_times[image->new_time_count++] = folder->number;
	(void)atomic_fetch_add(&image->owed_bytes, IMAGE_TIMES_MAX); /* in what the change has asked for */
}

/* A file's names changed; that time is kept in memory, and comes into the journal with the file's next record. */
static void touch_inode(struct inode *inode, int64_t now)
{
	struct image_inode *of_image = image_inode_of(inode);
	(void)pthread_mutex_lock(&of_image->lock);
	inode->attributes.ctime_nsec = now;
	(void)pthread_mutex_unlock(&of_image->lock);
}

static void encode_name(
        struct buffer *changes, const struct inode *folder, const char *name, const struct inode *inode)
{
	struct change change = { .type = CHANGE_NAME,
		.inode = inode->number,
		.parent = folder->number,
		.name = slice_from_text(name) };
	change_encode(&change, changes);
}

static void encode_name_gone(
        struct buffer *changes, const struct inode *folder, const char *name, const struct inode *inode)
{
	struct change change = { .type = CHANGE_NAME_GONE,
		.inode = inode->number,
		.parent = folder->number,
		.name = slice_from_text(name) };
	change_encode(&change, changes);
}

/* The folder for a new name, which must be free. */
static int find_place(struct image *image, uint64_t parent, const char *name, struct inode **ret_folder)
{
	int rc = check_name(name);
	if (rc == 0)
		rc = find_folder(image, parent, ret_folder);
	if (rc < 0)
		return rc;
	if (is_dots(name) || file_tree_lookup(image->tree, *ret_folder, slice_from_text(name)))
		return -EEXIST;
	return (*ret_folder)->parent ? 0 : -ENOENT; /* a folder that was removed */
}

static int make(struct image *image, uint64_t parent, const char *name,
        const struct inode_attributes *attributes, const char *target, struct stat *ret)
{
	struct inode *folder = NULL;
	uint64_t owed = IMAGE_RECORD_MAX + (target ? strlen(target) : 0);
	int rc = image_owe(image, owed);
	if (rc < 0)
		return rc;
	(void)pthread_rwlock_wrlock(&image->tree_lock);
	rc = find_place(image, parent, name, &folder);
	if (rc == 0) {
		struct inode_attributes inherited = *attributes;
		if (folder->attributes.mode & S_ISGID) {
			inherited.gid = folder->attributes.gid;
			if (S_ISDIR(inherited.mode))
				inherited.mode |= S_ISGID;
		}
		struct inode *inode = file_tree_add(image->tree, file_tree_next_inode(image->tree),
		        &inherited, target ? slice_from_text(target) : (struct slice){ 0 });
		file_tree_add_name(image->tree, folder, slice_from_text(name), inode);
		image_inode_of(inode)->is_counted = S_ISREG(inherited.mode);
		CLEANUP(buffer_done) struct buffer changes = { 0 };
		file_tree_encode_inode(inode, &changes);
		encode_name(&changes, folder, name, inode);
		image_append(image, buffer_slice(&changes), image_inode_of(inode), image_inode_of(folder));
		touch_folder(image, folder, inherited.mtime_nsec);
		stat_inode(inode, ret);
	}
	(void)pthread_rwlock_unlock(&image->tree_lock);
	image_pay(image, owed);
	return rc;
}

int image_make(struct image *image, uint64_t parent, const char *name, mode_t mode, uint32_t device,
        uid_t uid, gid_t gid, struct stat *ret)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		break;
	default:
		return -EINVAL;
	}
	int64_t now = image_now_nsec();
	struct inode_attributes attributes = { .mode = mode & (S_IFMT | 07777),
		.uid = uid,
		.gid = gid,
		.device = S_ISCHR(mode) || S_ISBLK(mode) ? device : 0,
		.atime_nsec = now,
		.mtime_nsec = now,
		.ctime_nsec = now };
	return make(image, parent, name, &attributes, NULL, ret);
}

int image_make_link(struct image *image, uint64_t parent, const char *name, const char *target, uid_t uid,
        gid_t gid, struct stat *ret)
{
	size_t len = strlen(target);
	if (len == 0 || len > CHANGE_TARGET_MAX)
		return len == 0 ? -ENOENT : -ENAMETOOLONG;
	int64_t now = image_now_nsec();
	struct inode_attributes attributes = { .mode = S_IFLNK | 0777,
		.uid = uid,
		.gid = gid,
		.atime_nsec = now,
		.mtime_nsec = now,
		.ctime_nsec = now };
	return make(image, parent, name, &attributes, target, ret);
}

int image_link(struct image *image, uint64_t number, uint64_t parent, const char *name, struct stat *ret)
{
	struct inode *folder = NULL;
	int rc = image_owe(image, IMAGE_RECORD_MAX);
	if (rc < 0)
		return rc;
	(void)pthread_rwlock_wrlock(&image->tree_lock);
	struct inode *inode = file_tree_find(image->tree, number);
	rc = !inode ? -ESTALE : inode->folder ? -EPERM : find_place(image, parent, name, &folder);
	if (rc == 0 && inode->name_count == 0)
		rc = -ENOENT; /* its pages may be on their way out */
	if (rc == 0 && inode->name_count >= LINKS_MAX)
		rc = -EMLINK;
	if (rc == 0) {
		CLEANUP(buffer_done) struct buffer changes = { 0 };
		file_tree_add_name(image->tree, folder, slice_from_text(name), inode);
		encode_name(&changes, folder, name, inode);
		image_append(image, buffer_slice(&changes), image_inode_of(inode), image_inode_of(folder));
		int64_t now = image_now_nsec();
		touch_folder(image, folder, now);
		touch_inode(inode, now);
		stat_inode(inode, ret);
	}
	(void)pthread_rwlock_unlock(&image->tree_lock);
	image_pay(image, IMAGE_RECORD_MAX);
	return rc;
}

/* The record is appended already. The inode may be freed. */
static void lose_name(struct image *image, struct inode *inode, int64_t now)
{
	struct image_inode *of_image = image_inode_of(inode);
	(void)pthread_mutex_lock(&of_image->lock);
	inode->attributes.ctime_nsec = now;
	if (inode->name_count == 0 && of_image->is_counted) {
		of_image->is_counted = false;
		(void)atomic_fetch_sub(&image->logical_bytes, (int64_t)inode->attributes.size);
	}
	(void)pthread_mutex_unlock(&of_image->lock);
	image_remove_if_unused(image, of_image);
}

static int remove_entry(struct image *image, uint64_t parent, const char *name, bool is_folder)
{
	struct inode *folder = NULL;
	int rc = check_name(name);
	if (rc == 0 && is_dots(name))
		rc = strcmp(name, ".") == 0 ? -EINVAL : is_folder ? -ENOTEMPTY : -EISDIR;
	if (rc == 0)
		rc = image_owe(image, IMAGE_RECORD_MAX);
	if (rc < 0)
		return rc;
	(void)pthread_rwlock_wrlock(&image->tree_lock);
	rc = find_folder(image, parent, &folder);
	struct inode *inode = rc == 0 ? file_tree_lookup(image->tree, folder, slice_from_text(name)) : NULL;
	if (rc == 0 && !inode)
		rc = -ENOENT;
	if (rc == 0 && is_folder)
		rc = !inode->folder ? -ENOTDIR : file_tree_is_empty(inode) ? 0 : -ENOTEMPTY;
	else if (rc == 0 && inode->folder)
		rc = -EISDIR;
	if (rc == 0) {
		CLEANUP(buffer_done) struct buffer changes = { 0 };
		encode_name_gone(&changes, folder, name, inode);
		(void)file_tree_remove_name(image->tree, folder, slice_from_text(name));
		image_append(image, buffer_slice(&changes), image_inode_of(inode), image_inode_of(folder));
		int64_t now = image_now_nsec();
		touch_folder(image, folder, now);
		lose_name(image, inode, now);
	}
	(void)pthread_rwlock_unlock(&image->tree_lock);
	image_pay(image, IMAGE_RECORD_MAX);
	return rc;
}

int image_unlink(struct image *image, uint64_t parent, const char *name)
{
	return remove_entry(image, parent, name, false);
}

int image_remove_folder(struct image *image, uint64_t parent, const char *name)
{
	return remove_entry(image, parent, name, true);
}

/* ---- rename ---- */

struct rename {
	struct inode *from, *to; /* folders */
	const char *name, *new_name;
	struct inode *inode, *target; /* target: what has the new name; NULL: nothing */
};

/* Is `inode` the folder itself or one above it? */
static bool is_above(const struct file_tree *tree, const struct inode *inode, const struct inode *folder)
{
	for (size_t steps = file_tree_count(tree); folder && steps > 0; steps--) {
		if (folder == inode)
			return true;
		if (folder->number == FILE_TREE_ROOT)
			return false;
		folder = folder->parent;
	}
	return false;
}

static int find_rename(
        struct image *image, uint64_t parent, uint64_t new_parent, unsigned flags, struct rename *rename)
{
	int rc = find_folder(image, parent, &rename->from);
	if (rc == 0)
		rc = find_folder(image, new_parent, &rename->to);
	if (rc < 0)
		return rc;
	rename->inode = file_tree_lookup(image->tree, rename->from, slice_from_text(rename->name));
	rename->target = file_tree_lookup(image->tree, rename->to, slice_from_text(rename->new_name));
	if (!rename->inode || !rename->to->parent || (flags & RENAME_EXCHANGE && !rename->target))
		return -ENOENT;
	if (rename->target && flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (rename->inode->folder && is_above(image->tree, rename->inode, rename->to))
		return -EINVAL;
	if (rename->target && rename->target->folder && is_above(image->tree, rename->target, rename->from))
		return flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (!rename->target || flags & RENAME_EXCHANGE || rename->target == rename->inode)
		return 0;
	if (rename->inode->folder && !rename->target->folder)
		return -ENOTDIR;
	if (!rename->inode->folder && rename->target->folder)
		return -EISDIR;
	return rename->target->folder && !file_tree_is_empty(rename->target) ? -ENOTEMPTY : 0;
}

static void exchange(struct image *image, struct rename *rename, int64_t now)
{
	CLEANUP(buffer_done) struct buffer changes = { 0 };
	struct slice name = slice_from_text(rename->name), new_name = slice_from_text(rename->new_name);
	(void)file_tree_remove_name(image->tree, rename->from, name);
	(void)file_tree_remove_name(image->tree, rename->to, new_name);
	file_tree_add_name(image->tree, rename->from, name, rename->target);
	file_tree_add_name(image->tree, rename->to, new_name, rename->inode);
	encode_name_gone(&changes, rename->from, rename->name, rename->inode);
	encode_name_gone(&changes, rename->to, rename->new_name, rename->target);
	encode_name(&changes, rename->from, rename->name, rename->target);
	encode_name(&changes, rename->to, rename->new_name, rename->inode);
	image_append(
	        image, buffer_slice(&changes), image_inode_of(rename->inode), image_inode_of(rename->target));
	touch_inode(rename->target, now);
}

static void move(struct image *image, struct rename *rename, int64_t now)
{
	CLEANUP(buffer_done) struct buffer changes = { 0 };
	struct slice name = slice_from_text(rename->name), new_name = slice_from_text(rename->new_name);
	struct inode *target = rename->target;
	if (target) {
		(void)file_tree_remove_name(image->tree, rename->to, new_name);
		encode_name_gone(&changes, rename->to, rename->new_name, target);
	}
	(void)file_tree_remove_name(image->tree, rename->from, name);
	file_tree_add_name(image->tree, rename->to, new_name, rename->inode);
	encode_name_gone(&changes, rename->from, rename->name, rename->inode);
	encode_name(&changes, rename->to, rename->new_name, rename->inode);
	image_append(image, buffer_slice(&changes), image_inode_of(rename->inode),
	        target ? image_inode_of(target) : NULL);
	if (target)
		lose_name(image, target, now);
}

/* A sync of either folder makes the rename durable. */
static void note_folders(struct image *image, const struct rename *rename)
{
	struct image_inode *const folders[] = { image_inode_of(rename->from), image_inode_of(rename->to) };
	(void)pthread_mutex_lock(&image->epoch_lock);
	const struct epoch *epoch = atomic_load(&image->open);
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		/* A cut in between: the record is in front of the newer epoch's, whose sync makes both durable. */
		folders[i]->record_epoch = epoch->number;
		folders[i]->record_end = journal_end(layer_journal(epoch->layer));
	}
	(void)pthread_mutex_unlock(&image->epoch_lock);
}

int image_rename(struct image *image, uint64_t parent, const char *name, uint64_t new_parent,
        const char *new_name, unsigned flags)
{
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
	        flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	int rc = check_name(name);
	if (rc == 0)
		rc = check_name(new_name);
	if (rc == 0 && (is_dots(name) || is_dots(new_name)))
		rc = -EBUSY;
	if (rc == 0)
		rc = image_owe(image, IMAGE_RECORD_MAX);
	if (rc < 0)
		return rc;
	struct rename rename = { .name = name, .new_name = new_name };
	(void)pthread_rwlock_wrlock(&image->tree_lock);
	rc = find_rename(image, parent, new_parent, flags, &rename);
	if (rc == 0 &&
	        rename.inode != rename.target) { /* else both are names of one file: POSIX leaves them */
		int64_t now = image_now_nsec();
		if (flags & RENAME_EXCHANGE)
			exchange(image, &rename, now);
		else
			move(image, &rename, now);
		touch_inode(rename.inode, now);
		touch_folder(image, rename.from, now);
		touch_folder(image, rename.to, now);
		note_folders(image, &rename);
	}
	(void)pthread_rwlock_unlock(&image->tree_lock);
	image_pay(image, IMAGE_RECORD_MAX);
	return rc;
}

/* ---- attributes ---- */

static void set_attributes(struct inode_attributes *now, const struct stat *attributes, unsigned set)
{
	if (set & IMAGE_SET_MODE)
		now->mode = (now->mode & S_IFMT) | (attributes->st_mode & 07777);
	if (set & IMAGE_SET_OWNER)
		now->uid = attributes->st_uid;
	if (set & IMAGE_SET_GROUP)
		now->gid = attributes->st_gid;
	if (set & IMAGE_SET_MTIME)
		now->mtime_nsec = nsec_of(&attributes->st_mtim);
	if (set & IMAGE_SET_ATIME)
		now->atime_nsec = nsec_of(&attributes->st_atim);
}

int image_set(
        struct image *image, uint64_t number, const struct stat *attributes, unsigned set, struct stat *ret)
{
	struct image_inode *inode = image_take(image, number);
	if (!inode)
		return -ESTALE;
	uint64_t owed = 0;
	(void)pthread_mutex_lock(&inode->io);
	/* A target is in the record, too. */
	int rc = image_owe(image, IMAGE_RECORD_MAX + CHANGE_TARGET_MAX);
	if (rc == 0)
		owed = IMAGE_RECORD_MAX + CHANGE_TARGET_MAX;
	if (rc == 0 && set & IMAGE_SET_SIZE) {
		if (!S_ISREG(inode->base.attributes.mode))
			rc = inode->base.folder ? -EISDIR : -EINVAL;
		else if (attributes->st_size < 0)
			rc = -EINVAL;
		else
			rc = image_truncate(image, inode, (uint64_t)attributes->st_size);
	}
	if (rc == 0) {
		(void)pthread_mutex_lock(&inode->lock);
		set_attributes(&inode->base.attributes, attributes, set);
		if (set & (IMAGE_SET_MODE | IMAGE_SET_OWNER | IMAGE_SET_GROUP | IMAGE_SET_MTIME)) {
			inode->base.attributes.ctime_nsec = image_now_nsec();
			image_append_attributes(image, inode);
		}
		(void)pthread_mutex_unlock(&inode->lock);
	}
	(void)pthread_mutex_unlock(&inode->io);
	image_pay(image, owed);
	if (rc == 0) {
		/* The count of links is the tree's. */
		(void)pthread_rwlock_rdlock(&image->tree_lock);
		stat_inode(&inode->base, ret);
		(void)pthread_rwlock_unlock(&image->tree_lock);
	}
	image_give_back(image, inode);
	return rc;
}
