/*
 * Snapshots:
 *
 *   create: LOAD ─▶ (source, job_source.c) ─▶ KEEP ─▶ (settle the source) ─▶ FINISH
 *             any failure ─▶ FORGET_FAILED ─▶ (settle the source) ─▶ FINISH_FAILED (the row goes)
 *   delete: LOAD ─▶ FORGET ─▶ FINISH (the row goes)
 *
 * There is no durable step: a crash makes the snapshot anew, as it is then; nobody has been told of the first one. A deletion that fails
 * is tried again, and the row stays marked until its files are gone.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "control_plane/disk_room.h"
#include "control_plane/housekeeper.h"
#include "control_plane/job.h"
#include "control_plane/reaper.h"
#include "control_plane/resource_json.h"
#include "metadata/snapshot_row.h"

#define RETRY_MS     2000
#define TRY_ATTEMPTS 20

enum snapshot_phase {
	LOAD = JOB_PHASE_FIRST,
	KEEP,
	KEPT,
	FINISH,
	FORGET,
	FORGET_AGAIN,
	CLEAN,
	CLEAN_FAILED,
	SETTLE,
	FINISH_FAILED,
};

static bool is_delete(const struct job *job)
{
	return strcmp(job->operation.kind, "SNAPSHOT_DELETE") == 0;
}

static void load(struct job *job)
{
	struct error err;
	struct snapshot_row snapshot;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct metadata *md = job->services->md;
	job->failed_phase = FINISH_FAILED;
	status st = project_row_get(md, job->operation.project, &project, &err);
	if (st == STATUS_OK)
		st = snapshot_row_get(md, job->operation.snapshot, &snapshot, &err);
	if (st == STATUS_NOT_FOUND && is_delete(job)) {
		job_go(job, FINISH); /* its creation failed before its deletion's turn came */
		return;
	}
	if (st == STATUS_OK) {
		memcpy(job->store, project.uid, sizeof job->store);
		memcpy(job->volume_id, snapshot.uid, sizeof job->volume_id);
	}
	if (st == STATUS_OK && !is_delete(job))
		st = clone_plan_parse(job->operation.plan, &job->plan, &err);
	if (st == STATUS_OK && !is_delete(job))
		st = job_load_source(job, job->operation.source_branch, &err);
	if (st != STATUS_OK) {
		job_fail(job, &err);
	} else if (is_delete(job)) {
		job_go(job, FORGET);
	} else {
		job->failed_phase = CLEAN;
		job_ask_source(job, KEEP);
	}
}

/* In a worker thread. */
static status keep(struct job *job, struct error *err)
{
	const struct data_directory *dd = job->services->dd;
	status st = disk_room_check(dd, err);
	return st == STATUS_OK ? origin_keep(dd, &job->origin, job->volume_id, &job->taken, err) : st;
}

/* In a worker thread. */
static status forget(struct job *job, struct error *err)
{
	return origin_forget(job->services->dd, job->store, job->volume_id, err);
}

static status finish_create(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	struct snapshot_row snapshot;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = project_row_get(md, job->operation.project, &project, err);
	if (st == STATUS_OK)
		st = snapshot_row_get(md, job->operation.snapshot, &snapshot, err);
	if (st != STATUS_OK)
		return st;
	snapshot.source_lsn = job->taken.lsn;
	snapshot.source_usec = job->taken.time_usec;
	snapshot.full_size = job->taken.logical_bytes;
	snapshot.is_ready = true;
	st = snapshot_row_update(md, &snapshot, err);
	if (st == STATUS_OK)
		st = snapshot_row_keep_roles(md, snapshot.id, job->operation.source_branch, err);
	if (st != STATUS_OK)
		return st;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	CLEANUP(free_text) char *json = json_write(doc, snapshot_to_json(doc, &project, &snapshot));
	yyjson_mut_doc_free(doc);
	st = operation_succeed(md, &job->operation, json, clock_wall_usec(), err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

static status finish_delete(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = snapshot_row_remove(md, job->operation.snapshot, err);
	if (st == STATUS_OK)
		st = operation_succeed(md, &job->operation, NULL, clock_wall_usec(), err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

/* A snapshot that could not be made leaves no row; one that could not be removed keeps its own, marked. */
static status finish_failed(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK && !is_delete(job))
		st = snapshot_row_remove(md, job->operation.snapshot, err);
	if (st == STATUS_OK)
		st = operation_fail(md, &job->operation, &job->failure, clock_wall_usec(), err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

static void end(struct job *job, status (*record)(struct job *job, struct error *err))
{
	if (!job_record_end(job, record, RETRY_MS))
		return;
	housekeeper_look(job->services->housekeeper);
	reaper_look(job->services->reaper); /* it may expire */
	job_finish(job);
}

static void try_again(struct job *job, int phase, int give_up_phase)
{
	if (++job->tries < TRY_ATTEMPTS) {
		job_retry(job, phase, RETRY_MS);
		return;
	}
	log_warning("%s could not be removed yet: %s", job->operation.resource, job->work_error.message);
	job_go(job, give_up_phase);
}

void job_snapshot_step(struct job *job)
{
	switch ((enum snapshot_phase)job->phase) {
	case LOAD:
		load(job);
		break;
	case KEEP:
		job_work(job, keep, KEPT);
		break;
	case KEPT:
		job_settle_source(job, FINISH);
		break;
	case FINISH:
		job->failure = (struct error){ 0 };
		end(job, is_delete(job) ? finish_delete : finish_create);
		break;
	case FORGET:
		job->failed_phase = FORGET_AGAIN;
		job_work(job, forget, FINISH);
		break;
	case FORGET_AGAIN:
		try_again(job, FORGET, FINISH_FAILED);
		break;
	case CLEAN:
		job->failed_phase = CLEAN_FAILED;
		job_work(job, forget, SETTLE);
		break;
	case CLEAN_FAILED:
		try_again(job, CLEAN, SETTLE);
		break;
	case SETTLE:
		job_settle_source(job, FINISH_FAILED);
		break;
	case FINISH_FAILED:
		end(job, finish_failed);
		break;
	}
}
