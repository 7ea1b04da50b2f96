/*
 * Route: which endpoint a connection means, and whether its pooler. Decisions only, no I/O.
 *
 * In this order: the name in the TLS handshake (SNI) when it is <uid>.<domain>; options=endpoint=<uid> of the start-up
 * packet; the address the client connected to. Name and option must not contradict each other. The pooler is meant where either of
 * them is <uid>-pooler, or where the address is a pooler's.
 */
#pragma once

#include "base/base.h"
#include "pgwire/startup.h"
#include "proxy/control_link.h"
#include "proxy/refusal.h"

#define SERVER_NAME_MAX  253u
#define DEFAULT_DOMAIN   "localhost"
#define READ_ONLY_SUFFIX "-ro" /* <uid>-ro: the read-only host of an endpoint; no uid ends like this */

/* "ep-" and up to 60 small letters, digits and hyphens. */
bool endpoint_uid_is_plausible(struct slice uid);

struct server_name {
	char name[SERVER_NAME_MAX + 1]; /* lower case, to be in the certificate; empty: not a name of ours */
	char uid[ENDPOINT_UID_MAX + 1]; /* empty: names no endpoint */
	bool is_pooled;                 /* it was <uid>-pooler */
};
/* sni may be NULL. Ours are <uid>.<domain>, <uid>-pooler.<domain> and the domain itself; a final dot is dropped. */
void server_name_parse(const char *sni, const char *domain, struct server_name *ret);

/* Takes the suffix of a read-only host off; false when there is none. */
bool route_take_read_only(char uid[ENDPOINT_UID_MAX + 1]);

/* *ret_uid is left empty when the address decides. False: *ret says why not. */
MUST_CHECK bool route_choose(const struct server_name *name, const struct startup_message *message,
        char ret_uid[ENDPOINT_UID_MAX + 1], bool *ret_is_pooled, struct refusal *ret);

/*
 * May this session go through the pooler of the endpoint? PgBouncer has a console where a database could be ("pgbouncer"), knows names of up to
 * 63 bytes, and does not pool replication. False: *ret says why not.
 */
MUST_CHECK bool route_accepts_pooled(
        const struct startup_message *message, const char *endpoint_uid, struct refusal *ret);
