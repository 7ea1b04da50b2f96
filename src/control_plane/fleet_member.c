/*
 * The state machine of one endpoint's compute (the drawing is in fleet.h).
 *
 *   from      event                                     to        performed by
 *   ASLEEP    an open waits, or it should be up         STARTING  member_step → member_start
 *   STARTING  "ready"                                   RUNNING   take_report
 *   STARTING  died, fewer than 3 times in a row         STARTING  start_failed (back-off)
 *   STARTING  died the third time, "failed", no spec    ASLEEP    give_up
 *   RUNNING   "starting" (its Postgres crashed)         STARTING  take_report
 *   RUNNING   died                                      STARTING  conclude (back-off)
 *   any       "suspending", last words, suspend asked   STOPPING  take_report, request_suspend
 *   STOPPING  the process has ended                     ASLEEP    conclude; the next step starts it for opens that wait
 *
 * The end of a supervisor is two events in any order: its process ends (process_watch) and its channel closes. Last words
 * may still be in the channel when the process is gone, so conclude() waits for both.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/role_lock.h"
#include "control_plane/fleet_internal.h"
#include "control_plane/fleet_spawn.h"

#define MEMBER_MAGIC     0x6d656d62u
#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS  5000
#define QUIET_USEC       (10 * USEC_PER_SEC) /* who ran that long starts the back-off anew */
#define LAST_WORDS_MS    1000                /* for what a dead process left in its channel */

static void start_failed(struct member *m, const struct error *err);
static void conclude(struct member *m);
static void schedule_retry(struct member *m, uint64_t delay_ms);
static void deadline_passed(uv_timer_t *timer);

struct member *member_of(void *p)
{
	struct member *m = p;
	assert(m && m->magic == MEMBER_MAGIC);
	return m;
}

static bool is_timer_running(const uv_timer_t *timer)
{
	return uv_is_active((const uv_handle_t *)timer) != 0;
}

static void member_check(const struct member *m)
{
	assert(m->seen.state != FLEET_ASLEEP || (!m->is_engaged && !is_timer_running(&m->retry)));
	assert(m->is_engaged ||
	        (!m->channel && !m->watch && !m->has_report && !is_timer_running(&m->deadline)));
	assert(m->is_engaged || m->seen.state == FLEET_ASLEEP ||
	        (m->seen.state == FLEET_STARTING && is_timer_running(&m->retry)));
	assert(!m->has_ended || !m->watch);
}

/* The one place where the state changes. */
static void member_set_state(struct member *m, enum fleet_state state)
{
	if (m->seen.state == state)
		return;
	m->seen.state = state;
	m->seen.since_usec = clock_wall_usec();
	m->seen.has_changed = true;
	m->fleet->events->on_change(m->fleet->owner, &m->seen);
}

static bool has_waiter(const struct member *m, enum waiter_kind kind)
{
	const struct waiter *waiter;
	STAILQ_FOREACH (waiter, &m->waiters, link)
		if (waiter->kind == kind)
			return true;
	return false;
}

static bool is_stop_asked(const struct member *m)
{
	return m->must_stop || has_waiter(m, WAIT_SUSPEND);
}

void member_answer(struct member *m, enum waiter_kind kind, const struct error *err)
{
	struct waiter_list others = STAILQ_HEAD_INITIALIZER(others);
	struct waiter *waiter;
	while ((waiter = STAILQ_FIRST(&m->waiters))) {
		STAILQ_REMOVE_HEAD(&m->waiters, link);
		if (waiter->kind == kind)
			fleet_owe(m->fleet, waiter, err);
		else
			STAILQ_INSERT_TAIL(&others, waiter, link);
	}
	STAILQ_CONCAT(&m->waiters, &others);
}

static uint64_t backoff_ms(int attempt)
{
	if (attempt <= 0)
		return 0;
	uint64_t delay = BACKOFF_FIRST_MS;
	while (--attempt > 0 && delay < BACKOFF_LAST_MS)
		delay *= 2;
	return delay < BACKOFF_LAST_MS ? delay : BACKOFF_LAST_MS;
}

static void arm_deadline(struct member *m, int64_t milliseconds)
{
	(void)uv_timer_start(&m->deadline, deadline_passed, (uint64_t)milliseconds, 0);
}

/* Falls asleep: what was asked for by then is done; opens that wait start it again in the next step. */
static void fall_asleep(struct member *m)
{
	(void)uv_timer_stop(&m->retry);
	(void)uv_timer_stop(&m->applying);
	(void)uv_timer_stop(&m->pointing);
	m->seen.pooler = (struct fleet_pooler){ 0 };
	m->must_stop = false;
	m->failures = 0;
	member_set_state(m, FLEET_ASLEEP);
	if (m->is_gone)
		return; /* on_change has forgotten it */
	member_answer(m, WAIT_SUSPEND, NULL);
	member_answer(m, WAIT_APPLY, NULL);
	member_refuse_points(m);
	member_refuse_pools(m);
	fleet_need_step(m);
	fleet_check_shut_down(m->fleet);
	member_check(m);
}

/* A start that will not come: tells everybody who waits for it. */
static void give_up(struct member *m, const struct error *err)
{
	log_error("endpoint %s: %s", m->uid, err->message);
	if (m->fleet->events->on_start)
		m->fleet->events->on_start(m->fleet->owner, &m->seen, true);
	m->wants_start = false;
	member_answer(m, WAIT_OPEN, err);
	fall_asleep(m);
}

static void disengage(struct member *m)
{
	(void)uv_timer_stop(&m->retry);
	(void)uv_timer_stop(&m->deadline);
	m->is_engaged = m->is_child = m->has_ended = m->has_served = m->has_report = false;
	m->is_suspend_sent = m->is_suspending = false;
	m->seen.pid = m->seen.postgres_pid = 0;
	m->exit_status = 0;
	m->reconnects = 0;
	m->kill_reason = NULL;
}

/* ---- what the supervisor says ---- */

static void send_suspend(struct member *m)
{
	if (!m->channel || m->is_suspend_sent)
		return;
	m->is_suspend_sent = true;
	line_channel_send(m->channel, "{\"do\":\"suspend\"}");
}

static void process_ended(void *owner, pid_t pid, int exit_status)
{
	(void)pid;
	struct member *m = member_of(owner);
	m->watch = NULL;
	m->has_ended = true;
	m->exit_status = exit_status;
	(void)uv_timer_stop(&m->retry);
	if (!m->channel)
		conclude(m);
	else
		arm_deadline(m, LAST_WORDS_MS);
}

/* Without a watch (STATUS_NOT_FOUND: it ended just now) the closing of the channel tells. */
static void watch_process(struct member *m, pid_t pid)
{
	struct error err;
	if (m->watch || m->has_ended || pid <= 0)
		return;
	m->seen.pid = pid;
	status st = process_watch_start(m->fleet->loop, pid, process_ended, m, &m->watch, &err);
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		log_warning("endpoint %s: %s", m->uid, err.message);
}

static void take_state(struct member *m, enum fleet_report_state state)
{
	switch (state) {
	case REPORT_STARTING:
		if (!is_stop_asked(m))
			member_set_state(m, FLEET_STARTING);
		break;
	case REPORT_READY:
		if (m->ready_usec == 0)
			m->ready_usec = clock_monotonic_usec();
		m->has_served = true;
		m->is_suspending = false;
		m->wants_start = false;
		m->failures = 0;
		if (!is_stop_asked(m))
			member_set_state(m, FLEET_RUNNING);
		break;
	case REPORT_SUSPENDING:
		m->has_served = m->is_suspending = true;
		member_set_state(m, FLEET_STOPPING);
		break;
	case REPORT_STOPPED:
	case REPORT_FAILED:
		arm_deadline(m, m->fleet->patience_ms);
		member_set_state(m, FLEET_STOPPING);
		break;
	}
}

static void take_report(struct member *m, const struct fleet_report *report)
{
	bool is_news =
	        report->postgres_pid != m->seen.postgres_pid ||
	        (report->last_active_usec > 0 && report->last_active_usec != m->seen.last_active_usec) ||
	        (report->storage.is_known &&
	                (report->storage.logical_bytes != m->seen.storage.logical_bytes ||
	                        report->storage.open_pages != m->seen.storage.open_pages));
	bool is_first_ready = report->state == REPORT_READY && m->ready_usec == 0;
	enum fleet_state old_state = m->seen.state;
	m->report = *report;
	m->has_report = true;
	m->reconnects = 0;
	(void)uv_timer_stop(&m->deadline);
	watch_process(m, report->pid);
	m->seen.postgres_pid = report->postgres_pid;
	if (report->last_active_usec > 0)
		m->seen.last_active_usec = report->last_active_usec;
	double start_ms = m->seen.timing.start_ms;
	m->seen.timing = report->timing;
	if (report->storage.is_known)
		m->seen.storage = report->storage;
	if (report->pooler.clients_ended > m->seen.pooler.clients_ended)
		m->fleet->pooler_clients_ended += report->pooler.clients_ended - m->seen.pooler.clients_ended;
	m->seen.pooler = report->pooler;
	m->seen.timing.start_ms = start_ms;
	if (is_first_ready && m->is_child) {
		m->seen.timing.start_ms = (double)(clock_monotonic_usec() - m->start_usec) / 1000;
		if (m->fleet->events->on_start)
			m->fleet->events->on_start(m->fleet->owner, &m->seen, false);
	}

	take_state(m, report->state);
	if (m->is_gone)
		return; /* on_change let go of everything */
	if (m->seen.state == old_state && is_news)
		m->fleet->events->on_change(m->fleet->owner, &m->seen);
	if (m->is_gone)
		return;
	if (report->state == REPORT_READY && report->reason[0]) {
		struct error err;
		error_fill(&err, STATUS_CONFLICT, 0,
		        "the compute of endpoint \"%s\" could not apply its settings: %s", m->uid,
		        report->reason);
		member_answer_applies(m, &err);
	}
	member_answer_applies(m, NULL);
	fleet_need_step(m);
}

static void take_line(void *owner, struct line_channel *channel, struct slice line)
{
	struct member *m = member_of(owner);
	struct fleet_report report;
	struct error err;
	if (m->is_gone || (m->has_report && fleet_report_is_last(&m->report)))
		return;
	struct fleet_point_report point;
	bool is_point = false;
	status st = fleet_report_parse_point(line, &is_point, &point, &err);
	if (st == STATUS_OK && is_point) {
		member_take_point(m, &point);
		return;
	}
	struct fleet_pool_report pool;
	bool is_pool = false;
	if (st == STATUS_OK)
		st = fleet_report_parse_pool(line, &is_pool, &pool, &err);
	if (st == STATUS_OK && is_pool) {
		member_take_pool(m, &pool);
		fleet_pool_report_done(&pool);
		return;
	}
	if (st == STATUS_OK)
		st = fleet_report_parse(line, &report, &err);
	if (st == STATUS_OK) {
		take_report(m, &report);
		member_check(m);
		return;
	}
	log_warning("endpoint %s: its supervisor sent a malformed line: %s", m->uid, err.message);
	line_channel_close(channel);
}

static void free_when_closed(struct member *m)
{
	if (m->open_handles > 0 || m->channel)
		return;
	struct fleet *fleet = m->fleet;
	m->magic = 0;
	free(m->folder);
	free(m);
	fleet_member_freed(fleet);
}

static void channel_closed(void *owner, struct line_channel *channel, const char *reason)
{
	(void)channel, (void)reason;
	struct member *m = member_of(owner);
	m->channel = NULL;
	m->is_suspend_sent = false; /* it may have been lost with the channel */
	member_forget_points(m);
	member_forget_pools(m);
	if (m->is_gone) {
		free_when_closed(m);
	} else if (m->has_ended) {
		conclude(m);
	} else {
		/* Mostly the process is about to end, which its watch tells in a moment and stops this timer. */
		m->reconnects++;
		schedule_retry(m, backoff_ms(m->reconnects));
		if (!is_timer_running(&m->deadline))
			arm_deadline(m, m->fleet->patience_ms);
	}
}

static const struct line_channel_events channel_events = { .on_line = take_line, .on_close = channel_closed };

/* ---- finding, starting, connecting ---- */

static status connect_supervisor(struct member *m, struct error *err)
{
	CLEANUP(free_text) char *path = xasprintf("%s/supervisor.sock", m->folder);
	status st = line_channel_connect(m->fleet->loop, path, &channel_events, m, &m->channel, err);
	if (st == STATUS_OK && is_stop_asked(m))
		send_suspend(m);
	return st;
}

/* Is there a supervisor, and which? STATUS_NOT_FOUND when nobody holds the lock; *ret_pid may be 0. */
static status look_at_lock(struct member *m, pid_t *ret_pid, struct error *err)
{
	CLEANUP(free_text) char *path = xasprintf("%s/supervisor.lock", m->folder);
	char text[ROLE_LOCK_TEXT_MAX];
	status st = role_lock_look(path, text, err);
	if (st == STATUS_OK)
		*ret_pid = fleet_report_lock_pid(slice_from_text(text));
	return st;
}

static void engage(struct member *m, bool is_child)
{
	m->is_engaged = true;
	m->is_child = is_child;
	m->has_served = !is_child; /* an adopted one may have, before our time */
	m->ready_usec = 0;
	arm_deadline(m, m->fleet->patience_ms);
}

/*
 * Adopts the supervisor that runs, if one does (*ret_found). One that was started by a dead control and has not taken its
 * lock yet is found by its socket: it has held that since before it was a process of its own.
 */
static status adopt(struct member *m, bool *ret_found, struct error *err)
{
	pid_t pid = 0;
	struct error connect_err;
	status lock = look_at_lock(m, &pid, err);
	if (lock != STATUS_OK && lock != STATUS_NOT_FOUND)
		return lock;
	status st = connect_supervisor(m, &connect_err);
	if (st == STATUS_OK || lock == STATUS_OK) {
		engage(m, false);
		m->postgres_log_size = m->supervisor_log_size = 0;
		watch_process(m, pid);
	}
	if (st != STATUS_OK && lock == STATUS_OK) {
		log_warning("endpoint %s: its supervisor (process %d) runs, but: %s; trying again", m->uid,
		        (int)pid, connect_err.message);
		m->reconnects = 1;
		schedule_retry(m, backoff_ms(m->reconnects));
	}
	*ret_found = m->is_engaged;
	return STATUS_OK;
}

static void kill_supervisor(struct member *m, const char *reason)
{
	struct error err;
	log_error(
	        "endpoint %s: its supervisor (process %d) %s; killing it", m->uid, (int)m->seen.pid, reason);
	m->kill_reason = reason;
	if (m->watch && process_watch_signal(m->watch, SIGKILL, &err) != STATUS_OK)
		log_error("endpoint %s: %s", m->uid, err.message);
}

static status prepare_start(struct member *m, struct error *err)
{
	CLEANUP(free_text) char *last_exit = xasprintf("%s/last_exit.json", m->folder);
	CLEANUP(free_text) char *postgres_log = xasprintf("%s/postgres.log", m->folder);
	CLEANUP(free_text) char *supervisor_log = xasprintf("%s/supervisor.log", m->folder);
	/* From now on, what is in there was said by the supervisor that is started here. */
	if (unlink(last_exit) < 0 && errno != ENOENT)
		return error_set(err, STATUS_IO, errno, "could not remove file \"%s\"", last_exit);
	m->postgres_log_size = fleet_log_size(postgres_log);
	m->supervisor_log_size = fleet_log_size(supervisor_log);
	m->start_usec = clock_monotonic_usec();
	return STATUS_OK;
}

static status spawn(struct member *m, struct error *err)
{
	pid_t pid;
	status st = prepare_start(m, err);
	if (st == STATUS_OK)
		st = fleet_spawn(m->fleet->binary_path, m->fleet->dd->path, m->uid, m->folder, &pid, err);
	if (st != STATUS_OK)
		return st;
	st = process_watch_start(m->fleet->loop, pid, process_ended, m, &m->watch, err);
	if (st != STATUS_OK) {
		(void)kill(pid,
		        SIGKILL); /* unwatched it would be lost; it is our child, so the pid is still its own */
		(void)waitpid(pid, NULL, 0);
		return st;
	}
	m->seen.pid = pid;
	engage(m, true);
	if (connect_supervisor(m, err) != STATUS_OK) {
		log_warning("endpoint %s: %s; trying again", m->uid, err->message);
		schedule_retry(m, backoff_ms(1));
	}
	return STATUS_OK;
}

/* One attempt, in STARTING, with nothing engaged: adopts, or starts if there is a reason to. */
static void member_start(struct member *m)
{
	struct error err;
	bool is_found = false;
	status st = adopt(m, &is_found, &err);
	if (st == STATUS_OK && is_found) {
		log_info("endpoint %s: found its supervisor running", m->uid);
		member_check(m);
		return;
	}
	if (st == STATUS_OK && !m->wants_start && !has_waiter(m, WAIT_OPEN)) {
		fall_asleep(m); /* it was to be adopted, but has ended meanwhile */
		return;
	}
	if (st == STATUS_OK && m->fleet->events->write_spec(m->fleet->owner, m->uid, &err) != STATUS_OK) {
		give_up(m, &err); /* control knows why; trying again would not help */
		return;
	}
	if (st == STATUS_OK)
		st = spawn(m, &err);
	if (st != STATUS_OK)
		start_failed(m, &err);
	member_check(m);
}

static void retry_now(uv_timer_t *timer)
{
	struct member *m = member_of(timer->data);
	if (!m->is_engaged) {
		member_start(m);
		return;
	}
	struct error err;
	pid_t pid = 0;
	if (m->channel)
		return;
	if (connect_supervisor(m, &err) == STATUS_OK)
		return;
	if (!m->watch && look_at_lock(m, &pid, &err) == STATUS_NOT_FOUND) {
		m->has_ended = true;
		m->exit_status = -1;
		conclude(m);
		return;
	}
	watch_process(m, pid);
	m->reconnects++;
	schedule_retry(m, backoff_ms(m->reconnects));
}

static void schedule_retry(struct member *m, uint64_t delay_ms)
{
	(void)uv_timer_start(&m->retry, retry_now, delay_ms, 0);
}

static void deadline_passed(uv_timer_t *timer)
{
	struct member *m = member_of(timer->data);
	struct error err;
	if (m->has_ended) {
		line_channel_close(
		        m->channel); /* somebody else holds the other end: nothing more will come */
		return;
	}
	if (m->has_report && fleet_report_is_last(&m->report)) {
		kill_supervisor(m, "said its last words but does not end");
	} else if (m->is_child && !m->has_report) {
		kill_supervisor(m, "did not say anything after its start");
	} else {
		/* Its Postgres may be serving clients: not ours to kill. */
		char process[32] = "";
		if (m->seen.pid > 0)
			(void)snprintf(process, sizeof process, " (process %d)", (int)m->seen.pid);
		error_fill(&err, STATUS_UNAVAILABLE, 0,
		        "the supervisor of endpoint \"%s\"%s runs but does not answer", m->uid, process);
		error_hint(&err,
		        "Look at \"%s/supervisor.log\"; killing that process makes Tarn start it anew.",
		        m->folder);
		log_error("endpoint %s: %s", m->uid, err.message);
		member_answer(m, WAIT_OPEN, &err);
	}
	arm_deadline(m, m->fleet->patience_ms);
}

/* ---- the end of a supervisor ---- */

#define EXIT_TEXT_MAX (FLEET_REASON_MAX + 64)

/* words: its last words, NULL when there were none. */
static void describe_exit(const struct member *m, const struct fleet_report *words, char text[EXIT_TEXT_MAX])
{
	int word = m->exit_status;
	if (words && words->state == REPORT_STOPPED)
		(void)snprintf(text, EXIT_TEXT_MAX, "its supervisor stopped before it was ready");
	else if (words && words->reason[0])
		(void)snprintf(text, EXIT_TEXT_MAX, "%.*s", EXIT_TEXT_MAX - 1, words->reason);
	else if (words)
		(void)snprintf(text, EXIT_TEXT_MAX, "its supervisor failed without a reason");
	else if (m->kill_reason)
		(void)snprintf(text, EXIT_TEXT_MAX, "its supervisor %s", m->kill_reason);
	else if (word == -1)
		(void)snprintf(text, EXIT_TEXT_MAX, "its supervisor ended");
	else if (WIFSIGNALED(word))
		(void)snprintf(text, EXIT_TEXT_MAX, "its supervisor was killed by signal %d (%s)",
		        WTERMSIG(word), strsignal(WTERMSIG(word)));
	else
		(void)snprintf(
		        text, EXIT_TEXT_MAX, "its supervisor ended with exit code %d", WEXITSTATUS(word));
}

/* What the logs say that was said since the start; Postgres' own words first. */
static bool find_complaint(const struct member *m, bool any_line, char ret[FLEET_REASON_MAX])
{
	CLEANUP(free_text) char *postgres_log = xasprintf("%s/postgres.log", m->folder);
	CLEANUP(free_text) char *supervisor_log = xasprintf("%s/supervisor.log", m->folder);
	return fleet_log_complaint(postgres_log, m->postgres_log_size, false, ret) ||
	       fleet_log_complaint(supervisor_log, m->supervisor_log_size, any_line, ret);
}

static void start_error(const struct member *m, const char *what, bool any_line, struct error *err)
{
	char complaint[FLEET_REASON_MAX];
	bool has_complaint = find_complaint(m, any_line, complaint) && !strstr(what, complaint);
	error_fill(err, STATUS_UNAVAILABLE, 0, "could not start the compute: %s%s%s", what,
	        has_complaint ? ": " : "", has_complaint ? complaint : "");
	error_hint(err, "The logs are in \"%s\".", m->folder);
}

/* A start that may go better next time. Nothing is engaged. */
static void start_failed(struct member *m, const struct error *err)
{
	m->failures++;
	if (is_stop_asked(m)) {
		fall_asleep(m);
	} else if (m->failures >= FLEET_START_ATTEMPTS) {
		give_up(m, err);
	} else {
		log_warning("endpoint %s: %s; trying again", m->uid, err->message);
		schedule_retry(m, backoff_ms(m->streak++));
		member_set_state(m, FLEET_STARTING);
	}
}

/* The last words, from the channel or, when that missed them, from the file. */
static bool read_last_words(struct member *m, struct fleet_report *ret)
{
	if (m->has_report && fleet_report_is_last(&m->report)) {
		*ret = m->report;
		return true;
	}
	CLEANUP(free_text) char *path = xasprintf("%s/last_exit.json", m->folder);
	struct fleet_report report;
	struct error err;
	status st = fleet_report_read(path, &report, &err);
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		log_warning("endpoint %s: %s", m->uid, err.message);
	bool is_other = report.pid != 0 && m->seen.pid != 0 && report.pid != m->seen.pid;
	if (st != STATUS_OK || is_other || !fleet_report_is_last(&report))
		return false;
	*ret = report;
	return true;
}

/* It ended though it should not have: what now? Nothing is engaged any more; `old` is how it was. */
static void recover(struct member *m, const struct member *old, bool has_failed, const char *what,
        const struct error *err)
{
	if (is_stop_asked(m) || old->is_suspending) {
		log_warning("endpoint %s: the compute did not stop cleanly: %s", m->uid, what);
		fall_asleep(m);
	} else if (has_failed || (!old->has_served && old->kill_reason)) {
		give_up(m, err); /* it knew why, or waiting for it took long enough */
	} else if (!old->has_served) {
		start_failed(m, err);
	} else {
		log_error("endpoint %s: %s; starting it again", m->uid, what);
		m->failures = 0;
		m->wants_start = true;
		schedule_retry(m, backoff_ms(m->streak++));
		member_set_state(m, FLEET_STARTING);
	}
}

/* The supervisor is gone for good: its process has ended and its channel is closed. */
static void conclude(struct member *m)
{
	struct member old = *m; /* for its flags */
	struct fleet_report words;
	bool has_words = read_last_words(m, &words);
	bool has_failed = has_words && words.state == REPORT_FAILED;
	bool is_clean = has_words && !has_failed && (m->has_served || is_stop_asked(m));
	bool was_quiet = m->ready_usec > 0 && clock_monotonic_usec() - m->ready_usec >= QUIET_USEC;
	if (is_clean || was_quiet)
		m->streak = 0;
	if (is_clean) {
		disengage(m);
		fall_asleep(m);
		return;
	}
	char what[EXIT_TEXT_MAX];
	struct error err;
	describe_exit(m, has_words ? &words : NULL, what);
	start_error(m, what, !has_words, &err);
	disengage(m);
	recover(m, &old, has_failed, what, &err);
}

/* ---- the fleet's side ---- */

static void request_suspend(struct member *m)
{
	struct error err;
	bool is_found = false;
	m->wants_start = false;
	if (!m->is_engaged)
		(void)uv_timer_stop(&m->retry);
	if (!m->is_engaged && (adopt(m, &is_found, &err) != STATUS_OK || !is_found)) {
		fall_asleep(m); /* it waited for its next attempt */
		return;
	}
	send_suspend(m);
	member_set_state(m, FLEET_STOPPING);
}

void member_step(struct member *m)
{
	member_of(m);
	if (is_stop_asked(m) && m->seen.state != FLEET_ASLEEP &&
	        !(m->seen.state == FLEET_STOPPING && m->is_suspend_sent))
		request_suspend(m);
	if (m->is_gone)
		return;
	if (m->seen.state == FLEET_ASLEEP) {
		member_answer(m, WAIT_SUSPEND, NULL);
		member_answer(m, WAIT_APPLY, NULL);
		member_refuse_points(m);
		member_refuse_pools(m);
		if (!m->fleet->is_shutting_down && (m->wants_start || has_waiter(m, WAIT_OPEN))) {
			m->failures = 0;
			schedule_retry(m, 0); /* in this very turn */
			member_set_state(m, FLEET_STARTING);
		}
		return;
	}
	if (m->seen.state == FLEET_RUNNING && m->channel && m->has_report &&
	        m->report.state == REPORT_READY) {
		member_answer(m, WAIT_OPEN, NULL);
		member_send_applies(m);
		member_send_points(m);
		member_send_pools(m);
	}
	member_check(m);
}

static status make_folders(struct member *m, struct error *err)
{
	const struct fleet *fleet = m->fleet;
	CLEANUP(free_text) char *socket_dir = xasprintf("%s/socket", m->folder);
	status st = folder_make(m->folder, 0711, err);
	if (st == STATUS_OK)
		st = folder_make(socket_dir, 0700, err);
	if (st == STATUS_OK && fleet->has_postgres_user &&
	        chown(socket_dir, fleet->postgres_uid, (gid_t)-1) <
	                0) /* the group is the supervisor's affair */
		st = error_set(
		        err, STATUS_IO, errno, "could not change the owner of folder \"%s\"", socket_dir);
	return st;
}

static bool was_stopped(const struct member *m)
{
	CLEANUP(free_text) char *path = xasprintf("%s/last_exit.json", m->folder);
	struct fleet_report report;
	struct error err;
	return fleet_report_read(path, &report, &err) == STATUS_OK && report.state == REPORT_STOPPED;
}

static bool is_alive(struct member *m)
{
	CLEANUP(free_text) char *path = xasprintf("%s/supervisor.sock", m->folder);
	CLEANUP(close_fd) int fd = -1;
	pid_t pid;
	struct error ignored;
	return look_at_lock(m, &pid, &ignored) == STATUS_OK ||
	       unix_socket_connect(path, &fd, &ignored) == STATUS_OK;
}

static void init_timer(struct member *m, uv_timer_t *timer)
{
	(void)uv_timer_init(m->fleet->loop, timer);
	timer->data = m;
	m->open_handles++;
}

status member_create(
        struct fleet *fleet, const char *uid, bool was_running, struct member **ret, struct error *err)
{
	struct member *m = xcalloc(1, sizeof *m);
	*m = (struct member){ .magic = MEMBER_MAGIC, .fleet = fleet };
	(void)snprintf(m->uid, sizeof m->uid, "%s", uid);
	m->seen = (struct fleet_member){
		.uid = m->uid, .state = FLEET_ASLEEP, .since_usec = clock_wall_usec()
	};
	m->folder = data_directory_path(fleet->dd, "computes/%s", uid);
	STAILQ_INIT(&m->waiters);
	status st = make_folders(m, err);
	if (st != STATUS_OK) {
		free(m->folder);
		free(m);
		return st;
	}
	init_timer(m, &m->retry);
	init_timer(m, &m->deadline);
	init_timer(m, &m->applying);
	init_timer(m, &m->pointing);
	init_timer(m, &m->pooling);
	m->wants_start = was_running && !was_stopped(m) && !fleet->is_shutting_down;
	if (is_alive(m)) {
		/* Not asleep from the first moment on, so that nobody takes its folder away before it is adopted. */
		m->seen.state = FLEET_STARTING;
		m->must_stop = fleet->is_shutting_down;
		schedule_retry(m, 0);
	}
	fleet_need_step(m);
	*ret = m;
	return STATUS_OK;
}

static void timer_closed(uv_handle_t *handle)
{
	struct member *m = member_of(handle->data);
	m->open_handles--;
	free_when_closed(m);
}

void member_let_go(struct member *m)
{
	member_of(m);
	m->is_gone = true;
	if (m->channel)
		line_channel_close(m->channel);
	if (m->watch)
		process_watch_cancel(m->watch);
	m->watch = NULL;
	uv_close((uv_handle_t *)&m->retry, timer_closed);
	uv_close((uv_handle_t *)&m->deadline, timer_closed);
	uv_close((uv_handle_t *)&m->applying, timer_closed);
	uv_close((uv_handle_t *)&m->pointing, timer_closed);
	uv_close((uv_handle_t *)&m->pooling, timer_closed);
}
