/*
 * Client session: one connection of a client, from accept to close.
 *
 * States; session_enter() performs every transition, and nothing else writes the state:
 *
 *               'S'/0x16             TLS is up
 *   KNOCKING ───────────▶ HANDSHAKE ───────────▶ STARTUP ──start-up packet──▶ ROUTING ──endpoint──▶ PASSWORD
 *      │                                            │                                       token or password is good │
 *      └── cancel request ──▶ CANCELLING ◀──────────┘        ┌──────── not now, after a pause ────────┐               ▼
 *                                  │                         ▼                                        ├──────────── OPENING
 *                                  │                     OPENING ──socket──▶ (CHECKING) ──▶ CONNECTING ┘
 *                                  │                                                            │ whole greeting
 *                                  ▼            both sides are done                             ▼
 *                               CLOSED ◀──────── RELAYING ◀────────────all given──────────── GREETING
 *
 *   every state before RELAYING ──refusal──▶ LINGERING ──client closes, or LINGER_MS──▶ CLOSED
 *   RELAYING ──backend closes──▶ LINGERING                every state ──client is gone, deadline──▶ CLOSED
 *
 *   KNOCKING    plain bytes: SSLRequest, GSSENCRequest, CancelRequest, or the first byte of TLS
 *   HANDSHAKE   OpenSSL has the socket
 *   STARTUP     inside TLS; the start-up packet is collected in `in`
 *   ROUTING     a route question is out; user name, address and forward packet are known
 *   PASSWORD    the endpoint is known, the client has been asked; a token, or the messages of SCRAM, are collected in `in`
 *   OPENING     an open question is out, or the pause before it runs; passed over while the route says that the compute runs
 *   CHECKING    a password was found good by what was known of a compute that slept: now that it runs, control is asked again
 *   CONNECTING  a backend connection exists
 *   GREETING    the server is ready; its greeting is in `out`, the session can be cancelled
 *   RELAYING    the relay has the bytes; no login state is left
 *   CANCELLING  a delivery is out; the client is closed when it is done
 *   LINGERING   all has been said; the client's own close is awaited so that it reads our last words
 *   CLOSED      handles are being closed by the loop; then the session is freed
 *
 * Invariants
 *   S1  no compute is opened before the token or password was found good; nobody reaches a compute with a password that Postgres did not
 *       know while it ran.
 *   S2  from KNOCKING until the token or password is good at most LOGIN_MAX_MS pass.
 *   S3  nothing is read from a client while control or a compute is asked: it has to wait for an answer.
 *   S4  an idle session owns no block, and no login state.
 *   S5  one line of log at the end of each session that said anything (session_line.h).
 *   S6  a session has a place among the half-open ones until its token or password is good, and one among those that are let in from then on.
 *   S7  what a session counts is in the traffic of its endpoint from the route's answer on, and once it has ended, all of it.
 * Threads: the loop's. Each loop has its own home and sessions.
 */
#pragma once

#include <openssl/types.h>
#include <sys/socket.h>
#include <uv.h>

#include "auth/token.h"
#include "base/base.h"
#include "proxy/admission.h"
#include "proxy/block_pool.h"
#include "proxy/cancel_table.h"
#include "proxy/certificate_cache.h"
#include "proxy/control_link.h"
#include "proxy/half_open.h"
#include "proxy/login_limit.h"
#include "proxy/own_certificate.h"
#include "proxy/traffic_report.h"
#include "proxy/wakefulness.h"

#define LOGIN_MAX_MS        60000u  /* as authentication_timeout of a stock server */
#define GREETING_MAX_MS     120000u /* a server that accepted, but does not get ready */
#define REOPEN_MAX_MS       30000u  /* of trying a compute again that is "not now" */
#define REOPEN_PAUSE_MS     10u     /* doubles up to REOPEN_PAUSE_MAX_MS */
#define REOPEN_PAUSE_MAX_MS 400u
#define LEAVE_MAX_MS        5000u /* without a byte, of a session whose client has closed its side */
#define LINGER_MS           2000u
#define CANCEL_MAX_MS       5000u

struct client_session;

/* What sessions of one loop share. */
struct session_home {
	uv_loop_t *loop;
	SSL_CTX *tls;
	struct block_pool *blocks;
	struct certificate_cache *certificates;
	struct own_certificate *own; /* NULL: there is none, and all are ours */
	struct control_link *control;
	struct cancel_table *cancels;
	struct login_limit *failures;
	struct wakefulness *wakefulness;
	struct traffic *traffic;
	uint64_t access_round; /* session_access.h: grows with each change */
	const struct token_key *token_key;
	const char *domain;
	struct half_open *half_open;
	struct admission *admission;
	int64_t idle_sec;   /* a session over which nothing goes for so long is ended */
	int64_t silent_sec; /* tcp_peer.h */
	/* The sessions' own: */
	struct client_session *first;
	size_t count;
	size_t turned_away;              /* since that was last told in the log */
	uint64_t turned_away_since;      /* loop time; 0: never */
	void (*on_drained)(void *owner); /* NULL but while draining */
	void *owner;
};

/* For tls_context_create(). */
int client_session_choose_certificate(SSL *ssl, void *unused);

/* Takes fd (non-blocking, close-on-exec), whatever happens; closes it at once when there is no room for one more that is half-open. */
void client_session_start(struct session_home *home, int fd, const struct sockaddr *peer);
/* For traffic_report.h: takes over the bytes that the relays have counted. */
void client_session_look(struct session_home *home, struct proxy_gauges *ret);
/* Ends those whose client's machine has gone silent; to be called now and then. */
void client_session_end_silent(struct session_home *home);
/*
 * No more sessions are to come. Clients in login are told so; sessions end when they are at rest (relay_is_at_rest()). on_drained comes
 * once all are gone, from within this call or from the loop.
 */
void client_session_drain(struct session_home *home, void (*on_drained)(void *owner), void *owner);
/* Ends all, now: each client sees the end of TLS. They free themselves from the loop; no on_drained comes any more. */
void client_session_stop_all(struct session_home *home);
