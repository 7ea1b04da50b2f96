/*
 * An endpoint's desired state has changed: tell its compute.
 *
 *   LOAD ─▶ (suspend when disabled, apply when not) ─▶ FINISH
 *   a failure ─▶ UNDO (the old settings are desired again, and told) ─▶ FINISH
 *
 * Settings that Postgres takes over without a restart are in effect when the operation is done, the others from the next
 * start on. Settings that Postgres refuses would keep the endpoint from starting ever again, so they do not stay; those of
 * an endpoint that sleeps are tried at its next start.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "control_plane/job.h"
#include "control_plane/resource_json.h"

#define RETRY_MS 2000

enum endpoint_phase { LOAD = JOB_PHASE_FIRST, UNDO, FINISH };

static void load(struct job *job)
{
	struct error err;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	job->failed_phase = UNDO;
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

/* Puts the old settings back, unless a later change has replaced these already. */
static status put_back(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	int64_t later = 0;
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = endpoint_row_get(md, job->operation.endpoint, &endpoint, err);
	if (st == STATUS_OK)
		st = operation_row_count_newer_settings(md, &job->operation, &later, err);
	if (st != STATUS_OK)
		return st;
	if (later > 0)
		return STATUS_OK; /* the one that comes next tells its own */
	free(endpoint.pg_settings);
	endpoint.pg_settings = xstrdup(job->operation.undo);
	st = endpoint_row_update(md, &endpoint, err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

static void undo(struct job *job)
{
	struct error err;
	job->failed_phase = FINISH; /* the first failure is the one to tell */
	bool is_known = job->endpoint_uid[0] && fleet_look(job->services->fleet, job->endpoint_uid);
	if (!job->operation.undo || !is_known || put_back(job, &err) != STATUS_OK)
		job_go(job, FINISH);
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
	switch ((enum endpoint_phase)job->phase) {
	case LOAD:
		load(job);
		break;
	case UNDO:
		undo(job);
		break;
	case FINISH:
		if (job_record_end(job, finish, RETRY_MS))
			job_finish(job);
		break;
	}
}
