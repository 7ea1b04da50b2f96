/*
 * SCRAM server: one SCRAM-SHA-256 conversation as a Postgres server has it (RFC 5802, 7677; src/backend/libpq/auth-scram.c), with a verifier
 * in the place of the password. No I/O: the client's two messages in, ours out.
 *
 *   server ── mechanisms ─▶ client ── its choice, client-first ─▶ server ── server-first ─▶ client ── client-final ─▶ server ── server-final ─▶
 *
 * The user name within SCRAM is not looked at, as in Postgres: the start-up packet has it. Channel binding is tls-server-end-point
 * (RFC 5929): a hash of our certificate, which whoever stands between client and us cannot show.
 *
 * Invariants
 *   V1  only a proof by the verifier's password is ever accepted, and never before the channel binding was found right.
 *   V2  what differs by the verifier is the salt and the count of iterations; every wrong proof takes the same path.
 *   V3  texts in errors are fixed, or show one byte of the client's; no salt, proof, nonce or key is among them.
 * Threads: any, one at a time.
 */
#pragma once

#include <openssl/types.h>

#include "auth/scram_verifier.h"
#include "base/base.h"
#include "base/buffer.h"

#define SCRAM_MECHANISM      "SCRAM-SHA-256"
#define SCRAM_MECHANISM_PLUS "SCRAM-SHA-256-PLUS"
#define SCRAM_MESSAGE_MAX    1024u /* of a client, as in Postgres: PG_MAX_SASL_MESSAGE_LENGTH */
#define SCRAM_NONCE_MAX      32    /* characters of our half: 18 random bytes in base64 */
#define SCRAM_END_POINT_MAX  64    /* bytes of a certificate's hash */

struct scram_server;

/* end_point: what scram_end_point() says of our certificate; empty: without channel binding (and without -PLUS). Copies both. */
struct scram_server *scram_server_create(const struct scram_verifier *verifier, struct slice end_point);
struct scram_server *scram_server_free(struct scram_server *server); /* wipes; NULL is fine */
/* Tests only: our half of the nonce instead of a random one. */
void scram_server_set_nonce(struct scram_server *server, const char *nonce);

/*
 * The mechanism that the client chose and its client-first message; appends server-first.
 * STATUS_INVALID: not SCRAM; STATUS_UNSUPPORTED: SCRAM that Postgres refuses, too; STATUS_DENIED: somebody has taken our offer of channel
 * binding away. The hint is what Postgres says as detail.
 */
MUST_CHECK status scram_server_first(struct scram_server *server, struct slice mechanism,
        struct slice message, struct buffer *out, struct error *err);
/*
 * The client-final message, once, after scram_server_first(). *ret_is_right: the client knows the password; only then server-final is
 * appended. Errors as above; STATUS_DENIED: the channel binding is that of another certificate.
 */
MUST_CHECK status scram_server_final(struct scram_server *server, struct slice message, bool *ret_is_right,
        struct buffer *out, struct error *err);

/* tls-server-end-point of a certificate; returns its length, 0 when none is defined for its signature. */
size_t scram_end_point(X509 *certificate, uint8_t out[SCRAM_END_POINT_MAX]);
