/* Starts of Postgres and what ends them: crashes, a mount that is lost, a suspend. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "compute/children.h"
#include "compute/configuration.h"
#include "compute/haste.h"
#include "compute/leftovers.h"
#include "compute/lifecycle_internal.h"
#include "compute/pooler_configuration.h"
#include "compute/postgres_log.h"
#include "compute/postgres_process.h"

#define CRASHES_MAX       8                   /* in a row; then it has failed */
#define CRASH_FORGET_USEC (20 * USEC_PER_SEC) /* ready that long: a crash is a new one */
#define CRASH_DELAY_MS    300                 /* times the crashes before in a row */
#define PROMOTE_MS        20                  /* between two requests for a promotion */
#define PROMOTE_PATIENCE  (10 * USEC_PER_SEC) /* with requests that cannot even be made */
#define STORAGE_NEWS_MS   2000                /* nor what changes all the time about the storage */

static void recover(struct lifecycle *lc);
static void read_pid_file(struct lifecycle *lc);

/* ---- starting Postgres ---- */

static status work_read(void *input, struct error *err)
{
	struct lifecycle *lc = lifecycle_of(input);
	lc->read_state = postmaster_file_read(lc->read_path, lc->read_pid);
	if (lc->read_to_promote && lc->read_state == POSTMASTER_READY)
		postmaster_file_forget_promotion(lc->read_path);
	/* It replays alone, beside all that its parent's clients want. */
	if (lc->read_to_promote && lc->read_state != POSTMASTER_READY && lc->read_startup == 0) {
		lc->read_startup = children_find(lc->read_pid, "postgres: startup");
		haste_set(lc->read_startup, true);
	}
	if (!lc->read_to_promote ||
	        (lc->read_state != POSTMASTER_STARTING && lc->read_state != POSTMASTER_RECOVERING))
		return STATUS_OK;
	return postmaster_file_ask_promotion(lc->read_path, err);
}

/*
 * A clone that is never promoted would be starting for ever, and nobody would know why: on a full disk there is no place for the request. Who waits
 * hears the reason at once, and gets an answer when there is no hope of a better one.
 */
static void promotion_failed(struct lifecycle *lc, const struct error *err)
{
	int64_t now = clock_monotonic_usec();
	struct error why = *err;
	(void)!error_prefix(&why, "could not promote branch volume \"%s\"", lc->spec->volume_id);
	if (why.code == STATUS_NO_SPACE)
		error_hint(&why, "Free disk space and try again.");
	if (lc->promotion_failing_usec == 0) {
		char reason[REPORT_REASON_MAX];
		lc->promotion_failing_usec = now;
		lifecycle_reason(&why, reason);
		log_warning("%s", reason);
		lifecycle_set_state(lc, COMPUTE_STARTING, reason);
		lifecycle_tell(lc);
	} else if (now - lc->promotion_failing_usec >= PROMOTE_PATIENCE) {
		(void)uv_timer_stop(&lc->promote);
		lifecycle_give_up(lc, &why, true);
	}
}

static void promotion_asked(struct lifecycle *lc)
{
	if (lc->promotion_failing_usec != 0) {
		lc->promotion_failing_usec = 0;
		lifecycle_set_state(lc, COMPUTE_STARTING, "");
		lifecycle_tell(lc);
	}
	lifecycle_signal(lc, SIGUSR1);
}

static void pid_file_read(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input;
	lc->is_reading = false;
	/* Below the next reading may begin, which writes these. */
	enum postmaster_state state = lc->read_state;
	bool is_of_ours = lc->read_pid == lc->report.postgres_pid;
	bool is_waiting = lc->watch && !lc->is_up && is_of_ours;
	if (is_waiting)
		lc->hasty_startup = lc->read_startup;
	bool is_recovering = state == POSTMASTER_STARTING || state == POSTMASTER_RECOVERING;
	if (is_waiting && is_recovering && lc->read_to_promote && lc->shutdown_signals == 0 && !lc->is_lost) {
		if (err)
			promotion_failed(lc, err);
		else
			promotion_asked(lc);
	}
	if (lc->must_read && lc->watch && !lc->is_up)
		read_pid_file(lc);
	if (state == POSTMASTER_READY && lc->watch && !lc->is_up && is_of_ours) {
		(void)uv_fs_event_stop(&lc->pid_file);
		(void)uv_timer_stop(&lc->promote);
		lc->is_up = true;
		if (lc->start.recovery_timeline != 0)
			haste_set(storage_pid(lc->storage), false);
		lc->report.postgres_ms = lifecycle_elapsed_ms(lc->started_usec);
		lifecycle_step(lc);
	}
	if (--lc->open_handles == 0)
		lifecycle_let_go(lc);
}

static void read_pid_file(struct lifecycle *lc)
{
	lc->must_read = lc->is_reading;
	if (lc->is_reading)
		return;
	lc->is_reading = true;
	lc->open_handles++; /* lives until it has come back, be the mount dead */
	lc->read_pid = lc->report.postgres_pid;
	lc->read_startup = lc->hasty_startup;
	lc->read_to_promote = lc->start.recovery_timeline != 0;
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

static void promotion_due(uv_timer_t *timer)
{
	struct lifecycle *lc = lifecycle_of(timer->data);
	if (lc->watch && !lc->is_up)
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
	(void)uv_timer_stop(&lc->promote);
	(void)uv_fs_event_stop(&lc->pid_file);
	if (lc->start.recovery_timeline != 0)
		haste_set(storage_pid(lc->storage), false);
	storage_stop(lc->storage);
	pooler_stop(lc->pooler);
	if (lc->is_job_running)
		lc->has_exited_meanwhile = true; /* the job's connection is broken: it ends soon */
	else
		lifecycle_handle_exit(lc);
}

/* Everything that touches the mount, the archive or the volume. Little of it costs anything on an ordinary start. */
static status work_prepare(void *input, struct error *err)
{
	struct lifecycle *lc = lifecycle_of(input);
	status st = storage_remove_locks(lc->storage, err);
	lc->has_archived = storage_update_archive(lc->storage, &lc->archive_error) == STATUS_OK;
	if (st == STATUS_OK)
		st = volume_plan_start(storage_volume(lc->storage), &lc->start, err);
	if (st == STATUS_OK)
		st = lifecycle_write_configuration(lc, err);
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
	lc->pooler_postgres = (struct pooler_postgres){ .major = lc->spec->postgres_major,
		.connections = pooler_connections(configuration_max_connections(lc->spec->max_cu)) };
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
	lc->is_recovered = lc->start.recovery_timeline == 0;
	lc->promotion_failing_usec = 0;
	lc->hasty_startup = 0;
	lifecycle_set_state(lc, COMPUTE_STARTING, "");
	if (lc->monitor)
		lc->monitor = activity_monitor_free(lc->monitor);
	lc->monitor = activity_monitor_create(lc->socket_folder);
	if (launch(lc, &err) != STATUS_OK) {
		lifecycle_fail(lc, err.message);
		return;
	}
	/* Promoted, it can be used before what it has replayed is all written: its first checkpoint comes with its first restore point. */
	if (lc->start.recovery_timeline != 0) {
		haste_set(storage_pid(lc->storage), true);
		(void)uv_timer_start(&lc->promote, promotion_due, PROMOTE_MS, PROMOTE_MS);
	}
	if (lc->report.prepare_ms == 0) /* up to the start of Postgres, where postgres_ms begins */
		lc->report.prepare_ms = (double)((lc->started_usec - lc->options.begun_usec) / 10) / 100;
	lifecycle_tell(lc);
	lifecycle_check(lc);
}

static void prepared(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input;
	if (!lifecycle_job_ended(lc))
		return;
	if (!lc->has_archived)
		storage_archive_failed(lc->storage, &lc->archive_error);
	if (lc->is_lost) {
		if (!storage_is_down(lc->storage))
			return; /* storage_down() goes on */
		lifecycle_handle_exit(lc);
	} else if (err) {
		char reason[REPORT_REASON_MAX];
		lifecycle_reason(err, reason);
		lifecycle_fail(lc, reason);
	} else {
		start_postgres(lc);
	}
}

/* With the image mounted and no Postgres there. */
void lifecycle_prepare_start(struct lifecycle *lc)
{
	if (!lc->read_path)
		lc->read_path = xstrdup(volume_data_path(storage_volume(lc->storage)));
	lifecycle_run_job(lc, work_prepare, prepared);
}

/* ---- the storage's news ---- */

static void storage_mounted(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	lc->is_lost = false;
	if (lc->suspend_reason)
		lifecycle_conclude(lc, COMPUTE_STOPPED, lc->suspend_reason);
	else
		lifecycle_prepare_start(lc);
}

/* Before anything else: no client may get another answer from what is not there any more. */
static void storage_lost(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	lc->is_lost = true;
	if (lc->watch)
		leftovers_kill_postgres(lc->report.postgres_pid);
	else
		lc->exit_status =
		        SIGKILL; /* as waitpid() would tell: nothing that the next attempt would meet again */
	log_error("the page file system is gone%s", lc->watch ? "; its Postgres was killed" : "");
}

static void storage_down(void *owner, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	lc->report.pagefs_pid = 0;
	if (err)
		lifecycle_reason(err, lc->lost_reason);
	else
		(void)snprintf(lc->lost_reason, sizeof lc->lost_reason, "the volume was unmounted");
	if (!lc->is_lost) { /* it never was mounted */
		lc->is_lost = true;
		/* A pagefs that was killed says nothing about the next one. */
		lc->exit_status = err && err->code == STATUS_UNAVAILABLE ? SIGKILL : -1;
	}
	if (lc->must_recover)
		recover(lc);
	else if (!lc->watch && !lc->is_job_running && !lc->is_settling &&
	         !uv_is_active((uv_handle_t *)&lc->restart))
		lifecycle_handle_exit(lc);
}

static void news_due(uv_timer_t *timer)
{
	struct lifecycle *lc = lifecycle_of(timer->data);
	if (!lifecycle_is_over(lc))
		lifecycle_tell(lc);
}

static void storage_changed(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	struct storage_report now;
	if (lc->is_concluding || !lc->storage)
		return;
	storage_describe(lc->storage, &now);
	if (strcmp(now.alarm, lc->report.storage.alarm) != 0)
		lifecycle_tell(lc); /* bad news does not wait, nor does its end */
	else if (!uv_is_active((uv_handle_t *)&lc->news))
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
	if (lifecycle_write_configuration(lc, &err) != STATUS_OK)
		log_error("%s", err.message);
	else
		lifecycle_signal(lc, SIGHUP);
}

static void settled(void *owner, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	bool is_failing = lc->is_failing && !lc->is_lost;
	lc->is_settling = lc->is_failing = false;
	if (lc->suspend_reason)
		lifecycle_conclude(lc, COMPUTE_STOPPED, lc->suspend_reason);
	else if (is_failing)
		lifecycle_fail(lc, lc->lost_reason);
	else if (!err)
		lifecycle_prepare_start(lc);
	else if (lc->is_lost)
		recover(lc);
	else
		lifecycle_fail(lc, err->message);
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
	if (!lc->suspend_reason && !lifecycle_is_over(lc) && !lc->is_concluding)
		recover(lc);
}

static void suspended(void *owner, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	lc->is_settling = false;
	if (err)
		log_error("suspended without a restore point: %s", err->message);
	lifecycle_conclude(lc, COMPUTE_STOPPED, lc->suspend_reason);
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

/*
 * In front of the restore point that a clone was made from, Postgres notices by itself that WAL is damaged or missing (behind it:
 * volume_check_recovery()). It would at each further attempt.
 */
static bool lacks_wal(const struct lifecycle *lc, const char *reason)
{
	return lc->start.recovery_timeline != 0 && !lc->is_lost &&
	       strstr(reason, "WAL ends before consistent recovery point");
}

static void fail_without_wal(struct lifecycle *lc)
{
	struct error err;
	char reason[REPORT_REASON_MAX];
	error_fill(&err, STATUS_CORRUPT, 0,
	        "the recovery of branch volume \"%s\" ended in front of its restore point: the WAL up to "
	        "there is damaged or missing",
	        lc->spec->volume_id);
	error_hint(&err, "Branch from another moment, or again when the source's archived WAL is repaired.");
	lifecycle_reason(&err, reason);
	lifecycle_fail(lc, reason);
}

static void handle_crash(struct lifecycle *lc)
{
	char reason[sizeof lc->report.reason];
	describe_exit(lc, reason, sizeof reason);
	if (lacks_wal(lc, reason)) {
		fail_without_wal(lc);
		return;
	}
	bool was_ready = lc->report.state == COMPUTE_READY;
	if (was_ready && clock_monotonic_usec() - lc->ready_usec > CRASH_FORGET_USEC)
		lc->crashes = 0;
	/* A first start that fails would fail again: whoever waits shall know now. */
	bool is_first = !was_ready && lc->crashes == 0;
	/* But a process that was killed says nothing about the next attempt. */
	bool was_killed = lc->exit_status != -1 &&
	                  (WIFSIGNALED(lc->exit_status) || lc->is_lost || lc->start.recovery_timeline != 0);
	if (is_first && !was_killed && !lc->is_lost && storage_is_up(lc->storage)) {
		/* Or has it lost its mount, and was the first to notice? A sync tells. */
		lc->is_failing = lc->is_settling = true;
		(void)snprintf(lc->lost_reason, sizeof lc->lost_reason, "%s", reason);
		storage_settle(lc->storage, settled);
		return;
	}
	if ((is_first && !was_killed) || lc->crashes >= CRASHES_MAX) {
		lifecycle_fail(lc, reason);
		return;
	}
	log_error("%s; starting it again", reason);
	lc->crashes++;
	lifecycle_set_state(lc, COMPUTE_STARTING, reason);
	lifecycle_tell(lc);
	(void)uv_timer_start(&lc->restart, restart_due, (uint64_t)(lc->crashes - 1) * CRASH_DELAY_MS, 0);
}

/* Postgres is not there, or cannot be started, and no job runs: what now? */
void lifecycle_handle_exit(struct lifecycle *lc)
{
	bool is_clean = lc->exit_status == 0 && !lc->is_lost;
	if (lc->suspend_reason && is_clean && storage_is_up(lc->storage)) {
		lc->is_settling = true;
		storage_suspend(lc->storage, suspended);
	} else if (lc->suspend_reason) {
		log_warning("Postgres did not shut down cleanly: the next start recovers");
		lifecycle_conclude(lc, COMPUTE_STOPPED, lc->suspend_reason);
	} else if (lc->is_restarting && is_clean) {
		lifecycle_prepare_start(lc);
	} else if (lc->shutdown_signals > 0 && !lc->is_restarting) { /* give_up() has put the reason there */
		char reason[sizeof lc->report.reason];
		memcpy(reason, lc->report.reason, sizeof reason);
		lifecycle_fail(lc, reason);
	} else {
		handle_crash(lc);
	}
}

const struct storage_events lifecycle_storage_events = { .on_mounted = storage_mounted,
	.on_lost = storage_lost,
	.on_down = storage_down,
	.on_change = storage_changed,
	.on_brake = storage_braked };
