/*
 * Connection table: the connections that a server has, by whom they are, and which one goes when there is no room for another.
 *
 * Invariants
 *   N1  who holds most connections gives one up first; between two of his, the one that has done nothing for longest. So a client with a
 *       thousand connections takes nothing from one with a single.
 *   N2  a connection whose request is being answered is never given up: its client would repeat what has been done already.
 *   N3  a connection that has just been made is given up only after those that rest: a request is on its way.
 * Threads: the loop's. The descriptors belong to the server; here they are only shut down.
 */
#pragma once

#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/base.h"
#include "http/request.h"

enum connection_state {
	CONNECTION_NEW,       /* nothing of a request is here yet */
	CONNECTION_IDLE,      /* between two requests */
	CONNECTION_READING,   /* in a request */
	CONNECTION_HELD,      /* the handler has held its request */
	CONNECTION_ANSWERING, /* an answer is on its way out */
	CONNECTION_STATES,
};

struct http_peer;

struct http_connection {
	TAILQ_ENTRY(http_connection) link;
	int fd;                 /* borrowed */
	struct http_peer *peer; /* shared by all connections from one address */
	enum connection_state state;
	int64_t since_usec;    /* monotonic; of the state */
	int64_t deadline_usec; /* monotonic; the server's */
	bool is_given_up;      /* has been shut down to make room */
};

TAILQ_HEAD(http_connections, http_connection);
LIST_HEAD(http_peers, http_peer);

/* Begin with connection_table_begin(). */
struct connection_table {
	struct http_connections connections; /* for reading */
	struct http_peers peers;
	size_t count;
	uint64_t made, given_up; /* so far */
};

void connection_table_begin(struct connection_table *table);
struct http_connection *connection_table_add(
        struct connection_table *table, int fd, const struct sockaddr *peer, int64_t now_usec);
void connection_table_remove(
        struct connection_table *table, struct http_connection *connection); /* frees it */
void connection_set_state(struct http_connection *connection, enum connection_state state, int64_t now_usec);
/* The address as text, without a port; an IPv4 address in IPv6 clothes as IPv4. "" when it has none. */
const char *connection_peer(const struct http_connection *connection);

/* Shuts one down to make room for `newcomer`, which itself is the one when nobody else may go. */
void connection_table_give_up_one(
        struct connection_table *table, struct http_connection *newcomer, int64_t now_usec);
