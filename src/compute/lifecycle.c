#include "compute/lifecycle.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "compute/configuration.h"
#include "compute/extensions.h"
#include "compute/installation.h"
#include "compute/inventory.h"
#include "compute/lifecycle_internal.h"
#include "compute/pooler_program.h"
#include "compute/postgres_log.h"
#include "compute/postgres_process.h"
#include "compute/reconcile.h"

#define SHUTDOWN_PATIENCE_MS 60000 /* then SIGQUIT */
#define QUIT_PATIENCE_MS     10000 /* then SIGKILL */
#define NOTE_PATIENCE_MS     10000 /* then without the inventory */

bool lifecycle_is_over(const struct lifecycle *lc)
{
	return lc->report.state == COMPUTE_STOPPED || lc->report.state == COMPUTE_FAILED;
}

void lifecycle_check(const struct lifecycle *lc)
{
	assert(lc->report.state != COMPUTE_READY || lc->has_exited_meanwhile ||
	        (lc->watch && lc->is_up && lc->is_recovered && !lc->start.is_quiet && lc->storage));
	assert(!lifecycle_is_over(lc) || !lc->watch);
	assert((lc->report.postgres_pid > 0) == (lc->watch != NULL));
	assert(!lc->is_up || lc->watch);
}

void lifecycle_tell(struct lifecycle *lc)
{
	lc->told_active_usec = lc->report.last_active_usec;
	(void)uv_timer_stop(&lc->news);
	if (lc->storage) {
		lc->report.pagefs_pid = storage_pid(lc->storage);
		storage_describe(lc->storage, &lc->report.storage);
	}
	if (lc->pooler)
		lc->report.pooler = *pooler_seen(lc->pooler);
	if (lc->hub)
		report_hub_send(lc->hub);
}

/* The one place that changes the state. */
void lifecycle_set_state(struct lifecycle *lc, enum compute_state state, const char *reason)
{
	lc->report.state = state;
	(void)snprintf(lc->report.reason, sizeof lc->report.reason, "%s", reason);
}

double lifecycle_elapsed_ms(int64_t since_usec)
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
	free(lc->pooler_log_path);
	free(lc->last_exit_path);
	free(lc->inventory_path);
	free(lc->scripts_folder);
	free(lc->user_name);
	lc->magic = 0;
	free(lc);
}

void lifecycle_let_go(struct lifecycle *lc)
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
		lifecycle_let_go(lc);
}

static void everybody_told(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	uv_handle_t *const handles[] = { (uv_handle_t *)&lc->pid_file, (uv_handle_t *)&lc->look,
		(uv_handle_t *)&lc->deadline, (uv_handle_t *)&lc->restart, (uv_handle_t *)&lc->news,
		(uv_handle_t *)&lc->promote };
	for (size_t i = 0; i < ARRAY_LEN(handles); i++)
		uv_close(handles[i], handle_closed);
	if (lc->pooler)
		pooler_close(TAKE_PTR(lc->pooler));
}

/* C4. The volume is let go before anybody hears of it, so that whoever does can open it at once. */
static void end(struct lifecycle *lc)
{
	assert(!lc->watch && !lc->is_job_running && !lc->storage);
	lc->report.pagefs_pid = 0;
	lifecycle_set_state(lc, lc->last_state, lc->last_reason);
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
	lifecycle_tell(lc);
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
void lifecycle_conclude(struct lifecycle *lc, enum compute_state state, const char *reason)
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

void lifecycle_fail(struct lifecycle *lc, const char *reason)
{
	lifecycle_conclude(lc, COMPUTE_FAILED, reason);
}

void lifecycle_reason(const struct error *err, char out[REPORT_REASON_MAX])
{
	size_t hint_len = err->hint[0] ? strlen(err->hint) + 2 : 0;
	(void)snprintf(out, REPORT_REASON_MAX, "%.*s%s%s", (int)(REPORT_REASON_MAX - 1 - hint_len),
	        err->message, hint_len ? ". " : "", err->hint);
}

/* ---- stopping Postgres ---- */

void lifecycle_signal(struct lifecycle *lc, int number)
{
	struct error err;
	if (lc->watch && process_watch_signal(lc->watch, number, &err) != STATUS_OK)
		log_error("%s", err.message);
}

static void shutdown_deadline(uv_timer_t *timer);

static void quit_postgres(struct lifecycle *lc)
{
	lifecycle_signal(lc, SIGQUIT);
	lc->shutdown_signals = 2;
	(void)uv_timer_start(&lc->deadline, shutdown_deadline, QUIT_PATIENCE_MS, 0);
}

static void shutdown_deadline(uv_timer_t *timer)
{
	struct lifecycle *lc = lifecycle_of(timer->data);
	if (!lc->watch)
		return;
	bool is_first = lc->shutdown_signals == 1;
	log_warning("Postgres does not shut down: sending %s", is_first ? "SIGQUIT" : "SIGKILL");
	if (is_first)
		quit_postgres(lc);
	else
		lifecycle_signal(lc, SIGKILL);
}

/* Fast shutdown: sessions are ended, everything is written, and pg_control says so. */
void lifecycle_shut_down(struct lifecycle *lc)
{
	(void)uv_timer_stop(&lc->look);
	storage_stop(lc->storage);
	lifecycle_signal(lc, SIGINT);
	lc->shutdown_signals = 1;
	(void)uv_timer_start(&lc->deadline, shutdown_deadline, SHUTDOWN_PATIENCE_MS, 0);
}

/*
 * What the roles and databases are when nobody can change them any more: told to control in a file, since it cannot ask a compute that sleeps.
 * What a session changes in the moment between this and the end of Postgres is seen after the next start.
 */
static status work_note(void *input, struct error *err)
{
	struct lifecycle *lc = lifecycle_of(input);
	CLEANUP(inventory_file_done) struct inventory_file file = { .stamp = clock_wall_usec() };
	(void)snprintf(file.volume_id, sizeof file.volume_id, "%s", lc->spec->volume_id);
	status st = inventory_take(lc->socket_folder, &file.inventory, err);
	return st == STATUS_OK ? inventory_write(lc->inventory_path, &file, err) : st;
}

static void noted(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input;
	if (err)
		log_warning("roles and databases were not noted: %s", err->message);
	lc->is_job_running = false;
	if (lc->has_exited_meanwhile) {
		lc->has_exited_meanwhile = false;
		lifecycle_handle_exit(lc);
	} else if (lc->watch && lc->shutdown_signals == 0) {
		lifecycle_shut_down(lc);
	}
}

/* The job's connection breaks when Postgres ends: a Postgres that answers nothing is ended all the same. */
static void note_deadline(uv_timer_t *timer)
{
	struct lifecycle *lc = lifecycle_of(timer->data);
	if (lc->watch && lc->shutdown_signals == 0)
		lifecycle_shut_down(lc);
}

static void note_and_shut_down(struct lifecycle *lc)
{
	lifecycle_run_job(lc, work_note, noted);
	(void)uv_timer_start(&lc->deadline, note_deadline, NOTE_PATIENCE_MS, 0);
}

void lifecycle_suspend_for(struct lifecycle *lc, const char *reason)
{
	if (lc->suspend_reason || lifecycle_is_over(lc) || lc->is_concluding)
		return;
	bool was_ready = lc->report.state == COMPUTE_READY;
	lc->suspend_reason = reason;
	lc->is_restarting = false;
	lifecycle_set_state(lc, COMPUTE_SUSPENDING, reason);
	lifecycle_tell(lc);
	if (lc->watch && lc->shutdown_signals == 0) {
		if (was_ready && !lc->is_job_running)
			note_and_shut_down(lc);
		else if (!was_ready || !lc->is_looking)
			lifecycle_shut_down(lc);
		else /* a look takes a moment, and lifecycle_job_ended() goes on */
			(void)uv_timer_start(&lc->deadline, note_deadline, NOTE_PATIENCE_MS, 0);
	} else if (!lc->watch && !lc->is_job_running && !lc->is_settling)
		lifecycle_conclude(lc, COMPUTE_STOPPED, reason);
}

void lifecycle_suspend(struct lifecycle *lc)
{
	lifecycle_suspend_for(lifecycle_of(lc), "requested");
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
	status st = reconcile_clone(lc->socket_folder, &lc->was_clean, err);
	return st == STATUS_OK ? volume_set_hygiene_done(storage_volume(lc->storage), err) : st;
}

static status work_check_settings(void *input, struct error *err)
{
	return reconcile_check_settings(lifecycle_of(input)->socket_folder, err);
}

void lifecycle_run_job(struct lifecycle *lc, job_work_fn work, job_done_fn on_done)
{
	assert(!lc->is_job_running);
	lc->is_job_running = true;
	lc->job_started_usec = clock_monotonic_usec();
	job_start(lc->loop, work, lc, on_done, lc);
}

/* True when the job's result still means something: Postgres is there, and is not being stopped. */
bool lifecycle_job_ended(struct lifecycle *lc)
{
	lc->is_job_running = false;
	if (lc->has_exited_meanwhile) {
		lc->has_exited_meanwhile = false;
		lifecycle_handle_exit(lc);
		return false;
	}
	if (lc->suspend_reason && !lc->watch)
		lifecycle_conclude(lc, COMPUTE_STOPPED, lc->suspend_reason);
	else if (lc->suspend_reason && lc->shutdown_signals == 0)
		note_and_shut_down(lc);
	return !lc->suspend_reason && !lifecycle_is_over(lc) && !lc->is_concluding;
}

void lifecycle_give_up(struct lifecycle *lc, const struct error *err, bool at_once)
{
	lifecycle_reason(err, lc->report.reason);
	if (at_once)
		quit_postgres(lc);
	else
		lifecycle_shut_down(lc);
}

/* ---- getting ready ---- */

static status work_check_recovery(void *input, struct error *err)
{
	return volume_check_recovery(storage_volume(lifecycle_of(input)->storage), err);
}

static void recovery_checked(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input;
	if (!lifecycle_job_ended(lc))
		return;
	if (err) {
		lifecycle_give_up(lc, err, true);
		return;
	}
	lc->is_recovered = true;
	lifecycle_step(lc);
}

static void hygiene_done(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input;
	if (!lifecycle_job_ended(lc))
		return;
	if (err) {
		lifecycle_give_up(lc, err, false);
		return;
	}
	if (lc->was_clean) {
		/* All that it lacks are the workers of subscriptions, of which it has none: see look_done(). */
		lc->start.is_quiet = false;
		struct error problem;
		if (lifecycle_write_configuration(lc, &problem) == STATUS_OK) {
			lifecycle_signal(lc, SIGHUP);
			lifecycle_step(lc);
			return;
		}
		log_warning("%s", problem.message);
	}
	log_info("the branch is separated from its parent; starting it anew");
	lc->is_restarting = true;
	lifecycle_shut_down(lc);
}

static void apply_failed(struct lifecycle *lc, const char *reason)
{
	log_error("could not apply the spec: %s", reason);
	/* Told once, with the state; the next line is without it. */
	(void)snprintf(lc->report.reason, sizeof lc->report.reason, "%s", reason);
	lifecycle_tell(lc);
	lc->report.reason[0] = '\0';
}

static void reconcile_done(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input;
	lc->own_sessions++;
	lc->report.reconcile_ms = lifecycle_elapsed_ms(lc->job_started_usec);
	if (!lifecycle_job_ended(lc))
		return;
	if (err && lc->report.state == COMPUTE_READY) {
		lc->refused_revision = lc->spec->revision; /* not tried again before the next spec */
		apply_failed(lc, err->message);
		return;
	}
	if (err) {
		lifecycle_give_up(lc, err, false);
		return;
	}
	lc->report.applied_revision = lc->spec->revision;
	if (lc->report.state == COMPUTE_READY)
		lifecycle_tell(lc);
	lifecycle_step(lc);
}

static void become_ready(struct lifecycle *lc)
{
	int64_t now = clock_wall_usec();
	lc->ready_usec = clock_monotonic_usec();
	lifecycle_set_state(lc, COMPUTE_READY, "");
	activity_begin(&lc->activity, now);
	lc->report.last_active_usec = now;
	log_info("ready: prepared in %.1f ms, Postgres up in %.1f ms, reconciled in %.1f ms",
	        lc->report.prepare_ms, lc->report.postgres_ms, lc->report.reconcile_ms);
	lifecycle_tell(lc);
	pooler_begin(lc->pooler, &lc->pooler_postgres);
	lc->options.on_ready(lc->options.owner);
	storage_begin(lc->storage, lc->log_start);
	lifecycle_schedule_look(lc);
}

/* ---- applying a changed spec ---- */

status lifecycle_write_configuration(struct lifecycle *lc, struct error *err)
{
	struct configuration configuration = {
		.spec = lc->spec,
		.start = &lc->start,
		.brake = storage_brake(lc->storage),
		.archive_path = volume_archive_path(storage_volume(lc->storage)),
		.socket_folder = lc->socket_folder,
		.scripts_folder = lc->scripts_folder,
		.statements_module = lc->statements_module[0] ? lc->statements_module : NULL,
		.has_locked_memory = postgres_process_free_locked_memory(),
		.whitelist_module = lc->whitelist_module[0] ? lc->whitelist_module : NULL,
		.system_user_name = lc->user_name,
		.pooler_user_name = lc->has_pooler_user ? POOLER_USER : NULL,
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
	if (lifecycle_write_configuration(lc, &err) != STATUS_OK)
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
	if (!lifecycle_job_ended(lc))
		return;
	if (err) {
		apply_failed(lc, err->message);
	} else {
		lc->refused_revision = 0;
		lifecycle_signal(lc, SIGHUP);
		lifecycle_tell(lc);
	}
	lifecycle_schedule_look(lc); /* the timeout may be another one */
	lifecycle_step(lc);
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
		st = lifecycle_write_configuration(lc, &err);
		if (st != STATUS_OK)
			go_back(lc);
	}
	if (st == STATUS_OK) {
		lifecycle_run_job(lc, work_check_settings, settings_checked);
		return;
	}
	apply_failed(lc, err.message);
	lifecycle_step(lc);
}

/* What is there to do now that Postgres is up and no job runs? */
void lifecycle_step(struct lifecycle *lc)
{
	lifecycle_check(lc);
	if (!lc->is_up || lc->is_job_running || lc->shutdown_signals > 0 || lifecycle_is_over(lc))
		return;
	if (!lc->is_recovered)
		lifecycle_run_job(lc, work_check_recovery, recovery_checked);
	else if (lc->start.is_quiet)
		lifecycle_run_job(lc, work_hygiene, hygiene_done);
	else if (lc->report.state == COMPUTE_READY && lc->must_apply)
		apply(lc);
	else if (lc->spec->revision > lc->report.applied_revision &&
	         lc->spec->revision != lc->refused_revision)
		lifecycle_run_job(lc, work_reconcile, reconcile_done);
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
		lifecycle_suspend_for(lc, "requested");
		return;
	}
	lc->must_apply = true;
	lifecycle_step(lc);
}

/* ---- the beginning ---- */

static status open_storage(struct lifecycle *lc, struct error *err)
{
	const struct storage_options options = { .dd = lc->options.dd,
		.volume_id = lc->spec->volume_id,
		.socket_folder = lc->socket_folder,
		.log_path = lc->log_path,
		.pooler_log_path = lc->pooler_log_path,
		.bin_dir = lc->spec->bin_dir,
		.postgres_major = lc->spec->postgres_major };
	status st = storage_open(lc->loop, &options, &lifecycle_storage_events, lc, &lc->storage, err);
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

/* The pooler's user may enter, and so connect; who may connect as whom is Postgres' to say (hba.conf). */
static status make_socket_folder(struct lifecycle *lc, struct error *err)
{
	gid_t group = lc->has_pooler_user ? lc->pooler_user.gid : lc->user.gid;
	status st = folder_make(lc->socket_folder, 0700, err);
	if (st == STATUS_OK && lc->user.is_other)
		st = tree_give_to(lc->socket_folder, lc->user.uid, group, err);
	if (st == STATUS_OK && chmod(lc->socket_folder, lc->has_pooler_user ? 0710 : 0700) < 0)
		st = error_set(
		        err, STATUS_IO, errno, "could not set the mode of folder \"%s\"", lc->socket_folder);
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
	static const struct report_events events = {
		.on_order = take_order, .on_pool = lifecycle_take_pool, .on_finished = everybody_told
	};
	struct lifecycle *lc = xcalloc(1, sizeof *lc);
	lc->magic = LIFECYCLE_MAGIC;
	lc->loop = loop;
	lc->options = *options;
	lc->folder = data_directory_path(options->dd, "computes/%s", options->endpoint_uid);
	lc->socket_folder = xasprintf("%s/socket", lc->folder);
	lc->spec_path = xasprintf("%s/spec.json", lc->folder);
	lc->log_path = xasprintf("%s/postgres.log", lc->folder);
	lc->pooler_log_path = xasprintf("%s/" POOLER_LOG, lc->folder);
	lc->last_exit_path = xasprintf("%s/last_exit.json", lc->folder);
	lc->inventory_path = xasprintf("%s/inventory.json", lc->folder);
	lc->user_name = name_of_user();
	lc->report.state = COMPUTE_STARTING;
	lc->report.storage.points = -1;
	lc->pid_file.data = lc->look.data = lc->deadline.data = lc->restart.data = lc->news.data =
	        lc->promote.data = lc;

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
	(void)uv_timer_init(loop, &lc->promote);
	lc->open_handles = 6;
	*ret = lc;

	/* What an earlier run said last is not true any more. */
	(void)unlink(lc->last_exit_path);
	(void)unlink(lc->inventory_path);
	struct error problem;
	st = system_user_find(options->dd->settings.postgres_user, &lc->user, &problem);
	if (st == STATUS_OK)
		lifecycle_create_pooler(lc);
	if (st == STATUS_OK)
		st = make_socket_folder(lc, &problem);
	if (st == STATUS_OK)
		st = prepare(lc, &problem);
	if (st != STATUS_OK)
		lifecycle_fail(lc, problem.message);
	return STATUS_OK;
}
