/*
 * Storage: all that is between a compute and its bytes: the volume's lease, the page file system that is mounted for it, the WAL archive,
 * restore points, and the eye on free disk space. The lifecycle starts and stops Postgres on it.
 *
 *              open, mount                    lost (pagefs died, hung)
 *     DOWN ───────────────▶ MOUNTING ──▶ UP ───────────────────────▶ DOWN ──▶ mount again
 *                               │         └── suspend, close ──▶ DOWN ──▶ closed
 *                               └── on_down
 *
 * What holds
 *   A1  before anything is mounted, nothing of an earlier start works on the volume: no Postgres, no pagefs, no mount.
 *   A2  on_lost comes at once when the mount may not be trusted any more; Postgres must be killed. on_down follows when pagefs is gone.
 *   A3  before Postgres starts on a mount on which it ended uncleanly, everything that the mount shows is durable (T21: Postgres' own
 *       syncfs does not reach a FUSE server).
 *
 * Threads: the loop's, the process's main thread.
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

#include "base/base.h"
#include "compute/report.h"
#include "compute/restore_points.h"
#include "compute/write_brake.h"
#include "data_directory/data_directory.h"
#include "page_store/volume.h"

struct storage;

struct storage_events {
	void (*on_mounted)(void *owner); /* UP: everything is ready for volume_plan_start() */
	void (*on_lost)(void *owner);
	void (*on_down)(void *owner, const struct error *err); /* after on_lost, or a mount that failed */
	void (*on_change)(void *owner);                        /* the report */
	void (*on_brake)(void *owner);                         /* storage_brake() */
};

struct storage_options {
	const struct data_directory *dd; /* all borrowed */
	const char *volume_id, *socket_folder, *log_path, *pooler_log_path, *bin_dir;
	int postgres_major;
};

/* Takes the lease and begins to mount. */
MUST_CHECK status storage_open(uv_loop_t *loop, const struct storage_options *options,
        const struct storage_events *events, void *owner, struct storage **ret, struct error *err);
struct volume *storage_volume(
        const struct storage *storage);           /* jobs may use it; the storage itself uses it no more */
pid_t storage_pid(const struct storage *storage); /* of pagefs; 0: none */
bool storage_is_up(const struct storage *storage);
bool storage_is_down(const struct storage *storage); /* no pagefs, and none is coming */
const struct write_brake *storage_brake(const struct storage *storage);
void storage_describe(const struct storage *storage, struct storage_report *ret);
/* See restore_points_sessions(). */
int64_t storage_sessions(const struct storage *storage);

/*
 * Blocks: brings the archive up to date. For the job that prepares a start. A failure is no reason not to start, since it
 * touches nothing but the past: storage_archive_failed() makes it an alarm, and it is tried again until it works.
 */
MUST_CHECK status storage_update_archive(struct storage *storage, struct error *err);
void storage_archive_failed(struct storage *storage, const struct error *err);
/* Blocks: removes Postgres' lock files. While none runs. */
MUST_CHECK status storage_remove_locks(struct storage *storage, struct error *err);

/* After on_down, with Postgres gone: ends what is left of it, detaches the dead mount, mounts again. */
void storage_mount(struct storage *storage);
/* Postgres ended uncleanly on a mount that is up: ends what is left of it, and syncs (A3). */
typedef void (*storage_done_fn)(void *owner, const struct error *err); /* err NULL: done */
void storage_settle(struct storage *storage, storage_done_fn on_done);

/* Postgres accepts writes; log_start: where its start begins in its log. / It is going or gone. */
void storage_begin(struct storage *storage, off_t log_start);
void storage_stop(struct storage *storage);
void storage_ask(
        struct storage *storage, enum point_request request, point_answer_fn on_answer, uint64_t tag);

/* After a clean shutdown of Postgres: the restore point. A failure leaves the volume as it is, suspended without one. */
void storage_suspend(struct storage *storage, storage_done_fn on_done);
/* Unmounts, lets the volume go, tells, frees itself. No other event after this. */
void storage_close(struct storage *storage, void (*on_closed)(void *owner));
