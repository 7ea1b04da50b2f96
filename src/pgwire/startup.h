/*
 * Startup: the first packets of a Postgres connection, which have no type byte. No I/O.
 *
 *   length (4, counts itself) | code (4) | rest
 *     code 80877103  SSLRequest      length 8
 *     code 80877104  GSSENCRequest   length 8
 *     code 80877102  CancelRequest   length 16 with protocol 3.0: pid (4), secret (4); longer secrets
 * since 3.2 code 3 << 16 | minor           StartupMessage: name NUL value NUL … NUL
 *
 * A server of protocol 3.0 answers a higher minor version, or options of the name "_pq_.…", with
 * NegotiateProtocolVersion and goes on with 3.0 without these options.
 *
 * Invariants
 *   S1  every slice of a parsed message points into the packet it was parsed from.
 *   S2  "user", "database", "options" and "replication" come at most once: Postgres takes the last of
 * several, and what was authenticated must be what Postgres sees. S3  what startup_append_forward() writes
 * parses again, to the same message less the endpoint and "_pq_." options.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"
#include "pgwire/message.h"

#define STARTUP_HEAD_LEN  8u
#define STARTUP_MAX_BYTES 10000u /* as in Postgres: MAX_STARTUP_PACKET_LENGTH */
#define CANCEL_KEY_MAX    256u   /* as in Postgres 18 */

enum startup_kind {
	STARTUP_TLS_REQUEST,
	STARTUP_GSS_REQUEST,
	STARTUP_CANCEL_REQUEST,
	STARTUP_SESSION, /* a StartupMessage of protocol 3.x */
};

struct startup_head {
	enum startup_kind kind;
	uint32_t packet_len; /* STARTUP_HEAD_LEN … STARTUP_MAX_BYTES, head included */
};

/*
 * head has STARTUP_HEAD_LEN bytes. STATUS_INVALID: not the Postgres protocol, or a length that cannot be;
 * STATUS_UNSUPPORTED: another major version.
 */
MUST_CHECK status startup_head_parse(const uint8_t *head, struct startup_head *ret, struct error *err);

/* What a server says of a request for encryption where none can be asked for any more: another major version to it. */
status startup_refuse_request(enum startup_kind kind, struct error *err);

struct startup_message {
	uint32_t minor_version;
	struct slice user;           /* never empty */
	struct slice database;       /* data NULL when absent: Postgres then takes the user's name */
	struct slice options;        /* data NULL when absent */
	struct slice endpoint;       /* of options=endpoint=…; data NULL when absent */
	struct slice replication;    /* data NULL when absent */
	struct slice parameters;     /* all pairs, as they came, without the last NUL */
	unsigned negotiated_options; /* how many "_pq_.…" there are */
};

/* The whole packet of a STARTUP_SESSION. STATUS_INVALID: malformed; STATUS_DENIED: it names no user. */
MUST_CHECK status startup_parse(struct slice packet, struct startup_message *ret, struct error *err);

/* The value of a parameter; data NULL when absent. Of several the last one, as Postgres takes it. */
struct slice startup_parameter(const struct startup_message *message, const char *name);

/* Must NegotiateProtocolVersion be sent? */
static inline bool startup_needs_negotiation(const struct startup_message *message)
{
	return message->minor_version > 0 || message->negotiated_options > 0;
}
void startup_append_negotiation(struct buffer *out, const struct startup_message *message);

/* The StartupMessage for the server behind us: protocol 3.0, every parameter of the client's but the
 * endpoint. */
void startup_append_forward(struct buffer *out, const struct startup_message *message);

/* CancelRequest. False unless the packet is one with a four-byte secret: servers behind us hand out no
 * others. */
MUST_CHECK bool cancel_request_parse(struct slice packet, struct cancel_key *ret);
void cancel_request_append(struct buffer *out, struct cancel_key key);
