/*
 * Creating a project or a branch:
 *
 *   LOAD ─▶ (source, job_source.c) ─▶ MAKE_VOLUME ─▶ NOTE_VOLUME ─▶ (settle the source) ─▶ OPEN ─▶ LOOK ─▶ REST ─▶ FINISH
 *     (REST: what is made with a disabled endpoint falls asleep; a project has no source: LOAD ─▶ MAKE_VOLUME ─▶ OPEN; a snapshot has no compute: it is not asked)
 *   any failure ─▶ CLEAN_COMPUTE ─▶ CLEAN_VOLUME ─▶ (settle the source) ─▶ FINISH_FAILED
 *
 * Durable step: "cloned" (NOTE_VOLUME), in the transaction that records where the clone was taken and what roles and
 * databases it has. A crash before it makes the clone anew: a clone that is there may not have its position recorded. A crash
 * behind it settles the source again.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "compute/template.h"
#include "control_plane/disk_room.h"
#include "control_plane/housekeeper.h"
#include "control_plane/job.h"
#include "control_plane/orphan.h"
#include "control_plane/resource_json.h"
#include "metadata/snapshot_row.h"
#include "page_store/store.h"
#include "page_store/volume.h"

#define FINISH_RETRY_MS 2000
#define CLEAN_RETRY_MS  500
#define CLEAN_ATTEMPTS  20
#define STEP_CLONED     "cloned"

enum create_phase {
	LOAD = JOB_PHASE_FIRST,
	MAKE_VOLUME,
	NOTE_VOLUME,
	OPEN,
	LOOK,
	LOOKED,
	BEGIN_ROLES,
	REST,
	FINISH,
	CLEAN_COMPUTE,
	CLEAN_VOLUME,
	CLEAN_VOLUME_FAILED,
	CLEANED,
	FINISH_FAILED,
};

static bool is_branch(const struct job *job)
{
	return strcmp(job->operation.kind, "BRANCH_CREATE") == 0;
}

static void load(struct job *job)
{
	struct error err;
	CLEANUP(job_rows_done) struct job_rows rows = { 0 };
	job->failed_phase = CLEAN_COMPUTE;
	status st = job_rows_load(job, &rows, &err);
	if (st != STATUS_OK) {
		job->failed_phase = FINISH_FAILED; /* its project's creation failed: nothing of it is there */
		job_fail(job, &err);
		return;
	}
	memcpy(job->endpoint_uid, rows.endpoint.uid, sizeof job->endpoint_uid);
	memcpy(job->volume_id, rows.branch.volume_id, sizeof job->volume_id);
	memcpy(job->store, rows.project.uid, sizeof job->store);
	const struct installation *installation =
	        services_find_installation(job->services, rows.project.pg_version);
	if (rows.project.is_purged || rows.branch.is_purged)
		st = error_set(&err, STATUS_CONFLICT, 0, "it was deleted while it was being created");
	else if (!installation)
		st = error_set(&err, STATUS_NOT_FOUND, 0, "PostgreSQL %d is not installed any more",
		        rows.project.pg_version);
	else if (is_branch(job))
		st = clone_plan_parse(job->operation.plan, &job->plan, &err);
	if (st == STATUS_OK && is_branch(job))
		st = job_load_source(job, job->operation.source_branch, &err);
	if (st != STATUS_OK) {
		job_fail(job, &err);
		return;
	}
	job->installation = *installation;
	if (!is_branch(job))
		job_go(job, MAKE_VOLUME);
	else if (strcmp(job->operation.step, STEP_CLONED) == 0)
		job_settle_source(job, OPEN);
	else
		job_ask_source(job, MAKE_VOLUME);
}

/* In a worker thread. */
static status make_first_volume(struct job *job, struct error *err)
{
	const struct data_directory *dd = job->services->dd;
	char template_store[STORE_ID_MAX + 1];
	struct volume_usage usage;
	struct error ignored; /* a size that is not known is shown as 0 */
	status st = disk_room_check(dd, err);
	if (st == STATUS_OK)
		st = template_prepare(dd, &job->installation, template_store, err);
	if (st == STATUS_OK)
		st = volume_create(dd, job->store, job->volume_id, template_store, job->installation.bin_dir,
		        job->installation.major, err);
	if (st == STATUS_EXISTS) /* a crash came after it was made */
		st = STATUS_OK;
	if (st == STATUS_OK && volume_usage(dd, job->volume_id, &usage, &ignored) == STATUS_OK)
		job->logical_bytes = usage.logical_bytes;
	return st;
}

/* In a worker thread. */
static status make_clone(struct job *job, struct error *err)
{
	const struct data_directory *dd = job->services->dd;
	status st = disk_room_check(dd, err);
	return st == STATUS_OK
	               ? origin_clone(dd, &job->origin, job->volume_id, job->plan.timeline, &job->taken, err)
	               : st;
}

/* Roles and databases, and the revision up to which the volume has them. */
static status inherit(struct job *job, struct branch_row *branch, int64_t now_usec, struct error *err)
{
	struct metadata *md = job->services->md;
	struct branch_row source;
	struct snapshot_row snapshot;
	status st;
	if (job->plan.moment.kind == MOMENT_SNAPSHOT) {
		st = snapshot_row_get(md, job->plan.moment.snapshot_row, &snapshot, err);
		if (st == STATUS_OK)
			st = snapshot_row_give_roles(md, snapshot.id, branch->id, now_usec, err);
		if (st == STATUS_OK)
			branch->revision = snapshot.revision;
		return st;
	}
	st = branch_row_get(md, job->operation.source_branch, &source, err);
	if (st == STATUS_OK)
		st = role_row_inherit(md, source.id, branch->id, now_usec, err);
	if (st == STATUS_OK)
		st = database_row_inherit(md, source.id, branch->id, now_usec, err);
	if (st == STATUS_OK)
		branch->revision = source.revision;
	return st;
}

static status note_volume(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	struct branch_row branch;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = branch_row_get(md, job->operation.branch, &branch, err);
	if (st == STATUS_OK)
		st = inherit(job, &branch, clock_wall_usec(), err);
	if (st != STATUS_OK)
		return st;
	branch.source_lsn = branch.origin_lsn = job->taken.lsn;
	branch.source_usec = job->taken.time_usec;
	memcpy(branch.origin_volume, job->taken.volume, sizeof branch.origin_volume);
	branch.logical_size = job->taken.logical_bytes;
	(void)snprintf(job->operation.step, sizeof job->operation.step, "%s", STEP_CLONED);
	st = branch_row_update(md, &branch, err);
	if (st == STATUS_OK)
		st = operation_row_update(md, &job->operation, err);
	if (st == STATUS_OK)
		st = transaction_commit(&tx, err);
	if (st != STATUS_OK)
		job->operation.step[0] = '\0';
	return st;
}

static bool is_disabled(const struct job *job)
{
	struct error ignored;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	return endpoint_row_get(job->services->md, job->operation.endpoint, &endpoint, &ignored) ==
	               STATUS_OK &&
	       endpoint.is_disabled;
}

/* Also when nobody may connect yet: only in Postgres can roles be made and seen. */
static void open_compute(struct job *job)
{
	struct error err;
	if (is_disabled(job))
		job->needed_uid = job->endpoint_uid;
	if (fleet_register(job->services->fleet, job->endpoint_uid, false, &err) != STATUS_OK)
		job_fail(job, &err);
	else
		job_open(job, job->endpoint_uid, LOOK);
}

static void rest(struct job *job)
{
	job->needed_uid = NULL;
	if (is_disabled(job))
		job_suspend(job, job->endpoint_uid, FINISH);
	else
		job_go(job, FINISH);
}

/* A child of a protected branch has passwords of its own: those of production do not open it, nor the other way round. */
static bool source_is_protected(const struct job *job)
{
	struct error ignored;
	struct branch_row source;
	return job->operation.source_branch != 0 &&
	       branch_row_get(job->services->md, job->operation.source_branch, &source, &ignored) ==
	               STATUS_OK &&
	       source.is_protected;
}

static void begin_roles(struct job *job)
{
	struct error err;
	if (job_load_beginning(job, &err) != STATUS_OK)
		job_fail(job, &err);
	else
		job_go(job, job->beginning ? BEGIN_ROLES : REST);
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
	if (st != STATUS_OK)
		return st;
	st = job_absorb(job, rows.branch.id, now, err);
	if (st != STATUS_OK)
		return st;
	rows.branch.is_ready = true;
	rows.branch.state_change_usec = now;
	if (!is_branch(job))
		rows.branch.logical_size = job->logical_bytes;
	const struct fleet_member *member = fleet_look(job->services->fleet, job->endpoint_uid);
	st = branch_row_update(md, &rows.branch, err);
	if (st == STATUS_OK)
		st = endpoint_row_note_activity(md, job->endpoint_uid, !rows.endpoint.is_disabled,
		        member ? member->since_usec : now, member ? member->last_active_usec : 0, err);
	if (st != STATUS_OK)
		return st;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *resource = is_branch(job) ? branch_to_json(doc, &rows.project, &rows.branch)
	                                          : project_to_json(job->services, doc, &rows.project);
	CLEANUP(free_text) char *json = json_write(doc, resource);
	yyjson_mut_doc_free(doc);
	st = operation_succeed(md, &job->operation, json, now, err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

/* In a worker thread. A project's store goes with its first volume: there is nothing else in it yet. */
static status destroy_volume(struct job *job, struct error *err)
{
	status st = volume_destroy(job->services->dd, job->volume_id, err);
	return st == STATUS_OK && !is_branch(job) ? store_destroy(job->services->dd, job->store, err) : st;
}

static status finish_failed(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK && is_branch(job))
		st = branch_row_remove(md, job->operation.branch, err);
	else if (st == STATUS_OK)
		st = project_row_remove(md, job->operation.project, err);
	if (st == STATUS_OK)
		st = operation_fail(md, &job->operation, &job->failure, clock_wall_usec(), err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

static void end(struct job *job, status (*record)(struct job *job, struct error *err))
{
	if (!job_record_end(job, record, FINISH_RETRY_MS))
		return;
	if (job->failure.code != STATUS_OK && !is_branch(job))
		orphan_forget_computes(job->services); /* of branches that waited for the project */
	housekeeper_look(job->services->housekeeper);
	job_finish(job);
}

/*
 * Cleaning goes on whatever fails: job_fail() keeps the first failure and returns here. What cannot be removed after
 * many attempts stays, and control's next start warns of a volume that no branch has.
 */
static void clean_compute(struct job *job)
{
	struct error err;
	if (job->attempts < CLEAN_ATTEMPTS && fleet_look(job->services->fleet, job->endpoint_uid)) {
		const struct fleet_member *member = fleet_look(job->services->fleet, job->endpoint_uid);
		if (member->state != FLEET_ASLEEP) {
			job->attempts++;
			job_suspend(job, job->endpoint_uid, CLEAN_COMPUTE);
			return;
		}
		if (fleet_forget(job->services->fleet, job->endpoint_uid, &err) != STATUS_OK) {
			job_retry(job, CLEAN_COMPUTE, CLEAN_RETRY_MS);
			return;
		}
	}
	job_go(job, CLEAN_VOLUME);
}

static void clean_volume_again(struct job *job)
{
	if (++job->tries < CLEAN_ATTEMPTS) {
		job_retry(job, CLEAN_VOLUME, CLEAN_RETRY_MS);
		return;
	}
	log_warning("volume \"%s\" of failed operation %s could not be removed yet: %s", job->volume_id,
	        job->operation.id, job->work_error.message);
	job_go(job, CLEANED);
}

void job_create_step(struct job *job)
{
	struct error err;
	switch ((enum create_phase)job->phase) {
	case LOAD:
		load(job);
		break;
	case MAKE_VOLUME:
		job_work(job, is_branch(job) ? make_clone : make_first_volume,
		        is_branch(job) ? NOTE_VOLUME : OPEN);
		break;
	case NOTE_VOLUME:
		if (note_volume(job, &err) != STATUS_OK)
			job_fail(job, &err);
		else
			job_settle_source(job, OPEN);
		break;
	case OPEN:
		open_compute(job);
		break;
	case LOOK:
		job_work(job, source_is_protected(job) ? job_look_and_renew : job_look, LOOKED);
		break;
	case LOOKED:
		/* A moment in front of the first role: nobody could get in. It gets those that it inherited. */
		if (is_branch(job) && job->inventory.role_count == 0 && job->inventory.database_count > 0)
			begin_roles(job);
		else
			job_go(job, REST);
		break;
	case BEGIN_ROLES:
		job_work(job, job_begin_roles, LOOK);
		break;
	case REST:
		rest(job);
		break;
	case FINISH:
		end(job, finish);
		break;
	case CLEAN_COMPUTE:
		clean_compute(job);
		break;
	case CLEAN_VOLUME:
		job->failed_phase = CLEAN_VOLUME_FAILED;
		job_work(job, destroy_volume, CLEANED);
		break;
	case CLEAN_VOLUME_FAILED:
		clean_volume_again(job);
		break;
	case CLEANED:
		job_settle_source(job, FINISH_FAILED);
		break;
	case FINISH_FAILED:
		end(job, finish_failed);
		break;
	}
}
