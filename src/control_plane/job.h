/*
 * Job: one open operation on its way. The kind of operation decides the step function; it is called with job->phase and
 * must end in exactly one of the calls below, which come back with the next phase, or in job_finish().
 *
 *   job_go        at once                     job_work      after a blocking function in a worker thread
 *   job_open      when a compute accepts      job_suspend   when a compute sleeps
 *   job_apply     when a compute has read its new spec     job_retry     after a while
 *
 * When the asynchronous part fails, job->failure keeps the first failure and the step function gets job->failed_phase.
 */
#pragma once

#include <stdatomic.h>
#include <uv.h>

#include "auth/scram_verifier.h"
#include "base/base.h"
#include "compute/inventory.h"
#include "control_plane/clone_plan.h"
#include "control_plane/operation.h"
#include "control_plane/origin.h"
#include "control_plane/services.h"
#include "metadata/branch_row.h"
#include "metadata/endpoint_row.h"
#include "metadata/project_row.h"

#define JOB_PHASE_FIRST  0
#define JOB_PHASE_SOURCE 100 /* from here on: job_source.c */

struct beginning;
struct catalog_work;
struct reconciler;
struct renewed;

struct job {
	struct job *next;
	struct reconciler *reconciler;
	const struct services *services;
	struct operation_row operation;
	void (*step)(struct job *job);
	int phase, next_phase, failed_phase, asleep_phase;
	int attempts; /* of the current phase */
	int tries;    /* of all of it, for kinds that begin again */
	bool is_begun, is_in_worker, is_finished;
	atomic_bool
	        shall_stop; /* somebody waits for what it works on; of interest to long steps that can end early */
	uv_work_t work;
	uv_timer_t timer;
	status (*work_fn)(struct job *job, struct error *err);
	struct error work_error;
	struct error failure; /* code STATUS_OK: none so far */

	/* The plan: copies, so that worker threads touch nothing of the loop's. */
	char endpoint_uid[RESOURCE_ID_MAX + 1];
	char store[RESOURCE_ID_MAX + 1];     /* the project's */
	char volume_id[RESOURCE_ID_MAX + 1]; /* to be made */
	struct clone_plan plan;
	struct installation installation;
	int64_t logical_bytes;
	/* Where the volume comes from (job_source.c). */
	char source_endpoint_uid[RESOURCE_ID_MAX + 1];
	const char *needed_uid; /* see reconciler_needs(); NULL: none */
	struct origin_request origin;
	struct origin_result taken;
	int after_source, after_settling, wakes;
	bool source_must_wake;
	bool is_used; /* by a client, the volume that was just opened (job_exchange.c) */
	/* For deletions: all computes and volumes of the branch or project. */
	char (*endpoint_uids)[RESOURCE_ID_MAX + 1];
	char (*volume_ids)[RESOURCE_ID_MAX + 1];
	size_t endpoint_count, volume_count, suspending_count;
	/* Roles and databases (job_inventory.c, job_catalog.c). */
	struct inventory inventory; /* of endpoint_uid's compute, when has_inventory */
	bool has_inventory;
	uint64_t inventory_ticket;
	struct renewed *renewed;      /* passwords, beside inventory.roles; NULL: none */
	struct catalog_work *catalog; /* of ROLE_… and DATABASE_… */
	struct beginning *beginning;  /* of a branch without roles; NULL: none */
};

/* The rows that an operation on a branch works with: its endpoint is the one that the operation names, else the branch's READ_WRITE one. */
struct job_rows {
	struct project_row project;
	struct branch_row branch;
	struct endpoint_row endpoint;
};
void job_rows_done(struct job_rows *rows); /* for CLEANUP */
MUST_CHECK status job_rows_load(const struct job *job, struct job_rows *ret, struct error *err);

void job_go(struct job *job, int phase);
void job_work(struct job *job, status (*fn)(struct job *job, struct error *err), int next_phase);
void job_open(struct job *job, const char *uid, int next_phase);
void job_suspend(struct job *job, const char *uid, int next_phase);
/* All of job->endpoint_uids that do not sleep, side by side. */
void job_suspend_all(struct job *job, int next_phase);
void job_apply(struct job *job, const char *uid, int next_phase);
/*
 * A restore point of a running compute, or only a flush; job->origin.end is set then. asleep_phase when it does not run.
 */
void job_point(struct job *job, const char *uid, bool is_flush, int asleep_phase, int next_phase);
/* Lets it sleep, if it can be; a failure is logged and changes nothing. */
void job_suspend_quietly(struct job *job, const char *uid, int next_phase);
void job_retry(struct job *job, int phase, int64_t delay_ms);
/* Keeps the first failure, then goes to failed_phase. */
void job_fail(struct job *job, const struct error *err);
/*
 * The operation's end is recorded again and again until it is: the disk may be full for a while. False: `record` failed, and the job
 * comes back to the phase it is in. True: committed; job_finish() is next.
 */
MUST_CHECK bool job_record_end(
        struct job *job, status (*record)(struct job *job, struct error *err), int64_t retry_ms);
/* For job_record_end(), when a failure leaves nothing to take back. */
MUST_CHECK status job_record_failure(struct job *job, struct error *err);
/* The operation's end is committed: the job goes away. */
void job_finish(struct job *job);

/*
 * The source of a clone or snapshot. job_load_source() fills job->origin from the branch and the plan; job_ask_source() then finds
 * where the branch ends now (origin.end), waking it only when it did not go to sleep cleanly; afterwards, and also when all has failed,
 * job_settle_source() lets a disabled endpoint sleep again that was woken for this, unless another job still needs it. After a crash the
 * job begins again, or settles first: nothing is left running.
 */
MUST_CHECK status job_load_source(struct job *job, int64_t branch, struct error *err);
void job_ask_source(struct job *job, int next_phase);
void job_settle_source(struct job *job, int next_phase);
void job_source_step(struct job *job); /* for job->phase >= JOB_PHASE_SOURCE */

/* In a worker thread: takes an inventory of endpoint_uid's compute; and gives every role that has a password another one before that. */
MUST_CHECK status job_look(struct job *job, struct error *err);
MUST_CHECK status job_look_and_renew(struct job *job, struct error *err);
/* Inside the transaction that ends the job: the rows become what was seen. Without an inventory nothing happens. */
MUST_CHECK status job_absorb(struct job *job, int64_t branch, int64_t now_usec, struct error *err);
/* The rows that the job's branch has, for a cluster without any role: job->beginning, unless there are none. Then, in a worker thread: made. */
MUST_CHECK status job_load_beginning(struct job *job, struct error *err);
MUST_CHECK status job_begin_roles(struct job *job, struct error *err);
void job_inventory_done(struct job *job);
void catalog_work_free(struct catalog_work *work); /* NULL is fine */

/* The step functions, by kind of operation. */
void job_catalog_step(struct job *job);  /* ROLE_…, DATABASE_… */
void job_create_step(struct job *job);   /* PROJECT_CREATE, BRANCH_CREATE */
void job_delete_step(struct job *job);   /* …_DELETE, …_PURGE */
void job_exchange_step(struct job *job); /* BRANCH_RESET, BRANCH_RESTORE */
void job_snapshot_step(struct job *job); /* SNAPSHOT_CREATE, SNAPSHOT_DELETE */
void job_archive_step(struct job *job);  /* BRANCH_ARCHIVE */
void job_endpoint_step(struct job *job); /* ENDPOINT_UPDATE */
