/*
 * Restore points: makes them (page_store/restore_point.h) for one compute: when the estimated replay time since the last one passes its
 * budget, after a recovery, when control asks, and at a suspend.
 *
 * How one is made while Postgres runs. The order is what makes it sound:
 *
 *   1  CHECKPOINT, unless nothing was written since the last point: then that one is the answer. pagefs syncs what it has already
 *      while the checkpoint writes, so that little is left for its end
 *   2  pg_control is read: recovery of the cut begins here or later (wal_session.h)
 *   3  pagefs cuts; the cut has what step 1 wrote, and whatever came since
 *   4  a restore point record is inserted and flushed: its LSN is behind everything that is in the cut
 *   5  the archive gets what it lacks, so that [redo, LSN) is in it
 *   6  the point is written, if its layers are still what the volume is made of; else from step 3
 *
 * A failure leaves no point. At a suspend, after the clean shutdown, 3 is followed by the end of the shutdown checkpoint as LSN, 5 and 6.
 *
 * Invariants
 *   R1  a request is answered with a point whose record (step 4) was inserted after it came: all that was committed before is in it.
 *   R2  one point is made at a time, and none but those asked for sooner than POINT_GAP_USEC after the last.
 *   R3  a suspend after nothing but a start replaces the last point instead of adding one, so that an idle volume stays as it is.
 *
 * Threads: the loop's; the work is done by jobs.
 */
#pragma once

#include <uv.h>

#include "base/base.h"
#include "base/clock.h"
#include "compute/page_process.h"
#include "compute/replay_estimate.h"
#include "compute/wal_keeper.h"
#include "data_directory/data_directory.h"

/* Estimated replay time: most of the three seconds that a branch in the last hour may take. Each point costs its load a checkpoint. */
#define POINT_BUDGET_USEC (2 * USEC_PER_SEC)
#define POINT_GAP_USEC    (5 * USEC_PER_SEC)

struct restore_points;

struct restore_points_options {
	const struct data_directory *dd; /* all borrowed */
	const char *store, *volume_id, *data_path, *wal_path, *archive_path, *socket_folder, *bin_dir,
	        *log_path;
	int postgres_major;
	struct wal_keeper *keeper;
	void (*on_change)(void *owner); /* what restore_points_status() tells is another */
	void *owner;
};

struct restore_points_status {
	int64_t count; /* -1: not known yet */
	uint64_t newest_lsn;
	int64_t estimate_usec;
	int64_t cost_usec; /* what the last one took, its checkpoint included; 0: none was made since the start */
	double speed_mb_s;
	char problem[256]; /* empty, or why the last one could not be made */
};

struct restore_points *restore_points_create(uv_loop_t *loop, const struct restore_points_options *options);
const struct restore_points_status *restore_points_status(const struct restore_points *points);
int64_t restore_points_sessions(
        const struct restore_points *points); /* connections made, see wal_session.h */

/*
 * Postgres is up on the mounted `pages`. log_start: of this start in its log. Between begin and stop points are made; what is asked for otherwise fails.
 */
void restore_points_begin(struct restore_points *points, struct page_process *pages, off_t log_start);
/* Postgres is gone or going. What waits fails; what is being made fails when its connection breaks. */
void restore_points_stop(struct restore_points *points);
/* No scheduled ones while disk space is short. */
void restore_points_hold(struct restore_points *points, bool is_held);
/* WAL has grown by a segment: a good moment to look. */
void restore_points_nudge(struct restore_points *points);

struct point_answer {
	uint64_t number; /* 0: a flush */
	uint64_t lsn;
	uint32_t timeline;
	int64_t time_usec;
};
typedef void (*point_answer_fn)(
        void *owner, uint64_t tag, const struct point_answer *answer, const struct error *err);
enum point_request { REQUEST_POINT, REQUEST_FLUSH };
/* on_answer comes once, perhaps at once; `tag` is given back. */
void restore_points_ask(struct restore_points *points, enum point_request request, point_answer_fn on_answer,
        void *owner, uint64_t tag);

/* After a clean shutdown, with the image still mounted: cuts and writes the point. err NULL: done. */
typedef void (*point_done_fn)(void *owner, const struct error *err);
void restore_points_suspend(
        struct restore_points *points, struct page_process *pages, point_done_fn on_done, void *owner);

/* Statements of transactions that have written are cancelled (wal_session.h); best effort. */
void restore_points_cancel_writers(struct restore_points *points, int64_t began_before_usec);

/* Frees itself when nothing runs any more, and tells. */
void restore_points_close(struct restore_points *points, void (*on_closed)(void *owner), void *owner);
