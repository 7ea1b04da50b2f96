/*
 * Cut tails: pages of which a truncation cut off the end, while a replay is under way.
 *
 * A truncation to mid-page writes the page with zeros behind the new end, and then its record; a crash may leave the record without the page. The old
 * bytes behind the end would show when the file grows again, and a size that had grown already may be in the journal too. A replay therefore
 * notes every truncation to mid-page, and forgets it when the page was committed after it. What is left is cleared before anybody sees the file:
 * in the layer that is about to be sealed, before it has a manifest (image_seal.c), and in the open one before the image is open (image.c). Until that is
 * durable the journal that tells of it is there, so it may fail, on a full disk for example, or be cut off, and is done by the next open.
 *
 * Threads: one at a time.
 */
#pragma once

#include "base/base.h"

struct cut_tail {
	struct cut_tail *next;
	uint64_t inode;
	uint32_t block, offset; /* of the first byte that was cut off */
};

#define CUT_TAIL_BUCKETS 1024u

/* Zero-initialised is empty. */
struct cut_tails {
	struct cut_tail *buckets[CUT_TAIL_BUCKETS];
};

void cut_tails_done(struct cut_tails *tails); /* for CLEANUP */
void cut_tails_truncate(struct cut_tails *tails, uint64_t inode, uint64_t size);
void cut_tails_commit(struct cut_tails *tails, uint64_t inode, uint32_t block);
/* Takes one out; false: there is none any more. */
bool cut_tails_take(struct cut_tails *tails, struct cut_tail *ret);
