#include "compute/lifecycle.h"

#include <assert.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "compute/activity.h"
#include "compute/configuration.h"
#include "compute/extensions.h"
#include "compute/installation.h"
#include "compute/job.h"
#include "compute/leftovers.h"
#include "compute/postgres_log.h"
#include "compute/postgres_process.h"
#include "compute/postmaster_file.h"
#include "compute/reconcile.h"
#include "compute/report.h"
#include "compute/spec.h"
#include "compute/storage.h"
#include "loop/process_watch.h"

#define LIFECYCLE_MAGIC      0x6c696665u
#define SHUTDOWN_PATIENCE_MS 60000               /* then SIGQUIT */
#define QUIT_PATIENCE_MS     10000               /* then SIGKILL */
#define CRASHES_MAX          5                   /* in a row; then it has failed */
#define CRASH_FORGET_USEC    (60 * USEC_PER_SEC) /* ready that long: a crash is a new one */
#define CRASH_DELAY_MS       500                 /* times the crashes before in a row */
#define ACTIVE_NEWS_USEC     (5 * USEC_PER_SEC)  /* last_active_time is told no more often */
#define STORAGE_NEWS_MS      2000                /* nor what changes all the time about the storage */

struct lifecycle {
	uint32_t magic;
	uv_loop_t *loop;
	struct lifecycle_options options;
	char *folder, *socket_folder, *spec_path, *log_path, *last_exit_path, *scripts_folder;
	char statements_module[PATH_MAX], whitelist_module[PATH_MAX]; /* empty: not installed */
	char *user_name;                                              /* who runs us */
	struct system_user user;                                      /* Postgres' */
	struct spec *spec;
	struct spec *old_spec;     /* while a new one is tried: to go back to */
	struct storage *storage;   /* NULL before it is opened, and once it is closed */
	struct volume_start start; /* of the Postgres that runs */

	struct compute_report report; /* report.state is the state; only set_state() writes it */
	struct report_hub *hub;       /* NULL once finishing */

	struct process_watch *watch; /* NULL: no Postgres runs */
	uv_fs_event_t pid_file;      /* active until Postgres is up */
	bool is_reading, must_read;  /* the pid file, by a job: nothing on the mount may hold up the loop */
	enum postmaster_state read_state;
	pid_t read_pid;
	char *read_path;
	bool is_up;         /* it accepts connections */
	bool is_restarting; /* asked to stop only to be started again */
	off_t log_start;    /* size of the log when it was started */
	int64_t started_usec, ready_usec;
	int crashes;

	uv_timer_t look, deadline, restart, news;
	bool is_settling; /* storage_settle() or storage_suspend() */
	bool is_lost;     /* the mount is gone: wait for storage_down() */
	bool must_recover;
	bool is_concluding; /* the storage closes, then comes the end */
	enum compute_state last_state;
	char last_reason[384];
	char lost_reason[384];
	int shutdown_signals;       /* how many have been sent */
	const char *suspend_reason; /* NULL: nobody asked */

	bool is_job_running, has_exited_meanwhile, must_apply;
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

static void step(struct lifecycle *lc);
static void prepare_start(struct lifecycle *lc);
static void handle_exit(struct lifecycle *lc);
static void recover(struct lifecycle *lc);
static void conclude(struct lifecycle *lc, enum compute_state state, const char *reason);

static struct lifecycle *lifecycle_of(void *p)
{
	struct lifecycle *lc = p;
	assert(lc && lc->magic == LIFECYCLE_MAGIC);
	return lc;
}

static bool is_over(const struct lifecycle *lc)
{
	return lc->report.state == COMPUTE_STOPPED || lc->report.state == COMPUTE_FAILED;
}

static void lifecycle_check(const struct lifecycle *lc)
{
	assert(lc->report.state != COMPUTE_READY || lc->has_exited_meanwhile ||
	        (lc->watch && lc->is_up && !lc->start.is_quiet && lc->storage));
	assert(!is_over(lc) || !lc->watch);
	assert((lc->report.postgres_pid > 0) == (lc->watch != NULL));
	assert(!lc->is_up || lc->watch);
}

static void tell(struct lifecycle *lc)
{
	lc->told_active_usec = lc->report.last_active_usec;
	(void)uv_timer_stop(&lc->news);
	if (lc->storage) {
		lc->report.pagefs_pid = storage_pid(lc->storage);
		storage_describe(lc->storage, &lc->report.storage);
	}
	if (lc->hub)
		report_hub_send(lc->hub);
}

/* The one place that changes the state. */
static void set_state(struct lifecycle *lc, enum compute_state state, const char *reason)
{
	lc->report.state = state;
	(void)snprintf(lc->report.reason, sizeof lc->report.reason, "%s", reason);
}

static double elapsed_ms(int64_t since_usec)
{
	return (double)((clock_monotonic_usec() - since_usec) / 10) / 100;
}

/* ---- the end ---- */

static void free_parts(struct lifecycle *lc)
{
	activity_monitor_free(lc->monitor);
	spec_free(lc->spec);
	spec_free(lc->old_spec);
	free(lc->read_path);
	free(lc->folder);
	free(lc->socket_folder);
	free(lc->spec_path);
	free(lc->log_path);
	free(lc->last_exit_path);
	free(lc->scripts_folder);
	free(lc->user_name);
	lc->magic = 0;
	free(lc);
}

static void free_lifecycle(struct lifecycle *lc)
{
	lifecycle_end_fn on_end = lc->options.on_end;
	void *owner = lc->options.owner;
	bool has_failed = lc->report.state == COMPUTE_FAILED;
	free_parts(lc);
	on_end(owner, has_failed);
}

static void handle_closed(uv_handle_t *handle)
{
	struct lifecycle *lc = lifecycle_of(handle->data);
	if (--lc->open_handles == 0)
		free_lifecycle(lc);
}

static void everybody_told(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	uv_handle_t *const handles[] = { (uv_handle_t *)&lc->pid_file, (uv_handle_t *)&lc->look,
		(uv_handle_t *)&lc->deadline, (uv_handle_t *)&lc->restart, (uv_handle_t *)&lc->news };
	for (size_t i = 0; i < ARRAY_LEN(handles); i++)
		uv_close(handles[i], handle_closed);
}

/* C4. The volume is let go before anybody hears of it, so that whoever does can open it at once. */
static void end(struct lifecycle *lc)
{
	assert(!lc->watch && !lc->is_job_running && !lc->storage);
	lc->report.pagefs_pid = 0;
	set_state(lc, lc->last_state, lc->last_reason);
	CLEANUP(buffer_done) struct buffer line = { 0 };
	compute_report_format(&lc->report, &line);
	buffer_append_text(&line, "\n");
	struct error err;
	if (file_replace_durably(lc->last_exit_path, buffer_slice(&line), 0644, &err) != STATUS_OK)
		log_error("%s", err.message);
	if (lc->last_state == COMPUTE_FAILED)
		log_error("failed: %s", lc->last_reason);
	else
		log_info("stopped: %s", lc->last_reason);
	tell(lc);
	struct report_hub *hub = lc->hub;
	lc->hub = NULL;
	report_hub_finish(hub);
}

static void storage_closed(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	lc->storage = NULL;
	end(lc);
}

/* Nothing runs any more and nothing will: lets the storage go, then tells. */
static void conclude(struct lifecycle *lc, enum compute_state state, const char *reason)
{
	if (lc->is_concluding)
		return;
	assert(!lc->watch && !lc->is_job_running && !lc->is_settling);
	lc->is_concluding = true;
	lc->last_state = state;
	(void)snprintf(lc->last_reason, sizeof lc->last_reason, "%s", reason);
	(void)uv_timer_stop(&lc->look);
	(void)uv_timer_stop(&lc->deadline);
	(void)uv_timer_stop(&lc->restart);
	(void)uv_timer_stop(&lc->news);
	(void)uv_fs_event_stop(&lc->pid_file);
	if (!lc->storage) {
		end(lc);
		return;
	}
	storage_describe(lc->storage, &lc->report.storage);
	storage_close(lc->storage, storage_closed);
}

static void fail(struct lifecycle *lc, const char *reason)
{
	conclude(lc, COMPUTE_FAILED, reason);
}

/* ---- stopping Postgres ---- */

static void signal_postgres(struct lifecycle *lc, int number)
{
	struct error err;
	if (lc->watch && process_watch_signal(lc->watch, number, &err) != STATUS_OK)
		log_error("%s", err.message);
}

static void shutdown_deadline(uv_timer_t *timer)
{
	struct lifecycle *lc = lifecycle_of(timer->data);
	if (!lc->watch)
		return;
	bool is_first = lc->shutdown_signals == 1;
	log_warning("Postgres does not shut down: sending %s", is_first ? "SIGQUIT" : "SIGKILL");
	signal_postgres(lc, is_first ? SIGQUIT : SIGKILL);
	lc->shutdown_signals++;
	if (is_first)
		(void)uv_timer_start(&lc->deadline, shutdown_deadline, QUIT_PATIENCE_MS, 0);
}

/* Fast shutdown: sessions are ended, everything is written, and pg_control says so. */
static void shut_down_postgres(struct lifecycle *lc)
{
	(void)uv_timer_stop(&lc->look);
	storage_stop(lc->storage);
	signal_postgres(lc, SIGINT);
	lc->shutdown_signals = 1;
	(void)uv_timer_start(&lc->deadline, shutdown_deadline, SHUTDOWN_PATIENCE_MS, 0);
}

static void suspend(struct lifecycle *lc, const char *reason)
{
	if (lc->suspend_reason || is_over(lc) || lc->is_concluding)
		return;
	lc->suspend_reason = reason;
	lc->is_restarting = false;
	set_state(lc, COMPUTE_SUSPENDING, reason);
	tell(lc);
	if (lc->watch && lc->shutdown_signals == 0)
		shut_down_postgres(lc);
	else if (!lc->watch && !lc->is_job_running && !lc->is_settling)
		conclude(lc, COMPUTE_STOPPED, reason);
}

void lifecycle_suspend(struct lifecycle *lc)
{
	suspend(lifecycle_of(lc), "requested");
}

/* ---- jobs ---- */

/* What a job that changes the server needs; only jobs touch the volume while one runs. */
static status work_reconcile(void *input, struct error *err)
{
	struct lifecycle *lc = lifecycle_of(input);
	status st = reconcile(lc->socket_folder, lc->spec, err);
	return st == STATUS_OK
	               ? volume_set_applied_revision(storage_volume(lc->storage), lc->spec->revision, err)
	               : st;
}

static status work_hygiene(void *input, struct error *err)
{
	struct lifecycle *lc = lifecycle_of(input);
	status st = reconcile_clone(lc->socket_folder, err);
	return st == STATUS_OK ? volume_set_hygiene_done(storage_volume(lc->storage), err) : st;
}

static status work_check_settings(void *input, struct error *err)
{
	return reconcile_check_settings(lifecycle_of(input)->socket_folder, err);
}

static status work_look(void *input, struct error *err)
{
	struct lifecycle *lc = lifecycle_of(input);
	return activity_look(lc->monitor, &lc->sight, err);
}

static void run_job(struct lifecycle *lc, job_work_fn work, job_done_fn on_done)
{
	assert(!lc->is_job_running);
	lc->is_job_running = true;
	lc->job_started_usec = clock_monotonic_usec();
	job_start(lc->loop, work, lc, on_done, lc);
}

/* True when the job's result still means something: Postgres is there, and is not being stopped. */
static bool job_ended(struct lifecycle *lc)
{
	lc->is_job_running = false;
	if (lc->has_exited_meanwhile) {
		lc->has_exited_meanwhile = false;
		handle_exit(lc);
		return false;
	}
	if (lc->suspend_reason && !lc->watch)
		conclude(lc, COMPUTE_STOPPED, lc->suspend_reason);
	return !lc->suspend_reason && !is_over(lc) && !lc->is_concluding;
}

/* A start that cannot be completed: Postgres is stopped first, and its exit ends everything. */
static void give_up(struct lifecycle *lc, const struct error *err)
{
	(void)snprintf(lc->report.reason, sizeof lc->report.reason, "%s", err->message);
	shut_down_postgres(lc);
}

/* ---- getting ready ---- */

static void hygiene_done(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input;
	if (!job_ended(lc))
		return;
	if (err) {
		give_up(lc, err);
		return;
	}
	log_info("the branch is separated from its parent; starting it anew");
	lc->is_restarting = true;
	shut_down_postgres(lc);
}

static void apply_failed(struct lifecycle *lc, const char *reason)
{
	log_error("could not apply the spec: %s", reason);
	/* Told once, with the state; the next line is without it. */
	(void)snprintf(lc->report.reason, sizeof lc->report.reason, "%s", reason);
	tell(lc);
	lc->report.reason[0] = '\0';
}

static void reconcile_done(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input;
	lc->own_sessions++;
	lc->report.reconcile_ms = elapsed_ms(lc->job_started_usec);
	if (!job_ended(lc))
		return;
	if (err && lc->report.state == COMPUTE_READY) {
		lc->refused_revision = lc->spec->revision; /* not tried again before the next spec */
		apply_failed(lc, err->message);
		return;
	}
	if (err) {
		give_up(lc, err);
		return;
	}
	lc->report.applied_revision = lc->spec->revision;
	if (lc->report.state == COMPUTE_READY)
		tell(lc);
	step(lc);
}

static void schedule_look(struct lifecycle *lc);

static void become_ready(struct lifecycle *lc)
{
	int64_t now = clock_wall_usec();
	lc->ready_usec = clock_monotonic_usec();
	set_state(lc, COMPUTE_READY, "");
	activity_begin(&lc->activity, now);
	lc->report.last_active_usec = now;
	log_info("ready: prepared in %.1f ms, Postgres up in %.1f ms, reconciled in %.1f ms",
	        lc->report.prepare_ms, lc->report.postgres_ms, lc->report.reconcile_ms);
	tell(lc);
	lc->options.on_ready(lc->options.owner);
	storage_begin(lc->storage, lc->log_start);
	schedule_look(lc);
}

/* ---- applying a changed spec ---- */

static status write_configuration(struct lifecycle *lc, struct error *err)
{
	struct configuration configuration = {
		.spec = lc->spec,
		.start = &lc->start,
		.brake = storage_brake(lc->storage),
		.archive_path = volume_archive_path(storage_volume(lc->storage)),
		.socket_folder = lc->socket_folder,
		.scripts_folder = lc->scripts_folder,
		.statements_module = lc->statements_module[0] ? lc->statements_module : NULL,
		.whitelist_module = lc->whitelist_module[0] ? lc->whitelist_module : NULL,
		.system_user_name = lc->user_name,
		.shares_user = !lc->user.is_other,
	};
	return configuration_write(&configuration, lc->folder, &lc->user, err);
}

/* The files on disk must always be good: a crash of Postgres starts it with them. */
static void go_back(struct lifecycle *lc)
{
	struct error err;
	spec_free(lc->spec);
	lc->spec = TAKE_PTR(lc->old_spec);
	if (write_configuration(lc, &err) != STATUS_OK)
		log_error("%s", err.message);
}

static void settings_checked(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input;
	lc->own_sessions++;
	if (err)
		go_back(lc);
	else
		lc->old_spec = spec_free(lc->old_spec);
	if (err && lc->has_exited_meanwhile)
		lc->must_apply =
		        true; /* Postgres crashed under the check, which says nothing about the settings */
	if (!job_ended(lc))
		return;
	if (err) {
		apply_failed(lc, err->message);
	} else {
		lc->refused_revision = 0;
		signal_postgres(lc, SIGHUP);
		tell(lc);
	}
	schedule_look(lc); /* the timeout may be another one */
	step(lc);
}

/* Takes the new spec's settings if Postgres accepts them, then its roles and databases (in the next step). */
static void apply(struct lifecycle *lc)
{
	struct error err;
	struct spec *spec = NULL;
	lc->must_apply = false;
	status st = spec_read(lc->spec_path, &spec, &err);
	if (st == STATUS_OK && strcmp(spec->volume_id, lc->spec->volume_id) != 0) {
		spec_free(spec);
		st = error_set(
		        &err, STATUS_CONFLICT, 0, "the spec names another volume than the one that runs");
	}
	if (st == STATUS_OK) {
		lc->old_spec = lc->spec;
		lc->spec = spec;
		st = write_configuration(lc, &err);
		if (st != STATUS_OK)
			go_back(lc);
	}
	if (st == STATUS_OK) {
		run_job(lc, work_check_settings, settings_checked);
		return;
	}
	apply_failed(lc, err.message);
	step(lc);
}

/* What is there to do now that Postgres is up and no job runs? */
static void step(struct lifecycle *lc)
{
	lifecycle_check(lc);
	if (!lc->is_up || lc->is_job_running || lc->shutdown_signals > 0 || is_over(lc))
		return;
	if (lc->start.is_quiet)
		run_job(lc, work_hygiene, hygiene_done);
	else if (lc->report.state == COMPUTE_READY && lc->must_apply)
		apply(lc);
	else if (lc->spec->revision > lc->report.applied_revision &&
	         lc->spec->revision != lc->refused_revision)
		run_job(lc, work_reconcile, reconcile_done);
	else if (lc->report.state == COMPUTE_STARTING)
		become_ready(lc);
	if (!lc->is_job_running && lc->must_apply && lc->report.state == COMPUTE_READY)
		apply(lc);
}

static void answer(void *owner, uint64_t ticket, const struct point_answer *point, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	if (!lc->hub)
		return;
	if (err) {
		report_hub_answer_error(lc->hub, ticket, err);
		return;
	}
	const struct report_point told = { .number = point->number,
		.lsn = point->lsn,
		.timeline = point->timeline,
		.time_usec = point->time_usec };
	report_hub_answer_point(lc->hub, ticket, &told);
}

static void take_order(void *owner, enum report_order order, uint64_t ticket)
{
	struct lifecycle *lc = lifecycle_of(owner);
	if (order == ORDER_POINT || order == ORDER_FLUSH) {
		struct error err;
		error_fill(&err, STATUS_UNAVAILABLE, 0, "the compute is not ready");
		if (lc->report.state == COMPUTE_READY && lc->storage)
			storage_ask(lc->storage, order == ORDER_POINT ? REQUEST_POINT : REQUEST_FLUSH, answer,
			        ticket);
		else
			report_hub_answer_error(lc->hub, ticket, &err);
		return;
	}
	if (order == ORDER_SUSPEND) {
		suspend(lc, "requested");
		return;
	}
	lc->must_apply = true;
	step(lc);
}

/* ---- inactivity ---- */

static void look_done(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input;
	if (!job_ended(lc))
		return;
	if (err) {
		log_warning("could not look for activity: %s",
		        err->message); /* not knowing is no reason to suspend */
	} else {
		lc->sight.sessions_begun -= lc->own_sessions + storage_sessions(lc->storage);
		int64_t timeout = lc->spec->suspend_timeout_sec * USEC_PER_SEC;
		enum activity_verdict verdict =
		        activity_judge(&lc->activity, &lc->sight, timeout, clock_wall_usec());
		lc->report.last_active_usec = lc->activity.last_active_usec;
		if (verdict == ACTIVITY_SUSPEND && !lc->must_apply) {
			suspend(lc, "inactive");
			return;
		}
		if (lc->report.last_active_usec - lc->told_active_usec >= ACTIVE_NEWS_USEC)
			tell(lc);
	}
	struct error log_err;
	if (postgres_log_bound(lc->log_path, &log_err) != STATUS_OK)
		log_warning("%s", log_err.message);
	schedule_look(lc);
	step(lc);
}

static void look_due(uv_timer_t *timer)
{
	struct lifecycle *lc = lifecycle_of(timer->data);
	if (lc->report.state != COMPUTE_READY || lc->shutdown_signals > 0)
		return;
	if (lc->is_job_running)
		schedule_look(lc);
	else
		run_job(lc, work_look, look_done);
}

static void schedule_look(struct lifecycle *lc)
{
	int64_t timeout = lc->spec->suspend_timeout_sec * USEC_PER_SEC;
	int64_t wait = activity_next_look_usec(&lc->activity, timeout, clock_wall_usec());
	(void)uv_timer_start(&lc->look, look_due, (uint64_t)((wait + 999) / 1000), 0);
}

/* ---- starting Postgres ---- */

static void read_pid_file(struct lifecycle *lc);

static status work_read(void *input, struct error *err)
{
	struct lifecycle *lc = lifecycle_of(input);
	(void)err;
	lc->read_state = postmaster_file_read(lc->read_path, lc->read_pid);
	return STATUS_OK;
}

static void pid_file_read(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input, (void)err;
	lc->is_reading = false;
	if (lc->must_read && lc->watch && !lc->is_up)
		read_pid_file(lc);
	if (lc->read_state == POSTMASTER_READY && lc->watch && !lc->is_up &&
	        lc->read_pid == lc->report.postgres_pid) {
		(void)uv_fs_event_stop(&lc->pid_file);
		lc->is_up = true;
		lc->report.postgres_ms = elapsed_ms(lc->started_usec);
		step(lc);
	}
	if (--lc->open_handles == 0)
		free_lifecycle(lc);
}

static void read_pid_file(struct lifecycle *lc)
{
	lc->must_read = lc->is_reading;
	if (lc->is_reading)
		return;
	lc->is_reading = true;
	lc->open_handles++; /* lives until it has come back, be the mount dead */
	lc->read_pid = lc->report.postgres_pid;
	job_start(lc->loop, work_read, lc, pid_file_read, lc);
}

static void pid_file_changed(uv_fs_event_t *handle, const char *name, int events, int rc)
{
	struct lifecycle *lc = lifecycle_of(handle->data);
	(void)events;
	if (rc < 0 || lc->is_up || !lc->watch || (name && strcmp(name, POSTMASTER_FILE) != 0))
		return;
	read_pid_file(lc);
}

static void postgres_ended(void *owner, pid_t pid, int exit_status)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)pid;
	lc->watch = NULL;
	lc->report.postgres_pid = 0;
	lc->is_up = false;
	lc->exit_status = exit_status;
	(void)uv_timer_stop(&lc->look);
	(void)uv_timer_stop(&lc->deadline);
	(void)uv_fs_event_stop(&lc->pid_file);
	storage_stop(lc->storage);
	if (lc->is_job_running)
		lc->has_exited_meanwhile = true; /* the job's connection is broken: it ends soon */
	else
		handle_exit(lc);
}

/* Everything that touches the mount, the archive or the volume. Little of it costs anything on an ordinary start. */
static status work_prepare(void *input, struct error *err)
{
	struct lifecycle *lc = lifecycle_of(input);
	status st = storage_remove_locks(lc->storage, err);
	if (st == STATUS_OK)
		st = storage_update_archive(lc->storage, err);
	if (st == STATUS_OK)
		st = volume_plan_start(storage_volume(lc->storage), &lc->start, err);
	if (st == STATUS_OK)
		st = write_configuration(lc, err);
	return st == STATUS_OK ? postgres_log_rotate(lc->log_path, err) : st;
}

static status launch(struct lifecycle *lc, struct error *err)
{
	const char *data_path = volume_data_path(storage_volume(lc->storage));
	lc->log_start = postgres_log_size(lc->log_path);
	/* Watched before it is started, so that no change of the pid file is missed. */
	int rc = uv_fs_event_start(&lc->pid_file, pid_file_changed, data_path, 0);
	if (rc < 0)
		return error_set(err, STATUS_IO, -rc, "could not watch folder \"%s\"", data_path);
	struct postgres_command command = { .bin_dir = lc->spec->bin_dir,
		.data_path = data_path,
		.configuration_folder = lc->folder,
		.socket_folder = lc->socket_folder,
		.log_path = lc->log_path,
		.user = lc->user };
	pid_t pid = 0;
	lc->started_usec = clock_monotonic_usec();
	status st = postgres_process_start(&command, &pid, err);
	if (st == STATUS_OK) {
		st = process_watch_start(lc->loop, pid, postgres_ended, lc, &lc->watch, err);
		if (st == STATUS_OK)
			lc->report.postgres_pid = pid;
		else
			(void)kill(pid, SIGQUIT); /* not waited for yet, so it is still our child */
	}
	if (st != STATUS_OK)
		(void)uv_fs_event_stop(&lc->pid_file);
	return st;
}

static void start_postgres(struct lifecycle *lc)
{
	struct error err;
	lc->shutdown_signals = 0;
	lc->is_restarting = lc->is_up = false;
	set_state(lc, COMPUTE_STARTING, "");
	if (lc->monitor)
		lc->monitor = activity_monitor_free(lc->monitor);
	lc->monitor = activity_monitor_create(lc->socket_folder);
	if (launch(lc, &err) != STATUS_OK) {
		fail(lc, err.message);
		return;
	}
	if (lc->report.prepare_ms == 0) /* up to the start of Postgres, where postgres_ms begins */
		lc->report.prepare_ms = (double)((lc->started_usec - lc->options.begun_usec) / 10) / 100;
	tell(lc);
	lifecycle_check(lc);
}

static void prepared(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input;
	if (!job_ended(lc))
		return;
	if (lc->is_lost) {
		if (!storage_is_down(lc->storage))
			return; /* storage_down() goes on */
		handle_exit(lc);
	} else if (err) {
		fail(lc, err->message);
	} else {
		start_postgres(lc);
	}
}

/* With the image mounted and no Postgres there. */
static void prepare_start(struct lifecycle *lc)
{
	if (!lc->read_path)
		lc->read_path = xstrdup(volume_data_path(storage_volume(lc->storage)));
	run_job(lc, work_prepare, prepared);
}

/* ---- the storage's news ---- */

static void storage_mounted(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	lc->is_lost = false;
	if (lc->suspend_reason)
		conclude(lc, COMPUTE_STOPPED, lc->suspend_reason);
	else
		prepare_start(lc);
}

/* Before anything else: no client may get another answer from what is not there any more. */
static void storage_lost(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	lc->is_lost = true;
	if (lc->watch)
		leftovers_kill_postgres(lc->report.postgres_pid);
	log_error("the page file system is gone%s", lc->watch ? "; its Postgres was killed" : "");
}

static void storage_down(void *owner, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	lc->report.pagefs_pid = 0;
	(void)snprintf(lc->lost_reason, sizeof lc->lost_reason, "%s",
	        err ? err->message : "the volume was unmounted");
	if (!lc->is_lost) { /* it never was mounted */
		lc->is_lost = true;
		lc->exit_status = -1;
	}
	if (lc->must_recover)
		recover(lc);
	else if (!lc->watch && !lc->is_job_running && !lc->is_settling &&
	         !uv_is_active((uv_handle_t *)&lc->restart))
		handle_exit(lc);
}

static void news_due(uv_timer_t *timer)
{
	struct lifecycle *lc = lifecycle_of(timer->data);
	if (!is_over(lc))
		tell(lc);
}

static void storage_changed(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	if (!lc->is_concluding && !uv_is_active((uv_handle_t *)&lc->news))
		(void)uv_timer_start(&lc->news, news_due, STORAGE_NEWS_MS, 0);
}

static void storage_braked(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	struct error err;
	/* A new spec is being tried with its files on disk: they are written again after it, or taken back. */
	if (!lc->watch || lc->shutdown_signals > 0)
		return;
	if (lc->old_spec) {
		lc->must_apply = true;
		return;
	}
	if (write_configuration(lc, &err) != STATUS_OK)
		log_error("%s", err.message);
	else
		signal_postgres(lc, SIGHUP);
}

static void settled(void *owner, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	lc->is_settling = false;
	if (lc->suspend_reason)
		conclude(lc, COMPUTE_STOPPED, lc->suspend_reason);
	else if (!err)
		prepare_start(lc);
	else if (lc->is_lost)
		recover(lc);
	else
		fail(lc, err->message);
}

/* After a crash, with Postgres gone: makes the storage sound again, then starts it. */
static void recover(struct lifecycle *lc)
{
	lc->must_recover = false;
	if (!lc->is_lost) {
		lc->is_settling = true;
		storage_settle(lc->storage, settled);
	} else if (storage_is_down(lc->storage)) {
		storage_mount(lc->storage);
	} else {
		lc->must_recover = true;
	}
}

static void restart_due(uv_timer_t *timer)
{
	struct lifecycle *lc = lifecycle_of(timer->data);
	if (!lc->suspend_reason && !is_over(lc) && !lc->is_concluding)
		recover(lc);
}

static void suspended(void *owner, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	lc->is_settling = false;
	if (err)
		log_error("suspended without a restore point: %s", err->message);
	conclude(lc, COMPUTE_STOPPED, lc->suspend_reason);
}

/* "exited with code 1", and what the log says. */
static void describe_exit(const struct lifecycle *lc, char *out, size_t size)
{
	char cause[256], how[64];
	if (lc->is_lost) {
		(void)snprintf(out, size, "%s",
		        storage_is_down(lc->storage) ? lc->lost_reason : "the page file system is gone");
		return;
	}
	if (lc->exit_status == -1)
		(void)snprintf(how, sizeof how, "ended");
	else if (WIFSIGNALED(lc->exit_status))
		(void)snprintf(how, sizeof how, "was ended by signal %d", WTERMSIG(lc->exit_status));
	else
		(void)snprintf(how, sizeof how, "exited with code %d", WEXITSTATUS(lc->exit_status));
	if (postgres_log_reason(lc->log_path, lc->log_start, cause, sizeof cause))
		(void)snprintf(out, size, "Postgres %s: %s", how, cause);
	else
		(void)snprintf(out, size, "Postgres %s; its log is \"%s\"", how, lc->log_path);
}

static void handle_crash(struct lifecycle *lc)
{
	char reason[sizeof lc->report.reason];
	describe_exit(lc, reason, sizeof reason);
	bool was_ready = lc->report.state == COMPUTE_READY;
	if (was_ready && clock_monotonic_usec() - lc->ready_usec > CRASH_FORGET_USEC)
		lc->crashes = 0;
	/* A first start that fails would fail again: whoever waits shall know now. */
	bool is_first = !was_ready && lc->crashes == 0;
	/* But a process that was killed says nothing about the next attempt. */
	bool was_killed =
	        lc->exit_status != -1 && (WIFSIGNALED(lc->exit_status) || lc->start.recovery_timeline != 0);
	if ((is_first && !was_killed) || lc->crashes >= CRASHES_MAX) {
		fail(lc, reason);
		return;
	}
	log_error("%s; starting it again", reason);
	lc->crashes++;
	set_state(lc, COMPUTE_STARTING, reason);
	tell(lc);
	(void)uv_timer_start(&lc->restart, restart_due, (uint64_t)(lc->crashes - 1) * CRASH_DELAY_MS, 0);
}

/* Postgres is not there, or cannot be started, and no job runs: what now? */
static void handle_exit(struct lifecycle *lc)
{
	bool is_clean = lc->exit_status == 0 && !lc->is_lost;
	if (lc->suspend_reason && is_clean && storage_is_up(lc->storage)) {
		lc->is_settling = true;
		storage_suspend(lc->storage, suspended);
	} else if (lc->suspend_reason) {
		log_warning("Postgres did not shut down cleanly: the next start recovers");
		conclude(lc, COMPUTE_STOPPED, lc->suspend_reason);
	} else if (lc->is_restarting && is_clean) {
		prepare_start(lc);
	} else if (lc->shutdown_signals > 0 && !lc->is_restarting) { /* give_up() has put the reason there */
		char reason[sizeof lc->report.reason];
		memcpy(reason, lc->report.reason, sizeof reason);
		fail(lc, reason);
	} else {
		handle_crash(lc);
	}
}

/* ---- the beginning ---- */

static status open_storage(struct lifecycle *lc, struct error *err)
{
	static const struct storage_events events = { .on_mounted = storage_mounted,
		.on_lost = storage_lost,
		.on_down = storage_down,
		.on_change = storage_changed,
		.on_brake = storage_braked };
	const struct storage_options options = { .dd = lc->options.dd,
		.volume_id = lc->spec->volume_id,
		.socket_folder = lc->socket_folder,
		.log_path = lc->log_path,
		.bin_dir = lc->spec->bin_dir,
		.postgres_major = lc->spec->postgres_major };
	status st = storage_open(lc->loop, &options, &events, lc, &lc->storage, err);
	if (st == STATUS_OK)
		lc->report.applied_revision = volume_applied_revision(storage_volume(lc->storage));
	return st;
}

static status prepare(struct lifecycle *lc, struct error *err)
{
	status st = spec_read(lc->spec_path, &lc->spec, err);
	if (st != STATUS_OK)
		return st;
	if (strcmp(lc->spec->endpoint_uid, lc->options.endpoint_uid) != 0)
		return error_set(
		        err, STATUS_INVALID, 0, "the spec is of endpoint \"%s\"", lc->spec->endpoint_uid);
	const char *bin_dir = lc->spec->bin_dir;
	if (!installation_library(
	            bin_dir, "pg_stat_statements", lc->statements_module, sizeof lc->statements_module))
		lc->statements_module[0] = '\0';
	if (!installation_library(bin_dir, "pgextwlist", lc->whitelist_module, sizeof lc->whitelist_module))
		lc->whitelist_module[0] = '\0';

	st = extensions_prepare_scripts(lc->options.dd, &lc->scripts_folder, err);
	return st == STATUS_OK ? open_storage(lc, err) : st;
}

static status make_socket_folder(struct lifecycle *lc, struct error *err)
{
	status st = folder_make(lc->socket_folder, 0700, err);
	if (st == STATUS_OK && lc->user.is_other)
		st = tree_give_to(lc->socket_folder, lc->user.uid, lc->user.gid, err);
	return st;
}

static char *name_of_user(void)
{
	const struct passwd *entry = getpwuid(geteuid());
	return entry ? xstrdup(entry->pw_name) : xasprintf("%u", geteuid());
}

status lifecycle_start(
        uv_loop_t *loop, const struct lifecycle_options *options, struct lifecycle **ret, struct error *err)
{
	static const struct report_events events = { .on_order = take_order, .on_finished = everybody_told };
	struct lifecycle *lc = xcalloc(1, sizeof *lc);
	lc->magic = LIFECYCLE_MAGIC;
	lc->loop = loop;
	lc->options = *options;
	lc->folder = data_directory_path(options->dd, "computes/%s", options->endpoint_uid);
	lc->socket_folder = xasprintf("%s/socket", lc->folder);
	lc->spec_path = xasprintf("%s/spec.json", lc->folder);
	lc->log_path = xasprintf("%s/postgres.log", lc->folder);
	lc->last_exit_path = xasprintf("%s/last_exit.json", lc->folder);
	lc->user_name = name_of_user();
	lc->report.state = COMPUTE_STARTING;
	lc->report.storage.points = -1;
	lc->pid_file.data = lc->look.data = lc->deadline.data = lc->restart.data = lc->news.data = lc;

	CLEANUP(free_text) char *socket_path = xasprintf("%s/supervisor.sock", lc->folder);
	status st = report_hub_open(loop, socket_path, &lc->report, &events, lc, &lc->hub, err);
	if (st != STATUS_OK) {
		free_parts(lc);
		return st;
	}
	(void)uv_fs_event_init(loop, &lc->pid_file);
	(void)uv_timer_init(loop, &lc->look);
	(void)uv_timer_init(loop, &lc->deadline);
	(void)uv_timer_init(loop, &lc->restart);
	(void)uv_timer_init(loop, &lc->news);
	lc->open_handles = 5;
	*ret = lc;

	/* What an earlier run said last is not true any more. */
	(void)unlink(lc->last_exit_path);
	struct error problem;
	st = system_user_find(options->dd->settings.postgres_user, &lc->user, &problem);
	if (st == STATUS_OK)
		st = make_socket_folder(lc, &problem);
	if (st == STATUS_OK)
		st = prepare(lc, &problem);
	if (st != STATUS_OK)
		fail(lc, problem.message);
	return STATUS_OK;
}
