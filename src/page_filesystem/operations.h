/*
 * Operations: the kernel's requests to the file system, answered from an image.
 *
 * Invariants
 *   O1  every request gets one answer; an error of the image is the caller's error (T11).
 *   O2  an inode that the kernel was told of is held in the image once for each time it was told, until the kernel forgets it (or
 *       the answer did not reach it).
 *   O3  the kernel is the only one who changes the volume while it is mounted, so it may keep names, attributes and pages as long as
 *       it likes: nothing is ever invalidated from here (T31).
 *
 * Threads: the session's workers, any number at a time. The kernel orders what concerns the same name or folder (its inode locks), so that
 * nobody removes an inode between the image's answer and image_hold().
 */
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include "base/base.h"
#include "page_store/image.h"

#define OPERATIONS_BYTES_MAX (1u << 20) /* of one read or write request */

struct operations;

/*
 * A write that was acknowledged is lost, for the reason of that errno: the process has to end, nothing else helps. Called by the worker, which
 * answers nobody any more and never comes back; it led, so no request is taken by anybody (workers.h K2).
 */
typedef void (*operations_lost_fn)(void *owner, int broken_errno);
/* Borrows the image. So many requests per second, and idle processors are kept from sleeping (base/idle_states.h). */
struct operations *operations_new(
        struct image *image, int64_t polling_requests_per_sec, operations_lost_fn on_lost, void *owner);
/* When no session uses it any more. NULL is fine. */
struct operations *operations_free(struct operations *operations);

/* For fuse_session_new(), with the operations as its user data. */
extern const struct fuse_lowlevel_ops operations_table;

/* How many requests of each kind were answered; for "look", and to know when the volume is idle. */
struct operations_count {
	uint64_t reads, writes, syncs, others;
	uint64_t read_bytes, written_bytes;
};
struct operations_count operations_count(const struct operations *operations);
/* So many per second now that processors are kept from sleeping, or should be. */
bool operations_are_many(const struct operations *operations);
/* To be called some times a second. */
void operations_tick(struct operations *operations);
