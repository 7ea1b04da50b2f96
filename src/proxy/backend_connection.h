/*
 * Backend connection: from a compute's socket to a session that is ready for its first query. Connects, sends the
 * start-up packet, and collects what the server says up to its first ReadyForQuery, so that a server that goes down
 * or is not up yet can be tried again before the client has read a word.
 *
 * Outcome, once, from the loop:
 *   BACKEND_READY    the whole greeting is in hand; backend_connection_take() gives it and the descriptor away
 *   BACKEND_NOT_NOW  it starts, stops, or closed without a word: ask control to open the endpoint, then try anew
 *   BACKEND_REFUSED  an error that the client shall read as it is; backend_connection_words() has it
 *   BACKEND_BROKEN   it asked for a password, or does not speak the protocol: a mistake of ours
 * Threads: the loop's.
 */
#pragma once

#include <uv.h>

#include "base/base.h"
#include "base/buffer.h"
#include "pgwire/greeting.h"

#define BACKEND_GREETING_MAX (256u << 10)

enum backend_outcome {
	BACKEND_READY,
	BACKEND_NOT_NOW,
	BACKEND_REFUSED,
	BACKEND_BROKEN,
};

/* A non-blocking socket to the compute. STATUS_UNAVAILABLE: nobody accepts there now. */
MUST_CHECK status backend_socket_connect(const char *socket_path, int *ret_fd, struct error *err);

struct backend_connection;
typedef void (*backend_outcome_fn)(void *owner, enum backend_outcome outcome);

/*
 * STATUS_UNAVAILABLE when nobody listens there now (BACKEND_NOT_NOW, but at once). `startup` is borrowed until the
 * outcome. The caller closes or takes *ret.
 */
MUST_CHECK status backend_connection_open(uv_loop_t *loop, const char *socket_path, struct slice startup,
        backend_outcome_fn on_outcome, void *owner, struct backend_connection **ret, struct error *err);
void backend_connection_close(
        struct backend_connection *connection); /* frees itself from the loop; no outcome comes */

/* All bytes it said so far. */
struct slice backend_connection_words(const struct backend_connection *connection);
const struct greeting *backend_connection_greeting(const struct backend_connection *connection);
/* For people, of an outcome that is not BACKEND_READY. */
const char *backend_connection_reason(const struct backend_connection *connection);

/* After BACKEND_READY: gives the descriptor away and closes. */
int backend_connection_take(struct backend_connection *connection);
