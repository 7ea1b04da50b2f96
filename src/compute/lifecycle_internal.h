/*
 * Lifecycle, inside: what lifecycle.c (what it is to be ready, and the end), lifecycle_start.c (starts, crashes, the mount) and lifecycle_activity.c
 * (who uses it) share.
 */
#pragma once

#include <assert.h>
#include <limits.h>

#include "base/system_user.h"
#include "compute/activity.h"
#include "compute/job.h"
#include "compute/lifecycle.h"
#include "compute/pooler.h"
#include "compute/postmaster_file.h"
#include "compute/report.h"
#include "compute/spec.h"
#include "compute/storage.h"
#include "loop/process_watch.h"

#define LIFECYCLE_MAGIC 0x6c696665u

struct lifecycle {
	uint32_t magic;
	uv_loop_t *loop;
	struct lifecycle_options options;
	char *folder, *socket_folder, *spec_path, *log_path, *pooler_log_path, *last_exit_path,
	        *inventory_path, *scripts_folder;
	char statements_module[PATH_MAX], whitelist_module[PATH_MAX]; /* empty: not installed */
	char *user_name;                                              /* who runs us */
	struct system_user user;                                      /* Postgres' */
	struct system_user pooler_user;                               /* valid with has_pooler_user */
	bool has_pooler_user;                                         /* and it is another one than ours */
	struct spec *spec;
	struct spec *old_spec;                  /* while a new one is tried: to go back to */
	struct storage *storage;                /* NULL before it is opened, and once it is closed */
	struct volume_start start;              /* of the Postgres that runs */
	struct pooler *pooler;                  /* NULL before the user is known, and once it is closed */
	struct pooler_postgres pooler_postgres; /* what the Postgres that runs was started with */

	struct compute_report report; /* report.state is the state; only set_state() writes it */
	struct report_hub *hub;       /* NULL once finishing */

	struct process_watch *watch; /* NULL: no Postgres runs */
	uv_fs_event_t pid_file;      /* active until Postgres is up */
	bool is_reading, must_read;  /* the pid file, by a job: nothing on the mount may hold up the loop */
	enum postmaster_state read_state;
	pid_t read_pid;
	bool read_to_promote;           /* and ask for its promotion */
	int64_t promotion_failing_usec; /* since when it cannot even be asked for; 0: it can */
	pid_t hasty_startup;            /* the process of a clone that replays: preferred; 0: not found yet */
	pid_t read_startup;             /* the same, the job's */
	char *read_path;
	bool is_up;        /* it accepts connections */
	bool is_recovered; /* not a clone that has just been promoted, or it has been compared (volume.h, V7) */
	bool was_clean;    /* a clone that had nothing of its parent's to be rid of */
	bool is_restarting; /* asked to stop only to be started again */
	off_t log_start;    /* size of the log when it was started */
	int64_t started_usec, ready_usec;
	int crashes;

	uv_timer_t look, deadline, restart, news;
	uv_timer_t promote; /* while a clone recovers */
	bool is_settling;   /* storage_settle() or storage_suspend() */
	bool is_failing;    /* as soon as it is settled that the mount is there; lost_reason says why */
	bool is_lost;       /* the mount is gone: wait for storage_down() */
	bool must_recover;
	bool is_concluding; /* the storage closes, then comes the end */
	enum compute_state last_state;
	char last_reason[REPORT_REASON_MAX];
	char lost_reason[REPORT_REASON_MAX];
	int shutdown_signals;       /* how many have been sent */
	const char *suspend_reason; /* NULL: nobody asked */

	bool has_archived; /* else archive_error: when the last start was prepared */
	struct error archive_error;

	bool is_job_running, has_exited_meanwhile, must_apply;
	bool is_looking; /* the job looks for activity */
	int exit_status;
	struct activity activity;
	struct activity_monitor *monitor;
	struct activity_sight sight;
	int64_t own_sessions;     /* connections of our jobs, which the server counts as sessions */
	int64_t told_active_usec; /* last_active_time when it was last told */
	int64_t job_started_usec;
	int64_t refused_revision; /* Postgres refused the roles or databases of this one */
	int open_handles;
};

static inline struct lifecycle *lifecycle_of(void *p)
{
	struct lifecycle *lc = p;
	assert(lc && lc->magic == LIFECYCLE_MAGIC);
	return lc;
}

bool lifecycle_is_over(const struct lifecycle *lc);
void lifecycle_check(const struct lifecycle *lc);
void lifecycle_tell(struct lifecycle *lc);
void lifecycle_set_state(struct lifecycle *lc, enum compute_state state, const char *reason);
double lifecycle_elapsed_ms(int64_t since_usec);
void lifecycle_conclude(struct lifecycle *lc, enum compute_state state, const char *reason);
void lifecycle_fail(struct lifecycle *lc, const char *reason);
/* The reason is all that anybody hears: what to do belongs into it. */
void lifecycle_reason(const struct error *err, char out[REPORT_REASON_MAX]);
/*
 * A start that cannot be completed: Postgres is stopped first, and its exit ends everything. At once: when nobody will ever want what it would
 * write.
 */
void lifecycle_give_up(struct lifecycle *lc, const struct error *err, bool at_once);
void lifecycle_signal(struct lifecycle *lc, int number);
MUST_CHECK status lifecycle_write_configuration(struct lifecycle *lc, struct error *err);
void lifecycle_run_job(struct lifecycle *lc, job_work_fn work, job_done_fn on_done);
bool lifecycle_job_ended(struct lifecycle *lc);
void lifecycle_step(struct lifecycle *lc);
void lifecycle_let_go(struct lifecycle *lc);
void lifecycle_prepare_start(struct lifecycle *lc);
void lifecycle_handle_exit(struct lifecycle *lc);

/* As lifecycle_suspend(), with that reason, a literal. */
void lifecycle_suspend_for(struct lifecycle *lc, const char *reason);
/* Fast shutdown of Postgres: sessions are ended, everything is written, and pg_control says so. */
void lifecycle_shut_down(struct lifecycle *lc);

/* lifecycle_activity.c */
void lifecycle_create_pooler(struct lifecycle *lc);
void lifecycle_take_pool(void *owner, uint64_t ticket, const char *const *roles, size_t count);
void lifecycle_schedule_look(struct lifecycle *lc);

extern const struct storage_events lifecycle_storage_events;
