/*
 * The source of a clone or snapshot: where the branch ends now, and that its compute is left as it was.
 *
 *   ASK ─▶ (it runs: a point, or a flush when only WAL is needed) ─▶ after_source
 *    ▲ └▶ (it sleeps) LOOK ─▶ (it went to sleep cleanly: its last restore point) ─▶ after_source
 *    └──────────────── WAKE ◀─┘ (nobody can tell without a start)
 *   SETTLE ─▶ (a disabled endpoint that nobody needs any more sleeps again) ─▶ after_settling
 */
#include <stdio.h>

#include "base/log.h"
#include "control_plane/job.h"
#include "control_plane/lineage.h"
#include "control_plane/reconciler.h"
#include "metadata/endpoint_row.h"
#include "metadata/snapshot_row.h"

#define WAKES_MAX         3
#define POINT_COST_MIN_MS 100.0 /* of a restore point when nothing else is going on */

enum source_phase { ASK = JOB_PHASE_SOURCE, LOOK, LOOKED, SETTLE };

static status load_branch(struct job *job, int64_t id, struct error *err)
{
	struct metadata *md = job->services->md;
	struct branch_row branch;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	status st = branch_row_get(md, id, &branch, err);
	if (st == STATUS_OK)
		st = endpoint_row_find_writer(md, branch.id, &endpoint, err);
	if (st == STATUS_OK)
		st = lineage_of_branch(md, &branch, &job->origin.lineage, err);
	if (st != STATUS_OK)
		return error_prefix(err, "source branch");
	if (branch.is_purged)
		return error_set(err, STATUS_NOT_FOUND, 0, "source branch: it has been deleted");
	memcpy(job->source_endpoint_uid, endpoint.uid, sizeof job->source_endpoint_uid);
	return STATUS_OK;
}

status job_load_source(struct job *job, int64_t branch, struct error *err)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct origin_request *request = &job->origin;
	*request = (struct origin_request){ .moment = job->plan.moment };
	job->source_endpoint_uid[0] = '\0';
	job->wakes = 0;
	status st = project_row_get(job->services->md, job->operation.project, &project, err);
	if (st != STATUS_OK)
		return st;
	const struct installation *installation =
	        services_find_installation(job->services, project.pg_version);
	if (!installation)
		return error_set(err, STATUS_NOT_FOUND, 0, "PostgreSQL %d is not installed any more",
		        project.pg_version);
	memcpy(request->store, project.uid, sizeof request->store);
	memcpy(request->bin_dir, installation->bin_dir, sizeof request->bin_dir);
	request->window_usec = project.history_retention_usec;
	return request->moment.kind == MOMENT_SNAPSHOT ? STATUS_OK : load_branch(job, branch, err);
}

void job_ask_source(struct job *job, int next_phase)
{
	job->after_source = next_phase;
	job_go(job, job->origin.moment.kind == MOMENT_SNAPSHOT ? next_phase : ASK);
}

void job_settle_source(struct job *job, int next_phase)
{
	job->after_settling = next_phase;
	job_go(job, SETTLE);
}

/* In a worker thread. */
static status look(struct job *job, struct error *err)
{
	const struct origin_request *request = &job->origin;
	status st = origin_find_end(
	        job->services->dd, request->store, request->lineage.volumes[0].id, &job->origin.end, err);
	job->source_must_wake = st == STATUS_CONFLICT;
	return st == STATUS_CONFLICT ? STATUS_OK : st;
}

static void wake(struct job *job)
{
	struct error err;
	if (++job->wakes > WAKES_MAX) {
		error_fill(&err, STATUS_UNAVAILABLE, 0,
		        "the source was woken %d times and went to sleep again before a restore point was "
		        "made",
		        WAKES_MAX);
		job_fail(job, &err);
		return;
	}
	job_open(job, job->source_endpoint_uid, ASK);
}

static void settle(struct job *job)
{
	struct error err;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	const char *uid = job->source_endpoint_uid;
	const struct fleet_member *member = uid[0] ? fleet_look(job->services->fleet, uid) : NULL;
	job->needed_uid = NULL;
	if (member && member->state != FLEET_ASLEEP && !reconciler_needs(job->reconciler, uid) &&
	        endpoint_row_find_uid(job->services->md, uid, &endpoint, &err) == STATUS_OK &&
	        endpoint.is_disabled)
		job_suspend_quietly(job, uid, job->after_settling);
	else
		job_go(job, job->after_settling);
}

/*
 * Is WAL all that is needed of a compute that runs? For a moment of the past it is. At the head a restore point has its price, a checkpoint, which
 * under load is many times what it takes to replay what was written since the last one. A snapshot always gets a point: it is opened often.
 */
static bool needs_only_wal(const struct job *job)
{
	if (job->origin.moment.kind != MOMENT_HEAD)
		return true;
	const struct fleet_member *member = fleet_look(job->services->fleet, job->source_endpoint_uid);
	if (!member || !member->storage.is_known || member->storage.points == 0 ||
	        job->plan.volume[0] == '\0')
		return false;
	/* Beside a load replay takes a few times what is estimated, and a point that somebody waits for less than the last one (haste.h). */
	double cost_ms = member->storage.point_cost_ms / 4;
	return member->storage.replay_estimate_ms <=
	       (cost_ms > POINT_COST_MIN_MS ? cost_ms : POINT_COST_MIN_MS);
}

void job_source_step(struct job *job)
{
	switch ((enum source_phase)job->phase) {
	case ASK:
		/* Also when it runs: another job that woke it must not let it sleep now. */
		job->needed_uid = job->source_endpoint_uid;
		job_point(job, job->source_endpoint_uid, needs_only_wal(job), LOOK, job->after_source);
		break;
	case LOOK:
		job_work(job, look, LOOKED);
		break;
	case LOOKED:
		if (job->source_must_wake)
			wake(job);
		else
			job_go(job, job->after_source);
		break;
	case SETTLE:
		settle(job);
		break;
	}
}
