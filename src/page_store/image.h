/*
 * Image: an opened volume: a POSIX file tree over a stack of layers, the last of which takes the changes. The page file system serves it
 * to Postgres; control opens it directly to prepare a clone.
 *
 * Invariants
 *   I1  a read gives what the last write gave; a page never written is zeros; a page whose checksum does not fit is EIO.
 *   I2  a write of a whole page replaces it whole: after any crash a page is as it was before or after one of the writes since its last sync, never
 *       a mix (two slots, layer.h L1).
 *   I3  image_sync() returns when the inode's pages, size and every change of names before it are durable. A failure of the disk
 *       is an error of this and every later sync, and of nothing that was acknowledged before (T11).
 *   I4  a crash loses nothing synced, and gives the tree as it was at some moment not before the last sync, with pages as I2 says.
 *   I5  a cut is atomic: its layers show every change acknowledged before the cut, and none begun after it. It is told as made only
 *       when all of that is durable, whether synced or not.
 *   I6  one process has an image open for writing at a time (flock on stores/STORE/stacks/ID.lock: also while the volume's folder is being made).
 *
 * File operations return 0 or a count, or a negative errno. Threads: all calls from any thread; the cut excludes changes for the exchange of a
 * pointer only.
 */
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>

#include "base/base.h"
#include "data_directory/data_directory.h"
#include "page_store/stack.h"
#include "page_store/store.h"

#define IMAGE_ROOT 1 /* inode of the root folder */

struct image;

/*
 * Opens the volume that has a stack in `store` (borrowed until close) for writing. Replays the journals that a crash left; seals all but the last.
 * STATUS_CONFLICT: open elsewhere. STATUS_CORRUPT: told with the layer's name; nothing was changed.
 */
MUST_CHECK status image_open(const struct data_directory *dd, struct store *store, const char *volume_id,
        struct image **ret, struct error *err);
/* Syncs everything first unless that fails (logged by the caller: err). NULL is fine. */
MUST_CHECK status image_close(struct image *image, struct error *err);
/* As a kill -9 would leave it; for the way out after a failure, and for tests. */
void image_abandon(struct image *image);

/*
 * A new volume's stack: layers of `point` (NULL: empty, with an empty root folder 0700 of uid:gid) and a fresh open layer. Durable; the
 * caller holds the store's lock. STATUS_EXISTS.
 */
MUST_CHECK status image_create(struct store *store, const char *volume_id, const struct layer_ref *layers,
        size_t layer_count, uint32_t uid, uint32_t gid, struct error *err);

/* ---- names ---- */
MUST_CHECK int image_lookup(struct image *image, uint64_t parent, const char *name, struct stat *ret);
/* "base/1/1259" from the root; does not follow symbolic links. */
MUST_CHECK int image_resolve(struct image *image, const char *path, struct stat *ret);
/* A file, folder, FIFO, … by the type in mode. EEXIST, ENAMETOOLONG, ENOTDIR, … as the system calls say. */
MUST_CHECK int image_make(struct image *image, uint64_t parent, const char *name, mode_t mode,
        uint32_t device, uid_t uid, gid_t gid, struct stat *ret);
MUST_CHECK int image_make_link(struct image *image, uint64_t parent, const char *name, const char *target,
        uid_t uid, gid_t gid, struct stat *ret);
MUST_CHECK int image_link(
        struct image *image, uint64_t inode, uint64_t parent, const char *name, struct stat *ret);
MUST_CHECK int image_unlink(struct image *image, uint64_t parent, const char *name);
MUST_CHECK int image_remove_folder(struct image *image, uint64_t parent, const char *name);
/* flags: 0, RENAME_NOREPLACE, RENAME_EXCHANGE */
MUST_CHECK int image_rename(struct image *image, uint64_t parent, const char *name, uint64_t new_parent,
        const char *new_name, unsigned flags);
MUST_CHECK int image_read_link(
        struct image *image, uint64_t inode, char *ret, size_t size); /* length; not terminated */
/*
 * Entries behind `offset` (0: from the start), "." and ".." included, until on_entry returns false. An entry's offset stays valid and is never
 * shown twice or left out while others come and go.
 */
typedef bool (*image_entry_fn)(void *owner, const char *name, uint64_t offset, const struct stat *st);
MUST_CHECK int image_read_folder(
        struct image *image, uint64_t inode, uint64_t offset, image_entry_fn on_entry, void *owner);

/*
 * The kernel's references: an inode without a name lives while it is held. lookup, resolve, make*, link and read_folder do not hold by themselves.
 */
void image_hold(struct image *image, uint64_t inode);
void image_let_go(struct image *image, uint64_t inode, uint64_t count);

/* ---- content ---- */
MUST_CHECK int image_stat(struct image *image, uint64_t inode, struct stat *ret);
enum {
	IMAGE_SET_MODE = 1,
	IMAGE_SET_OWNER = 2,
	IMAGE_SET_GROUP = 4,
	IMAGE_SET_SIZE = 8,
	IMAGE_SET_MTIME = 16,
	IMAGE_SET_ATIME = 32
};
/* Takes from `attributes` what `set` names; atime is kept in memory only. */
MUST_CHECK int image_set(
        struct image *image, uint64_t inode, const struct stat *attributes, unsigned set, struct stat *ret);
MUST_CHECK ssize_t image_read(struct image *image, uint64_t inode, void *bytes, size_t len, uint64_t at);
MUST_CHECK ssize_t image_write(
        struct image *image, uint64_t inode, const void *bytes, size_t len, uint64_t at);
/*
 * The same for who can answer the writer before it is done. One of the two at most is called, on the caller's thread, with locks of the image held.
 *   will_wait  it may take long, for a sync, for a read or for another call that is at work with the file: time to let somebody else serve others
 *   answer     the writer may be told that all `len` bytes are written. Only a disk that fails, or is filled by others within a moment, can still
 *              refuse them. Not called for what is not whole pages, nor on a disk that is nearly full. False: the caller does not want to.
 * From the answer until the call returns nobody may begin a call of which that writer could expect to see his bytes; a sync, a cut or a close under way
 * has them. Should it fail (< 0) after the answer, the image is broken: nothing becomes durable any more, and the caller must see to it that nobody
 * is served from it, as what was acknowledged is not there. Opened anew it is as of what was synced.
 */
struct image_writer {
	void (*will_wait)(void *owner);
	bool (*answer)(void *owner, size_t len);
	void *owner;
};
MUST_CHECK ssize_t image_write_answered(struct image *image, const struct image_writer *writer,
        uint64_t inode, const void *bytes, size_t len, uint64_t at);
/* mode as fallocate(2): 0, FALLOC_FL_KEEP_SIZE, and either with FALLOC_FL_PUNCH_HOLE / ZERO_RANGE; else EOPNOTSUPP. */
MUST_CHECK int image_allocate(struct image *image, uint64_t inode, int mode, uint64_t at, uint64_t len);
/* SEEK_DATA, SEEK_HOLE at page granularity. */
MUST_CHECK int64_t image_seek(struct image *image, uint64_t inode, int64_t at, int whence);
MUST_CHECK int image_sync(struct image *image, uint64_t inode); /* a file or a folder */
MUST_CHECK int image_sync_all(struct image *image);
MUST_CHECK int image_statfs(struct image *image, struct statvfs *ret);

/* ---- the stack ---- */
struct image_cut {
	struct layer_ref *layers; /* sealed, bottom first; the caller frees */
	size_t layer_count;
	int64_t pause_usec;    /* for how long changes waited */
	uint64_t pages;        /* distinct pages in the layer that was sealed */
	int64_t logical_bytes; /* sum of the file sizes at the cut */
};
/*
 * Seals the open layer and begins a new one (I5). When nothing changed since the last cut, the layers are those of that one and nothing is
 * written. Blocks until durable; a second call waits for the first. After a failure the image goes on with its layers as they are.
 */
MUST_CHECK status image_cut(struct image *image, struct image_cut *ret, struct error *err);

struct image_usage {
	int64_t logical_bytes; /* sum of the file sizes */
	uint64_t open_pages;   /* distinct pages in the open layer */
	uint64_t unsynced_pages;
	size_t depth; /* layers, the open one included */
	int broken_errno; /* not 0: a sync failed, and every later one will; to be opened anew, which goes back to what is durable */
};
void image_look(struct image *image, struct image_usage *ret);

/*
 * Housekeeping, one step of at most some megabytes: folds the best pair of adjacent sealed layers that no reference separates (fold.h), and
 * gives the space back after the last step of it. *ret_done: there was nothing to do. Reads and writes go on meanwhile.
 */
MUST_CHECK status image_fold_step(struct image *image, bool *ret_done, struct error *err);

/* Reads and checks every page of every sealed layer, from where the last call stopped; `budget_pages` per call. */
struct image_scrub {
	uint64_t pages_checked, pages_bad;
	bool is_round_over;
	char first_bad[256];
};
MUST_CHECK status image_scrub_step(
        struct image *image, uint64_t budget_pages, struct image_scrub *ret, struct error *err);
