#include "page_filesystem/operations.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/idle_states.h"
#include "page_filesystem/buffer_pool.h"
#include "page_filesystem/workers.h"

#define MAGIC 0x6f707321u
/* Only the kernel changes the volume (O3): what it knows stays true. */
#define KEEP_SEC 86400.0
/* Background requests are read-ahead: enough to keep a disk busy, and to leave workers for others. */
#define BACKGROUND_MAX       64
#define BACKGROUND_CONGESTED 48
#define ENTRY_BYTES_MIN      128 /* of readdirplus; fewer than that none takes */

/* Counters on lines of their own: workers of several cores add to them all the time. */
struct counter {
	_Alignas(64) atomic_uint_fast64_t value;
};

struct operations {
	uint32_t magic;
	struct image *image;
	struct buffer_pool *buffers;
	struct idle_states *idle_states;
	operations_lost_fn on_lost;
	void *owner;
	struct counter reads, writes, syncs, others, read_bytes, written_bytes;
};

static struct operations *operations_of(void *p)
{
	struct operations *operations = p;
	assert(operations && operations->magic == MAGIC);
	return operations;
}

static void count(struct counter *counter, uint64_t by)
{
	(void)atomic_fetch_add_explicit(&counter->value, by, memory_order_relaxed);
}

/* Reads and writes are what there can be many of. */
static void count_transfer(struct operations *operations, struct counter *counter)
{
	uint64_t before = atomic_fetch_add_explicit(&counter->value, 1, memory_order_relaxed);
	if (before % IDLE_STATES_BATCH == IDLE_STATES_BATCH - 1)
		idle_states_note(operations->idle_states, clock_monotonic_usec());
}

static uint64_t counted(const struct counter *counter)
{
	return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

struct operations *operations_new(
        struct image *image, int64_t polling_requests_per_sec, operations_lost_fn on_lost, void *owner)
{
	struct operations *operations = aligned_alloc(64, sizeof *operations);
	if (!operations)
		abort();
	memset(operations, 0, sizeof *operations);
	operations->magic = MAGIC;
	operations->image = image;
	operations->on_lost = on_lost;
	operations->owner = owner;
	operations->buffers = buffer_pool_new(OPERATIONS_BYTES_MAX);
	operations->idle_states = idle_states_new(polling_requests_per_sec);
	idle_states_begin(operations->idle_states, clock_monotonic_usec());
	return operations;
}

struct operations *operations_free(struct operations *operations)
{
	if (operations) {
		buffer_pool_free(operations->buffers);
		idle_states_free(operations->idle_states);
		operations->magic = 0;
		free(operations);
	}
	return NULL;
}

struct operations_count operations_count(const struct operations *operations)
{
	return (struct operations_count){
		.reads = counted(&operations->reads),
		.writes = counted(&operations->writes),
		.syncs = counted(&operations->syncs),
		.others = counted(&operations->others),
		.read_bytes = counted(&operations->read_bytes),
		.written_bytes = counted(&operations->written_bytes),
	};
}

bool operations_are_many(const struct operations *operations)
{
	return idle_states_are_wanted(operations->idle_states, clock_monotonic_usec());
}

void operations_tick(struct operations *operations)
{
	idle_states_look(operations->idle_states, clock_monotonic_usec());
}

/* ---- answers ---- */

/* Anything the kernel could not understand as an error would become a hang or a wrong answer. */
static void answer_error(fuse_req_t req, int64_t rc)
{
	(void)fuse_reply_err(req, rc < 0 && rc > -512 ? (int)-rc : EIO);
}

static void answer_status(fuse_req_t req, int rc)
{
	if (rc < 0)
		answer_error(req, rc);
	else
		(void)fuse_reply_err(req, 0);
}

static struct fuse_entry_param entry_of(const struct stat *st)
{
	return (struct fuse_entry_param){
		.ino = st->st_ino, .attr = *st, .attr_timeout = KEEP_SEC, .entry_timeout = KEEP_SEC
	};
}

/* O2: the hold comes first, since the kernel may forget before fuse_reply_entry() has returned. */
static void answer_entry(fuse_req_t req, struct operations *operations, int rc, const struct stat *st)
{
	if (rc < 0) {
		answer_error(req, rc);
		return;
	}
	struct fuse_entry_param entry = entry_of(st);
	image_hold(operations->image, st->st_ino);
	if (fuse_reply_entry(req, &entry) < 0)
		image_let_go(operations->image, st->st_ino, 1);
}

static void answer_attributes(fuse_req_t req, int rc, const struct stat *st)
{
	if (rc < 0)
		answer_error(req, rc);
	else
		(void)fuse_reply_attr(req, st, KEEP_SEC);
}

static struct operations *begin(fuse_req_t req)
{
	struct operations *operations = operations_of(fuse_req_userdata(req));
	count(&operations->others, 1);
	return operations;
}

/* ---- the session ---- */

static void set_wanted(struct fuse_conn_info *conn, unsigned flag, bool is_wanted)
{
	if (is_wanted)
		conn->want |= conn->capable & flag;
	else
		conn->want &= ~flag;
}

static void do_init(void *data, struct fuse_conn_info *conn)
{
	(void)operations_of(data);
	/* With it on, the kernel throws a file's cached pages away after every write (architecture.md 3.1). */
	set_wanted(conn, FUSE_CAP_AUTO_INVAL_DATA, false);
	set_wanted(conn, FUSE_CAP_EXPLICIT_INVAL_DATA, true);
	/* Would split 8 KiB pages (T9). */
	set_wanted(conn, FUSE_CAP_WRITEBACK_CACHE, false);
	/* open() is never asked (do_open), so truncating is a request of its own. */
	set_wanted(conn, FUSE_CAP_ATOMIC_O_TRUNC, false);
	/* The kernel does it, with a setattr. */
	set_wanted(conn, FUSE_CAP_HANDLE_KILLPRIV, false);
	set_wanted(conn, FUSE_CAP_EXPORT_SUPPORT, false);
	set_wanted(conn, FUSE_CAP_IOCTL_DIR, false);
	set_wanted(conn, FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE, false);
	set_wanted(conn,
	        FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
	                FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_CACHE_SYMLINKS,
	        true);
	conn->max_write = OPERATIONS_BYTES_MAX;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_CONGESTED;
	conn->time_gran = 1;
}

/* ---- names ---- */

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct operations *operations = begin(req);
	struct stat st;
	int rc = image_lookup(operations->image, parent, name, &st);
	if (rc == -ENOENT) {
		/* Inode 0: "there is none", for as long as nobody makes it. */
		struct fuse_entry_param none = { .entry_timeout = KEEP_SEC };
		(void)fuse_reply_entry(req, &none);
		return;
	}
	answer_entry(req, operations, rc, &st);
}

static void do_forget(fuse_req_t req, fuse_ino_t inode, uint64_t times)
{
	image_let_go(begin(req)->image, inode, times);
	fuse_reply_none(req);
}

static void do_forget_multi(fuse_req_t req, size_t forget_count, struct fuse_forget_data *forgets)
{
	struct operations *operations = begin(req);
	for (size_t i = 0; i < forget_count; i++)
		image_let_go(operations->image, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/* In a folder with the set-group-id bit new files get the folder's group, and folders also the bit. */
static int inherit(struct image *image, uint64_t parent, mode_t *mode, gid_t *gid)
{
	struct stat st;
	int rc = image_stat(image, parent, &st);
	if (rc == 0 && (st.st_mode & S_ISGID)) {
		*gid = st.st_gid;
		if (S_ISDIR(*mode))
			*mode |= S_ISGID;
	}
	return rc;
}

static int make(fuse_req_t req, struct operations *operations, uint64_t parent, const char *name, mode_t mode,
        dev_t device, struct stat *ret)
{
	const struct fuse_ctx *caller = fuse_req_ctx(req);
	gid_t gid = caller->gid;
	int rc = inherit(operations->image, parent, &mode, &gid);
	if (rc == 0)
		rc = image_make(
		        operations->image, parent, name, mode, (uint32_t)device, caller->uid, gid, ret);
	return rc;
}

static void do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	struct operations *operations = begin(req);
	struct stat st;
	if ((mode & S_IFMT) == 0)
		mode |= S_IFREG;
	int rc = make(req, operations, parent, name, mode, device, &st);
	answer_entry(req, operations, rc, &st);
}

static void do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct operations *operations = begin(req);
	struct stat st;
	int rc = make(req, operations, parent, name, S_IFDIR | (mode & 07777), 0, &st);
	answer_entry(req, operations, rc, &st);
}

/*
 * A tablespace is a symbolic link in pg_tblspc to somewhere outside the volume, which a branch would share with its parent until one of them
 * destroys the other's rows (T18).
 */
static bool is_tablespace_folder(struct image *image, uint64_t folder)
{
	struct stat st;
	return image_resolve(image, "pg_tblspc", &st) == 0 && st.st_ino == folder;
}

static void do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct operations *operations = begin(req);
	const struct fuse_ctx *caller = fuse_req_ctx(req);
	gid_t gid = caller->gid;
	mode_t mode = S_IFLNK;
	struct stat st;
	int rc = is_tablespace_folder(operations->image, parent) ? -EPERM : 0;
	if (rc == 0)
		rc = inherit(operations->image, parent, &mode, &gid);
	if (rc == 0)
		rc = image_make_link(operations->image, parent, name, target, caller->uid, gid, &st);
	answer_entry(req, operations, rc, &st);
}

static void do_link(fuse_req_t req, fuse_ino_t inode, fuse_ino_t parent, const char *name)
{
	struct operations *operations = begin(req);
	struct stat st;
	int rc = image_stat(operations->image, inode, &st);
	if (rc == 0 && S_ISLNK(st.st_mode) && is_tablespace_folder(operations->image, parent))
		rc = -EPERM;
	if (rc == 0)
		rc = image_link(operations->image, inode, parent, name, &st);
	answer_entry(req, operations, rc, &st);
}

static void do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	answer_status(req, image_unlink(begin(req)->image, parent, name));
}

static void do_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	answer_status(req, image_remove_folder(begin(req)->image, parent, name));
}

static bool is_link(struct image *image, uint64_t parent, const char *name)
{
	struct stat st;
	return image_lookup(image, parent, name, &st) == 0 && S_ISLNK(st.st_mode);
}

static void do_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
        const char *new_name, unsigned flags)
{
	struct image *image = begin(req)->image;
	int rc = 0;
	if (parent != new_parent &&
	        ((is_link(image, parent, name) && is_tablespace_folder(image, new_parent)) ||
	                ((flags & RENAME_EXCHANGE) && is_link(image, new_parent, new_name) &&
	                        is_tablespace_folder(image, parent))))
		rc = -EPERM;
	if (rc == 0)
		rc = image_rename(image, parent, name, new_parent, new_name, flags);
	answer_status(req, rc);
}

static void do_readlink(fuse_req_t req, fuse_ino_t inode)
{
	char target[4096];
	int len = image_read_link(begin(req)->image, inode, target, sizeof target - 1);
	if (len < 0) {
		answer_error(req, len);
		return;
	}
	target[len] = '\0';
	(void)fuse_reply_readlink(req, target);
}

/* ---- folders ---- */

/*
 * The kernel needs no answer to open and close what has no state here: told ENOSYS once, it does not ask again, keeps the pages of files
 * cached, and also the entries of folders, which only it changes.
 */
static void do_open(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *file)
{
	(void)begin(req);
	(void)inode;
	(void)file;
	(void)fuse_reply_err(req, ENOSYS);
}

struct listing {
	fuse_req_t req;
	char *bytes;
	size_t size, used;
	bool is_plus;
	uint64_t *told; /* inodes to hold, when is_plus */
	size_t told_count;
};

static bool list_entry(void *owner, const char *name, uint64_t offset, const struct stat *st)
{
	struct listing *listing = owner;
	size_t room = listing->size - listing->used, needed;
	bool is_dot = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
	if (listing->is_plus) {
		struct fuse_entry_param entry = entry_of(st);
		if (is_dot)
			entry.ino = 0; /* the kernel takes no reference for these two */
		needed = fuse_add_direntry_plus(
		        listing->req, listing->bytes + listing->used, room, name, &entry, (off_t)offset);
	} else {
		needed = fuse_add_direntry(
		        listing->req, listing->bytes + listing->used, room, name, st, (off_t)offset);
	}
	if (needed > room)
		return false;
	listing->used += needed;
	if (listing->is_plus && !is_dot)
		listing->told[listing->told_count++] = st->st_ino;
	return true;
}

static void list_folder(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, bool is_plus)
{
	struct operations *operations = begin(req);
	if (size > OPERATIONS_BYTES_MAX)
		size = OPERATIONS_BYTES_MAX;
	struct listing listing = { .req = req, .size = size, .is_plus = is_plus };
	listing.bytes = buffer_pool_take(operations->buffers, size);
	if (is_plus)
		listing.told = xcalloc(size / ENTRY_BYTES_MIN + 1, sizeof *listing.told);
	int rc = image_read_folder(operations->image, inode, (uint64_t)offset, list_entry, &listing);
	if (rc < 0) {
		answer_error(req, rc);
	} else {
		for (size_t i = 0; i < listing.told_count; i++)
			image_hold(operations->image, listing.told[i]);
		if (fuse_reply_buf(req, listing.bytes, listing.used) < 0)
			for (size_t i = 0; i < listing.told_count; i++)
				image_let_go(operations->image, listing.told[i], 1);
	}
	free(listing.told);
	buffer_pool_give_back(operations->buffers, listing.bytes);
}

static void do_readdir(
        fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *file)
{
	(void)file;
	list_folder(req, inode, size, offset, false);
}

static void do_readdirplus(
        fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *file)
{
	(void)file;
	list_folder(req, inode, size, offset, true);
}

/* ---- attributes ---- */

static void do_getattr(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *file)
{
	(void)file;
	struct stat st;
	int rc = image_stat(begin(req)->image, inode, &st);
	answer_attributes(req, rc, &st);
}

static void do_setattr(
        fuse_req_t req, fuse_ino_t inode, struct stat *attributes, int to_set, struct fuse_file_info *file)
{
	static const struct {
		int fuse;
		unsigned image;
	} bits[] = {
		{ FUSE_SET_ATTR_MODE, IMAGE_SET_MODE },
		{ FUSE_SET_ATTR_UID, IMAGE_SET_OWNER },
		{ FUSE_SET_ATTR_GID, IMAGE_SET_GROUP },
		{ FUSE_SET_ATTR_SIZE, IMAGE_SET_SIZE },
		{ FUSE_SET_ATTR_MTIME, IMAGE_SET_MTIME },
		{ FUSE_SET_ATTR_MTIME_NOW, IMAGE_SET_MTIME },
		{ FUSE_SET_ATTR_ATIME, IMAGE_SET_ATIME },
		{ FUSE_SET_ATTR_ATIME_NOW, IMAGE_SET_ATIME },
	};
	(void)file;
	struct operations *operations = begin(req);
	struct stat wanted = *attributes, st;
	unsigned set = 0;
	for (size_t i = 0; i < ARRAY_LEN(bits); i++)
		if (to_set & bits[i].fuse)
			set |= bits[i].image;
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		wanted.st_mtim = now;
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		wanted.st_atim = now;
	int rc = image_set(operations->image, inode, &wanted, set, &st);
	answer_attributes(req, rc, &st);
}

static void do_statfs(fuse_req_t req, fuse_ino_t inode)
{
	(void)inode;
	struct statvfs st;
	int rc = image_statfs(begin(req)->image, &st);
	if (rc < 0)
		answer_error(req, rc);
	else
		(void)fuse_reply_statfs(req, &st);
}

/* ---- content ---- */

static void do_create(
        fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *file)
{
	struct operations *operations = begin(req);
	struct stat st;
	int rc = make(req, operations, parent, name, S_IFREG | (mode & 07777), 0, &st);
	if (rc < 0) {
		answer_error(req, rc);
		return;
	}
	struct fuse_entry_param entry = entry_of(&st);
	file->keep_cache = 1;
	image_hold(operations->image, st.st_ino);
	if (fuse_reply_create(req, &entry, file) < 0)
		image_let_go(operations->image, st.st_ino, 1);
}

/* Of files that create() opened, as long as open() was never asked. */
static void do_release(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *file)
{
	(void)begin(req);
	(void)inode;
	(void)file;
	(void)fuse_reply_err(req, 0);
}

static void do_read(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *file)
{
	(void)file;
	struct operations *operations = operations_of(fuse_req_userdata(req));
	count_transfer(operations, &operations->reads);
	if (size > OPERATIONS_BYTES_MAX)
		size = OPERATIONS_BYTES_MAX;
	char *bytes = buffer_pool_take(operations->buffers, size);
	ssize_t n = image_read(operations->image, inode, bytes, size, (uint64_t)offset);
	if (n < 0) {
		answer_error(req, n);
	} else {
		count(&operations->read_bytes, (uint64_t)n);
		(void)fuse_reply_buf(req, bytes, (size_t)n);
	}
	buffer_pool_give_back(operations->buffers, bytes);
}

struct write_answer {
	fuse_req_t req;
	bool is_given;
};

static void write_will_wait(void *owner)
{
	(void)owner;
	workers_hand_over();
}

static bool write_answer(void *owner, size_t len)
{
	struct write_answer *answer = owner;
	if (!workers_may_answer())
		return false;
	answer->is_given = true;
	(void)fuse_reply_write(answer->req, len);
	return true;
}

/* A page is acknowledged before it is in its slot file where nobody can tell (workers.h K2): who wrote it goes on meanwhile. */
static void do_write(fuse_req_t req, fuse_ino_t inode, const char *bytes, size_t size, off_t offset,
        struct fuse_file_info *file)
{
	(void)file;
	struct operations *operations = operations_of(fuse_req_userdata(req));
	count_transfer(operations, &operations->writes);
	struct write_answer answer = { .req = req };
	const struct image_writer writer = {
		.will_wait = write_will_wait, .answer = write_answer, .owner = &answer
	};
	ssize_t n = image_write_answered(operations->image, &writer, inode, bytes, size, (uint64_t)offset);
	if (n > 0)
		count(&operations->written_bytes, (uint64_t)n);
	if (answer.is_given && n != (ssize_t)size) {
		operations->on_lost(operations->owner, n < 0 ? (int)-n : EIO);
		for (;;)
			(void)pause();
	}
	if (answer.is_given)
		return;
	if (n < 0)
		answer_error(req, n);
	else
		(void)fuse_reply_write(req, (size_t)n);
}

/* A folder's sync makes its names durable; it is the same call. */
static void do_fsync(fuse_req_t req, fuse_ino_t inode, int is_data_only, struct fuse_file_info *file)
{
	(void)is_data_only;
	(void)file;
	struct operations *operations = operations_of(fuse_req_userdata(req));
	count(&operations->syncs, 1);
	answer_status(req, image_sync(operations->image, inode));
}

static void do_fallocate(
        fuse_req_t req, fuse_ino_t inode, int mode, off_t offset, off_t length, struct fuse_file_info *file)
{
	(void)file;
	struct image *image = begin(req)->image;
	if (offset < 0 || length <= 0)
		answer_error(req, -EINVAL);
	else
		answer_status(req, image_allocate(image, inode, mode, (uint64_t)offset, (uint64_t)length));
}

static void do_lseek(fuse_req_t req, fuse_ino_t inode, off_t offset, int whence, struct fuse_file_info *file)
{
	(void)file;
	struct image *image = begin(req)->image;
	int64_t at = whence == SEEK_DATA || whence == SEEK_HOLE ? image_seek(image, inode, offset, whence)
	                                                        : -EINVAL;
	if (at < 0)
		answer_error(req, at);
	else
		(void)fuse_reply_lseek(req, at);
}

/*
 * What is missing here libfuse answers with ENOSYS, which the kernel remembers and deals with: extended attributes are unsupported,
 * copy_file_range() copies through memory, locks and flock() are its own, a close needs no flush.
 */
const struct fuse_lowlevel_ops operations_table = {
	.init = do_init,
	.lookup = do_lookup,
	.forget = do_forget,
	.forget_multi = do_forget_multi,
	.getattr = do_getattr,
	.setattr = do_setattr,
	.readlink = do_readlink,
	.mknod = do_mknod,
	.mkdir = do_mkdir,
	.unlink = do_unlink,
	.rmdir = do_rmdir,
	.symlink = do_symlink,
	.rename = do_rename,
	.link = do_link,
	.open = do_open,
	.read = do_read,
	.write = do_write,
	.release = do_release,
	.fsync = do_fsync,
	.opendir = do_open,
	.readdir = do_readdir,
	.readdirplus = do_readdirplus,
	.releasedir = do_release,
	.fsyncdir = do_fsync,
	.statfs = do_statfs,
	.create = do_create,
	.fallocate = do_fallocate,
	.lseek = do_lseek,
};
