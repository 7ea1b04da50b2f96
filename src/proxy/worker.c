#include "proxy/worker.h"

#include <assert.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "proxy/client_session.h"
#include "proxy/listener.h"
#include "proxy/route.h"
#include "proxy/session_access.h"
#include "proxy/tls_context.h"
#include "proxy/traffic_report.h"

#define LISTENERS_MAX         16u
#define ROUND_MAX_MS          10000
#define CERTIFICATE_NEAR_DAYS 14 /* an own certificate that ends so soon is worth a warning each day */
#define HALF_OPEN_MIN         2u
#define TRIM_SESSIONS         500u /* what fewer have left is not worth the walk */

struct worker {
	struct session_home home;
	const struct settings *settings;
	struct listener *listeners[LISTENERS_MAX];
	size_t listener_count;
	uv_timer_t round;
	bool has_round;
	uint64_t warned; /* loop time; of an own certificate that ends */
	struct traffic_report *report;
	struct session_access *access;
	uint64_t connection; /* to control, on which it tells of changes */
	uint64_t peak;       /* of sessions, since memory was given back */
};

static void worker_accept(void *owner, int fd, const struct sockaddr *peer)
{
	struct worker *worker = owner;
	client_session_start(&worker->home, fd, peer);
}

/* glibc keeps for ever what thousands of clients needed once. Walking its heap takes milliseconds: when half of them have gone. */
static void worker_give_back(struct worker *worker, uint64_t sessions)
{
	if (sessions > worker->peak)
		worker->peak = sessions;
	if (worker->peak - sessions < TRIM_SESSIONS || sessions > worker->peak / 2)
		return;
	(void)malloc_trim(0);
	worker->peak = sessions;
}

static void worker_look(void *owner, struct proxy_gauges *ret)
{
	struct worker *worker = owner;
	client_session_look(&worker->home, ret);
	worker_give_back(worker, ret->sessions);
	/* Who had no connection may have missed that something changed. */
	uint64_t connection = control_link_connections(worker->home.control);
	if (connection != worker->connection)
		session_access_note_change(worker->access);
	worker->connection = connection;
	session_access_look(worker->access);
}

static void worker_on_access(void *owner)
{
	struct worker *worker = owner;
	session_access_note_change(worker->access);
}

/* --- listening --- */

static status worker_listen_at(struct worker *worker, int family, const char *address, struct error *err)
{
	const struct settings *settings = worker->settings;
	struct listener_place place = { .family = family,
		.address = address,
		.reach = settings->domain ? LISTENER_ANYWHERE : LISTENER_LOOPBACK,
		.port = settings->pg_port,
		.silent_sec = settings->silent_client_sec };
	if (worker->listener_count == LISTENERS_MAX)
		return error_set(err, STATUS_LIMIT, 0, "setting \"pg_address\" has more than %u addresses",
		        LISTENERS_MAX);
	status st = listener_open(worker->home.loop, &place, worker_accept, worker,
	        &worker->listeners[worker->listener_count], err);
	worker->listener_count += st == STATUS_OK;
	return st;
}

status worker_listen(struct worker *worker, struct error *err)
{
	const char *addresses = worker->settings->pg_address;
	if (!addresses) {
		status st = worker_listen_at(worker, AF_INET, NULL, err);
		if (st != STATUS_OK)
			return st;
		/* ::1 as well, since "ep-….localhost" resolves to both in many places. */
		st = worker_listen_at(worker, AF_INET6, NULL, err);
		return st == STATUS_UNSUPPORTED ? STATUS_OK : st;
	}
	CLEANUP(free_text) char *copy = xstrdup(addresses);
	for (char *rest = copy, *address; (address = strsep(&rest, ","));) {
		status st = worker_listen_at(worker, strchr(address, ':') ? AF_INET6 : AF_INET, address, err);
		if (st != STATUS_OK)
			return st;
	}
	return STATUS_OK;
}

/* --- what is looked at now and then --- */

static void worker_describe_own(struct worker *worker)
{
	struct session_home *home = &worker->home;
	const char *path = worker->settings->tls_certificate;
	CLEANUP(free_text) char *host = xasprintf("ep-any.%s", home->domain);
	if (!own_certificate_covers(home->own, host))
		log_warning(
		        "the certificate in \"%s\" is not for *.%s: hosts that it does not name get one of "
		        "Tarn's own",
		        path, home->domain);
	log_info("serving the certificate in \"%s\", which ends in %d days", path,
	        own_certificate_days_left(home->own));
}

void worker_look_at_certificate(struct worker *worker, bool is_forced)
{
	struct session_home *home = &worker->home;
	const char *path = worker->settings->tls_certificate;
	struct error err;
	bool is_new = false;
	if (!home->own)
		return;
	if (own_certificate_look(home->own, is_forced, &is_new, &err) != STATUS_OK)
		log_error("the new certificate is not taken, the old one stays: %s%s%s", err.message,
		        err.hint[0] ? ". " : "", err.hint);
	else if (is_new)
		worker_describe_own(worker);
	int days = own_certificate_days_left(home->own);
	uint64_t now = uv_now(home->loop);
	if (days < CERTIFICATE_NEAR_DAYS && (worker->warned == 0 || now - worker->warned > 86400u * 1000)) {
		worker->warned = now;
		log_warning("the certificate in \"%s\" %s: write a new one there", path,
		        days < 0 ? "has ended" : "ends within days");
	}
}

static void worker_round(uv_timer_t *timer)
{
	struct worker *worker = timer->data;
	client_session_end_silent(&worker->home);
	worker_look_at_certificate(worker, false);
}

static void worker_begin_rounds(struct worker *worker)
{
	int64_t ms = worker->settings->silent_client_sec * 1000 / 4;
	uint64_t pause = (uint64_t)(ms < ROUND_MAX_MS ? ms : ROUND_MAX_MS);
	(void)uv_timer_init(worker->home.loop, &worker->round);
	worker->round.data = worker;
	worker->has_round = true;
	(void)uv_timer_start(&worker->round, worker_round, pause, pause);
}

/* --- begin, stop --- */

status worker_create(uv_loop_t *loop, const struct data_directory *dd, const struct authority *authority,
        const struct token_key *token_key, size_t session_max, struct worker **ret, struct error *err)
{
	struct worker *worker = xcalloc(1, sizeof *worker);
	const struct settings *settings = worker->settings = &dd->settings;
	struct session_home *home = &worker->home;
	status st = tls_context_create(client_session_choose_certificate, &home->tls, err);
	if (st == STATUS_OK && settings->tls_certificate)
		st = own_certificate_load(settings->tls_certificate, settings->tls_key, &home->own, err);
	if (st != STATUS_OK) {
		tls_context_freep(&home->tls);
		free(worker);
		return st;
	}
	CLEANUP(free_text) char *control_path = data_directory_path(dd, "run/control.sock");
	home->loop = loop;
	home->blocks = block_pool_create();
	home->certificates = certificate_cache_create(authority, CERTIFICATES_MAX);
	home->cancels = cancel_table_create();
	home->failures = login_limit_create(settings->failures_per_min);
	home->token_key = token_key;
	home->domain = settings->domain ? settings->domain : DEFAULT_DOMAIN;
	home->wakefulness = wakefulness_open(loop, settings->polling_requests_per_sec);
	home->idle_sec = settings->idle_session_sec;
	home->silent_sec = settings->silent_client_sec;
	size_t half_open_max = session_max / 2 < HALF_OPEN_MAX ? session_max / 2 : HALF_OPEN_MAX;
	if (half_open_max < HALF_OPEN_MIN)
		half_open_max = HALF_OPEN_MIN;
	home->half_open = half_open_create(half_open_max);
	home->admission =
	        admission_create(session_max - half_open_max / 2); /* they need two descriptors each */
	worker->access = session_access_create(home);
	home->control = control_link_open(loop, control_path, worker_on_access, worker);
	worker_begin_rounds(worker);
	if (home->own)
		worker_describe_own(worker);
	home->traffic = traffic_create();
	worker->report = traffic_report_open(loop, home->traffic, home->control, worker_look, worker);
	*ret = worker;
	return STATUS_OK;
}

static void worker_stop_listening(struct worker *worker)
{
	while (worker->listener_count > 0)
		listener_close(worker->listeners[--worker->listener_count]);
}

void worker_drain(struct worker *worker, void (*on_drained)(void *owner), void *owner)
{
	worker_stop_listening(worker);
	client_session_drain(&worker->home, on_drained, owner);
}

void worker_stop(struct worker *worker)
{
	if (!worker)
		return;
	struct session_home *home = &worker->home;
	worker_stop_listening(worker);
	client_session_stop_all(home);
	if (worker->has_round)
		uv_close((uv_handle_t *)&worker->round, NULL);
	worker->has_round = false;
	traffic_report_close(TAKE_PTR(worker->report));
	if (worker->access)
		session_access_stop(worker->access);
	if (home->control)
		control_link_close(TAKE_PTR(home->control));
	if (home->wakefulness)
		wakefulness_close(TAKE_PTR(home->wakefulness));
}

struct worker *worker_free(struct worker *worker)
{
	if (!worker)
		return NULL;
	struct session_home *home = &worker->home;
	assert(!home->control && !home->first);
	home->cancels = cancel_table_free(home->cancels);
	home->certificates = certificate_cache_free(home->certificates);
	home->own = own_certificate_free(home->own);
	home->blocks = block_pool_free(home->blocks);
	home->failures = login_limit_free(home->failures);
	home->traffic = traffic_free(home->traffic);
	worker->access = session_access_free(worker->access);
	home->half_open = half_open_free(home->half_open);
	home->admission = admission_free(home->admission);
	tls_context_freep(&home->tls);
	free(worker);
	return NULL;
}
