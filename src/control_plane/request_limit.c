#include "control_plane/request_limit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rate_limit.h"

#define BURST_SEC 5 /* of the average rate may come at once */

struct request_limits {
	struct rate_limit *requests; /* by identity or address */
	struct rate_limit *failures; /* by address or login */
	int64_t requests_per_sec, failures_per_min;
	uint64_t refused;
};

struct request_limits *request_limits_create(const struct settings *settings)
{
	struct request_limits *limits = xcalloc(1, sizeof *limits);
	limits->requests_per_sec = settings->requests_per_sec;
	limits->failures_per_min = settings->failures_per_min;
	double per_sec = (double)settings->requests_per_sec, failures = (double)settings->failures_per_min;
	limits->requests = rate_limit_create(per_sec, per_sec * BURST_SEC);
	limits->failures = rate_limit_create(failures / 60, failures);
	return limits;
}

struct request_limits *request_limits_free(struct request_limits *limits)
{
	if (!limits)
		return NULL;
	rate_limit_free(limits->requests);
	rate_limit_free(limits->failures);
	free(limits);
	return NULL;
}

#define KEY_SIZE (RATE_LIMIT_KEY_MAX + 1)

/* L2 */
static void address_key(const char *peer, char key[KEY_SIZE])
{
	struct in6_addr v6;
	if (inet_pton(AF_INET6, peer, &v6) == 1) {
		char text[INET6_ADDRSTRLEN];
		memset(v6.s6_addr + 8, 0, 8);
		(void)snprintf(key, KEY_SIZE, "address %s/64",
		        inet_ntop(AF_INET6, &v6, text, sizeof text) ? text : "");
	} else {
		(void)snprintf(key, KEY_SIZE, "address %s", peer);
	}
}

static bool refuse(struct call *call, struct request_limits *limits, int64_t wait_usec, bool is_news,
        const char *what, int64_t limit, const char *unit)
{
	char seconds[24];
	int64_t wait = (wait_usec + USEC_PER_SEC - 1) / USEC_PER_SEC;
	limits->refused++;
	call->is_not_audited = !is_news;
	(void)snprintf(seconds, sizeof seconds, "%lld", (long long)wait);
	http_response_add_header(call->response, "Retry-After", seconds);
	return api_fail(&call->error, API_LIMITED, "too many %s: at most %lld per %s; try again in %s s",
	        what, (long long)limit, unit, seconds);
}

bool request_limit_admit(struct call *call)
{
	struct request_limits *limits = call->services->limits;
	if (!limits || call->request->holds > 0) /* one that was held has been counted */
		return true;
	char key[KEY_SIZE];
	bool has_caller = call->caller.id != 0;
	if (has_caller)
		(void)snprintf(key, sizeof key, "identity %lld", (long long)call->caller.id);
	else
		address_key(call->request->peer, key);
	int64_t now = clock_monotonic_usec(), wait = rate_limit_take(limits->requests, key, now);
	if (wait == 0)
		return true;
	return refuse(call, limits, wait, rate_limit_is_news(limits->requests, key, now),
	        has_caller ? "requests of this identity" : "requests", limits->requests_per_sec, "second");
}

static bool refuse_failures(struct call *call, const char *key, int64_t wait_usec)
{
	struct request_limits *limits = call->services->limits;
	bool is_news = rate_limit_is_news(limits->failures, key, clock_monotonic_usec());
	return refuse(call, limits, wait_usec, is_news, "failed attempts to authenticate",
	        limits->failures_per_min, "minute");
}

bool request_limit_note_bad_token(struct call *call)
{
	struct request_limits *limits = call->services->limits;
	char key[KEY_SIZE];
	if (!limits || call->error.code != API_UNAUTHENTICATED)
		return false;
	address_key(call->request->peer, key);
	int64_t wait = rate_limit_take(limits->failures, key, clock_monotonic_usec());
	return wait == 0 ? false : refuse_failures(call, key, wait);
}

bool request_limit_admit_login(struct call *call)
{
	struct request_limits *limits = call->services->limits;
	char key[KEY_SIZE];
	if (!limits)
		return true;
	int64_t now = clock_monotonic_usec();
	address_key(call->request->peer, key);
	int64_t wait = rate_limit_look(limits->failures, key, now);
	return wait == 0 || refuse_failures(call, key, wait);
}

void request_limit_note_bad_login(struct call *call)
{
	struct request_limits *limits = call->services->limits;
	char key[KEY_SIZE];
	if (!limits)
		return;
	int64_t now = clock_monotonic_usec();
	address_key(call->request->peer, key);
	(void)rate_limit_take(limits->failures, key, now);
}

bool request_limit_note_blocked(struct call *call, const char *address)
{
	struct request_limits *limits = call->services->limits;
	char key[KEY_SIZE];
	if (!limits)
		return false;
	address_key(address, key);
	call->is_not_audited = !rate_limit_is_news(limits->failures, key, clock_monotonic_usec());
	return false;
}

uint64_t request_limits_refused(const struct request_limits *limits)
{
	return limits ? limits->refused : 0;
}
