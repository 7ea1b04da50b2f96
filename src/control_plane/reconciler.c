#include "control_plane/reconciler.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "control_plane/api_error.h"
#include "control_plane/audit.h"
#include "control_plane/job.h"
#include "control_plane/metrics.h"
#include "control_plane/operation_wait.h"

#define RELOAD_RETRY_MS 2000

struct reconciler {
	struct services *services;
	struct job *jobs; /* open operations, oldest first */
	int64_t last_seq; /* newest operation that has a job or had one */
	uv_timer_t
	        wakeup; /* begins jobs from the loop, never from inside a caller's transaction or callback */
	bool is_stopping, is_freed;
	bool has_failed_to_load;
	size_t jobs_closing;
};

static void on_wakeup(uv_timer_t *timer);

static bool is_frozen(const struct reconciler *r)
{
	return r->is_stopping || fleet_is_shutting_down(r->services->fleet);
}

struct reconciler *reconciler_create(struct services *services)
{
	struct reconciler *r = xcalloc(1, sizeof *r);
	r->services = services;
	services->reconciler = r;
	(void)uv_timer_init(services->loop, &r->wakeup);
	r->wakeup.data = r;
	return r;
}

void reconciler_kick(struct reconciler *r)
{
	if (!r->is_stopping)
		(void)uv_timer_start(&r->wakeup, on_wakeup, 0, 0);
}

static void (*step_for(enum operation_kind kind))(struct job *)
{
	switch (kind) {
	case OPERATION_PROJECT_CREATE:
	case OPERATION_BRANCH_CREATE:
		return job_create_step;
	case OPERATION_PROJECT_DELETE:
	case OPERATION_PROJECT_PURGE:
	case OPERATION_BRANCH_DELETE:
	case OPERATION_BRANCH_PURGE:
		return job_delete_step;
	case OPERATION_BRANCH_RESET:
	case OPERATION_BRANCH_RESTORE:
		return job_exchange_step;
	case OPERATION_BRANCH_ARCHIVE:
		return job_archive_step;
	case OPERATION_SNAPSHOT_CREATE:
	case OPERATION_SNAPSHOT_DELETE:
		return job_snapshot_step;
	case OPERATION_ENDPOINT_UPDATE:
		return job_endpoint_step;
	case OPERATION_ROLE_CREATE:
	case OPERATION_ROLE_UPDATE:
	case OPERATION_ROLE_DELETE:
	case OPERATION_DATABASE_CREATE:
	case OPERATION_DATABASE_UPDATE:
	case OPERATION_DATABASE_DELETE:
		return job_catalog_step;
	default:
		return NULL; /* ends in the transaction that records it */
	}
}

/* Takes what row holds. */
static void add_job(struct reconciler *r, struct operation_row *row)
{
	struct job **end = &r->jobs;
	while (*end)
		end = &(*end)->next;
	enum operation_kind kind;
	struct job *job = xcalloc(1, sizeof *job);
	job->reconciler = r;
	job->services = r->services;
	job->operation = *row;
	*row = (struct operation_row){ 0 };
	job->step = operation_kind_parse(job->operation.kind, &kind) ? step_for(kind) : NULL;
	(void)uv_timer_init(r->services->loop, &job->timer);
	job->timer.data = job->work.data = job;
	*end = job;
	r->last_seq = job->operation.seq;
}

static status load_new_jobs(struct reconciler *r, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = operation_row_list_open(r->services->md, r->last_seq, &st, err);
	while (code == STATUS_OK) {
		CLEANUP(operation_row_done) struct operation_row row = { 0 };
		code = operation_row_next(&st, &row, err);
		if (code == STATUS_OK)
			add_job(r, &row);
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

static bool may_begin(const struct reconciler *r, const struct job *job)
{
	for (struct job *earlier = r->jobs; earlier != job; earlier = earlier->next) {
		if (operation_must_wait(&job->operation, &earlier->operation)) {
			atomic_store(&earlier->shall_stop, true);
			return false;
		}
	}
	return true;
}

static void on_wakeup(uv_timer_t *timer)
{
	struct reconciler *r = timer->data;
	if (is_frozen(r))
		return;
	struct error err;
	r->has_failed_to_load = load_new_jobs(r, &err) != STATUS_OK;
	if (r->has_failed_to_load) {
		log_error("could not load operations: %s", err.message);
		(void)uv_timer_start(&r->wakeup, on_wakeup, RELOAD_RETRY_MS, 0);
	}
	/* A step may finish its job and so change the list: begin from the front again after each. */
	for (bool has_begun = true; has_begun;) {
		has_begun = false;
		for (struct job *job = r->jobs; job; job = job->next) {
			if (job->is_begun || !job->step || !may_begin(r, job))
				continue;
			job->is_begun = has_begun = true;
			job_go(job, JOB_PHASE_FIRST);
			break;
		}
	}
}

void reconciler_interrupt(struct reconciler *r, const char *endpoint_uid)
{
	for (struct job *job = r->jobs; job; job = job->next)
		if (strcmp(job->endpoint_uid, endpoint_uid) == 0)
			atomic_store(&job->shall_stop, true);
}

void reconciler_stop(struct reconciler *r)
{
	r->is_stopping = true;
	for (struct job *job = r->jobs; job; job = job->next)
		atomic_store(&job->shall_stop, true);
	(void)uv_timer_stop(&r->wakeup);
}

bool reconciler_is_working(const struct reconciler *r)
{
	for (const struct job *job = r->jobs; job; job = job->next) {
		if (job->is_in_worker)
			return true;
	}
	return false;
}

size_t reconciler_open_jobs(const struct reconciler *r)
{
	size_t count = 0;
	for (const struct job *job = r->jobs; job; job = job->next)
		count++;
	return count;
}

void reconciler_look(const struct reconciler *r, struct reconciler_numbers *ret)
{
	*ret = (struct reconciler_numbers){ .is_able = !is_frozen(r) && !r->has_failed_to_load };
	for (const struct job *job = r->jobs; job; job = job->next) {
		ret->open++;
		ret->waiting += !job->is_begun;
	}
	int64_t age_usec = r->jobs ? clock_wall_usec() - r->jobs->operation.create_usec : 0;
	ret->oldest_usec = age_usec > 0 ? age_usec : 0;
}

bool reconciler_needs(const struct reconciler *r, const char *endpoint_uid)
{
	for (const struct job *job = r->jobs; job; job = job->next) {
		if (job->needed_uid && strcmp(job->needed_uid, endpoint_uid) == 0)
			return true;
	}
	return false;
}

static void free_when_empty(struct reconciler *r)
{
	if (r->is_freed && r->jobs_closing == 0)
		free(r);
}

static void on_job_closed(uv_handle_t *timer)
{
	struct job *job = timer->data;
	struct reconciler *r = job->reconciler;
	operation_row_done(&job->operation);
	free(job->endpoint_uids);
	free(job->volume_ids);
	job_inventory_done(job);
	catalog_work_free(job->catalog);
	free(job);
	r->jobs_closing--;
	free_when_empty(r);
}

static void close_job(struct job *job)
{
	job->reconciler->jobs_closing++;
	(void)uv_timer_stop(&job->timer);
	uv_close((uv_handle_t *)&job->timer, on_job_closed);
}

static void on_wakeup_closed(uv_handle_t *timer)
{
	struct reconciler *r = timer->data;
	r->is_freed = true;
	free_when_empty(r);
}

void reconciler_free(struct reconciler *r)
{
	assert(r->is_stopping && !reconciler_is_working(r));
	while (r->jobs) {
		struct job *job = r->jobs;
		r->jobs = job->next;
		close_job(job);
	}
	uv_close((uv_handle_t *)&r->wakeup, on_wakeup_closed);
}

void job_go(struct job *job, int phase)
{
	if (phase != job->phase)
		job->attempts = 0;
	job->phase = phase;
	if (is_frozen(job->reconciler)) /* R5 */
		return;
	if (phase >= JOB_PHASE_SOURCE)
		job_source_step(job);
	else
		job->step(job);
}

void job_fail(struct job *job, const struct error *err)
{
	if (job->failure.code == STATUS_OK)
		job->failure = *err;
	job_go(job, job->failed_phase);
}

static void run_in_worker(uv_work_t *work)
{
	struct job *job = work->data;
	job->work_error = (struct error){ 0 };
	status st = job->work_fn(job, &job->work_error);
	if (st != STATUS_OK && job->work_error.code == STATUS_OK)
		job->work_error.code = st;
	else if (st == STATUS_OK)
		job->work_error.code = STATUS_OK;
}

static void after_work(uv_work_t *work, int code)
{
	struct job *job = work->data;
	job->is_in_worker = false;
	if (code != 0 || is_frozen(job->reconciler))
		return;
	if (job->work_error.code != STATUS_OK)
		job_fail(job, &job->work_error);
	else
		job_go(job, job->next_phase);
}

void job_work(struct job *job, status (*fn)(struct job *job, struct error *err), int next_phase)
{
	job->work_fn = fn;
	job->next_phase = next_phase;
	job->is_in_worker = true;
	(void)uv_queue_work(job->services->loop, &job->work, run_in_worker, after_work);
}

static void on_fleet_done(void *arg, const char *uid, const struct error *err)
{
	(void)uid;
	struct job *job = arg;
	if (is_frozen(job->reconciler))
		return;
	if (err)
		job_fail(job, err);
	else
		job_go(job, job->next_phase);
}

void job_open(struct job *job, const char *uid, int next_phase)
{
	job->next_phase = next_phase;
	fleet_open(job->services->fleet, uid, on_fleet_done, job);
}

void job_suspend(struct job *job, const char *uid, int next_phase)
{
	job->next_phase = next_phase;
	fleet_suspend(job->services->fleet, uid, on_fleet_done, job);
}

static void on_point(void *arg, const char *uid, const struct fleet_point *point, const struct error *err)
{
	(void)uid;
	struct job *job = arg;
	if (is_frozen(job->reconciler))
		return;
	if (err && err->code == STATUS_CONFLICT) {
		job_go(job, job->asleep_phase);
	} else if (err) {
		job_fail(job, err);
	} else {
		job->origin.end = *point;
		job_go(job, job->next_phase);
	}
}

void job_point(struct job *job, const char *uid, bool is_flush, int asleep_phase, int next_phase)
{
	job->next_phase = next_phase;
	job->asleep_phase = asleep_phase;
	if (is_flush)
		fleet_flush(job->services->fleet, uid, on_point, job);
	else
		fleet_point(job->services->fleet, uid, on_point, job);
}

static void on_quietly_suspended(void *arg, const char *uid, const struct error *err)
{
	struct job *job = arg;
	if (is_frozen(job->reconciler))
		return;
	if (err)
		log_warning("endpoint %s could not be put to sleep again: %s", uid ? uid : "", err->message);
	job_go(job, job->next_phase);
}

void job_suspend_quietly(struct job *job, const char *uid, int next_phase)
{
	job->next_phase = next_phase;
	fleet_suspend(job->services->fleet, uid, on_quietly_suspended, job);
}

static void on_one_suspended(void *arg, const char *uid, const struct error *err)
{
	(void)uid;
	struct job *job = arg;
	if (err && job->failure.code == STATUS_OK)
		job->failure = *err;
	if (--job->suspending_count > 0 || is_frozen(job->reconciler))
		return;
	job_go(job, job->failure.code != STATUS_OK ? job->failed_phase : job->next_phase);
}

void job_suspend_all(struct job *job, int next_phase)
{
	job->next_phase = next_phase;
	job->suspending_count = 0;
	for (size_t i = 0; i < job->endpoint_count; i++) {
		const struct fleet_member *member = fleet_look(job->services->fleet, job->endpoint_uids[i]);
		if (!member || member->state == FLEET_ASLEEP)
			continue;
		job->suspending_count++; /* the callback never comes from inside the call (F2) */
		fleet_suspend(job->services->fleet, job->endpoint_uids[i], on_one_suspended, job);
	}
	if (job->suspending_count == 0)
		job_go(job, next_phase);
}

void job_apply(struct job *job, const char *uid, int next_phase)
{
	job->next_phase = next_phase;
	fleet_apply(job->services->fleet, uid, on_fleet_done, job);
}

static void on_retry(uv_timer_t *timer)
{
	struct job *job = timer->data;
	job_go(job, job->next_phase);
}

void job_retry(struct job *job, int phase, int64_t delay_ms)
{
	job->attempts++;
	job->next_phase = phase;
	(void)uv_timer_start(&job->timer, on_retry, (uint64_t)delay_ms, 0);
}

bool job_record_end(struct job *job, status (*record)(struct job *job, struct error *err), int64_t retry_ms)
{
	struct error err;
	if (record(job, &err) == STATUS_OK)
		return true;
	job->operation.finish_usec = 0;
	if (job->attempts == 0)
		log_error("could not record the end of operation %s, trying again: %s", job->operation.id,
		        err.message);
	job_retry(job, job->phase, retry_ms);
	return false;
}

status job_record_failure(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = operation_fail(md, &job->operation, &job->failure, clock_wall_usec(), err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

void job_finish(struct job *job)
{
	struct reconciler *r = job->reconciler;
	const struct operation_row *op = &job->operation;
	long long took_ms = (long long)(op->finish_usec - op->create_usec) / 1000;
	if (job->failure.code != STATUS_OK)
		log_warning("operation %s %s %s by %s failed after %lld ms: %s", op->id, op->kind,
		        op->resource, op->actor, took_ms, job->failure.message);
	else
		log_info("operation %s %s %s by %s done in %lld ms", op->id, op->kind, op->resource,
		        op->actor, took_ms);
	bool has_failed = job->failure.code != STATUS_OK;
	audit_operation(r->services, op, has_failed ? api_operation_error_code(job->failure.code) : NULL);
	metrics_note_operation(r->services->metrics, op->kind, has_failed, op->finish_usec - op->create_usec);
	struct job **link = &r->jobs;
	while (*link != job)
		link = &(*link)->next;
	*link = job->next;
	job->is_finished = true;
	char id[OPERATION_ID_LEN + 1];
	memcpy(id, op->id, sizeof id);
	close_job(job);
	reconciler_kick(r);
	operation_waits_end(r->services->waits, id);
}
