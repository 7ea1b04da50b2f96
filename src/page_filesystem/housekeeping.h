/*
 * Housekeeping: what an image's layers need while it is in use: folding, so that the stack stays low, and scrubbing, so that a damaged page is
 * found before somebody needs it.
 *
 * One thread of its own, one step at a time. It folds while few requests come, or when the stack has become so deep that it must; it
 * scrubs slowly, a round a day.
 *
 * Threads: new, stop and free one; report any.
 */
#pragma once

#include "base/base.h"
#include "page_filesystem/operations.h"
#include "page_store/image.h"

struct housekeeping;

struct housekeeping_report {
	uint64_t pages_checked, pages_bad; /* since the start */
	char first_bad[256];
	uint64_t folds;
	char error[256]; /* of the last step; empty when it went well */
};

/* Called once, from the thread, when a sync of the image has failed: nothing will become durable any more. */
typedef void (*housekeeping_broken_fn)(void *owner, int broken_errno);

/* Borrows image and operations. */
MUST_CHECK status housekeeping_start(struct image *image, struct operations *operations,
        housekeeping_broken_fn on_broken, void *owner, struct housekeeping **ret, struct error *err);
struct housekeeping_report housekeeping_look(struct housekeeping *housekeeping);
/*
 * Begins no step any more. True: it has ended, and the image is its caller's alone. False: a step is still going on; then neither the image
 * nor this may be freed.
 */
MUST_CHECK bool housekeeping_stop(struct housekeeping *housekeeping, int64_t patience_usec);
/* After a stop that was true. NULL is fine; always returns NULL. */
struct housekeeping *housekeeping_free(struct housekeeping *housekeeping);
