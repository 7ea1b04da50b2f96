/*
 * Reset and restore: a branch gets another volume under its name, its endpoint and its connection string stay.
 *
 *   LOAD ─▶ (source, job_source.c) ─▶ MAKE_VOLUME ─▶ (settle the source) ─▶ SUSPEND ─▶ SWAP ─▶ OPEN ─▶ LOOK ─▶ REST ─▶ DESTROY_OLD ─▶ FINISH
 *     a failure up to there ─▶ DESTROY_NEW ─▶ (settle the source) ─▶ FINISH_FAILED
 *     a failure of SUSPEND or SWAP ─▶ OPEN_OLD ─▶ DESTROY_NEW ─▶ …
 *     a failure of OPEN ─▶ SUSPEND_NEW ─▶ SWAP_BACK ─▶ OPEN_OLD ─▶ DESTROY_NEW ─▶ …
 *
 * The source is the parent at its head (reset), or the branch's own past (restore). SWAP is one transaction, made in the very callback that
 * says the compute is asleep, so that whoever connects meanwhile waits and finds the new volume. It moves the old volume, with roles and
 * databases, to a row of its own: after a restore that is a branch for the user; after a reset it is marked purged and goes when the new
 * volume has opened.
 *
 * Durable steps: "swapped" (SWAP), "undone" (SWAP_BACK). A crash before the first begins anew, and nothing has changed; behind it the job
 * goes on with OPEN. That comes also when the compute slept, or is disabled: only Postgres can tell which roles and databases there are now, and whether
 * the new volume opens at all. Then it sleeps again (REST), unless somebody has begun to use it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "compute/activity.h"
#include "control_plane/branch_inventory.h"
#include "control_plane/disk_room.h"
#include "control_plane/endpoint.h"
#include "control_plane/housekeeper.h"
#include "control_plane/job.h"
#include "control_plane/reaper.h"
#include "control_plane/resource_json.h"
#include "control_plane/resource_name.h"
#include "page_store/volume.h"

#define FINISH_RETRY_MS  2000
#define DESTROY_RETRY_MS 500
#define DESTROY_ATTEMPTS 20
#define STEP_SWAPPED     "swapped"
#define STEP_UNDONE      "undone"

enum exchange_phase {
	LOAD = JOB_PHASE_FIRST,
	MAKE_VOLUME,
	MADE,
	SUSPEND,
	SWAP,
	OPEN,
	LOOK,
	REST,
	DESTROY_OLD,
	DESTROY_OLD_FAILED,
	FINISH,
	SUSPEND_NEW,
	SWAP_BACK,
	OPEN_OLD,
	DESTROY_NEW,
	DESTROY_NEW_FAILED,
	SETTLE,
	FINISH_FAILED,
};

static bool is_reset(const struct job *job)
{
	return strcmp(job->operation.kind, "BRANCH_RESET") == 0;
}

static bool is_at_step(const struct job *job, const char *step)
{
	return strcmp(job->operation.step, step) == 0;
}

static void load(struct job *job)
{
	struct error err;
	CLEANUP(job_rows_done) struct job_rows rows = { 0 };
	job->failed_phase = FINISH_FAILED;
	status st = clone_plan_parse(job->operation.plan, &job->plan, &err);
	if (st == STATUS_OK)
		st = job_rows_load(job, &rows, &err);
	if (st == STATUS_OK) {
		memcpy(job->endpoint_uid, rows.endpoint.uid, sizeof job->endpoint_uid);
		memcpy(job->volume_id, job->plan.volume, sizeof job->volume_id);
		st = job_load_source(
		        job, is_reset(job) ? job->operation.source_branch : job->operation.branch, &err);
	}
	if (is_at_step(job, STEP_SWAPPED)) {
		/* It has happened: the parent may be gone by now, and is not needed. */
		job->failure = (struct error){ 0 };
		job_settle_source(job, OPEN);
		return;
	}
	if (is_at_step(job, STEP_UNDONE))
		st = error_set(&err, STATUS_UNAVAILABLE, 0,
		        "the new state could not be opened, and the old one was put back; the log has the "
		        "reason");
	if (st == STATUS_OK && (rows.branch.is_purged || rows.branch.delete_usec != 0))
		st = error_set(&err, STATUS_CONFLICT, 0, "the branch has been deleted");
	if (st != STATUS_OK) {
		job->failed_phase = job->volume_id[0] ? DESTROY_NEW : FINISH_FAILED;
		job_fail(job, &err);
		return;
	}
	const struct fleet_member *member = fleet_look(job->services->fleet, rows.endpoint.uid);
	job->plan.was_running = !rows.endpoint.is_disabled && member &&
	                        (member->state == FLEET_RUNNING || member->state == FLEET_STARTING);
	job->failed_phase = DESTROY_NEW;
	job_ask_source(job, MAKE_VOLUME);
}

/* In a worker thread. */
static status make_volume(struct job *job, struct error *err)
{
	const struct data_directory *dd = job->services->dd;
	status st = disk_room_check(dd, err);
	return st == STATUS_OK
	               ? origin_clone(dd, &job->origin, job->volume_id, job->plan.timeline, &job->taken, err)
	               : st;
}

/* The row that gets the old volume. */
static void begin_kept_row(
        const struct job *job, const struct branch_row *branch, int64_t now_usec, struct branch_row *ret)
{
	struct branch_row kept = *branch;
	kept.id = 0;
	resource_uid_make("br", kept.uid);
	kept.next_volume = 1;
	kept.create_usec = kept.update_usec = kept.state_change_usec = now_usec;
	kept.is_protected = false;
	kept.is_ready = false;
	if (is_reset(job)) {
		kept.is_purged = kept.is_resetting = true; /* the operation's own: nobody else removes it */
	} else {
		kept.is_resetting = false;
		(void)snprintf(kept.branch_id, sizeof kept.branch_id, "%s", job->plan.kept_branch);
		/* A root cannot be deleted: what it was is shown as a child that left at the moment it went back to. */
		if (branch->source == 0 && branch->source_snapshot[0] == '\0') {
			kept.source = branch->id;
			memcpy(kept.source_branch_id, branch->branch_id, sizeof kept.source_branch_id);
			kept.source_lsn = job->taken.lsn;
			kept.source_usec = job->taken.time_usec;
		}
	}
	*ret = kept;
}

static status insert_kept(struct job *job, const struct job_rows *rows, struct branch_row *kept,
        int64_t now_usec, struct error *err)
{
	struct metadata *md = job->services->md;
	status st = branch_row_insert(md, kept, err);
	if (st == STATUS_OK)
		st = role_row_inherit(md, rows->branch.id, kept->id, now_usec, err);
	if (st == STATUS_OK)
		st = database_row_inherit(md, rows->branch.id, kept->id, now_usec, err);
	if (st != STATUS_OK || is_reset(job))
		return st;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	endpoint_begin_primary(&rows->project, now_usec, &endpoint);
	return endpoint_insert_primary(md, kept->id, &endpoint, err);
}

/* The branch has the new volume; after a reset also the parent's roles, and another place to have come from. */
static status change_branch(struct job *job, struct branch_row *branch, int64_t now_usec, struct error *err)
{
	struct metadata *md = job->services->md;
	struct branch_row source;
	memcpy(branch->volume_id, job->plan.volume, sizeof branch->volume_id);
	memcpy(branch->origin_volume, job->taken.volume, sizeof branch->origin_volume);
	branch->origin_lsn = job->taken.lsn;
	branch->timeline = job->plan.timeline;
	branch->logical_size = job->taken.logical_bytes;
	status st = STATUS_OK;
	if (is_reset(job)) {
		branch->source_lsn = job->taken.lsn;
		branch->source_usec = job->taken.time_usec;
		st = branch_row_get(md, job->operation.source_branch, &source, err);
		if (st == STATUS_OK)
			st = role_row_inherit(md, source.id, branch->id, now_usec, err);
		if (st == STATUS_OK)
			st = database_row_inherit(md, source.id, branch->id, now_usec, err);
		if (st == STATUS_OK)
			branch->revision = source.revision;
	}
	return st == STATUS_OK ? branch_row_update(md, branch, err) : st;
}

static status swap(struct job *job, struct error *err)
{
	CLEANUP(job_rows_done) struct job_rows rows = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	struct branch_row kept;
	int64_t now = clock_wall_usec();
	status st = transaction_begin(job->services->md, &tx, err);
	if (st == STATUS_OK)
		st = job_rows_load(job, &rows, err);
	if (st != STATUS_OK)
		return st;
	begin_kept_row(job, &rows.branch, now, &kept);
	memcpy(job->plan.old_volume, rows.branch.volume_id, sizeof job->plan.old_volume);
	struct branch_row parting = rows.branch; /* two rows cannot have one volume, not for a moment */
	memcpy(parting.volume_id, job->plan.volume, sizeof parting.volume_id);
	st = branch_row_update(job->services->md, &parting, err);
	if (st == STATUS_OK)
		st = insert_kept(job, &rows, &kept, now, err);
	if (st == STATUS_EXISTS)
		return error_set(err, STATUS_EXISTS, 0,
		        "branch id '%s', under which the present state was to be kept, has been taken "
		        "meanwhile",
		        kept.branch_id);
	if (st == STATUS_OK)
		st = change_branch(job, &rows.branch, now, err);
	if (st != STATUS_OK)
		return st;
	free(job->operation.plan);
	job->operation.plan = clone_plan_format(&job->plan);
	(void)snprintf(job->operation.step, sizeof job->operation.step, "%s", STEP_SWAPPED);
	st = operation_row_update(job->services->md, &job->operation, err);
	if (st == STATUS_OK)
		st = transaction_commit(&tx, err);
	if (st != STATUS_OK)
		job->operation.step[0] = '\0';
	return st;
}

/* What the supervisor left of the old volume: the branch that keeps that shows it. */
static void take_over(struct job *job)
{
	struct branch_row branch;
	struct error err;
	if (branch_row_get(job->services->md, job->operation.branch, &branch, &err) == STATUS_OK)
		branch_inventory_take_over(job->services, &branch, job->endpoint_uid);
}

static void try_swap(struct job *job)
{
	struct error err;
	const struct fleet_member *member = fleet_look(job->services->fleet, job->endpoint_uid);
	if (member && member->state != FLEET_ASLEEP) {
		job_go(job, SUSPEND); /* an open that waited was faster */
		return;
	}
	take_over(job);
	if (swap(job, &err) != STATUS_OK)
		job_fail(job, &err);
	else
		job_go(job, OPEN);
}

/* The old volume and all that belongs to it, from the row that kept it. */
static status swap_back(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	struct branch_row branch, kept;
	int64_t now = clock_wall_usec();
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = branch_row_get(md, job->operation.branch, &branch, err);
	if (st == STATUS_OK)
		st = branch_row_find_volume(md, job->plan.old_volume, &kept, err);
	if (st == STATUS_OK)
		st = role_row_inherit(md, kept.id, branch.id, now, err);
	if (st == STATUS_OK)
		st = database_row_inherit(md, kept.id, branch.id, now, err);
	if (st == STATUS_OK)
		st = branch_row_remove(md, kept.id, err);
	if (st != STATUS_OK)
		return st;
	memcpy(branch.volume_id, kept.volume_id, sizeof branch.volume_id);
	memcpy(branch.origin_volume, kept.origin_volume, sizeof branch.origin_volume);
	branch.origin_lsn = kept.origin_lsn;
	branch.timeline = kept.timeline;
	branch.revision = kept.revision;
	if (is_reset(job)) {
		branch.source_lsn = kept.source_lsn;
		branch.source_usec = kept.source_usec;
	}
	(void)snprintf(job->operation.step, sizeof job->operation.step, "%s", STEP_UNDONE);
	st = branch_row_update(md, &branch, err);
	if (st == STATUS_OK)
		st = operation_row_update(md, &job->operation, err);
	if (st == STATUS_OK)
		st = transaction_commit(&tx, err);
	if (st != STATUS_OK)
		(void)snprintf(job->operation.step, sizeof job->operation.step, "%s", STEP_SWAPPED);
	return st;
}

static void try_swap_back(struct job *job)
{
	struct error err;
	const struct fleet_member *member = fleet_look(job->services->fleet, job->endpoint_uid);
	if (member && member->state != FLEET_ASLEEP) {
		job_go(job, SUSPEND_NEW);
	} else if (swap_back(job, &err) == STATUS_OK) {
		log_warning("%s: %s; the old state is back", job->operation.resource, job->failure.message);
		job_go(job, OPEN_OLD);
	} else {
		if (job->attempts == 0)
			log_error("%s: could not put the old state back, trying again: %s",
			        job->operation.resource, err.message);
		job_retry(job, SWAP_BACK, FINISH_RETRY_MS);
	}
}

static bool is_disabled(const struct job *job)
{
	struct error ignored;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	return endpoint_row_find_uid(job->services->md, job->endpoint_uid, &endpoint, &ignored) ==
	               STATUS_OK &&
	       endpoint.is_disabled;
}

/* It is started although it is disabled, or others are as many as may run: both may have come while it was asleep for the exchange. */
static void open_needed(struct job *job, int next)
{
	job->needed_uid = job->endpoint_uid;
	job_open(job, job->endpoint_uid, next);
}

/* In a worker thread. */
static status look(struct job *job, struct error *err)
{
	CLEANUP(free_text) char *socket_dir = fleet_socket_dir(job->services->fleet, job->endpoint_uid);
	job->is_used = true;
	status st = job_look(job, err);
	return st == STATUS_OK ? activity_has_clients(socket_dir, &job->is_used, err) : st;
}

static void rest(struct job *job)
{
	job->needed_uid = NULL;
	if (is_disabled(job) || (!job->plan.was_running && !job->is_used))
		job_suspend_quietly(job, job->endpoint_uid, DESTROY_OLD);
	else
		job_go(job, DESTROY_OLD);
}

/* In a worker thread. */
static status destroy_old(struct job *job, struct error *err)
{
	return volume_destroy(job->services->dd, job->plan.old_volume, err);
}

/* In a worker thread. */
static status destroy_new(struct job *job, struct error *err)
{
	return volume_destroy(job->services->dd, job->volume_id, err);
}

/* What cannot be removed after many attempts stays; control's next start warns of it. */
static void destroy_again(struct job *job, int phase, int give_up_phase)
{
	if (++job->tries < DESTROY_ATTEMPTS) {
		job_retry(job, phase, DESTROY_RETRY_MS);
		return;
	}
	log_warning("%s: a volume that is not needed any more could not be removed yet: %s",
	        job->operation.resource, job->work_error.message);
	job->tries = 0;
	job_go(job, give_up_phase);
}

static char *response_json(const struct job_rows *rows, const struct branch_row *kept)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = branch_to_json(doc, &rows->project, &rows->branch);
	if (kept) {
		CLEANUP(free_text) char *name = branch_name(&rows->project, kept);
		yyjson_mut_obj_add_strcpy(doc, root, "kept_branch", name);
	}
	char *json = json_write(doc, root);
	yyjson_mut_doc_free(doc);
	return json;
}

static status finish_kept(struct job *job, struct branch_row *kept, struct error *err)
{
	if (!is_reset(job)) {
		kept->is_ready = true;
	} else if (job->work_error.code == STATUS_OK) {
		return branch_row_remove(job->services->md, kept->id, err);
	} else {
		kept->is_resetting = false; /* its volume is still there: the next start purges it */
	}
	return branch_row_update(job->services->md, kept, err);
}

static status finish(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(job_rows_done) struct job_rows rows = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	struct branch_row kept;
	int64_t now = clock_wall_usec();
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = job_rows_load(job, &rows, err);
	if (st != STATUS_OK)
		return st;
	rows.branch.is_resetting = false;
	rows.branch.update_usec = rows.branch.state_change_usec = now;
	st = branch_row_update(md, &rows.branch, err);
	if (st == STATUS_OK)
		st = job_absorb(job, rows.branch.id, now, err);
	bool has_kept = st == STATUS_OK;
	if (st == STATUS_OK)
		st = branch_row_find_volume(md, job->plan.old_volume, &kept, err);
	if (st == STATUS_NOT_FOUND) {
		has_kept = false; /* a crash came between the removal and here */
		st = STATUS_OK;
	}
	if (st == STATUS_OK && has_kept)
		st = finish_kept(job, &kept, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *json = response_json(&rows, has_kept && !is_reset(job) ? &kept : NULL);
	st = operation_succeed(md, &job->operation, json, now, err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

/* The kept branch can be opened from now on. */
static void register_kept(struct job *job)
{
	struct error err;
	struct branch_row kept;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	if (is_reset(job))
		return;
	status st = branch_row_find_volume(job->services->md, job->plan.old_volume, &kept, &err);
	if (st == STATUS_OK)
		st = endpoint_row_find_writer(job->services->md, kept.id, &endpoint, &err);
	if (st == STATUS_OK)
		st = fleet_register(job->services->fleet, endpoint.uid, false, &err);
	if (st != STATUS_OK)
		log_error("%s: the branch that keeps the old state has no compute until the next start: %s",
		        job->operation.resource, err.message);
}

static status finish_failed(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	struct branch_row branch;
	status st = transaction_begin(md, &tx, err);
	if (st != STATUS_OK)
		return st;
	st = branch_row_get(md, job->operation.branch, &branch, err);
	if (st == STATUS_OK) {
		branch.is_resetting = false;
		st = branch_row_update(md, &branch, err);
	} else if (st == STATUS_NOT_FOUND) {
		st = STATUS_OK;
	}
	if (st == STATUS_OK)
		st = operation_fail(md, &job->operation, &job->failure, clock_wall_usec(), err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

static void end(struct job *job, status (*record)(struct job *job, struct error *err))
{
	if (!job_record_end(job, record, FINISH_RETRY_MS))
		return;
	if (job->failure.code == STATUS_OK)
		register_kept(job);
	housekeeper_look(job->services->housekeeper);
	reaper_look(job->services->reaper);
	job_finish(job);
}

static void go_on_failing(struct job *job)
{
	switch ((enum exchange_phase)job->phase) {
	case SUSPEND_NEW:
		job->needed_uid = NULL;
		job->failed_phase = SUSPEND_NEW;
		job_suspend_quietly(job, job->endpoint_uid, SWAP_BACK);
		break;
	case SWAP_BACK:
		try_swap_back(job);
		break;
	case OPEN_OLD:
		job->failed_phase = DESTROY_NEW;
		if (job->plan.was_running)
			open_needed(job, DESTROY_NEW);
		else
			job_go(job, DESTROY_NEW);
		break;
	case DESTROY_NEW:
		job->needed_uid = NULL;
		job->failed_phase = DESTROY_NEW_FAILED;
		job_work(job, destroy_new, SETTLE);
		break;
	case DESTROY_NEW_FAILED:
		destroy_again(job, DESTROY_NEW, SETTLE);
		break;
	case SETTLE:
		job_settle_source(job, FINISH_FAILED);
		break;
	case FINISH_FAILED:
	default:
		end(job, finish_failed);
		break;
	}
}

void job_exchange_step(struct job *job)
{
	switch ((enum exchange_phase)job->phase) {
	case LOAD:
		load(job);
		break;
	case MAKE_VOLUME:
		job_work(job, make_volume, MADE);
		break;
	case MADE:
		job_settle_source(job, SUSPEND);
		break;
	case SUSPEND:
		job->failed_phase = OPEN_OLD;
		job_suspend(job, job->endpoint_uid, SWAP);
		break;
	case SWAP:
		try_swap(job);
		break;
	case OPEN:
		job->failed_phase = SUSPEND_NEW;
		open_needed(job, LOOK);
		break;
	case LOOK:
		job->failed_phase = REST; /* the rows are seen to when it is asked next: it runs */
		job_work(job, look, REST);
		break;
	case REST:
		rest(job);
		break;
	case DESTROY_OLD:
		job->failure = (struct error){ 0 };
		job->failed_phase = DESTROY_OLD_FAILED;
		if (is_reset(job))
			job_work(job, destroy_old, FINISH);
		else
			job_go(job, FINISH);
		break;
	case DESTROY_OLD_FAILED:
		job->failure = (struct error){ 0 }; /* what was asked for has happened */
		destroy_again(job, DESTROY_OLD, FINISH);
		break;
	case FINISH:
		job->failure = (struct error){ 0 };
		end(job, finish);
		break;
	default:
		go_on_failing(job);
		break;
	}
}
