#include "compute/restore_points.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/number.h"
#include "compute/haste.h"
#include "compute/job.h"
#include "compute/postgres_log.h"
#include "compute/wal_session.h"
#include "compute/wal_tail.h"
#include "page_store/control_file.h"
#include "page_store/file_copy.h"
#include "page_store/restore_point.h"
#include "page_store/volume.h"
#include "wal_store/wal_file.h"

#define POINTS_MAGIC 0x706f696eu
#define TICK_MS      1000
#define GAP_PER_COST 4                   /* points take at most a fifth of the time */
#define RETRY_USEC   (30 * USEC_PER_SEC) /* after a failure of one that nobody asked for */
#define CUTS_MAX     5                   /* as often may a fold come in between */

struct asker {
	STAILQ_ENTRY(asker) link;
	point_answer_fn on_answer;
	void *owner;
	uint64_t tag;
};
STAILQ_HEAD(askers, asker);

/* One point in the making. The loop leaves it alone while a job runs. */
struct making {
	bool is_shutdown;
	bool is_old; /* nothing happened since `last`: that is the answer */
	int cuts;
	int64_t begun_usec;
	struct wal_position position; /* when it was begun */
	struct wal_redo redo;
	struct page_cut cut; /* layers are ours */
	struct wal_mark mark;
	struct restore_point point;
	bool has_replaced; /* another one went */
};

struct restore_points {
	uint32_t magic;
	uv_loop_t *loop;
	struct restore_points_options options;
	struct restore_points_status status;
	struct page_process *pages; /* NULL: Postgres is not up */
	uv_timer_t tick;
	struct store *store; /* opened by the first job that needs it; used by the jobs of `making` only */

	struct askers waiting, served; /* of points */
	bool is_making;
	pid_t hasty[2]; /* somebody waits for what they do; 0: none */
	struct making making;
	struct wal_session *session; /* of making */
	point_done_fn on_suspended;
	void *suspend_owner;
	bool must_suspend; /* as soon as what is being made has ended */

	/* Short questions have a session of their own: they need not wait for a checkpoint. */
	struct wal_session *short_session;
	bool is_short_running, must_look, must_flush, must_cancel, must_catch_up;
	struct askers flushing, flushed; /* waiting, and taken by the job that runs */
	int64_t cancel_before_usec;
	struct point_answer flush_answer;
	struct wal_position position; /* of the last look */
	uint64_t base_lsn;            /* where the last point was made; 0: not known */
	int64_t base_records;
	char segment[WAL_FILE_NAME_MAX];
	struct timespec segment_mtime; /* when last looked */

	/* Of the last point, made by us or found. */
	struct point_answer last;
	uint64_t last_after_lsn; /* the server has written nothing as long as it is here; 0: not known */
	int64_t last_replay_usec, last_logical_bytes;
	int64_t next_usec; /* monotonic: no scheduled one before */
	bool is_wanted;    /* one is, whatever the estimate */
	bool is_held;

	/* Catching up: what is there, and what this start has replayed. */
	off_t log_start;
	bool has_recovered, has_newest;
	struct replay_speed speed;
	struct restore_point newest;
	size_t count;

	bool is_closing;
	void (*on_closed)(void *owner);
	void *closed_owner;
};

static void start_making(struct restore_points *points);
static void run_short(struct restore_points *points);
static void make_cut(struct restore_points *points);

static struct restore_points *points_of(void *p)
{
	struct restore_points *points = p;
	assert(points && points->magic == POINTS_MAGIC);
	return points;
}

/* ---- answers ---- */

static void wait_in(struct askers *askers, point_answer_fn on_answer, void *owner, uint64_t tag)
{
	struct asker *asker = xcalloc(1, sizeof *asker);
	*asker = (struct asker){ .on_answer = on_answer, .owner = owner, .tag = tag };
	STAILQ_INSERT_TAIL(askers, asker, link);
}

static void answer_all(struct askers *askers, const struct point_answer *answer, const struct error *err)
{
	struct asker *asker;
	while ((asker = STAILQ_FIRST(askers))) {
		STAILQ_REMOVE_HEAD(askers, link);
		asker->on_answer(asker->owner, asker->tag, answer, err);
		free(asker);
	}
}

static void refuse_all(struct askers *askers)
{
	struct error err;
	error_fill(&err, STATUS_UNAVAILABLE, 0, "the compute is not running");
	answer_all(askers, NULL, &err);
}

/* ---- the end ---- */

static void tick_closed(uv_handle_t *handle)
{
	struct restore_points *points = points_of(handle->data);
	void (*on_closed)(void *) = points->on_closed;
	void *owner = points->closed_owner;
	wal_session_free(points->session);
	wal_session_free(points->short_session);
	store_close(points->store);
	points->magic = 0;
	free(points);
	on_closed(owner);
}

static void close_if_done(struct restore_points *points)
{
	if (points->is_closing && !points->is_making && !points->is_short_running &&
	        !uv_is_closing((uv_handle_t *)&points->tick))
		uv_close((uv_handle_t *)&points->tick, tick_closed);
}

void restore_points_close(struct restore_points *points, void (*on_closed)(void *owner), void *owner)
{
	restore_points_stop(points);
	points->is_closing = true;
	points->on_closed = on_closed;
	points->closed_owner = owner;
	close_if_done(points);
}

/* ---- making one ---- */

/* Under load a checkpoint and a cut take several times what they take alone, and whoever made a branch waits for both. */
static void hurry(struct restore_points *points)
{
	const pid_t hasty[] = { wal_session_checkpointer(points->session),
		points->pages ? page_process_pid(points->pages) : 0 };
	for (size_t i = 0; i < ARRAY_LEN(hasty); i++) {
		points->hasty[i] = hasty[i];
		haste_set(hasty[i], true);
	}
}

static void end_hurry(struct restore_points *points)
{
	for (size_t i = 0; i < ARRAY_LEN(points->hasty); i++) {
		haste_set(points->hasty[i], false);
		points->hasty[i] = 0;
	}
}

static status open_store(struct restore_points *points, struct error *err)
{
	return points->store ? STATUS_OK
	                     : store_open(points->options.dd, points->options.store, &points->store, err);
}

static void changed(struct restore_points *points)
{
	points->options.on_change(points->options.owner);
}

static void note_problem(struct restore_points *points, const struct error *err)
{
	bool is_news = (err != NULL) != (points->status.problem[0] != '\0');
	if (err)
		(void)snprintf(points->status.problem, sizeof points->status.problem,
		        "no restore point can be made: %.200s", err->message);
	else
		points->status.problem[0] = '\0';
	if (is_news)
		changed(points);
}

static void remember_last(struct restore_points *points, const struct restore_point *point)
{
	points->last = (struct point_answer){ .number = point->number,
		.lsn = point->end_lsn,
		.timeline = point->timeline,
		.time_usec = point->time_usec };
	points->last_replay_usec = point->replay_usec;
	points->status.newest_lsn = point->end_lsn;
}

static void take_made(struct restore_points *points)
{
	const struct making *making = &points->making;
	remember_last(points, &making->point);
	if (points->status.count >= 0)
		points->status.count += making->has_replaced ? 0 : 1;
	points->last_after_lsn = making->mark.after_lsn;
	points->base_lsn = making->redo.lsn;
	points->base_records = making->position.records;
	points->status.estimate_usec = 0;
	points->is_wanted = false;
	char text[LSN_TEXT_MAX];
	lsn_format(making->point.end_lsn, text);
	log_info("restore point %" PRIu64 " at %s: %" PRIu64 " pages, writers waited %" PRId64 " us",
	        making->point.number, text, making->cut.pages, making->cut.pause_usec);
}

static void end_making(struct restore_points *points, const struct error *err)
{
	struct making *making = &points->making;
	int64_t now = clock_monotonic_usec(), cost = now - making->begun_usec;
	points->is_making = false;
	end_hurry(points);
	points->next_usec =
	        now + (cost * GAP_PER_COST > POINT_GAP_USEC ? cost * GAP_PER_COST : POINT_GAP_USEC);
	if (err)
		points->next_usec = now + RETRY_USEC;
	/* Postgres went away under it */
	bool is_expected = !making->is_shutdown && (!points->pages || points->must_suspend);
	if (err && !is_expected) {
		log_error("could not make a restore point: %s", err->message);
		note_problem(points, err);
	}
	if (!err && !making->is_old) {
		take_made(points);
		points->status.cost_usec = cost;
	}
	if (!err)
		note_problem(points, NULL);
	bool was_shutdown = making->is_shutdown;
	struct error copy;
	if (err)
		copy = *err;
	restore_point_done(&making->point);
	free(making->cut.layers);
	*making = (struct making){ 0 };
	answer_all(&points->served, err ? NULL : &points->last, err ? &copy : NULL);
	if (!err && !was_shutdown)
		changed(points);
	if (was_shutdown) {
		point_done_fn on_done = points->on_suspended;
		points->on_suspended = NULL;
		on_done(points->suspend_owner, err ? &copy : NULL);
	} else if (points->must_suspend || !STAILQ_EMPTY(&points->waiting)) {
		start_making(points);
	}
	close_if_done(points);
}

/* Steps 4 to 6. */
static status work_after(void *input, struct error *err)
{
	struct restore_points *points = points_of(input);
	struct making *making = &points->making;
	status st = making->is_shutdown ? STATUS_OK : wal_session_mark(points->session, &making->mark, err);
	if (st == STATUS_OK)
		st = wal_keeper_update(points->options.keeper, err);
	if (st == STATUS_OK)
		st = open_store(points, err);
	if (st != STATUS_OK)
		return st;
	struct restore_point *point = &making->point;
	int64_t replay_usec = point->replay_usec;
	*point = (struct restore_point){
		.layers = making->cut.layers,
		.layer_count = making->cut.layer_count,
		.redo_lsn = making->redo.lsn,
		.end_lsn = making->mark.lsn,
		.redo_timeline = making->redo.timeline,
		.timeline = making->mark.timeline,
		.wal_segment_size = making->mark.segment_size,
		.postgres_major = points->options.postgres_major,
		.is_shut_down = making->is_shutdown,
		.needs_hygiene = making->mark.needs_hygiene,
		.time_usec = making->mark.wall_usec,
		.replay_usec = replay_usec,
		.logical_bytes = making->cut.logical_bytes,
	};
	making->cut.layers = NULL;
	(void)snprintf(point->volume_id, sizeof point->volume_id, "%s", points->options.volume_id);
	return restore_point_add(points->store, point, err);
}

/* R3: the last point goes when nothing has happened since, unless it is the oldest: something may be restored to before this one. */
static void replace_idle(struct restore_points *points)
{
	struct making *making = &points->making;
	struct restore_point *point = &making->point;
	CLEANUP(restore_point_done) struct restore_point old = { 0 };
	uint64_t *numbers = NULL;
	size_t count = 0;
	struct error err;
	status st = restore_point_list(points->store, points->options.volume_id, &numbers, &count, &err);
	bool has_candidate = st == STATUS_OK && count >= 3 && numbers[count - 1] == point->number;
	uint64_t number = has_candidate ? numbers[count - 2] : 0;
	free(numbers);
	if (!has_candidate ||
	        restore_point_read(points->store, points->options.volume_id, number, &old, &err) != STATUS_OK)
		return;
	struct wal_tail tail = { points->options.archive_path, point->timeline, point->wal_segment_size };
	if (!old.is_shut_down || old.timeline != point->timeline ||
	        !wal_tail_is_idle(&tail, points->options.bin_dir, old.end_lsn, point->end_lsn))
		return;
	/* Nothing was committed in between: the new one is as good for every moment since the old one. */
	st = store_lock(points->store, &err);
	if (st == STATUS_OK) {
		/* As it is on disk: a fold may have changed its layers since it was added, and removed those that it had. */
		CLEANUP(restore_point_done) struct restore_point now = { 0 };
		st = restore_point_read(points->store, points->options.volume_id, point->number, &now, &err);
		point->time_usec = now.time_usec = old.time_usec;
		if (st == STATUS_OK)
			st = restore_point_write(points->store, &now, &err);
		if (st == STATUS_OK)
			st = restore_point_remove(points->store, points->options.volume_id, number, &err);
		store_unlock(points->store);
	}
	making->has_replaced = st == STATUS_OK;
	if (st != STATUS_OK)
		log_warning("could not replace restore point %" PRIu64 ": %s", number, err.message);
}

static status work_after_shutdown(void *input, struct error *err)
{
	struct restore_points *points = points_of(input);
	struct making *making = &points->making;
	status st = work_after(points, err);
	if (st != STATUS_OK)
		return st;
	replace_idle(points);
	struct wal_tail tail = { points->options.archive_path, making->point.timeline,
		making->point.wal_segment_size };
	struct error problem;
	if (wal_tail_trim(&tail, making->point.end_lsn, &problem) != STATUS_OK)
		log_warning("%s", problem.message);
	return STATUS_OK;
}

static void after_done(void *owner, void *input, const struct error *err)
{
	struct restore_points *points = points_of(owner);
	struct making *making = &points->making;
	(void)input;
	if (err && err->code == STATUS_CONFLICT && making->cuts < CUTS_MAX) {
		/* A fold came in between. */
		int64_t replay_usec = making->point.replay_usec;
		restore_point_done(&making->point);
		making->point = (struct restore_point){ .replay_usec = replay_usec };
		make_cut(points);
		return;
	}
	end_making(points, err);
}

static void cut_made(void *owner, struct page_cut *cut, const struct error *err)
{
	struct restore_points *points = points_of(owner);
	struct making *making = &points->making;
	if (err) {
		end_making(points, err);
		return;
	}
	uint64_t pages = making->cut.pages + cut->pages;
	int64_t pause_usec =
	        cut->pause_usec > making->cut.pause_usec ? cut->pause_usec : making->cut.pause_usec;
	free(making->cut.layers);
	making->cut = *cut;
	making->cut.pages = pages;
	making->cut.pause_usec = pause_usec;
	cut->layers = NULL;
	STAILQ_CONCAT(&points->served, &points->waiting); /* R1 */
	job_start(points->loop, making->is_shutdown ? work_after_shutdown : work_after, points, after_done,
	        points);
}

static void make_cut(struct restore_points *points)
{
	struct making *making = &points->making;
	struct error err;
	making->cuts++;
	if (points->pages) {
		page_process_cut(points->pages, cut_made, points);
		return;
	}
	error_fill(&err, STATUS_UNAVAILABLE, 0, "the compute is not running");
	end_making(points, &err);
}

/* Steps 1 and 2. */
static status work_before(void *input, struct error *err)
{
	struct restore_points *points = points_of(input);
	struct making *making = &points->making;
	status st = wal_session_look(points->session, &making->position, err);
	if (st != STATUS_OK)
		return st;
	making->is_old = points->last_after_lsn != 0 && making->position.lsn == points->last_after_lsn;
	return making->is_old ? STATUS_OK : wal_session_redo(points->session, true, &making->redo, err);
}

/*
 * After a clean shutdown nobody can be asked, but the files tell: pg_subscription (a shared catalog, whose first file is 6100) has
 * never had a row if it has no page, and prepared transactions are files.
 */
static bool may_need_hygiene(int data_fd)
{
	struct stat st;
	if (fstatat(data_fd, "global/6100", &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_size != 0)
		return true;
	return volume_may_have_prepared(data_fd);
}

/* Steps 1 and 2 after a clean shutdown: the last checkpoint is where WAL ends. */
static status work_before_suspend(void *input, struct error *err)
{
	struct restore_points *points = points_of(input);
	struct making *making = &points->making;
	CLEANUP(close_fd) int folder = -1;
	struct control_file control;
	status st = folder_open(points->options.data_path, &folder, err);
	if (st == STATUS_OK)
		st = control_file_read(folder, &control, err);
	if (st == STATUS_OK && control.state != CONTROL_SHUT_DOWN)
		st = error_set(err, STATUS_CONFLICT, 0, "Postgres was not shut down cleanly");
	if (st != STATUS_OK)
		return st;
	struct wal_tail tail = { points->options.wal_path, control.checkpoint_timeline,
		control.wal_segment_size };
	uint64_t end;
	st = wal_tail_record_end(&tail, control.redo_lsn, &end, err);
	if (st != STATUS_OK)
		return st;
	making->redo = (struct wal_redo){ .lsn = control.redo_lsn, .timeline = control.checkpoint_timeline };
	making->mark = (struct wal_mark){
		.lsn = end,
		.after_lsn = 0,
		.timeline = control.checkpoint_timeline,
		.segment_size = control.wal_segment_size,
		.needs_hygiene = may_need_hygiene(folder),
		.wall_usec = clock_wall_usec(),
	};
	return STATUS_OK;
}

static void before_done(void *owner, void *input, const struct error *err)
{
	struct restore_points *points = points_of(owner);
	(void)input;
	if (err || points->making.is_old)
		end_making(points, err);
	else
		make_cut(points);
}

static void start_making(struct restore_points *points)
{
	struct making *making = &points->making;
	assert(!points->is_making);
	points->is_making = true;
	*making =
	        (struct making){ .begun_usec = clock_monotonic_usec(), .is_shutdown = points->must_suspend };
	making->point.replay_usec = points->last_replay_usec + points->status.estimate_usec;
	points->must_suspend = false;
	STAILQ_CONCAT(&points->served, &points->waiting);
	if (!STAILQ_EMPTY(&points->served))
		hurry(points);
	/* What the checkpoint would wait for at its end goes to the disk while it writes. */
	if (!making->is_shutdown)
		page_process_sync(points->pages, NULL, NULL);
	job_start(points->loop, making->is_shutdown ? work_before_suspend : work_before, points, before_done,
	        points);
}

void restore_points_suspend(
        struct restore_points *points, struct page_process *pages, point_done_fn on_done, void *owner)
{
	restore_points_stop(points);
	points->pages = pages;
	points->on_suspended = on_done;
	points->suspend_owner = owner;
	points->must_suspend = true;
	if (!points->is_making)
		start_making(points);
}

/* ---- short questions ---- */

/* What is there, and what has this start replayed? */
static status catch_up(struct restore_points *points, struct error *err)
{
	CLEANUP(store_closep) struct store *store = NULL;
	const struct restore_points_options *options = &points->options;
	uint64_t *numbers = NULL;
	status st = store_open(options->dd, options->store, &store, err);
	if (st == STATUS_OK)
		st = restore_point_list(store, options->volume_id, &numbers, &points->count, err);
	free(numbers);
	if (st == STATUS_OK) {
		st = restore_point_newest(store, options->volume_id, &points->newest, err);
		points->has_newest = st == STATUS_OK;
		if (st == STATUS_NOT_FOUND)
			st = STATUS_OK;
	}
	if (st != STATUS_OK)
		return st;
	replay_speed_read(options->dd, &points->speed);
	struct postgres_redo redo;
	points->has_recovered = postgres_log_redo(options->log_path, points->log_start, &redo);
	int64_t blocks = 0;
	if (!points->has_recovered)
		return STATUS_OK;
	st = wal_session_replayed_blocks(points->short_session, &blocks, err);
	if (st != STATUS_OK || blocks == 0) /* nothing to measure by */
		return st;
	/* What was touched is about as many records; how many of the pages were the same one is not known. */
	struct replay_work work = {
		.wal_bytes = (int64_t)(redo.end_lsn - redo.start_lsn), .records = blocks, .pages = blocks / 4
	};
	replay_speed_learn(&points->speed, &work, redo.elapsed_usec);
	return replay_speed_write(options->dd, &points->speed, err);
}

struct short_job {
	struct restore_points *points;
	bool does_catch_up, does_cancel, does_flush, does_look;
	status caught_up, cancelled, flushed, looked;
	struct error catch_up_error, cancel_error, flush_error, look_error;
};

static status work_short(void *input, struct error *err)
{
	struct short_job *job = input;
	struct restore_points *points = points_of(job->points);
	(void)err;
	struct wal_session *session = points->short_session;
	if (job->does_cancel)
		job->cancelled =
		        wal_session_cancel_writers(session, points->cancel_before_usec, &job->cancel_error);
	if (job->does_flush) {
		struct point_answer answer = { 0 };
		job->flushed = wal_session_flush(session, &answer.lsn, &answer.timeline, &job->flush_error);
		if (job->flushed == STATUS_OK)
			job->flushed = wal_keeper_update(points->options.keeper, &job->flush_error);
		answer.time_usec = clock_wall_usec();
		points->flush_answer = answer;
	}
	if (job->does_catch_up)
		job->caught_up = catch_up(points, &job->catch_up_error);
	if (job->does_look)
		job->looked = wal_session_look(session, &points->position, &job->look_error);
	return STATUS_OK;
}

static void take_catch_up(struct restore_points *points)
{
	points->status.count = (int64_t)points->count;
	points->is_wanted = points->has_recovered || !points->has_newest;
	if (points->has_newest && points->last.number < points->newest.number)
		remember_last(points, &points->newest);
	/* Recovery would begin where the last point is, also after a recovery: until a new point has come, which it does at once. */
	if (points->has_newest && points->base_lsn == 0)
		points->base_lsn = points->newest.end_lsn;
	points->status.speed_mb_s = points->speed.mb_s;
	restore_point_done(&points->newest);
	points->newest = (struct restore_point){ 0 };
	changed(points);
}

static void pages_looked(void *owner, const struct error *err)
{
	struct restore_points *points = points_of(owner);
	if (err || !points->pages)
		return;
	struct replay_work work = {
		.wal_bytes = (int64_t)(points->position.lsn - points->base_lsn),
		.records = points->position.records - points->base_records,
		.pages = (int64_t)page_process_seen(points->pages)->open_pages,
	};
	if (work.records < 0) /* the server has forgotten its statistics */
		work.records = points->position.records;
	points->status.estimate_usec = replay_estimate_usec(&points->speed, &work);
	changed(points);
	bool is_due = points->is_wanted || points->status.estimate_usec >= POINT_BUDGET_USEC;
	if (is_due && !points->is_held && !points->is_making && clock_monotonic_usec() >= points->next_usec)
		start_making(points);
}

static void take_look(struct restore_points *points)
{
	const struct wal_position *position = &points->position;
	if (points->base_lsn == 0 || points->base_lsn > position->lsn) {
		points->base_lsn = position->lsn;
		points->base_records = position->records;
	}
	if (points->base_records < 0)
		points->base_records = position->records;
	wal_segment_name(position->timeline, position->lsn / position->segment_size, position->segment_size,
	        points->segment);
	page_process_look(points->pages, pages_looked, points);
}

static void short_done(void *owner, void *input, const struct error *err)
{
	struct restore_points *points = points_of(owner);
	struct short_job *job = input;
	(void)err;
	points->is_short_running = false;
	if (job->does_flush)
		answer_all(&points->flushed, job->flushed == STATUS_OK ? &points->flush_answer : NULL,
		        job->flushed == STATUS_OK ? NULL : &job->flush_error);
	bool is_on = points->pages && !points->must_suspend;
	if (job->does_catch_up && job->caught_up == STATUS_OK)
		take_catch_up(points);
	else if (job->does_catch_up && is_on) {
		log_warning("could not look for restore points: %s", job->catch_up_error.message);
		points->must_catch_up = true; /* at the next tick */
	}
	if (job->does_cancel && job->cancelled != STATUS_OK && is_on)
		log_warning("could not cancel statements: %s", job->cancel_error.message);
	if (job->does_look && job->looked == STATUS_OK && is_on)
		take_look(points);
	free(job);
	if (points->must_flush || points->must_cancel)
		run_short(points);
	close_if_done(points);
}

static void run_short(struct restore_points *points)
{
	if (points->is_short_running || !points->pages)
		return;
	struct short_job *job = xcalloc(1, sizeof *job);
	*job = (struct short_job){ .points = points,
		.does_catch_up = points->must_catch_up,
		.does_cancel = points->must_cancel,
		.does_flush = points->must_flush,
		.does_look = points->must_look };
	points->must_catch_up = points->must_cancel = points->must_flush = points->must_look = false;
	STAILQ_CONCAT(&points->flushed, &points->flushing);
	points->is_short_running = true;
	job_start(points->loop, work_short, job, short_done, points);
}

/* No SQL while nothing is written: the segment that is written to tells. */
static bool has_wal_moved(struct restore_points *points)
{
	if (points->position.lsn == 0)
		return true;
	struct stat st;
	CLEANUP(free_text) char *path = xasprintf("%s/%s", points->options.wal_path, points->segment);
	if (stat(path, &st) < 0)
		return true;
	bool has_moved = st.st_mtim.tv_sec != points->segment_mtime.tv_sec ||
	                 st.st_mtim.tv_nsec != points->segment_mtime.tv_nsec;
	points->segment_mtime = st.st_mtim;
	return has_moved;
}

static void tick_due(uv_timer_t *timer)
{
	struct restore_points *points = points_of(timer->data);
	bool is_due = points->is_wanted && clock_monotonic_usec() >= points->next_usec;
	if (has_wal_moved(points) || is_due)
		points->must_look = true;
	if (points->must_look || points->must_catch_up)
		run_short(points);
}

void restore_points_nudge(struct restore_points *points)
{
	points_of(points)->must_look = true;
	run_short(points);
}

/* ---- for the owner ---- */

struct restore_points *restore_points_create(uv_loop_t *loop, const struct restore_points_options *options)
{
	struct restore_points *points = xcalloc(1, sizeof *points);
	*points = (struct restore_points){ .magic = POINTS_MAGIC, .loop = loop, .options = *options };
	points->status.count = -1;
	points->session = wal_session_create(options->socket_folder);
	points->short_session = wal_session_create(options->socket_folder);
	STAILQ_INIT(&points->waiting);
	STAILQ_INIT(&points->served);
	STAILQ_INIT(&points->flushing);
	STAILQ_INIT(&points->flushed);
	replay_speed_begin(&points->speed);
	(void)uv_timer_init(loop, &points->tick);
	points->tick.data = points;
	return points;
}

const struct restore_points_status *restore_points_status(const struct restore_points *points)
{
	return &points->status;
}

int64_t restore_points_sessions(const struct restore_points *points)
{
	return wal_session_count(points->session) + wal_session_count(points->short_session);
}

void restore_points_begin(struct restore_points *points, struct page_process *pages, off_t log_start)
{
	points_of(points)->pages = pages;
	points->log_start = log_start;
	wal_session_renew(points->session);
	wal_session_renew(points->short_session);
	points->last_after_lsn = 0;
	points->base_lsn = 0;
	points->base_records = -1;
	points->position = (struct wal_position){ 0 };
	points->must_catch_up = points->must_look = true;
	/* Not in the first moments of a wake, which belong to whoever waits for it. */
	(void)uv_timer_start(&points->tick, tick_due, TICK_MS, TICK_MS);
}

void restore_points_stop(struct restore_points *points)
{
	points_of(points)->pages = NULL;
	(void)uv_timer_stop(&points->tick);
	points->must_flush = points->must_look = points->must_cancel = points->must_catch_up = false;
	refuse_all(&points->waiting);
	refuse_all(&points->flushing);
}

void restore_points_hold(struct restore_points *points, bool is_held)
{
	points_of(points)->is_held = is_held;
}

void restore_points_ask(struct restore_points *points, enum point_request request, point_answer_fn on_answer,
        void *owner, uint64_t tag)
{
	if (!points_of(points)->pages || points->must_suspend || points->on_suspended) {
		struct error err;
		error_fill(&err, STATUS_UNAVAILABLE, 0, "the compute is not running");
		on_answer(owner, tag, NULL, &err);
	} else if (request == REQUEST_FLUSH) {
		wait_in(&points->flushing, on_answer, owner, tag);
		points->must_flush = true;
		run_short(points);
	} else {
		wait_in(&points->waiting, on_answer, owner, tag);
		if (!points->is_making)
			start_making(points);
		else
			hurry(points); /* what is made now comes first */
	}
}

void restore_points_cancel_writers(struct restore_points *points, int64_t began_before_usec)
{
	points_of(points)->must_cancel = true;
	points->cancel_before_usec = began_before_usec;
	run_short(points);
}
