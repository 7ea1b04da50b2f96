/*
 * Login limit: how often a client may try a wrong password, in bounded memory (base/rate_limit.h). Counted by the client's address (of IPv6 the
 * /64, which is what one client has) together with the role and endpoint that it tries, and by the address alone, for who tries many roles.
 *
 * Invariants
 *   F1  what one address does is never felt by another one: a role cannot be locked from outside. All of this machine have one address, so there
 *       only failures with the same role count: who tries many roles does not lock the others.
 *   F2  a right token is never refused for failures, since nobody can guess one and behind an address there may be many; a right password is.
 * Threads: the loop's.
 */
#pragma once

#include <sys/socket.h>

#include "base/base.h"

/* An address alone may fail this many times as often as with one role. */
#define LOGIN_LIMIT_ADDRESS_FACTOR 10

struct login_limit;

struct login_limit *login_limit_create(int64_t failures_per_min);
struct login_limit *login_limit_free(struct login_limit *limit); /* NULL is fine; always NULL */

/* Who tries, by what counts: copied into a login while it lasts. */
struct login_attempt {
	bool is_loopback; /* everybody on this machine has that address, and who comes through a proxy on it */
	char address[64];
	char role[64]; /* address, endpoint and role, hashed */
};
/* The first half, from the client's socket address; the second, once it is known. */
void login_attempt_from(const struct sockaddr *peer, struct login_attempt *ret);
void login_attempt_for(struct login_attempt *attempt, const char *endpoint_uid, const char *role);

/* 0: may try; else how many seconds to wait, rounded up. */
int64_t login_limit_wait(struct login_limit *limit, const struct login_attempt *attempt, int64_t now_usec);
/* One has failed. */
void login_limit_note(struct login_limit *limit, const struct login_attempt *attempt, int64_t now_usec);
