/*
 * An endpoint's desired state has changed: tell its compute.
 *
 *   LOAD ─▶ (suspend when disabled, apply when not) ─▶ FINISH            a failure ─▶ FINISH_FAILED
 *
 * Settings that Postgres takes over without a restart are in effect when the operation is done, the others from the next
 * start on. The new state stays desired even when the compute refuses it: the error says why.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "control_plane/job.h"
#include "control_plane/resource_json.h"

#define RETRY_MS 2000

enum endpoint_phase { LOAD = JOB_PHASE_FIRST, FINISH, FINISH_FAILED };

static void load(struct job *job)
{
	struct error err;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	job->failed_phase = FINISH_FAILED;
	if (endpoint_row_get(job->services->md, job->operation.endpoint, &endpoint, &err) != STATUS_OK) {
		job_fail(job, &err);
		return;
	}
	memcpy(job->endpoint_uid, endpoint.uid, sizeof job->endpoint_uid);
	if (!fleet_look(job->services->fleet, endpoint.uid))
		job_go(job, FINISH); /* of a branch that is deleted meanwhile */
	else if (endpoint.is_disabled)
		job_suspend(job, job->endpoint_uid, FINISH);
	else
		job_apply(job, job->endpoint_uid, FINISH);
}

static status finish(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	struct branch_row branch;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	if (st != STATUS_OK)
		return st;
	if (job->failure.code == STATUS_OK) {
		st = project_row_get(md, job->operation.project, &project, err);
		if (st == STATUS_OK)
			st = branch_row_get(md, job->operation.branch, &branch, err);
		if (st == STATUS_OK)
			st = endpoint_row_get(md, job->operation.endpoint, &endpoint, err);
		if (st == STATUS_NOT_FOUND)
			job->failure = *err;
		else if (st != STATUS_OK)
			return st;
	}
	if (job->failure.code != STATUS_OK) {
		st = operation_fail(md, &job->operation, &job->failure, clock_wall_usec(), err);
	} else {
		yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
		CLEANUP(free_text)
		char *json =
		        json_write(doc, endpoint_to_json(job->services, doc, &project, &branch, &endpoint));
		yyjson_mut_doc_free(doc);
		st = operation_succeed(md, &job->operation, json, clock_wall_usec(), err);
	}
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

void job_endpoint_step(struct job *job)
{
	struct error err;
	switch ((enum endpoint_phase)job->phase) {
	case LOAD:
		load(job);
		break;
	case FINISH:
	case FINISH_FAILED:
		if (finish(job, &err) == STATUS_OK) {
			job_finish(job);
			break;
		}
		job->operation.finish_usec = 0;
		if (job->attempts == 0)
			log_error("could not record the end of operation %s, trying again: %s",
			        job->operation.id, err.message);
		job_retry(job, job->phase, RETRY_MS);
		break;
	}
}
