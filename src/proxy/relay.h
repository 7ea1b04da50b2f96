/*
 * Relay: bytes of an authenticated session, both ways, unparsed, between a TLS client and a server's Unix socket.
 * Owns no descriptor and no loop: its user tells it what is ready and polls for what it wants.
 *
 *   client ──SSL_read──▶ to_backend ──send──▶ backend          one block each way, only while bytes are in flight
 *   client ◀─SSL_write── to_client ◀──recv─── backend
 *
 * Invariants
 *   R1  a side is read only while nothing is in flight from it: back-pressure without a queue.
 *   R2  nothing is added to what the client sent: an early end of the client, perhaps within a message, becomes an end
 *       of input for Postgres, never a Terminate message that would complete a message cut short.
 *   R3  per query and direction: one wait, one read, one write. A second read happens only when TLS has bytes of an
 *       incomplete record, another write only when the first was short.
 *   R4  the poll masks of an unblocked session never change.
 *   R5  after a result other than RELAY_GOES_ON nothing but relay_done() is called.
 * Threads: the loop's.
 */
#pragma once

#include <openssl/types.h>

#include "base/base.h"
#include "proxy/block_pool.h"

/* At most this many blocks from one client at a time, then the others have their turn. */
#define RELAY_ROUNDS 4u

enum relay_result {
	RELAY_GOES_ON,
	RELAY_CLIENT_CLOSED,  /* it said good-bye, and the backend had its time to finish */
	RELAY_BACKEND_CLOSED, /* and all it said has been given to TLS */
	RELAY_CLIENT_FAILED,  /* reset, or bytes that are not TLS: no more calls on its SSL */
	RELAY_BACKEND_FAILED,
};

struct relay {
	SSL *ssl;                                /* borrowed */
	int backend_fd;                          /* borrowed */
	struct block_pool *pool;                 /* borrowed */
	struct block *to_backend, *to_client;    /* NULL: nothing in flight */
	bool client_ended;                       /* no more bytes will come from it */
	bool backend_is_deaf;                    /* it takes no more bytes, but may have said something */
	bool read_wants_write, write_wants_read; /* TLS' own messages are in the way */
	bool more_in_tls;                        /* stopped by RELAY_ROUNDS, not for lack of bytes */
	bool is_answered;                        /* see relay_is_at_rest() */
	bool said_ready; /* the backend's last bytes look like a ReadyForQuery: a message of ours may follow */
	uint64_t bytes_from_client, bytes_to_client;
};

/* `early` is what the client sent so far, or NULL; taken. */
void relay_start(
        struct relay *relay, SSL *ssl, int backend_fd, struct block_pool *pool, struct block **early);
/* Gives the blocks back. */
void relay_done(struct relay *relay);

MUST_CHECK enum relay_result relay_client_ready(struct relay *relay, bool is_readable, bool is_writable);
MUST_CHECK enum relay_result relay_backend_ready(struct relay *relay, bool is_readable, bool is_writable);

/*
 * Nothing is in flight, and the last words of the server look like a ReadyForQuery outside a transaction. A guess from six bytes, good
 * for choosing a moment to end a session that is to be ended anyway.
 */
bool relay_is_at_rest(const struct relay *relay);

/* What to wait for; both false is fine. */
struct relay_wants {
	bool read, write;
};
struct relay_wants relay_client_wants(const struct relay *relay);
struct relay_wants relay_backend_wants(const struct relay *relay);
