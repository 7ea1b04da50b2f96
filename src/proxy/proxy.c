#include "proxy/proxy.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "auth/authority.h"
#include "auth/token.h"
#include "base/base.h"
#include "base/log.h"
#include "base/number.h"
#include "base/role_lock.h"
#include "data_directory/data_directory.h"
#include "proxy/worker.h"

#define DESCRIPTORS_APART                                                                                    \
	64u /* not for sessions: the loop, listeners, control, cancel requests, refused clients */
#define DESCRIPTORS_EACH 2u
#define SESSIONS_MIN     4u
#define DRAIN_MAX_MS     5000u /* for sessions to come to rest; "tarn down" waits ten seconds */

struct proxy {
	uv_loop_t loop;
	uv_signal_t on_term, on_int, on_hup;
	uv_timer_t drain;
	struct worker *worker;
	bool has_signals, is_draining;
};

/* Opens as many descriptors as the hard limit allows, and says how many sessions that makes. */
static size_t session_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return SESSIONS_MIN;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = { .rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max };
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	if (limit.rlim_cur < DESCRIPTORS_APART + DESCRIPTORS_EACH * SESSIONS_MIN)
		return SESSIONS_MIN;
	return (limit.rlim_cur - DESCRIPTORS_APART) / DESCRIPTORS_EACH;
}

static void proxy_stop(struct proxy *proxy)
{
	worker_stop(proxy->worker);
	if (proxy->has_signals) {
		uv_close((uv_handle_t *)&proxy->on_term, NULL);
		uv_close((uv_handle_t *)&proxy->on_int, NULL);
		uv_close((uv_handle_t *)&proxy->on_hup, NULL);
		uv_close((uv_handle_t *)&proxy->drain, NULL);
		proxy->has_signals = false;
	}
}

static void proxy_drained(void *owner)
{
	proxy_stop(owner);
}

static void proxy_drained_long_enough(uv_timer_t *timer)
{
	proxy_stop(timer->data);
}

static void proxy_on_signal(uv_signal_t *handle, int signal_number)
{
	struct proxy *proxy = handle->data;
	if (!proxy->has_signals)
		return;
	if (proxy->is_draining) { /* the second one */
		proxy_stop(proxy);
		return;
	}
	log_info("stopping on signal %d", signal_number);
	proxy->is_draining = true;
	(void)uv_timer_start(&proxy->drain, proxy_drained_long_enough, DRAIN_MAX_MS, 0);
	worker_drain(proxy->worker, proxy_drained, proxy);
}

static void proxy_on_hangup(uv_signal_t *handle, int signal_number)
{
	struct proxy *proxy = handle->data;
	(void)signal_number;
	if (proxy->has_signals)
		worker_look_at_certificate(proxy->worker, true);
}

static status watch_signals(struct proxy *proxy, struct error *err)
{
	struct {
		uv_signal_t *handle;
		uv_signal_cb on_signal;
		int number;
	} signals[] = { { &proxy->on_term, proxy_on_signal, SIGTERM },
		{ &proxy->on_int, proxy_on_signal, SIGINT }, { &proxy->on_hup, proxy_on_hangup, SIGHUP } };
	int rc = uv_timer_init(&proxy->loop, &proxy->drain);
	proxy->drain.data = proxy;
	for (size_t i = 0; i < ARRAY_LEN(signals) && rc == 0; i++) {
		rc = uv_signal_init(&proxy->loop, signals[i].handle);
		signals[i].handle->data = proxy;
		if (rc == 0)
			rc = uv_signal_start(signals[i].handle, signals[i].on_signal, signals[i].number);
	}
	if (rc < 0)
		return error_set(err, STATUS_IO, -rc, "could not watch signals");
	proxy->has_signals = true;
	return STATUS_OK;
}

/* TARN_READY_FD: who started us reads "ready" there. */
static void tell_ready(void)
{
	const char *text = getenv("TARN_READY_FD");
	int64_t fd;
	if (!text)
		return;
	if (!number_parse(slice_from_text(text), 3, 1 << 20, &fd)) {
		log_warning("TARN_READY_FD is not a descriptor");
		return;
	}
	(void)!write((int)fd, "ready\n", 6);
	(void)close((int)fd);
	(void)unsetenv("TARN_READY_FD");
}

static void lock_text(char out[128], bool is_ready)
{
	(void)snprintf(out, 128, "{\"pid\":%d,\"ready\":%s,\"arguments\":\"\"}", (int)getpid(),
	        is_ready ? "true" : "false");
}

static status proxy_serve(struct proxy *proxy, const struct data_directory *dd,
        const struct authority *authority, const struct token_key *token_key, struct role_lock *lock,
        struct error *err)
{
	size_t session_max = session_limit();
	status st = watch_signals(proxy, err);
	if (st == STATUS_OK)
		st = worker_create(&proxy->loop, dd, authority, token_key, session_max, &proxy->worker, err);
	if (st == STATUS_OK)
		st = worker_listen(proxy->worker, err);
	char text[128];
	lock_text(text, true);
	if (st == STATUS_OK)
		st = role_lock_set_text(lock, text, err);
	if (st == STATUS_OK) {
		log_info("ready on port %d, for at most %zu connections", dd->settings.pg_port, session_max);
		tell_ready();
	} else {
		proxy_stop(proxy);
	}
	(void)uv_run(&proxy->loop, UV_RUN_DEFAULT);
	return st;
}

static void role_lock_freep(struct role_lock **lock)
{
	*lock = role_lock_free(*lock);
}

static status proxy_run(const char *data_path, struct error *err)
{
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	CLEANUP(role_lock_freep) struct role_lock *lock = NULL;
	CLEANUP(authority_freep) struct authority *authority = NULL;
	CLEANUP(token_key_freep) struct token_key *token_key = NULL;
	status st = data_directory_open(data_path, &dd, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *lock_path = data_directory_path(dd, "run/proxy.lock");
	CLEANUP(free_text) char *key_path = data_directory_path(dd, "authority.key");
	CLEANUP(free_text) char *certificate_path = data_directory_path(dd, "authority.crt");
	CLEANUP(free_text) char *token_path = data_directory_path(dd, "token.key");
	char text[128];
	lock_text(text, false);
	st = role_lock_take(lock_path, text, &lock, err);
	if (st == STATUS_CONFLICT)
		return error_set(err, st, 0, "another proxy runs for the data directory \"%s\"", dd->path);
	if (st == STATUS_OK)
		st = authority_load(key_path, certificate_path, &authority, err);
	if (st == STATUS_OK)
		st = token_key_load(token_path, &token_key, err);
	if (st != STATUS_OK)
		return st;

	struct proxy *proxy = xcalloc(1, sizeof *proxy);
	int rc = uv_loop_init(&proxy->loop);
	if (rc < 0) {
		free(proxy);
		return error_set(err, STATUS_IO, -rc, "could not make an event loop");
	}
	st = proxy_serve(proxy, dd, authority, token_key, lock, err);
	proxy->worker = worker_free(proxy->worker);
	(void)uv_run(&proxy->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&proxy->loop);
	free(proxy);
	return st;
}

int proxy_main(int argc, char **argv)
{
	log_set_role("proxy");
	if (argc != 3 || strcmp(argv[1], "--data") != 0) {
		(void)fprintf(stderr, "usage: tarn proxy --data DIR\n");
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN); /* whoever reads the log may go away */
	struct error err;
	if (proxy_run(argv[2], &err) == STATUS_OK)
		return 0;
	log_error("%s%s%s", err.message, err.hint[0] ? ". " : "", err.hint);
	return 1;
}
