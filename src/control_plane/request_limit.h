/*
 * Request limits: how many calls an identity may make, and how often a client may fail to say who he is. What is over the limit is answered
 * 429 REQUEST_LIMIT_EXCEEDED with Retry-After, which every client waits for (rest-api.md 1.8).
 *
 * Invariants
 *   L1  a good token is never refused because of what others at the same address have done: behind one address there may be many, and on the
 *       loopback all are. A bad one is: it is then not told apart from too many requests.
 *   L2  failures count by address (of IPv6 the /64, which is what one client has), and for logins with a password or secret by the name that
 *       was tried as well.
 * Threads: the loop's.
 */
#pragma once

#include "control_plane/call.h"
#include "data_directory/data_directory.h"

struct request_limits;

struct request_limits *request_limits_create(const struct settings *settings);
struct request_limits *request_limits_free(struct request_limits *limits); /* NULL is fine; always NULL */

/* All false after having filled call->error and the Retry-After header. Without services->limits (tests) all is allowed. */

/* One more call, of call->caller or, on a page that is open, of whoever the client is. */
bool request_limit_admit(struct call *call);
/*
 * The caller's token is not good (call->error says so): one more failure of its address. False: always; call->error may now say that there
 * were too many.
 */
bool request_limit_note_bad_token(struct call *call);
/*
 * For logins: may this address try? Before the secret is looked at. Names are not counted: they are no secrets, so whoever knows one could lock
 * its owner out, and a secret of 128 random bits is not found by trying.
 */
bool request_limit_admit_login(struct call *call);
/* It was tried with a wrong secret, or an unknown name. */
void request_limit_note_bad_login(struct call *call);

/* The address may not come at all: false, always. Of a flood of these one in a while is audited. */
bool request_limit_note_blocked(struct call *call, const char *address);

/* Calls that were refused so far. */
uint64_t request_limits_refused(const struct request_limits *limits);
