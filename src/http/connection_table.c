#include "http/connection_table.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define NEWCOMER_USEC USEC_PER_SEC /* so long a connection counts as just made */

struct http_peer {
	LIST_ENTRY(http_peer) link;
	size_t connections;
	char text[HTTP_PEER_MAX + 1];
};

static void write_address(const struct sockaddr *address, char text[HTTP_PEER_MAX + 1])
{
	text[0] = '\0';
	if (address && address->sa_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
		(void)inet_ntop(AF_INET, &v4->sin_addr, text, HTTP_PEER_MAX + 1);
	} else if (address && address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
		if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
			(void)inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, text, HTTP_PEER_MAX + 1);
		else
			(void)inet_ntop(AF_INET6, &v6->sin6_addr, text, HTTP_PEER_MAX + 1);
	}
}

void connection_table_begin(struct connection_table *table)
{
	*table = (struct connection_table){ 0 };
	TAILQ_INIT(&table->connections);
	LIST_INIT(&table->peers);
}

static struct http_peer *find_peer(struct connection_table *table, const struct sockaddr *address)
{
	char text[HTTP_PEER_MAX + 1];
	write_address(address, text);
	struct http_peer *peer;
	LIST_FOREACH (peer, &table->peers, link)
		if (strcmp(peer->text, text) == 0)
			return peer;
	peer = xcalloc(1, sizeof *peer);
	memcpy(peer->text, text, sizeof peer->text);
	LIST_INSERT_HEAD(&table->peers, peer, link);
	return peer;
}

struct http_connection *connection_table_add(
        struct connection_table *table, int fd, const struct sockaddr *peer, int64_t now_usec)
{
	struct http_connection *connection = xcalloc(1, sizeof *connection);
	*connection = (struct http_connection){
		.fd = fd, .peer = find_peer(table, peer), .state = CONNECTION_NEW, .since_usec = now_usec
	};
	connection->peer->connections++;
	TAILQ_INSERT_TAIL(&table->connections, connection, link);
	table->count++;
	table->made++;
	return connection;
}

void connection_table_remove(struct connection_table *table, struct http_connection *connection)
{
	TAILQ_REMOVE(&table->connections, connection, link);
	table->count--;
	if (--connection->peer->connections == 0) {
		LIST_REMOVE(connection->peer, link);
		free(connection->peer);
	}
	free(connection);
}

void connection_set_state(struct http_connection *connection, enum connection_state state, int64_t now_usec)
{
	connection->state = state;
	connection->since_usec = now_usec;
}

const char *connection_peer(const struct http_connection *connection)
{
	return connection->peer->text;
}

/* The lower, the sooner it goes; -1: never. */
static int rank(const struct http_connection *c, int64_t now_usec)
{
	switch (c->state) {
	case CONNECTION_IDLE:
		return 0;
	case CONNECTION_NEW:
		return now_usec - c->since_usec >= NEWCOMER_USEC ? 0 : 1;
	case CONNECTION_READING:
		return 2;
	default:
		return -1;
	}
}

static bool goes_before(const struct http_connection *a, const struct http_connection *b, int64_t now_usec)
{
	if (!b)
		return true;
	if (a->peer->connections != b->peer->connections)
		return a->peer->connections > b->peer->connections;
	int rank_a = rank(a, now_usec), rank_b = rank(b, now_usec);
	return rank_a != rank_b ? rank_a < rank_b : a->since_usec < b->since_usec;
}

void connection_table_give_up_one(
        struct connection_table *table, struct http_connection *newcomer, int64_t now_usec)
{
	struct http_connection *victim = NULL, *c;
	TAILQ_FOREACH (c, &table->connections, link)
		if (c != newcomer && !c->is_given_up && rank(c, now_usec) >= 0 &&
		        goes_before(c, victim, now_usec))
			victim = c;
	if (!victim)
		victim = newcomer;
	victim->is_given_up = true;
	table->given_up++;
	(void)shutdown(victim->fd, SHUT_RDWR);
}
