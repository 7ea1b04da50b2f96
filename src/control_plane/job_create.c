/*
 * Creating a project or a branch:
 *
 *   LOAD ─▶ OPEN_SOURCE ─▶ MAKE_VOLUME ─▶ NOTE_VOLUME ─▶ SETTLE_SOURCE ─▶ OPEN ─▶ FINISH
 *     (a project has no source: LOAD ─▶ MAKE_VOLUME ─▶ OPEN)
 *   any failure ─▶ CLEAN_COMPUTE ─▶ CLEAN_VOLUME ─▶ FINISH_FAILED
 *
 * Durable step: "cloned" (NOTE_VOLUME), in the transaction that records where the clone was taken and what roles and
 * databases it has. A crash before it makes the clone anew: a clone that is there may not have its position recorded.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "compute/template.h"
#include "control_plane/disk_room.h"
#include "control_plane/job.h"
#include "control_plane/resource_json.h"
#include "page_store/volume.h"

#define FINISH_RETRY_MS 2000
#define CLEAN_RETRY_MS  500
#define CLEAN_ATTEMPTS  20
#define STEP_CLONED     "cloned"

enum create_phase {
	LOAD = JOB_PHASE_FIRST,
	OPEN_SOURCE,
	MAKE_VOLUME,
	NOTE_VOLUME,
	SETTLE_SOURCE,
	OPEN,
	FINISH,
	CLEAN_COMPUTE,
	CLEAN_VOLUME,
	CLEAN_VOLUME_FAILED,
	FINISH_FAILED,
};

struct create_rows {
	struct project_row project;
	struct branch_row branch;
	struct endpoint_row endpoint;
};

static void create_rows_done(struct create_rows *rows)
{
	project_row_done(&rows->project);
	endpoint_row_done(&rows->endpoint);
}

static status load_rows(const struct job *job, struct create_rows *ret, struct error *err)
{
	struct metadata *md = job->services->md;
	status st = project_row_get(md, job->operation.project, &ret->project, err);
	if (st == STATUS_OK)
		st = branch_row_get(md, job->operation.branch, &ret->branch, err);
	if (st == STATUS_OK)
		st = endpoint_row_get(md, job->operation.endpoint, &ret->endpoint, err);
	return st;
}

static bool is_branch(const struct job *job)
{
	return job->operation.source_branch != 0;
}

static status load_source(struct job *job, struct error *err)
{
	struct branch_row source;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	status st = branch_row_get(job->services->md, job->operation.source_branch, &source, err);
	if (st == STATUS_OK)
		st = endpoint_row_find_writer(job->services->md, source.id, &endpoint, err);
	if (st != STATUS_OK)
		return error_prefix(err, "source branch");
	memcpy(job->source_volume_id, source.uid, sizeof job->source_volume_id);
	memcpy(job->source_endpoint_uid, endpoint.uid, sizeof job->source_endpoint_uid);
	job->source_is_disabled = endpoint.is_disabled;
	job->source_socket_dir = fleet_socket_dir(job->services->fleet, endpoint.uid);
	return STATUS_OK;
}

static void load(struct job *job)
{
	struct error err;
	CLEANUP(create_rows_done) struct create_rows rows = { 0 };
	job->failed_phase = CLEAN_COMPUTE;
	status st = load_rows(job, &rows, &err);
	if (st != STATUS_OK) {
		job_fail(job, &err);
		return;
	}
	memcpy(job->endpoint_uid, rows.endpoint.uid, sizeof job->endpoint_uid);
	memcpy(job->volume_id, rows.branch.uid, sizeof job->volume_id);
	job->timeline = (uint32_t)rows.branch.timeline;
	const struct installation *installation =
	        services_find_installation(job->services, rows.project.pg_version);
	if (rows.project.is_purged || rows.branch.is_purged)
		st = error_set(&err, STATUS_CONFLICT, 0, "it was deleted while it was being created");
	else if (!installation)
		st = error_set(&err, STATUS_NOT_FOUND, 0, "PostgreSQL %d is not installed any more",
		        rows.project.pg_version);
	else if (is_branch(job))
		st = load_source(job, &err);
	if (st != STATUS_OK) {
		job_fail(job, &err);
		return;
	}
	job->installation = *installation;
	if (!is_branch(job))
		job_go(job, MAKE_VOLUME);
	else if (strcmp(job->operation.step, STEP_CLONED) == 0)
		job_go(job, OPEN);
	else
		job_go(job, OPEN_SOURCE);
}

static void measure(struct job *job)
{
	struct error err; /* a size that is not known is shown as 0 */
	if (volume_space(job->services->dd, job->volume_id, &job->space_bytes, &err) != STATUS_OK)
		job->space_bytes = 0;
}

/* In a worker thread. */
static status make_first_volume(struct job *job, struct error *err)
{
	const struct data_directory *dd = job->services->dd;
	CLEANUP(free_text) char *template_path = NULL;
	status st = template_prepare(dd, &job->installation, &template_path, err);
	if (st != STATUS_OK)
		return st;
	/* One that is there already, made before a crash, needs no more room. */
	CLEANUP(free_text) char *made = data_directory_path(dd, "volumes/%s", job->volume_id);
	if (!file_exists(made))
		st = disk_room_check(dd, template_path, err);
	if (st != STATUS_OK)
		return st;
	st = volume_create(
	        dd, job->volume_id, template_path, job->installation.bin_dir, job->installation.major, err);
	if (st == STATUS_EXISTS) /* a crash came after it was made */
		st = STATUS_OK;
	if (st == STATUS_OK)
		measure(job);
	return st;
}

/* In a worker thread. */
static status make_clone(struct job *job, struct error *err)
{
	const struct data_directory *dd = job->services->dd;
	status st = volume_destroy(
	        dd, job->volume_id, err); /* of an earlier attempt; nothing has opened it yet */
	CLEANUP(free_text) char *source = data_directory_path(dd, "volumes/%s/data", job->source_volume_id);
	if (st == STATUS_OK)
		st = disk_room_check(dd, source, err);
	if (st == STATUS_OK)
		st = branching_clone(dd, job->source_volume_id, job->source_socket_dir, job->volume_id,
		        job->timeline, &job->cloned, err);
	if (st == STATUS_OK)
		measure(job);
	return st;
}

static status note_volume(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	struct branch_row branch, source;
	int64_t now = clock_wall_usec();
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = branch_row_get(md, job->operation.branch, &branch, err);
	if (st == STATUS_OK)
		st = branch_row_get(md, job->operation.source_branch, &source, err);
	if (st != STATUS_OK)
		return st;
	branch.source_lsn = job->cloned.lsn;
	branch.source_usec = job->cloned.wall_usec;
	branch.revision = source.revision;
	branch.logical_size = job->space_bytes;
	(void)snprintf(job->operation.step, sizeof job->operation.step, "%s", STEP_CLONED);
	st = branch_row_update(md, &branch, err);
	if (st == STATUS_OK)
		st = role_row_inherit(md, source.id, branch.id, now, err);
	if (st == STATUS_OK)
		st = database_row_inherit(md, source.id, branch.id, now, err);
	if (st == STATUS_OK)
		st = operation_row_update(md, &job->operation, err);
	if (st == STATUS_OK)
		st = transaction_commit(&tx, err);
	if (st != STATUS_OK)
		job->operation.step[0] = '\0';
	return st;
}

static void open_compute(struct job *job)
{
	struct error err;
	if (fleet_register(job->services->fleet, job->endpoint_uid, false, &err) != STATUS_OK)
		job_fail(job, &err);
	else
		job_open(job, job->endpoint_uid, FINISH);
}

static status finish(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(create_rows_done) struct create_rows rows = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	int64_t now = clock_wall_usec();
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = load_rows(job, &rows, err);
	if (st != STATUS_OK)
		return st;
	rows.branch.is_ready = true;
	rows.branch.state_change_usec = now;
	if (!is_branch(job))
		rows.branch.logical_size = job->space_bytes;
	const struct fleet_member *member = fleet_look(job->services->fleet, job->endpoint_uid);
	st = branch_row_update(md, &rows.branch, err);
	if (st == STATUS_OK)
		st = endpoint_row_note_activity(
		        md, job->endpoint_uid, true, member ? member->last_active_usec : 0, err);
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

/* In a worker thread. */
static status destroy_volume(struct job *job, struct error *err)
{
	return volume_destroy(job->services->dd, job->volume_id, err);
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

/* The end is recorded again and again until it is: the disk may be full for a while. */
static void end(struct job *job, status (*record)(struct job *job, struct error *err))
{
	struct error err;
	if (record(job, &err) == STATUS_OK) {
		job_finish(job);
		return;
	}
	job->operation.finish_usec = 0;
	if (job->attempts == 0)
		log_error("could not record the end of operation %s, trying again: %s", job->operation.id,
		        err.message);
	job_retry(job, job->phase, FINISH_RETRY_MS);
}

/*
 * Cleaning goes on whatever fails: job_fail() keeps the first failure and returns here. What cannot be removed after
 * many attempts stays, and control's next start warns of a volume that no branch has.
 */
static void clean_compute(struct job *job)
{
	job->needed_uid = NULL;
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
	job_go(job, FINISH_FAILED);
}

void job_create_step(struct job *job)
{
	struct error err;
	switch ((enum create_phase)job->phase) {
	case LOAD:
		load(job);
		break;
	case OPEN_SOURCE:
		job->needed_uid = job->source_endpoint_uid;
		job_open(job, job->source_endpoint_uid, MAKE_VOLUME);
		break;
	case MAKE_VOLUME:
		job_work(job, is_branch(job) ? make_clone : make_first_volume,
		        is_branch(job) ? NOTE_VOLUME : OPEN);
		break;
	case NOTE_VOLUME:
		if (note_volume(job, &err) != STATUS_OK)
			job_fail(job, &err);
		else
			job_go(job, SETTLE_SOURCE);
		break;
	case SETTLE_SOURCE:
		/* A disabled source ran only for this. */
		job->needed_uid = NULL;
		if (job->source_is_disabled)
			job_suspend(job, job->source_endpoint_uid, OPEN);
		else
			job_go(job, OPEN);
		break;
	case OPEN:
		open_compute(job);
		break;
	case FINISH:
		end(job, finish);
		break;
	case CLEAN_COMPUTE:
		clean_compute(job);
		break;
	case CLEAN_VOLUME:
		job->failed_phase = CLEAN_VOLUME_FAILED;
		job_work(job, destroy_volume, FINISH_FAILED);
		break;
	case CLEAN_VOLUME_FAILED:
		clean_volume_again(job);
		break;
	case FINISH_FAILED:
		end(job, finish_failed);
		break;
	}
}
