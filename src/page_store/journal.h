/*
 * Journal: what has happened to an unsealed layer, in order; a file of checksummed records. docs/formats/layer.md has the bytes.
 *
 * Invariants
 *   J1  a record is whole or it is not there: replay ends at the first one whose length, checksum or position is off, and opening for
 *       writing cuts what follows away (it was never acknowledged). If a record behind it says that the place had been durable, it is
 *       STATUS_CORRUPT instead, and nothing is cut.
 *   J2  records are on disk in the order they were appended: syncing one syncs all before it.
 *   J3  after a failed write or sync nothing is ever acknowledged again: the journal is broken (fsync may not be retried, T11).
 *   J4  what journal_reserve() has said yes to can be appended and written on a full disk: its blocks are the file's already, behind its end
 *       (the length is still that of what was written). A disk that knows no such thing has none (EOPNOTSUPP): there a full disk breaks.
 *
 * Threads: append, reserve, sync and end may be called from any; syncs that wait together are one.
 */
#pragma once

#include "base/base.h"
#include "page_store/change.h"

#define JOURNAL_RECORD_MAX (1u << 30)

struct journal;

/* A new, empty one in the layer's folder, durable (the folder itself is the caller's to sync). */
MUST_CHECK status journal_create(
        int folder_fd, const char *layer_id, uint64_t layer_tag, struct journal **ret, struct error *err);

typedef status (*journal_record_fn)(void *owner, struct slice changes, struct error *err);
/*
 * Opens, gives every good record's changes to on_record in order, cuts off a torn tail, and is ready to append.
 * STATUS_NOT_FOUND: there is none. STATUS_CORRUPT: not a journal of this layer. STATUS_UNSUPPORTED: made by a newer Tarn.
 */
MUST_CHECK status journal_open(int folder_fd, const char *layer_id, journal_record_fn on_record, void *owner,
        struct journal **ret, uint64_t *ret_layer_tag, struct error *err);
struct journal *journal_close(struct journal *journal); /* NULL is fine; always returns NULL; syncs nothing */

/*
 * One record of one or more encoded changes, of at most JOURNAL_RECORD_MAX bytes; in memory only unless megabytes wait for a sync.
 * Returns its end, to give to journal_sync(). After a failure (J3) it goes nowhere, and the sync will tell.
 */
uint64_t journal_append(struct journal *journal, struct slice changes);
/*
 * Makes sure that `bytes` can be appended behind what is appended now (J4); 0, or a negative errno: there is no room. It keeps no account of who asked
 * for what: the caller asks for all that it may still append, and appends no more. Mostly only a comparison.
 */
MUST_CHECK int journal_reserve(struct journal *journal, uint64_t bytes);
bool journal_has_room(
        const struct journal *journal, uint64_t bytes); /* as journal_reserve(), without the disk */
void journal_give_back(struct journal *journal); /* what is reserved, when all that was appended is durable */
/* Blocks until everything up to `position` is durable. */
MUST_CHECK status journal_sync(struct journal *journal, uint64_t position, struct error *err);
uint64_t journal_end(const struct journal *journal);    /* position behind the last appended record */
uint64_t journal_synced(const struct journal *journal); /* everything before is durable */
