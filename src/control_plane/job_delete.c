/*
 * Deleting a branch or a whole project. Soft: its computes sleep, nothing else changes. Purge: computes, volumes and rows
 * go. The rows were marked in the transaction that recorded the operation, so nobody sees or opens them any more.
 *
 *   LOAD ─▶ SUSPEND (all computes) ─▶ FINISH                                 soft
 *   LOAD ─▶ SUSPEND (all computes) ─▶ FORGET ─▶ DESTROY ─▶ FINISH            purge
 *     (DESTROY of a project ends with its store: layers and snapshots)
 *   a step that fails is tried again; after many attempts the operation fails, and the next start purges anew
 */
#include <stdlib.h>

#include "base/clock.h"
#include "control_plane/housekeeper.h"
#include "control_plane/job.h"
#include "control_plane/orphan.h"
#include "control_plane/resource_json.h"
#include "page_store/store.h"
#include "page_store/volume.h"

#define RETRY_MS     500
#define TRY_ATTEMPTS 40

enum delete_phase {
	LOAD = JOB_PHASE_FIRST,
	SUSPEND,
	FORGET,
	DESTROY,
	FINISH,
	BEGIN_AGAIN,
	FINISH_FAILED,
};

static bool is_purge(const struct job *job)
{
	return strcmp(job->operation.kind, "PROJECT_PURGE") == 0 ||
	       strcmp(job->operation.kind, "BRANCH_PURGE") == 0;
}

static void remember(char (**list)[RESOURCE_ID_MAX + 1], size_t *count, const char *uid)
{
	*list = xrealloc(*list, (*count + 1) * sizeof **list);
	(void)snprintf((*list)[*count], RESOURCE_ID_MAX + 1, "%s", uid);
	(*count)++;
}

static status load_branch(struct job *job, const struct branch_row *branch, struct error *err)
{
	remember(&job->volume_ids, &job->volume_count, branch->volume_id);
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = endpoint_row_list(job->services->md, branch->id, 0, INT64_MAX, &st, err);
	while (code == STATUS_OK) {
		CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
		code = endpoint_row_next(&st, &endpoint, err);
		if (code == STATUS_OK)
			remember(&job->endpoint_uids, &job->endpoint_count, endpoint.uid);
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

static status load_targets(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	struct branch_row branch;
	if (job->operation.branch != 0) {
		status st = branch_row_get(md, job->operation.branch, &branch, err);
		if (st == STATUS_NOT_FOUND) /* its creation failed before its deletion's turn came */
			return STATUS_OK;
		return st == STATUS_OK ? load_branch(job, &branch, err) : st;
	}
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = project_row_get(md, job->operation.project, &project, err);
	if (code == STATUS_NOT_FOUND)
		return STATUS_OK;
	if (code == STATUS_OK && is_purge(job))
		memcpy(job->store, project.uid, sizeof job->store);
	if (code == STATUS_OK)
		code = branch_row_list_all(md, job->operation.project, &st, err);
	while (code == STATUS_OK) {
		code = branch_row_next(&st, &branch, err);
		if (code == STATUS_OK)
			code = load_branch(job, &branch, err);
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

static void load(struct job *job)
{
	struct error err;
	job->failed_phase = FINISH_FAILED;
	if (load_targets(job, &err) != STATUS_OK)
		job_fail(job, &err);
	else
		job_go(job, SUSPEND);
}

static void forget_all(struct job *job)
{
	struct error err;
	for (size_t i = 0; i < job->endpoint_count; i++) {
		if (!fleet_look(job->services->fleet, job->endpoint_uids[i]))
			continue;
		if (fleet_forget(job->services->fleet, job->endpoint_uids[i], &err) != STATUS_OK) {
			job_fail(job, &err); /* somebody woke it: begin again */
			return;
		}
	}
	job_go(job, DESTROY);
}

/* In a worker thread. */
static status destroy_volumes(struct job *job, struct error *err)
{
	status st = STATUS_OK;
	for (size_t i = 0; i < job->volume_count && st == STATUS_OK; i++)
		st = volume_destroy(job->services->dd, job->volume_ids[i], err);
	/* Nothing names what is in it any more: neither volumes nor snapshots. */
	if (st == STATUS_OK && job->store[0])
		st = store_destroy(job->services->dd, job->store, err);
	return st;
}

static status finish(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK && is_purge(job) && job->operation.branch != 0)
		st = branch_row_remove(md, job->operation.branch, err);
	else if (st == STATUS_OK && is_purge(job))
		st = project_row_remove(md, job->operation.project, err);
	if (st == STATUS_OK)
		st = operation_succeed(md, &job->operation, NULL, clock_wall_usec(), err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

static void end(struct job *job, status (*record)(struct job *job, struct error *err))
{
	if (!job_record_end(job, record, RETRY_MS))
		return;
	if (is_purge(job) && job->operation.branch == 0)
		orphan_forget_computes(job->services);
	housekeeper_look(job->services->housekeeper);
	job_finish(job);
}

void job_delete_step(struct job *job)
{
	switch ((enum delete_phase)job->phase) {
	case LOAD:
		load(job);
		break;
	case SUSPEND:
		job->failed_phase = BEGIN_AGAIN;
		job_suspend_all(job, is_purge(job) ? FORGET : FINISH);
		break;
	case FORGET:
		forget_all(job);
		break;
	case DESTROY:
		job_work(job, destroy_volumes, FINISH);
		break;
	case FINISH:
		job->failure = (struct error){ 0 };
		end(job, finish);
		break;
	case BEGIN_AGAIN:
		/* All steps can be repeated, so trying again begins at the first. */
		if (++job->tries < TRY_ATTEMPTS) {
			job->failure = (struct error){ 0 };
			job_retry(job, SUSPEND, RETRY_MS);
		} else {
			job_go(job, FINISH_FAILED);
		}
		break;
	case FINISH_FAILED:
		end(job, job_record_failure);
		break;
	}
}
