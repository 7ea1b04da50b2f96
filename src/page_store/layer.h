/*
 * Layer: what one volume changed between two cuts. A folder stores/STORE/layers/ID with two sparse slot files per file of the
 * volume (pages at their natural offsets), and a journal while it is unsealed or a manifest once it is sealed.
 * docs/formats/layer.md has the bytes.
 *
 * Invariants
 *   L1  a page that a durable journal record or a manifest names is never overwritten: new content goes to its other slot.
 *   L2  a sealed layer at one version never changes. Folding (fold.h) writes only to slots that no version in use names, and makes the next
 *       version.
 *   L3  every page read from a sealed layer is checked; one that does not fit is STATUS_CORRUPT / EIO, never returned.
 *
 * Threads: reads and writes of different pages from any thread; a layer is reference-counted (layer_hold, layer_release).
 */
#pragma once

#include <sys/uio.h>

#include "base/base.h"
#include "page_store/change.h"
#include "page_store/journal.h"
#include "page_store/page.h"

#define LAYER_ID_MAX 95 /* "<volume id>.<number>"; letters, digits, '-', '_', '.', first a letter or digit */
#define STORE_ID_MAX 63

/* Which layer, at which version. The whole truth about a volume's content is a list of these, bottom first. */
struct layer_ref {
	char store[STORE_ID_MAX + 1];
	char id[LAYER_ID_MAX + 1];
	uint32_t version; /* of the manifest; grows when another layer is folded into it */
};

struct layer;
struct slot_file;

/* `folder_fd` is the layer's folder; it is taken on success. */
MUST_CHECK status layer_create(
        int folder_fd, const struct layer_ref *ref, struct layer **ret, struct error *err);
/* Unsealed: replays its journal to on_record. */
MUST_CHECK status layer_open_unsealed(int folder_fd, const struct layer_ref *ref, journal_record_fn on_record,
        void *owner, struct layer **ret, struct error *err);
/*
 * Sealed: maps its manifest and checks it whole (STATUS_CORRUPT). STATUS_NOT_FOUND: it has none of that version (it is not sealed).
 * STATUS_UNAVAILABLE: it is just being removed. While it is open, in whatever process, layer_tidy() leaves it alone.
 */
MUST_CHECK status layer_open_sealed(
        int folder_fd, const struct layer_ref *ref, struct layer **ret, struct error *err);
struct layer *layer_hold(struct layer *layer);    /* returns it */
struct layer *layer_release(struct layer *layer); /* NULL is fine; always returns NULL */

const struct layer_ref *layer_name(const struct layer *layer);
uint64_t layer_tag(const struct layer *layer);      /* random, for page_checksum() */
struct journal *layer_journal(struct layer *layer); /* NULL: sealed */

/*
 * Pages. `slot` is 0 or 1. Slot files are opened when first touched and kept in a cache of bounded size shared by all layers of the
 * process. Errors are negative errno values: they go to a file system's caller.
 */
MUST_CHECK int layer_read_page(
        struct layer *layer, uint64_t inode, uint32_t block, uint32_t slot, void *page);
/* `count` consecutive blocks of one slot at once: as many bytes as the file has, the rest zeros. */
MUST_CHECK int layer_read_pages(
        struct layer *layer, uint64_t inode, uint32_t block, uint32_t count, uint32_t slot, void *pages);
/* The same into pieces of memory, whole pages each, which follow one another in the file; at most IOV_MAX. */
MUST_CHECK int layer_read_pieces(struct layer *layer, uint64_t inode, uint32_t block, uint32_t slot,
        const struct iovec *pieces, int count);
MUST_CHECK int layer_write_page(
        struct layer *layer, uint64_t inode, uint32_t block, uint32_t slot, const void *page);
/*
 * The same in two steps. After the first the slot file is there and open, so that only the disk itself can refuse the pages. *ret_takes_long: the
 * second will begin to write back what is in front of them (slot_file_note()). The second gives the file back, whatever its result.
 */
MUST_CHECK int layer_begin_write(struct layer *layer, uint64_t inode, uint32_t block, uint32_t count,
        uint32_t slot, struct slot_file **ret, bool *ret_takes_long);
MUST_CHECK int layer_end_write(struct slot_file *file, uint32_t block, uint32_t count, const void *pages);
MUST_CHECK int layer_write_pages(struct layer *layer, uint64_t inode, uint32_t block, uint32_t count,
        uint32_t slot, const void *pages);
/*
 * What was written before the call is durable, and the names of the slot files. `slots`: bit 0: slot 0, bit 1: slot 1. After a
 * failure every later one fails too, for any file of the layer (T11).
 */
MUST_CHECK int layer_sync_pages(struct layer *layer, uint64_t inode, unsigned slots);
MUST_CHECK int layer_allocate_pages(
        struct layer *layer, uint64_t inode, uint32_t block, uint32_t count, uint32_t slot);
/* Gives back the space of pages that nothing names; they read as zeros. */
MUST_CHECK int layer_punch_pages(
        struct layer *layer, uint64_t inode, uint32_t block, uint32_t count, uint32_t slot);
MUST_CHECK int layer_remove_file(
        struct layer *layer, uint64_t inode); /* its slot files; a missing one is fine */

/* What a sealed layer has of a file. Entries are in the mapping, packed, sorted by block. */
struct layer_file {
	uint64_t inode;
	uint32_t shadow_block;  /* of layers below only pages < shadow_block show; PAGE_BLOCKS_MAX: all */
	const uint8_t *entries; /* entry_count * PAGE_ENTRY_BYTES */
	size_t entry_count;
};
/* Sealed ones only; an unsealed one has no file. */
bool layer_find_file(const struct layer *layer, uint64_t inode, struct layer_file *ret);
size_t layer_file_count(const struct layer *layer);
struct layer_file layer_file_at(const struct layer *layer, size_t index); /* sorted by inode */
/* False: the file has no such page in this layer. */
bool layer_file_find_page(const struct layer_file *file, uint32_t block, struct page_entry *ret);
/* The volume's whole file tree at the moment of the cut: CHANGE_INODE and CHANGE_NAME, to be taken off with change_decode(). */
struct slice layer_tree(const struct layer *layer);
uint64_t layer_next_inode(const struct layer *layer);

/* Making a manifest: tree first, files in ascending order of inode, then publish. */
struct manifest_writer;
struct manifest_writer *manifest_writer_new(uint64_t layer_tag, uint64_t next_inode);
void manifest_writer_add_tree(struct manifest_writer *writer, struct slice changes);
void manifest_writer_add_file(struct manifest_writer *writer, uint64_t inode, uint32_t shadow_block,
        const struct page_entry *entries, size_t count); /* sorted by block */
/* Writes manifest.VERSION in the layer's folder, durably and whole or not at all. Frees the writer in any case. */
MUST_CHECK status manifest_writer_publish(
        struct manifest_writer *writer, int folder_fd, const struct layer_ref *ref, struct error *err);
void manifest_writer_free(struct manifest_writer *writer);

int layer_folder(const struct layer *layer); /* its descriptor, borrowed */

/*
 * Giving back space. Each takes a lock on the layer's folder that a fold into it holds too, and does nothing while another has it.
 *
 * layer_finish_seal(): to be called once, in the background, when a layer was sealed and a durable stack says so (it is not the last one any
 * more): punches the slots that its manifest does not name, removes the slot files of inodes that it does not name, and then its journal.
 */
MUST_CHECK status layer_finish_seal(struct layer *sealed, struct error *err);
/*
 * For garbage collection: of the versions of a sealed layer that is not the last in any stack, `ref` is the only one that is referenced.
 * Does what layer_finish_seal() does if that is still to be done or if there are other versions, and removes those. *ret_is_busy: somebody still reads
 * another version, or a fold is under way, and nothing was done; it will be possible later.
 *
 * is_still_so() is asked with the lock held, when no fold can come between: it looks at the references (under the store's lock) and says
 * whether `ref` is the only version referenced, and the layer not the last of a stack. NULL: it is known that nobody folds.
 */
typedef bool (*layer_check_fn)(void *owner, const struct layer_ref *ref);
MUST_CHECK status layer_tidy(int folder_fd, const struct layer_ref *ref, layer_check_fn is_still_so,
        void *owner, bool *ret_is_busy, struct error *err);
/* layer_tidy() for who has the lock, and the version in use open. */
MUST_CHECK status layer_tidy_locked(const struct layer *layer, layer_check_fn is_still_so, void *owner,
        bool *ret_is_busy, struct error *err);
/* The lock itself: a descriptor to be closed with disk_close(); -1 with EWOULDBLOCK while another has it. */
MUST_CHECK int layer_lock_folder(int folder_fd);
/* Does somebody, in whatever process, have a version of the sealed layer open? Its folder must not be removed then. */
bool layer_is_read(int folder_fd);
