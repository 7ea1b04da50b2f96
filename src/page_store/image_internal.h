/*
 * What the files of the image share (image.c, image_names.c, image_pages.c, image_read.c, image_sync.c, image_cut.c, image_fold.c).
 *
 * Locks, in the order in which they are taken:
 *
 *   fold_lock    one fold at a time
 *   cut_lock     one cut, or one exchange of layers after a fold, at a time: the stack
 *   tree_lock    names, and which inodes there are (read or write); memory only, never held across a call to the disk
 *   inode.io     content and attributes of one inode are being changed; held across the disk
 *   inode.lock   attributes, maps and states of pages of one inode; memory only
 *   epoch_lock   which layer is open; records are appended under it, so that a cut falls between two records
 *   layers_lock  index -> sealed layer
 *
 * An epoch is the time of one open layer. A change belongs to the epoch that it finds when it begins; inode.open is what an inode changed in
 * its newest epoch. The first change in a later epoch moves inode.open to inode.sealing, together with size and times as they are then; the
 * sealer does it for all others. That needs inode.io, so that no write is under way.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "page_store/cut_tail.h"
#include "page_store/file_tree.h"
#include "page_store/image.h"
#include "page_store/page_map.h"

struct fold;
struct unsealed;

struct epoch {
	uint64_t number;        /* 1, 2, … since the mount */
	struct layer *layer;    /* unsealed; owned */
	uint64_t begin;         /* of its journal, when it held nothing */
	struct unsealed *first; /* what inodes changed in it; epoch_lock */
	_Atomic uint64_t page_count;
	_Atomic uint64_t dirty_count; /* with those that are just being written (image_owe_pages) */
};

/* What one inode changed in one epoch. */
struct unsealed {
	struct open_map map;
	struct epoch *epoch;
	struct image_inode *inode;
	struct unsealed *next, **link; /* in the epoch's list */
	uint64_t size;                 /* in inode.sealing: as of the cut */
	int64_t mtime_nsec, ctime_nsec;
};

struct image_inode {
	struct inode base;
	_Atomic uint64_t hold_count; /* by the kernel */
	_Atomic uint32_t use_count;  /* calls that are at work with it */

	pthread_mutex_t io;
	pthread_mutex_t lock;
	pthread_cond_t is_synced; /* is_syncing has ended */
	bool is_syncing;          /* pages may be committing */
	bool is_counted;          /* its size in image.logical_bytes: it has a name, or is about to lose it */
	struct page_map map;
	uint32_t map_generation;
	struct unsealed *open, *sealing;

	/* epoch_lock: the last record that concerns it, to be durable before a sync of it returns. */
	uint64_t record_epoch, record_end;
	bool are_times_new; /* of a folder: not in a record yet; tree_lock */
};

/* Slot files of a file that is gone, to be removed when the record that says so is durable. */
struct removal {
	uint64_t epoch, inode, position;
};

/* Of the store's disk, as of a moment ago. */
struct free_space {
	atomic_bool is_ample;
	_Atomic uint64_t pages; /* answered since the last look */
	_Atomic int64_t looked_usec;
};

struct image {
	struct store *store; /* borrowed */
	char *volume_id;
	int lock_fd;

	pthread_mutex_t cut_lock;
	struct stack stack;

	pthread_rwlock_t tree_lock;
	struct file_tree *tree;
	uint64_t *new_times; /* folders that are_times_new */
	size_t new_time_count;

	pthread_mutex_t epoch_lock;
	struct epoch *_Atomic open;
	struct epoch *sealing; /* NULL: none */
	struct removal *removals;
	size_t removal_count;
	struct layer **unfinished; /* sealed, held, to be given to layer_finish_seal() */
	size_t unfinished_count;

	pthread_rwlock_t layers_lock;
	struct layer **layers; /* by index; [0] is none; several may be the same after folds */
	size_t index_count;
	uint16_t *order; /* indexes of the different layers, bottom first */
	size_t order_count;
	uint32_t generation; /* of the indexes: maps of an older one are thrown away */

	_Atomic int64_t logical_bytes;
	_Atomic uint64_t owed_bytes; /* image_owe() */
	_Atomic int broken_errno;    /* I3: nothing will be synced any more */
	_Atomic uint64_t bad_pages;
	uint64_t answer_end; /* writes that go beyond are not answered early */
	struct free_space free_space;

	pthread_mutex_t fold_lock; /* before cut_lock */
	struct fold *fold;         /* under way, its pages are being copied; NULL: none */

	pthread_mutex_t scrub_lock;
	struct layer *scrub_layer; /* held; NULL: begin the next */
	size_t scrub_position;     /* of the next in the order; layers_lock */
	size_t scrub_file, scrub_entry;

	pthread_t flusher;
	pthread_mutex_t flusher_lock;
	pthread_cond_t flusher_wake;
	bool has_flusher, flusher_must_end;
};

static inline struct image_inode *image_inode_of(struct inode *inode)
{
	return (struct image_inode *)inode; /* it begins with it; file_tree_owner.inode_bytes */
}

/* ---- image.c ---- */
int64_t image_now_nsec(void);
struct image_inode *image_take(struct image *image, uint64_t number); /* NULL: no such inode */
void image_give_back(struct image *image, struct image_inode *inode);
/* A regular file to work with, taken; or why not: negative errno. */
int image_take_file(struct image *image, uint64_t number, struct image_inode **ret);
/* Removes it when nobody needs it any more; with tree_lock held for writing. */
void image_remove_if_unused(struct image *image, struct image_inode *inode);
int image_break(struct image *image, int failure);                 /* I3; returns -EIO */
void image_fill_stat(struct image_inode *inode, struct stat *ret); /* with inode.lock */

struct epoch *image_epoch_new(uint64_t number, struct layer *layer, uint64_t begin); /* takes the layer */
struct epoch *image_epoch_free(struct epoch *epoch); /* NULL is fine; always returns NULL */
/* The folder and journal of the stack's next layer, durable; the stack is not changed. Under the store's lock. */
MUST_CHECK status image_make_next_layer(struct store *store, const char *volume_id, const struct stack *stack,
        struct layer **ret, struct error *err);

/*
 * ---- image_room.c: a full disk refuses a change, and never breaks the image ----
 *
 * At any time the journal of an epoch has room (journal_reserve) for all that may still be appended to it:
 *
 *   for each dirty page of the epoch, one that is being written included: a record of its own, the dearest way to commit it;
 *   in the open one, for each change of names or attributes under way: its record, and one for each folder whose times are new.
 *
 * Whoever adds to this counts it first, then asks the journal for room for the whole, and takes it back if there is none: of two who do
 * so at the same time each sees both. What is appended counts twice until it is taken off. A cut takes over owed_bytes: the new journal
 * has room for them before it becomes the open one.
 */
#define IMAGE_RECORD_MAX 2048u /* of any change of names or attributes but the target of a symbolic link */
#define IMAGE_TIMES_MAX  128u  /* of image_flush_times(), for one folder */
/* 0 or a negative errno, then nothing is owed. Blocks on the disk: without tree_lock and inode.lock. */
MUST_CHECK int image_owe(struct image *image, uint64_t bytes);
void image_pay(struct image *image, uint64_t bytes);
/*
 * Pages of the epoch are about to become dirty: dirty_count has them now. A truncation is one, until its record is appended; as it gives room, and
 * not much is needed, it may take what is kept back for changes of names.
 */
MUST_CHECK int image_owe_pages(struct image *image, struct epoch *epoch, uint64_t count);
MUST_CHECK int image_owe_truncation(struct image *image, struct epoch *epoch);
void image_pay_pages(struct epoch *epoch, uint64_t count);
/* Where a file ends at most that no limit of this process or of a disk's file system can be in the way of. */
uint64_t image_answer_end(void);
/* Is there so much free space on the disk, as of a moment ago, that `count` pages more will find room unless others fill it within that moment? */
bool image_has_ample_space(struct image *image, uint32_t count);
/* A new layer may become the open one. */
MUST_CHECK int image_reserve_layer(struct image *image, struct layer *layer);

/* ---- image_sync.c ---- */
/* Appends a record to the open layer's journal, which concerns these inodes (the second may be NULL); the caller has no epoch_lock. */
void image_append(
        struct image *image, struct slice changes, struct image_inode *first, struct image_inode *second);
/* With io and lock: what the inode has of the open epoch, to be written to. */
struct unsealed *image_enter(struct image *image, struct image_inode *inode);
/* With io, lock: moves what is of an older epoch to inode.sealing; epoch_lock held. */
void image_settle(struct image *image, struct image_inode *inode);
/* With io and lock: a CHANGE_INODE of all that it is now. */
void image_append_attributes(struct image *image, struct image_inode *inode);
/* With io and lock: pages >= first_block are gone; the size is set already. */
void image_append_truncate(
        struct image *image, struct image_inode *inode, struct unsealed *open, uint64_t first_block);
void unsealed_free(struct image *image, struct unsealed *unsealed); /* NULL is fine; takes epoch_lock */
/* With lock: a file's size, as told by image_usage.logical_bytes. */
void image_set_size(struct image *image, struct image_inode *inode, uint64_t size);

/*
 * Commits what inodes (ascending) changed and have not synced, with one sync of the journals per batch. only_sealing: what belongs to a cut that
 * is being sealed, and nothing newer.
 */
int image_commit(struct image *image, const uint64_t *inodes, size_t count, bool only_sealing);
int image_sync_journals(struct image *image);
/* Inodes that changed something in the epoch (NULL: in any that is not sealed); ascending; the caller frees. */
uint64_t *image_list_changed(struct image *image, const struct epoch *epoch, size_t *ret_count);
/* New times of folders get into a record. */
void image_flush_times(struct image *image);
void image_do_removals(struct image *image);
/* Gives back what layers sealed lately do not need; nobody waits for that. */
void image_finish_seals(struct image *image);

/* ---- image_read.c: where pages are, and what is there ---- */
struct image_location {
	struct layer *layer; /* NULL: zeros */
	uint32_t slot, crc;
};
/* The files of a request's pages in sealed layers, mostly the same one again and again. Zeros to begin with. */
struct image_lookup {
	const struct layer *layer;
	struct layer_file file;
	size_t next_entry;
	bool has_file;
};
/* With inode.lock and layers_lock (for reading). The layer is not held. Negative errno. */
int image_locate(struct image *image, struct image_inode *inode, uint32_t block, struct image_lookup *lookup,
        struct image_location *ret);
/* With inode.lock: looks up `count` pages from `block` on; the layers are held. Negative errno. */
int image_locate_and_hold(struct image *image, struct image_inode *inode, uint32_t block, uint32_t count,
        struct image_location *locations);
bool image_page_fits(const struct image_inode *inode, const struct image_location *location, uint32_t block,
        const void *page);
/* With io, so that no write to the inode is under way; only folds and syncs may move the page. Negative errno. */
int image_read_page(struct image *image, struct image_inode *inode, uint32_t block, void *page);

/* ---- image_pages.c ---- */
int image_truncate(struct image *image, struct image_inode *inode, uint64_t size); /* with io, without lock */
/* Zeros from `offset` on in a page below the end of a file. 1: it was written; 0: there is nothing to clear. */
int image_clear_page_tail(struct image *image, uint64_t number, uint32_t block, uint32_t offset);

/* ---- image_replay.c: what journals and manifests say, into a tree ---- */
struct replay {
	struct file_tree *tree;
	struct open_map *(*map_of)(void *owner, struct inode *inode);
	void *owner;
	size_t record_count;     /* so far */
	struct cut_tails *tails; /* never NULL */
};
MUST_CHECK status replay_changes(
        void *replay, struct slice changes, struct error *err); /* a journal_record_fn */
MUST_CHECK status replay_check_root(const struct file_tree *tree, struct error *err);

/* ---- image_seal.c ---- */
struct sealed {
	struct layer *layer;
	uint64_t pages;
	int64_t logical_bytes;
};
/*
 * Makes the manifest of a layer from its journal and the layers below, bottom first, durably, and opens it. `is_needed` says of a file that has no
 * name whether its pages are still needed. NULL: it is a layer that a crash left; none is, and what its truncations cut off is cleared in it first. Only
 * then are layers needed that are not right below.
 */
MUST_CHECK status image_seal_layer(struct store *store, const struct layer_ref *ref,
        struct layer *const *below, size_t below_count, bool (*is_needed)(void *owner, uint64_t inode),
        void *owner, struct sealed *ret, struct error *err);
MUST_CHECK status image_open_layer(
        struct store *store, const struct layer_ref *ref, struct layer **ret, struct error *err); /* sealed */

/* ---- image_cut.c ---- */
/* The sealed layer is one more on top; STATUS_OK always, the maps may be thrown away for it. */
uint16_t image_push_layer(struct image *image, struct layer *layer);
