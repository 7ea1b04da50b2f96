/*
 * Archiving a branch:
 *
 *   LOAD ─▶ FOLD (a worker; ends early when somebody wants the branch) ─▶ FINISH (ARCHIVED, if nobody has wanted it meanwhile)
 *   a failure ─▶ FINISH_FAILED (the branch stays as it is)
 *
 * There is no durable step: folding can be repeated and cut off anywhere, and the branch can be opened at any time.
 */
#include "base/clock.h"
#include "base/log.h"
#include "control_plane/branch_archive.h"
#include "control_plane/housekeeper.h"
#include "control_plane/job.h"
#include "control_plane/reaper.h"
#include "control_plane/resource_json.h"
#include "page_store/volume.h"

#define RETRY_MS 2000

enum archive_phase { LOAD = JOB_PHASE_FIRST, FOLD, FINISH, FINISH_FAILED };

/* Registered asleep when this process began, it has not run since; when it last did only the row knows. */
static int64_t asleep_since(const struct fleet_member *member, const struct endpoint_row *row)
{
	if (member->has_changed)
		return member->since_usec;
	return row->started_usec > row->suspended_usec ? row->started_usec : row->suspended_usec;
}

/* Nobody uses it, and it is none of those that stay. */
static bool may_be_archived(const struct job *job, const struct job_rows *rows)
{
	const struct branch_row *branch = &rows->branch;
	const struct fleet_member *member = fleet_look(job->services->fleet, rows->endpoint.uid);
	return member && member->state == FLEET_ASLEEP &&
	       asleep_since(member, &rows->endpoint) <= job->operation.create_usec && branch->is_ready &&
	       !branch->is_resetting && !branch->is_protected && branch->delete_usec == 0 &&
	       !branch->is_purged && rows->project.delete_usec == 0 &&
	       branch->update_usec <= job->operation.create_usec &&
	       strcmp(branch->uid, rows->project.default_branch_uid) != 0;
}

static void load(struct job *job)
{
	struct error err;
	CLEANUP(job_rows_done) struct job_rows rows = { 0 };
	job->failed_phase = FINISH_FAILED;
	if (job_rows_load(job, &rows, &err) != STATUS_OK) {
		job_fail(job, &err);
		return;
	}
	memcpy(job->endpoint_uid, rows.endpoint.uid, sizeof job->endpoint_uid);
	memcpy(job->volume_id, rows.branch.volume_id, sizeof job->volume_id);
	if (may_be_archived(job, &rows))
		job_go(job, FOLD);
	else
		job_go(job, FINISH);
}

/* In a worker thread. */
static status fold(struct job *job, struct error *err)
{
	struct volume_archived done;
	status st = volume_archive(job->services->dd, job->volume_id, &job->shall_stop, &done, err);
	if (st == STATUS_CONFLICT) /* its compute has started */
		return STATUS_OK;
	if (st == STATUS_OK && done.steps > 0)
		log_info("volume \"%s\": %zu steps of folding layers%s", job->volume_id, done.steps,
		        done.is_whole ? "" : ", cut off");
	return st;
}

static status finish(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(job_rows_done) struct job_rows rows = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	int64_t now = clock_wall_usec();
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = job_rows_load(job, &rows, err);
	if (st == STATUS_OK && !atomic_load(&job->shall_stop) && may_be_archived(job, &rows)) {
		rows.branch.archive_usec = rows.branch.state_change_usec = now;
		st = branch_row_update(md, &rows.branch, err);
	}
	if (st != STATUS_OK)
		return st;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	CLEANUP(free_text) char *json = json_write(doc, branch_to_json(doc, &rows.project, &rows.branch));
	yyjson_mut_doc_free(doc);
	st = operation_succeed(md, &job->operation, json, now, err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

static void tell_failure(const struct job *job)
{
	struct branch_row branch;
	struct archive_failures failures;
	struct error err;
	char next[CLOCK_TEXT_MAX];
	if (branch_row_get(job->services->md, job->operation.branch, &branch, &err) != STATUS_OK ||
	        branch_archive_failures(job->services->md, &branch, &failures, &err) != STATUS_OK ||
	        failures.count == 0)
		return;
	clock_format_timestamp(failures.next_usec, next);
	log_warning("%s could not be archived, %lld times since it was last used; the next try is after %s",
	        job->operation.resource, (long long)failures.count, next);
}

static void end(struct job *job, status (*record)(struct job *job, struct error *err))
{
	if (!job_record_end(job, record, RETRY_MS))
		return;
	if (record == job_record_failure)
		tell_failure(job);
	housekeeper_look(job->services->housekeeper);
	reaper_look(job->services->reaper);
	job_finish(job);
}

void job_archive_step(struct job *job)
{
	switch ((enum archive_phase)job->phase) {
	case LOAD:
		load(job);
		break;
	case FOLD:
		job_work(job, fold, FINISH);
		break;
	case FINISH:
		end(job, finish);
		break;
	case FINISH_FAILED:
		end(job, job_record_failure);
		break;
	}
}
