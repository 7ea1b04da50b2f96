/*
 * Restore point: a cut plus what recovery needs: stores/STORE/points/VOLUME/NUMBER.json, and a snapshot's point.json. docs/formats/store.md
 * has the format. Immutable once written; only a fold replaces its list of layers by an equal one.
 *
 * What makes it sound: the data was cut first; end_lsn is the end of a record (XLOG_RESTORE_POINT, or the shutdown checkpoint) that was
 * inserted and flushed after the cut (rules 1, 2, 4; T2, T6); WAL from redo_lsn to end_lsn is in the volume's archive before the point is written.
 * A branch opened from it recovers to an LSN >= end_lsn, never below.
 */
#pragma once

#include "base/base.h"
#include "page_store/stack.h"
#include "page_store/store.h"

struct restore_point {
	uint64_t number; /* of its volume, ascending in time and LSN; 1, 2, … */
	char volume_id[64];
	struct layer_ref *layers; /* sealed ones, bottom first */
	size_t layer_count;
	uint64_t redo_lsn, end_lsn; /* see above */
	uint32_t redo_timeline; /* timelines of the two; they differ only in the first point of a branch */
	uint32_t timeline;
	uint32_t wal_segment_size;
	int postgres_major;
	bool is_shut_down;   /* nothing is to be replayed: cut after a clean shutdown */
	bool needs_hygiene;  /* there are subscriptions, or may be prepared transactions (volume.h, V5) */
	int64_t time_usec;   /* wall clock: every commit before end_lsn has a timestamp <= this */
	int64_t replay_usec; /* estimated replay work of the volume since its beginning: differences count */
	int64_t logical_bytes; /* sum of the file sizes */
};

void restore_point_done(struct restore_point *point); /* for CLEANUP */
MUST_CHECK status restore_point_parse(struct slice text, struct restore_point *ret, struct error *err);
void restore_point_format(const struct restore_point *point, struct buffer *out);

MUST_CHECK status restore_point_read(const struct store *store, const char *volume_id, uint64_t number,
        struct restore_point *ret, struct error *err);
/*
 * A new one of a volume: takes the lock, takes the layers that show what the point's show from the volume's stack as it is now (fold_find_cut();
 * STATUS_CONFLICT when the cut has been folded with later ones: cut again), gives it the next number (point->number is set) and writes it.
 */
MUST_CHECK status restore_point_add(struct store *store, struct restore_point *point, struct error *err);
/* Durable, replaces; under the store's lock. For folds, which put an equal list of layers in. */
MUST_CHECK status restore_point_write(
        const struct store *store, const struct restore_point *point, struct error *err);
MUST_CHECK status restore_point_remove(const struct store *store, const char *volume_id, uint64_t number,
        struct error *err); /* under the lock */
/* Numbers, ascending; the caller frees *ret. A volume without points has none. */
MUST_CHECK status restore_point_list(const struct store *store, const char *volume_id, uint64_t **ret,
        size_t *ret_count, struct error *err);
/* STATUS_NOT_FOUND when the volume has none. */
MUST_CHECK status restore_point_newest(
        const struct store *store, const char *volume_id, struct restore_point *ret, struct error *err);
/* The newest with end_lsn <= lsn; by time: with time_usec <= time. STATUS_NOT_FOUND. */
MUST_CHECK status restore_point_find_lsn(const struct store *store, const char *volume_id, uint64_t lsn,
        struct restore_point *ret, struct error *err);
MUST_CHECK status restore_point_find_time(const struct store *store, const char *volume_id, int64_t time_usec,
        struct restore_point *ret, struct error *err);

/* Were both made by the same cut? The layers may differ: one may have been folded. */
bool restore_point_is_same(const struct restore_point *a, const struct restore_point *b);

/*
 * Snapshots: the point with its own links to WAL [redo_lsn, end_lsn] in snapshots/ID/wal. For a snapshot of a later moment the caller gives a point
 * whose end_lsn and timeline are those of the end of a record behind it, with is_shut_down false: layers and redo_lsn stay, recovery goes on to there.
 */
MUST_CHECK status snapshot_read(
        const struct store *store, const char *id, struct restore_point *ret, struct error *err);
MUST_CHECK status snapshot_create(struct store *store, const char *id, const struct restore_point *point,
        const char *archive_path, struct error *err);
MUST_CHECK status snapshot_remove(struct store *store, const char *id, struct error *err);
/* A snapshot that was made of this point; STATUS_NOT_FOUND. Under the lock. */
MUST_CHECK status snapshot_find(const struct store *store, const struct restore_point *point,
        struct restore_point *ret, struct error *err);
/* Names; the caller frees *ret and each. */
MUST_CHECK status snapshot_list(const struct store *store, char ***ret, size_t *ret_count, struct error *err);
