/*
 * Volume: what a compute runs on: volumes/ID/ with volume.json (its record), data/ (where its image is mounted: PGDATA), wal/ (pg_wal, a plain
 * folder on the disk), temp/ (base/pgsql_tmp), archive/ (wal_store) and lease. The content of PGDATA is a stack of layers in a store
 * (store.h, image.h). docs/formats/volume.md has the layout.
 *
 * Invariants
 *   V1  volumes/<id> exists only complete: it is made as volumes/<id>.new and renamed when synced, after its stack is written. What a crash
 *       leaves as *.new, and a stack without a volume, is garbage for volume_sweep().
 *   V2  one supervisor has a volume open at a time (flock on volumes/<id>/lease; rule 10), and one process its image (image.h I6).
 *   V3  a volume that is open is never destroyed (STATUS_CONFLICT).
 *   V4  a clone opens by archive recovery onto a timeline of its own, never by crash recovery (rules 1, 3),
 *       also when its promotion was cut off by a crash: volume_plan_start() arms the recovery again.
 *   V5  what a clone must not carry on from its parent (subscriptions, prepared transactions) is dealt with before anybody uses it: until
 *       volume_set_hygiene_done() its starts are "quiet".
 *   V6  everything but wal/, temp/ and what is inside the image belongs to the user who runs Tarn: nothing Postgres does can lead a
 *       write of ours astray (symbolic links).
 *   V7  nobody gets into a clone whose recovery did not end exactly at the LSN that it was made for: Postgres takes damaged or missing WAL for the
 *       end of WAL, and opens without what was committed behind it. volume_check_recovery() compares.
 *
 * Threads: every call blocks on the disk; call from a worker thread. Distinct volumes are independent; two calls that make or destroy the same
 * one at the same time are the caller's mistake.
 */
#pragma once

#include <stdatomic.h>

#include "base/base.h"
#include "data_directory/data_directory.h"
#include "page_store/restore_point.h"

#define VOLUME_ID_MAX 63 /* lower-case letters, digits and '-', not first */

/*
 * The image of a template: the cluster at template_path (shut down cleanly, with data checksums) becomes the one sealed layer of the store `template_store`
 * ("template-…"), once; STATUS_OK when that has been done. Nothing of pg_wal is in it.
 */
MUST_CHECK status volume_import_template(const struct data_directory *dd, const char *template_store,
        const char *template_path, struct error *err);
bool volume_has_template(const struct data_directory *dd, const char *template_store);
/*
 * A new volume on the template's layer (nothing is copied), in `store` (made if it is not there), with a new system identifier (as
 * pg_createsubscriber does it: pg_control edited, then pg_resetwal from bin_dir, in a folder with nothing else). STATUS_EXISTS when
 * the volume is there and complete: after a crash the caller may take that as success.
 */
MUST_CHECK status volume_create(const struct data_directory *dd, const char *store, const char *id,
        const char *template_store, const char *bin_dir, int postgres_major, struct error *err);

/*
 * A clone of a volume as it was at an LSN, from a restore point of it (or a snapshot's): a new stack over the point's layers, prepared for archive
 * recovery as rule 8 and architecture.md 3.3 say (pg_control "in archive recovery" with minRecoveryPoint = point->end_lsn; pg_replslot and the like
 * emptied; the timeline's history file; standby.signal), and its WAL [redo_lsn, lsn). Nothing of the data is copied.
 * STATUS_EXISTS: there and complete. On failure nothing is left. STATUS_UNSUPPORTED: there is a tablespace.
 */
struct volume_clone {
	const char *store;
	const char *id;                    /* of the clone */
	const struct restore_point *point; /* layers, redo_lsn, … */
	uint64_t lsn;             /* the end of a record, >= point->end_lsn: V7; WAL behind it is not there */
	const char *archive_path; /* where WAL comes from: the source's archive/ or the snapshot's wal/ */
	uint32_t
	        source_timeline; /* of the byte before lsn; its history file is in archive_path (timeline 1 has none) */
	uint32_t timeline; /* reserved by control for the clone, even; promotion picks timeline + 1 */
};
MUST_CHECK status volume_clone(
        const struct data_directory *dd, const struct volume_clone *clone, struct error *err);

struct volume;
/* Takes the lease. STATUS_NOT_FOUND, STATUS_CONFLICT (open elsewhere), STATUS_CORRUPT (bad volume.json), STATUS_UNSUPPORTED (other version). */
MUST_CHECK status volume_open(
        const struct data_directory *dd, const char *id, struct volume **ret, struct error *err);
struct volume *volume_close(struct volume *volume); /* NULL is fine; always returns NULL */
static inline void volume_closep(struct volume **volume)
{
	*volume = volume_close(*volume);
}
const char *volume_store(const struct volume *volume);
const char *volume_data_path(const struct volume *volume); /* PGDATA: the mount point */
const char *volume_wal_path(const struct volume *volume);
const char *volume_archive_path(const struct volume *volume);
int volume_postgres_major(const struct volume *volume);
/* The timeline reserved for this clone (even); 0 when the volume was never a clone. */
uint32_t volume_recovery_timeline(const struct volume *volume);

/* Without the lease: which store a volume is in. STATUS_NOT_FOUND. */
MUST_CHECK status volume_find_store(
        const struct data_directory *dd, const char *id, char ret_store[STORE_ID_MAX + 1], struct error *err);

/* How Postgres must be started on the volume this time. */
struct volume_start {
	uint32_t recovery_timeline; /* to give as recovery_target_timeline; 0: an ordinary start */
	bool is_quiet;              /* V5: no logical replication worker may start, no client may come in */
	bool has_no_replication_workers; /* true when is_quiet; stays so until Postgres is started anew */
	int min_prepared_transactions;   /* a lower max_prepared_transactions ends recovery in FATAL (T15) */
};

/*
 * To be asked before every start, with the image mounted, while no Postgres runs on the volume. Repairs a cut-off promotion (V4). A clone that was
 * promoted and has not been used is compared here (V7).
 */
MUST_CHECK status volume_plan_start(struct volume *volume, struct volume_start *ret, struct error *err);
/*
 * V7, when a start with a recovery_timeline has ended with the promotion, before anybody gets in: STATUS_CORRUPT unless recovery ended where the clone
 * begins. Reads two small files in wal/.
 */
MUST_CHECK status volume_check_recovery(const struct volume *volume, struct error *err);
/* Of a PGDATA whose Postgres does not run: are there prepared transactions on disk? True when nobody can tell. */
bool volume_may_have_prepared(int data_fd);
MUST_CHECK status volume_set_hygiene_done(struct volume *volume, struct error *err);

/* Revision of the last spec whose roles and databases were applied; kept durably in the volume. 0: nobody has used it yet. */
int64_t volume_applied_revision(const struct volume *volume);
MUST_CHECK status volume_set_applied_revision(struct volume *volume, int64_t revision, struct error *err);

/* A missing volume is fine. The name is gone durably first, then its points and its stack, then bytes that nobody else needs. */
MUST_CHECK status volume_destroy(const struct data_directory *dd, const char *id, struct error *err);

/*
 * For a volume that sleeps and shall go on doing so: folds its layers as far as references allow and gives the space back, which its page file system
 * does only while it is mounted. It stays a volume like any other and can be opened at any moment: whoever waits for its image (image.h I6) sets *shall_stop,
 * which is looked at between steps of some megabytes. STATUS_CONFLICT: it is in use.
 */
struct volume_archived {
	size_t steps;  /* of folding */
	bool is_whole; /* there was nothing left to fold; false: stopped */
};
MUST_CHECK status volume_archive(const struct data_directory *dd, const char *id,
        const atomic_bool *shall_stop, struct volume_archived *ret, struct error *err);

/*
 * Disk space, exact to what du says of the layers and of the WAL: own + history + wal over all volumes, plus what several share (`shared`, told
 * for each: the template's layer, layers and WAL segments that branches or snapshots have in common) is the whole of it, but for the records of
 * a few KiB. STATUS_NOT_FOUND when there is no such volume.
 */
struct volume_usage {
	int64_t logical_bytes; /* sum of the file sizes, as of the newest restore point */
	int64_t own_bytes;     /* layers in its stack that no other volume or snapshot names */
	int64_t shared_bytes; /* layers in its stack or points that others name too, WAL that others have links to */
	int64_t history_bytes; /* layers only its restore points name, and archived WAL that is not in wal/ any more */
	int64_t wal_bytes; /* wal/ */
};
MUST_CHECK status volume_usage(
        const struct data_directory *dd, const char *id, struct volume_usage *ret, struct error *err);

/*
 * Removes half-made and half-destroyed volumes (*.new, *.dead, their stacks and points), at control's start, and tells of every complete one.
 * A complete volume is never removed here, known to the metadata or not: an older metadata.db put back from a backup
 * does not know the newest databases.
 */
MUST_CHECK status volume_sweep(const struct data_directory *dd,
        void (*on_complete)(void *owner, const char *id), void *owner, struct error *err);
