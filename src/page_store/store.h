/*
 * Store: the layers of one project, and every reference to them: stores/ID/.
 *
 *   store.json                 format version
 *   lock                       flock, held for the moments in which references change
 *   layers/<layer id>/         layer.h
 *   stacks/<volume id>.json    the layers of a volume, bottom first; the last is its open one (stack.h)
 *   points/<volume id>/<n>.json   restore points (restore_point.h)
 *   snapshots/<id>/            point.json and wal/: restore points that outlive their branch
 *   garbage/<n>                layers on their way out: nobody finds them any more
 *
 * Invariants
 *   S1  a layer (at a version) is needed while a stack, a point or a snapshot of its store names it; what none names is garbage. Nothing is
 *       counted (T24): the references are read.
 *   S2  a reference is made only from an existing reference, and references are made, removed and read for garbage only under the
 *       lock: what is needed cannot become garbage in between.
 *   S3  the reference goes first, the files later. A crash leaks, and the next sweep finds what leaked.
 *       Who was killed may have made, replaced or removed a reference without making that durable, and a power loss can bring back what was
 *       before. So what references do not name is removed only after store_sync_references().
 *   S4  layers of a template's store ("template-…") are named from all stores and are never garbage.
 *
 * Threads: every call blocks on the disk. The lock excludes other processes and other threads.
 */
#pragma once

#include "base/base.h"
#include "data_directory/data_directory.h"
#include "page_store/layer.h"

#define STORE_VERSION         1
#define STORE_TEMPLATE_PREFIX "template-"

struct store;

/* Makes it if it is not there; a half-made one is completed. */
MUST_CHECK status store_create(
        const struct data_directory *dd, const char *id, struct store **ret, struct error *err);
/* STATUS_NOT_FOUND; STATUS_UNSUPPORTED: made by a newer Tarn. */
MUST_CHECK status store_open(
        const struct data_directory *dd, const char *id, struct store **ret, struct error *err);
struct store *store_close(struct store *store);
static inline void store_closep(struct store **store)
{
	*store = store_close(*store);
}
const char *store_id(const struct store *store);
/* "DIR/stores/ID/" + the formatted rest; the caller frees. */
PRINTF_LIKE(2) char *store_path(const struct store *store, const char *fmt, ...);

int store_folder(const struct store *store); /* its descriptor, borrowed */

/* S2. Not recursive. */
MUST_CHECK status store_lock(struct store *store, struct error *err);
void store_unlock(struct store *store);
bool store_is_locked(const struct store *store); /* by somebody in this process; for assertions */

/* The folder of a layer, of this store or of a template's; *ret_fd is the caller's. */
MUST_CHECK status store_open_layer_folder(
        const struct store *store, const struct layer_ref *ref, int *ret_fd, struct error *err);
/* Makes it durably, empty; an old one of that name that nobody references is removed first. Under the lock. */
MUST_CHECK status store_make_layer_folder(
        const struct store *store, const char *layer_id, int *ret_fd, struct error *err);

/*
 * Who names a layer? Calls on_ref for every reference in the store: stacks, points, snapshots. Under the lock. A record that cannot be
 * read is an error: nothing may be called garbage then.
 */
struct store_reference {
	const char *volume_id; /* of the stack or point; NULL: a snapshot */
	bool is_stack;
	uint64_t point; /* number of a restore point; 0: not one */
	const struct layer_ref *stack;
	size_t stack_count;
};
typedef void (*store_reference_fn)(void *owner, const struct store_reference *reference);
MUST_CHECK status store_each_reference(
        const struct store *store, store_reference_fn on_reference, void *owner, struct error *err);
/*
 * The references that are there are durable now, and those that are not there do not come back (S3). The lock is not needed by who has
 * read them before: what none named then, none can name later (S2).
 */
MUST_CHECK status store_sync_references(const struct store *store, struct error *err);

/*
 * Removes what nobody names: layers, old versions of manifests, slots that only old versions named (those are given back by punching).
 * Takes the lock itself, only for looking and renaming. `ret_bytes` may be NULL: disk space given back.
 */
MUST_CHECK status store_collect_garbage(struct store *store, int64_t *ret_bytes, struct error *err);
/* The whole store, when its project is purged. A missing one is fine. Never a template's (STATUS_INVALID). */
MUST_CHECK status store_destroy(const struct data_directory *dd, const char *id, struct error *err);
