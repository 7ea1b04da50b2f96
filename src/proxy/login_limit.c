#include "proxy/login_limit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/rate_limit.h"
#include "proxy/tcp_peer.h"

struct login_limit {
	struct rate_limit *by_role, *by_address;
};

struct login_limit *login_limit_create(int64_t failures_per_min)
{
	struct login_limit *limit = xcalloc(1, sizeof *limit);
	double failures = (double)failures_per_min;
	limit->by_role = rate_limit_create(failures / 60, failures);
	failures *= LOGIN_LIMIT_ADDRESS_FACTOR;
	limit->by_address = rate_limit_create(failures / 60, failures);
	return limit;
}

struct login_limit *login_limit_free(struct login_limit *limit)
{
	if (!limit)
		return NULL;
	rate_limit_free(limit->by_role);
	rate_limit_free(limit->by_address);
	free(limit);
	return NULL;
}

void login_attempt_from(const struct sockaddr *peer, struct login_attempt *ret)
{
	*ret = (struct login_attempt){ .is_loopback = tcp_address_is_loopback(peer) };
	struct in6_addr v6 = { 0 };
	if (peer->sa_family == AF_INET) {
		const struct in_addr *v4 = &((const struct sockaddr_in *)peer)->sin_addr;
		(void)inet_ntop(AF_INET, v4, ret->address, sizeof ret->address);
		return;
	}
	if (peer->sa_family == AF_INET6)
		v6 = ((const struct sockaddr_in6 *)peer)->sin6_addr;
	if (IN6_IS_ADDR_V4MAPPED(&v6)) {
		(void)inet_ntop(AF_INET, v6.s6_addr + 12, ret->address, sizeof ret->address);
		return;
	}
	memset(v6.s6_addr + 8, 0, 8);
	(void)inet_ntop(AF_INET6, &v6, ret->address, sizeof ret->address);
}

void login_attempt_for(struct login_attempt *attempt, const char *endpoint_uid, const char *role)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char hex[33];
	CLEANUP(free_text) char *text = xasprintf("%s\n%s\n%s", attempt->address, endpoint_uid, role);
	(void)SHA256((const uint8_t *)text, strlen(text), digest);
	bytes_to_hex(digest, 16, hex);
	memcpy(attempt->role, hex, sizeof hex);
}

int64_t login_limit_wait(struct login_limit *limit, const struct login_attempt *attempt, int64_t now_usec)
{
	int64_t by_role = rate_limit_look(limit->by_role, attempt->role, now_usec);
	int64_t by_address =
	        attempt->is_loopback ? 0 : rate_limit_look(limit->by_address, attempt->address, now_usec);
	int64_t wait_usec = by_role > by_address ? by_role : by_address;
	return (wait_usec + USEC_PER_SEC - 1) / USEC_PER_SEC;
}

void login_limit_note(struct login_limit *limit, const struct login_attempt *attempt, int64_t now_usec)
{
	(void)rate_limit_take(limit->by_role, attempt->role, now_usec);
	if (!attempt->is_loopback)
		(void)rate_limit_take(limit->by_address, attempt->address, now_usec);
}
