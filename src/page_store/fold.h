/*
 * Fold: the upper of two adjacent sealed layers becomes part of the lower one: its pages are copied into slots that the lower layer X
 * does not use, and X's next version is published, which shows what X and the upper layer Y showed together. The cost is that of Y, whatever the
 * size of X.
 *
 * Invariants
 *   F1  until X's next version is published, nothing that anybody can read has changed: only slots that X's one version in use does not
 *       name are written. A fold that is killed leaves garbage in them, no more.
 *   F2  X and Y are named by nobody but the volume's own stack and points, [X, Y] is adjacent wherever one of them occurs, and one version
 *       of X is in use. Checked when chosen, and again, under the store's lock, before anything is pointed to the new version.
 *   F3  a reference [.., X@v, Y, ..] and [.., X@w, ..] show the same when X@w says that it was made of X@v and Y. So references may be rewritten
 *       one by one; what a kill leaves undone is done by the next fold_choose() of the volume.
 *   F4  who folds into X or gives back its space has the lock on X's folder (flock), from fold_choose() to fold_free().
 *
 * The volume's newest sealed layer is never the upper one: a restore point that ends at it may be about to be written. Whoever writes one must
 * take the layers from the stack as it is then, under the store's lock (fold_find_cut()).
 *
 * Use, by the one process that has the volume's image open (image.h I6), without the store's lock:
 *
 *   fold_choose()     -> NULL: nothing to do
 *   fold_pages()      until done: long, reads and writes go on
 *   -- from here to the exchange of the image's own layers nobody else may write the volume's stack (a cut) --
 *   fold_publish()    -> true: the stack on disk has fold_result() where X and Y were
 *   the image takes fold_result() for X and Y, and waits until nobody reads X at its old version
 *   fold_free()
 *
 * Threads: one at a time per fold; different volumes are independent. Every call blocks on the disk.
 */
#pragma once

#include "base/base.h"
#include "page_store/layer.h"
#include "page_store/stack.h"
#include "page_store/store.h"

struct fold;

/*
 * The pair whose upper layer is the cheapest, or NULL. What an interrupted fold left is handed out first, as a fold whose pages are
 * all copied.
 */
MUST_CHECK status fold_choose(
        struct store *store, const char *volume_id, struct fold **ret, struct error *err);
const struct layer_ref *fold_lower(const struct fold *fold);
const struct layer_ref *fold_upper(const struct fold *fold);
uint64_t fold_page_count(const struct fold *fold); /* to be copied, all in all */

/*
 * Copies up to `budget` more pages. STATUS_CORRUPT: a page of the upper layer does not fit its checksum. After any error what was
 * copied is given back, and the fold can only be freed.
 */
MUST_CHECK status fold_pages(struct fold *fold, uint64_t budget, bool *ret_done, struct error *err);
/*
 * After fold_pages() is done: publishes, and points the volume's points and then its stack to the new version. *ret_is_published is false when
 * F2 does not hold any more: nothing has changed. After an error the stack on disk is the old or the new one; both show the same and both
 * stay readable as long as the old layers are open.
 */
MUST_CHECK status fold_publish(struct fold *fold, bool *ret_is_published, struct error *err);
/* The lower layer at its new version, open; borrowed (layer_hold() to keep it). After fold_publish() said true. */
struct layer *fold_result(struct fold *fold);
struct fold *fold_free(struct fold *fold); /* NULL is fine; always returns NULL */

/*
 * For writers of restore points: the layers of the stack, as it is now, up to the one that the cut `layers` ended with; they show
 * what the cut showed. 0: it has been folded with later ones meanwhile, so that there is no such cut any more (cut again).
 */
size_t fold_find_cut(const struct stack *stack, const struct layer_ref *layers, size_t count);
