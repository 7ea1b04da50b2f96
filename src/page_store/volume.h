/*
 * Volume: the image a compute runs on, one per branch: volumes/<id>/ with data/ (PGDATA), wal/ (pg_wal, a
 * plain folder on the disk) and volume.json. The page file system will take over this interface; this first
 * form copies files (sharing blocks where the file system can, FICLONE) and will be deleted.
 * docs/formats/volume.md has the layout.
 *
 * Invariants
 *   V1  volumes/<id> exists only complete: it is made as volumes/<id>.new and renamed when synced. What a
 *       crash leaves as *.new is garbage for volume_sweep().
 *   V2  one process has a volume open at a time (a lease: flock on volumes/<id>/lease; rule 10).
 *   V3  a volume that is open is never destroyed (STATUS_CONFLICT).
 *   V4  a clone opens by archive recovery onto a timeline of its own, never by crash recovery (rules 1, 3),
 *       also when its promotion was cut off by a crash: volume_plan_start() arms the recovery again.
 *   V5  what a clone must not carry on from its parent (subscriptions, prepared transactions) is dealt with
 *       before anybody uses it: until volume_set_hygiene_done() its starts are "quiet".
 *   V6  volumes/<id>, volume.json and lease belong to the user who runs Tarn, only data/ and wal/ to the
 *       Postgres user: nothing Postgres does can lead a write of ours astray (symbolic links).
 *
 * Threads: every call blocks on the disk; call from a worker thread. Distinct volumes are independent; two
 * calls that make or destroy the same one at the same time are the caller's mistake.
 */
#pragma once

#include "base/base.h"
#include "data_directory/data_directory.h"

#define VOLUME_ID_MAX 63 /* lower-case letters, digits and '-', not first */

/* What recovery of a clone needs to know (architecture.md 3.3); made by compute/branching.c. */
struct restore_point {
	char parent_id[VOLUME_ID_MAX + 1];
	char *backup_label;       /* text for the clone's backup_label */
	uint64_t redo_lsn;        /* WAL is needed from the segment of this position … */
	uint64_t end_lsn;         /* … up to here; not a byte behind it may be replayed */
	uint32_t parent_timeline; /* timeline of [redo_lsn, end_lsn) */
	uint32_t timeline;        /* reserved by control for the clone, even; promotion picks timeline + 1 */
	uint32_t wal_segment_size;
	int postgres_major;
	bool needs_hygiene; /* the parent has subscriptions, or may have prepared transactions (V5) */
};

/*
 * A new volume from a template cluster that was shut down cleanly, with a new system identifier (as
 * pg_createsubscriber does it: pg_control edited, then pg_resetwal from bin_dir). STATUS_EXISTS when the
 * volume is there and complete: after a crash the caller may take that as success.
 */
MUST_CHECK status volume_create(const struct data_directory *dd, const char *id, const char *template_path,
        const char *bin_dir, int postgres_major, struct error *err);

/*
 * A clone has two steps, because the parent's files are copied while its backup runs, and the label comes
 * after. begin copies data/ without what pg_basebackup leaves out; finish adds the label, the WAL up to
 * point->end_lsn (the tail segment zeroed behind it), the timeline's history file and recovery.signal,
 * syncs, and renames (V1). Tablespaces are refused. Anything wrong: volume_clone_abort() removes the
 * half-made clone. Unlogged tables are empty in a clone, as after any recovery.
 */
MUST_CHECK status volume_clone_begin(
        const struct data_directory *dd, const char *parent_id, const char *id, struct error *err);
MUST_CHECK status volume_clone_finish(const struct data_directory *dd, const char *id,
        const struct restore_point *point, struct error *err);
void volume_clone_abort(const struct data_directory *dd, const char *id);

struct volume;
/* Takes the lease. STATUS_NOT_FOUND, STATUS_CONFLICT (open elsewhere), STATUS_CORRUPT (bad volume.json). */
MUST_CHECK status volume_open(
        const struct data_directory *dd, const char *id, struct volume **ret, struct error *err);
struct volume *volume_close(struct volume *volume); /* NULL is fine; always returns NULL */
static inline void volume_closep(struct volume **volume)
{
	*volume = volume_close(*volume);
}
const char *volume_data_path(const struct volume *volume); /* PGDATA */
int volume_postgres_major(const struct volume *volume);
/* The timeline reserved for this clone (even); 0 when the volume was never a clone. */
uint32_t volume_recovery_timeline(const struct volume *volume);

/* How Postgres must be started on the volume this time. */
struct volume_start {
	uint32_t recovery_timeline; /* to give as recovery_target_timeline; 0: an ordinary start */
	bool is_quiet;              /* V5: no logical replication worker may start, no client may come in */
	int min_prepared_transactions; /* a lower max_prepared_transactions ends recovery in FATAL (T15) */
};

/* To be asked before every start, while no Postgres runs on the volume. Repairs a cut-off promotion (V4). */
MUST_CHECK status volume_plan_start(struct volume *volume, struct volume_start *ret, struct error *err);
MUST_CHECK status volume_set_hygiene_done(struct volume *volume, struct error *err);

/* Revision of the last spec whose roles and databases were applied; kept durably in the volume. */
int64_t volume_applied_revision(const struct volume *volume);
MUST_CHECK status volume_set_applied_revision(struct volume *volume, int64_t revision, struct error *err);

/* A missing volume is fine. The name is gone durably first, the bytes after. */
MUST_CHECK status volume_destroy(const struct data_directory *dd, const char *id, struct error *err);
/* STATUS_NOT_FOUND when there is none. */
MUST_CHECK status volume_space(
        const struct data_directory *dd, const char *id, int64_t *ret_bytes, struct error *err);

/*
 * Removes half-made and half-destroyed volumes (*.new, *.dead), at control's start, and tells of every complete one.
 * A complete volume is never removed here, known to the metadata or not: an older metadata.db put back from a backup
 * does not know the newest databases.
 */
MUST_CHECK status volume_sweep(const struct data_directory *dd,
        void (*on_complete)(void *owner, const char *id), void *owner, struct error *err);
