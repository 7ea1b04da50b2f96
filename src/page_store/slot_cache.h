/*
 * Slot cache: the open slot files of all layers of the process, in a bounded number of descriptors. One per process, because the
 * limit of descriptors is one per process; it is the only mutable state of the folder that has no owner.
 *
 * Invariants
 *   C1  a descriptor that somebody has taken is not closed.
 *   C2  a file that was written to is synced before its descriptor is closed to make room; if that fails, its owner has failed
 *       for ever. So no error of the disk gets lost with a descriptor, and a file that is not in the cache is clean.
 *
 * Threads: any.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/base.h"

/* Whose files: embedded in a layer. */
struct slot_owner {
	uint64_t serial; /* never used twice in the process */
	int folder_fd;
	atomic_int failure;          /* errno of the first sync that failed; never cleared (T11) */
	pthread_mutex_t folder_lock; /* over making files, and syncing the folder */
	uint64_t made;               /* slot files made */
	uint64_t made_and_synced;    /* of them, so many have a durable name */
};

void slot_owner_init(struct slot_owner *owner, int folder_fd); /* borrows */
/* Closes all its files without syncing; nobody may be using one. */
void slot_owner_done(struct slot_owner *owner);

struct slot_file;

#define SLOT_NAME_BYTES 24
void slot_name(char out[SLOT_NAME_BYTES], uint64_t inode, uint32_t slot); /* "00000000000000a1.0" */
/* False: not the name of a slot file. */
bool slot_name_parse(const char *name, uint64_t *ret_inode, uint32_t *ret_slot);

/* -ENOENT: not there (unless may_make); else a negative errno. To be given back. */
MUST_CHECK int slot_cache_take(
        struct slot_owner *owner, uint64_t inode, uint32_t slot, bool may_make, struct slot_file **ret);
int slot_file_fd(const struct slot_file *file);
/*
 * The bytes were written. Of a file that is written from front to back the disk gets its part as it grows, so that little is left for the sync that
 * somebody waits for (as Postgres does it, checkpoint_flush_after; it cannot see through the page file system).
 */
void slot_file_note(struct slot_file *file, uint64_t at, uint64_t len);
/* Would noting that begin to write back? It may wait for the disk's queue. */
bool slot_file_is_due(const struct slot_file *file, uint64_t at, uint64_t len);
void slot_cache_give_back(struct slot_file *file, bool was_written);
/* Makes durable what was written to the file before the call, and its name. Negative errno, and ever after. */
MUST_CHECK int slot_cache_sync(struct slot_owner *owner, uint64_t inode, uint32_t slot);
/* Closes, without syncing; the file is going to be removed. */
void slot_cache_forget(struct slot_owner *owner, uint64_t inode, uint32_t slot);

/* At most so many idle descriptors from now on; 0: by the process's limit (RLIMIT_NOFILE) again. For tests. */
void slot_cache_set_capacity(unsigned capacity);
