#include "cli/watcher.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/connection.h"
#include "cli/role.h"
#include "loop/process_watch.h"

#define LOOK_AGAIN_MS       50    /* an adopted role that is not ready yet, or has not said its pid */
#define FIRST_START_MS      60000 /* until both are ready for the first time */
#define OUTDATED_STOP_USEC  (10 * USEC_PER_SEC)
#define BACK_OFF_FIRST_MS   100u
#define BACK_OFF_LONGEST_MS 5000u
#define STEADY_USEC         (10 * USEC_PER_SEC)

enum watched_state { WATCHED_ABSENT, WATCHED_STARTING, WATCHED_READY };

struct watcher;

struct watched {
	struct watcher *watcher;
	const char *name;
	enum watched_state state;
	pid_t pid;           /* 0 in ABSENT */
	bool is_adopted;     /* else: started by us */
	bool was_ready;      /* ever, under this watcher */
	unsigned int deaths; /* in a row, for the back-off */
	int64_t ready_usec;  /* monotonic */
	int64_t log_start;
	struct process_watch *watch; /* NULL in ABSENT */
	int ready_fd;
	uv_poll_t ready_poll;
	uv_timer_t timer; /* next start, or next look at an adopted one */
};

struct watcher {
	const struct data_directory *dd;
	struct role_lock *lock;
	uv_loop_t loop;
	uv_signal_t on_term, on_int;
	uv_timer_t first_start;
	struct watched roles[2]; /* in the order they are started */
	bool has_failed;
	bool shall_stop;
	bool all_were_ready;
	struct error failure;
};

static void start(struct watched *role);

static void end_loop(struct watcher *watcher)
{
	uv_stop(&watcher->loop);
}

static void fail(struct watcher *watcher, const struct error *err)
{
	if (!watcher->has_failed)
		watcher->failure = *err;
	watcher->has_failed = true;
	end_loop(watcher);
}

static void on_ready_poll_closed(uv_handle_t *handle)
{
	struct watched *role = handle->data;
	close_fd(&role->ready_fd);
}

static void stop_ready_poll(struct watched *role)
{
	if (role->ready_fd >= 0 && !uv_is_closing((uv_handle_t *)&role->ready_poll))
		uv_close((uv_handle_t *)&role->ready_poll, on_ready_poll_closed);
}

static void print_ready(const struct watched *role)
{
	const struct settings *settings = &role->watcher->dd->settings;
	if (strcmp(role->name, "control") == 0) {
		CLEANUP(free_text) char *url = local_api_url(settings);
		(void)printf("control ready: REST API at %s", url);
	} else {
		(void)printf("%s ready: Postgres on port %d", role->name, settings->pg_port);
	}
	(void)printf(" (process %d%s)\n", (int)role->pid, role->is_adopted ? ", was already running" : "");
	(void)fflush(stdout);
}

static void note_all_ready(struct watcher *watcher)
{
	struct error err;
	watcher->all_were_ready = true;
	(void)uv_timer_stop(&watcher->first_start);
	CLEANUP(free_text)
	char *text = xasprintf("{\"pid\":%d,\"ready\":true,\"arguments\":\"\"}", (int)getpid());
	if (role_lock_set_text(watcher->lock, text, &err) != STATUS_OK)
		log_warning("%s", err.message);
}

static void become_ready(struct watched *role)
{
	struct watcher *watcher = role->watcher;
	assert(role->state == WATCHED_STARTING);
	role->state = WATCHED_READY;
	role->was_ready = true;
	role->ready_usec = clock_monotonic_usec();
	print_ready(role);
	for (size_t i = 0; i < ARRAY_LEN(watcher->roles); i++) {
		struct watched *other = &watcher->roles[i];
		if (other->was_ready)
			continue;
		if (other->state == WATCHED_ABSENT)
			start(other); /* W2: the next one in order */
		return;
	}
	if (!watcher->all_were_ready)
		note_all_ready(watcher);
}

static void on_ready_readable(uv_poll_t *poll, int poll_status, int events)
{
	(void)poll_status, (void)events;
	struct watched *role = poll->data;
	char text[16];
	ssize_t len = read(role->ready_fd, text, sizeof text);
	if (len < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	stop_ready_poll(role);
	/* An end without the word: it is about to die, which the watch will tell. */
	if (len > 0 && role->state == WATCHED_STARTING)
		become_ready(role);
}

static unsigned int back_off_ms(unsigned int deaths)
{
	if (deaths <= 1)
		return 0;
	unsigned int doublings = deaths - 2;
	unsigned int ms = doublings < 6 ? BACK_OFF_FIRST_MS << doublings : BACK_OFF_LONGEST_MS;
	return ms < BACK_OFF_LONGEST_MS ? ms : BACK_OFF_LONGEST_MS;
}

static char *describe_end(int exit_status)
{
	if (exit_status != -1 && WIFEXITED(exit_status))
		return xasprintf("exited with code %d", WEXITSTATUS(exit_status));
	if (exit_status != -1 && WIFSIGNALED(exit_status))
		return xasprintf("was ended by signal %d (%s)", WTERMSIG(exit_status),
		        strsignal(WTERMSIG(exit_status)));
	return xstrdup("ended");
}

static void on_timer(uv_timer_t *timer)
{
	struct watched *role = timer->data;
	if (role->state == WATCHED_ABSENT) /* else it was started meanwhile, because control became ready */
		start(role);
}

static void fail_first_start(struct watched *role, const char *how)
{
	struct error err;
	const char *path = role->watcher->dd->path;
	CLEANUP(free_text)
	char *words = role->is_adopted ? xstrdup("")
	                               : role_last_words(role->watcher->dd, role->name, role->log_start);
	size_t len = strlen(words); /* a hint at its end is a sentence, and more follows */
	if (len > 0 && words[len - 1] == '.')
		words[len - 1] = '\0';
	status st =
	        *words ? error_set(&err, STATUS_UNAVAILABLE, 0, "%s did not start: %s", role->name, words)
	               : error_set(&err, STATUS_UNAVAILABLE, 0, "%s did not start: it %s", role->name, how);
	assert(st != STATUS_OK);
	error_hint(&err, "See %s/run/%s.log; tarn doctor --data %s checks the host.", path, role->name, path);
	fail(role->watcher, &err);
}

static void on_end(void *owner, pid_t pid, int exit_status)
{
	struct watched *role = owner;
	struct watcher *watcher = role->watcher;
	bool was_steady =
	        role->state == WATCHED_READY && clock_monotonic_usec() - role->ready_usec >= STEADY_USEC;
	CLEANUP(free_text) char *how = describe_end(exit_status);
	stop_ready_poll(role);
	role->state = WATCHED_ABSENT;
	role->pid = 0;
	role->watch = NULL;
	if (watcher->shall_stop || watcher->has_failed)
		return;
	if (!watcher->all_were_ready && !role->was_ready && !role->is_adopted) {
		fail_first_start(role, how);
		return;
	}
	role->deaths = was_steady ? 1 : role->deaths + 1;
	unsigned int wait_ms = back_off_ms(role->deaths);
	log_warning("%s (process %d) %s; starting it again in %u ms", role->name, (int)pid, how, wait_ms);
	(void)uv_timer_start(&role->timer, on_timer, wait_ms, 0);
}

static void on_look_again(uv_timer_t *timer)
{
	struct watched *role = timer->data;
	if (role->state != WATCHED_STARTING)
		return;
	CLEANUP(free_text) char *lock = xasprintf("run/%s.lock", role->name);
	struct role_state state;
	struct error err;
	if (role_look(role->watcher->dd, lock, &state, &err) == STATUS_OK && state.pid == role->pid &&
	        state.is_ready)
		become_ready(role);
	else
		(void)uv_timer_start(&role->timer, on_look_again, LOOK_AGAIN_MS, 0);
}

static status watch(struct watched *role, pid_t pid, struct error *err)
{
	struct watcher *watcher = role->watcher;
	status st = process_watch_start(&watcher->loop, pid, on_end, role, &role->watch, err);
	if (st != STATUS_OK)
		return st;
	role->pid = pid;
	role->state = WATCHED_STARTING;
	return STATUS_OK;
}

static status adopt(struct watched *role, const struct role_state *state, struct error *err)
{
	role->is_adopted = true;
	status st = watch(role, state->pid, err);
	if (st != STATUS_OK)
		return st;
	if (state->is_ready)
		become_ready(role);
	else
		(void)uv_timer_start(&role->timer, on_look_again, LOOK_AGAIN_MS, 0);
	return STATUS_OK;
}

static status start_anew(struct watched *role, struct error *err)
{
	struct watcher *watcher = role->watcher;
	pid_t pid = 0;
	int ready_fd = -1;
	status st = role_start(watcher->dd, role->name, &pid, &ready_fd, &role->log_start, err);
	if (st != STATUS_OK)
		return st;
	role->is_adopted = false;
	st = watch(role, pid, err);
	if (st != STATUS_OK) {
		close_fd(&ready_fd);
		return st;
	}
	role->ready_fd = ready_fd;
	int rc = uv_poll_init(&watcher->loop, &role->ready_poll, ready_fd);
	role->ready_poll.data = role;
	if (rc == 0)
		rc = uv_poll_start(&role->ready_poll, UV_READABLE, on_ready_readable);
	return rc == 0 ? STATUS_OK : error_set(err, STATUS_IO, -rc, "could not wait for %s", role->name);
}

/* W1. Anything that may pass (a lock in other hands for a moment) is looked at again by the timer. */
static status try_start(struct watched *role, struct error *err)
{
	CLEANUP(free_text) char *lock = xasprintf("run/%s.lock", role->name);
	struct role_state state;
	status st = role_look(role->watcher->dd, lock, &state, err);
	if (st != STATUS_OK)
		return st;
	if (!state.is_running) {
		if (role->ready_fd >= 0) /* the poll of the one before is still being closed */
			return error_set(err, STATUS_UNAVAILABLE, 0, "not yet");
		return start_anew(role, err);
	}
	if (state.pid == 0)
		return error_set(err, STATUS_UNAVAILABLE, 0, "not yet");
	if (state.is_outdated) {
		bool was_killed = false;
		log_info("%s (process %d) runs another version or other settings: restarting it", role->name,
		        (int)state.pid);
		st = role_stop(state.pid, OUTDATED_STOP_USEC, &was_killed, err);
		return st == STATUS_OK ? start_anew(role, err) : st;
	}
	return adopt(role, &state, err);
}

static void start(struct watched *role)
{
	struct error err;
	assert(role->state == WATCHED_ABSENT);
	status st = try_start(role, &err);
	if (st == STATUS_OK)
		return;
	if (st == STATUS_UNAVAILABLE || st == STATUS_NOT_FOUND) {
		(void)uv_timer_start(&role->timer, on_timer, LOOK_AGAIN_MS, 0);
		return;
	}
	if (!role->watcher->all_were_ready) {
		fail(role->watcher, &err);
		return;
	}
	log_error("could not start %s: %s", role->name, err.message);
	role->deaths++;
	(void)uv_timer_start(&role->timer, on_timer, BACK_OFF_LONGEST_MS, 0);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct watcher *watcher = handle->data;
	log_info("stopping (%s)", number == SIGINT ? "Ctrl-C" : "SIGTERM");
	/*
	 * A second SIGTERM (of tarn down after a Ctrl-C) must not cut the stop short that comes now: it stays blocked from
	 * here on. A second Ctrl-C may; the roles that are left go on then.
	 */
	sigset_t blocked;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	watcher->shall_stop = true;
	end_loop(watcher);
}

static void on_first_start_timeout(uv_timer_t *timer)
{
	struct watcher *watcher = timer->data;
	for (size_t i = 0; i < ARRAY_LEN(watcher->roles); i++) {
		struct watched *role = &watcher->roles[i];
		if (role->was_ready)
			continue;
		fail_first_start(role, "was not ready within a minute");
		return;
	}
}

/*
 * W3: what was started here is stopped, what was there before stays. When all is to be stopped this is for the roles that have just
 * been started again: they may not hold their locks yet, by which the others are found (stop.h).
 */
static void stop_started(struct watcher *watcher)
{
	for (size_t i = ARRAY_LEN(watcher->roles); i > 0; i--) {
		const struct watched *role = &watcher->roles[i - 1];
		bool was_killed = false;
		struct error err;
		bool is_to_stop = watcher->has_failed || role->state == WATCHED_STARTING;
		if (role->pid != 0 && !role->is_adopted && is_to_stop &&
		        role_stop(role->pid, OUTDATED_STOP_USEC, &was_killed, &err) != STATUS_OK)
			log_error("could not stop %s again: %s", role->name, err.message);
	}
}

static void close_handle(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void close_all(struct watcher *watcher)
{
	for (size_t i = 0; i < ARRAY_LEN(watcher->roles); i++) {
		struct watched *role = &watcher->roles[i];
		if (role->watch)
			process_watch_cancel(role->watch);
		stop_ready_poll(role);
	}
	uv_walk(&watcher->loop, close_handle, NULL);
	(void)uv_run(&watcher->loop, UV_RUN_DEFAULT);
	int rc = uv_loop_close(&watcher->loop);
	assert(rc == 0);
	(void)rc;
}

status watcher_run(
        const struct data_directory *dd, struct role_lock *lock, bool *ret_shall_stop, struct error *err)
{
	static const char *const names[] = { "control", "proxy" };
	struct watcher watcher = { .dd = dd, .lock = lock };
	int rc = uv_loop_init(&watcher.loop);
	if (rc != 0)
		return error_set(err, STATUS_IO, -rc, "could not make an event loop");
	/* A terminal that goes away is no reason to leave the roles unwatched. */
	(void)signal(SIGHUP, SIG_IGN);
	(void)uv_signal_init(&watcher.loop, &watcher.on_term);
	(void)uv_signal_init(&watcher.loop, &watcher.on_int);
	(void)uv_timer_init(&watcher.loop, &watcher.first_start);
	watcher.on_term.data = watcher.on_int.data = watcher.first_start.data = &watcher;
	(void)uv_signal_start(&watcher.on_term, on_signal, SIGTERM);
	(void)uv_signal_start(&watcher.on_int, on_signal, SIGINT);
	(void)uv_timer_start(&watcher.first_start, on_first_start_timeout, FIRST_START_MS, 0);
	for (size_t i = 0; i < ARRAY_LEN(watcher.roles); i++) {
		struct watched *role = &watcher.roles[i];
		*role = (struct watched){ .watcher = &watcher, .name = names[i], .ready_fd = -1 };
		(void)uv_timer_init(&watcher.loop, &role->timer);
		role->timer.data = role;
	}
	start(&watcher.roles[0]);
	if (!watcher.has_failed)
		(void)uv_run(&watcher.loop, UV_RUN_DEFAULT);

	if (watcher.has_failed || watcher.shall_stop)
		stop_started(&watcher);
	close_all(&watcher);
	if (watcher.has_failed) {
		*err = watcher.failure;
		return err->code;
	}
	*ret_shall_stop = watcher.shall_stop;
	return STATUS_OK;
}
