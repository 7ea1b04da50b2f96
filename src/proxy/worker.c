#include "proxy/worker.h"

#include <assert.h>
#include <stdlib.h>

#include "proxy/client_session.h"
#include "proxy/listener.h"
#include "proxy/route.h"
#include "proxy/tls_context.h"

struct worker {
	struct session_home home;
	const struct settings *settings;
	struct listener *ipv4, *ipv6;
};

static void worker_accept(void *owner, int fd, const struct sockaddr *peer)
{
	struct worker *worker = owner;
	client_session_start(&worker->home, fd, peer);
}

status worker_listen(struct worker *worker, struct error *err)
{
	const struct settings *settings = worker->settings;
	enum listener_reach reach = settings->domain ? LISTENER_ANYWHERE : LISTENER_LOOPBACK;
	uv_loop_t *loop = worker->home.loop;
	status st = listener_open(
	        loop, AF_INET, reach, settings->pg_port, worker_accept, worker, &worker->ipv4, err);
	if (st != STATUS_OK)
		return st;
	/* ::1 as well, since "ep-….localhost" resolves to both in many places. */
	st = listener_open(
	        loop, AF_INET6, reach, settings->pg_port, worker_accept, worker, &worker->ipv6, err);
	return st == STATUS_UNSUPPORTED ? STATUS_OK : st;
}

status worker_create(uv_loop_t *loop, const struct data_directory *dd, const struct authority *authority,
        const struct token_key *token_key, size_t session_max, struct worker **ret, struct error *err)
{
	struct worker *worker = xcalloc(1, sizeof *worker);
	const struct settings *settings = worker->settings = &dd->settings;
	struct session_home *home = &worker->home;
	status st = tls_context_create(client_session_choose_certificate, &home->tls, err);
	if (st != STATUS_OK) {
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
	home->session_max = session_max;
	home->wakefulness = wakefulness_open(loop, settings->polling_requests_per_sec);
	home->control = control_link_open(loop, control_path);
	*ret = worker;
	return STATUS_OK;
}

void worker_stop(struct worker *worker)
{
	if (!worker)
		return;
	struct session_home *home = &worker->home;
	listener_close(TAKE_PTR(worker->ipv4));
	listener_close(TAKE_PTR(worker->ipv6));
	client_session_stop_all(home);
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
	home->blocks = block_pool_free(home->blocks);
	home->failures = login_limit_free(home->failures);
	tls_context_freep(&home->tls);
	free(worker);
	return NULL;
}
