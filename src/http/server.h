/*
 * Server: HTTP/1.1 on a libuv loop, by libmicrohttpd driven through its epoll descriptor.
 *
 * Invariants
 *   S1  the handler is called once per complete request and answers before it returns, or holds the request (S5).
 *   S2  a body beyond HTTP_BODY_MAX never reaches the handler and is never held in memory: 413.
 *   S3  a connection that does not finish a request in time is closed, however slowly it sends: first request
 * within HTTP_FIRST_REQUEST_SEC of the connect, any request within HTTP_REQUEST_SEC of its first line, and
 *       HTTP_IDLE_SEC between requests.
 *   S4  a client that has gone, or will send no more in the middle of a request, is let go within seconds.
 *   S5  a request that the handler holds is handed to it again when it is released; until then its connection costs nothing.
 *   S6  the bodies that are on their way in take at most HTTP_BODIES_MAX together (503 for more), and one of a client that may not do what
 *       it asks for nothing at all: how long it may be is asked as soon as the headers are there.
 *   S7  when HTTP_CONNECTIONS_MAX is reached, another one takes the place of one that rests (connection_table.h).
 * Threads: everything on the loop's thread.
 */
#pragma once

#include <uv.h>

#include "base/base.h"
#include "http/connection_table.h"
#include "http/request.h"
#include "http/response.h"

#define HTTP_CONNECTIONS_MAX   512
#define HTTP_HEADERS_BYTES_MAX (32u << 10)
#define HTTP_BODIES_MAX        (64u << 20)
#define HTTP_DISCARD_MAX                                                                                     \
	(64u << 20) /* of a too long body: read and dropped, so that the client sees the 413 */
#define HTTP_FIRST_REQUEST_SEC 30
#define HTTP_REQUEST_SEC       60
#define HTTP_IDLE_SEC          300

typedef void (*http_handler_fn)(
        void *owner, const struct http_request *request, struct http_response *response);

struct http_server;

/*
 * How many bytes of its body is this request worth, at most HTTP_BODY_MAX? Method, path and headers are there. 0: the body is read and
 * dropped, and the handler gets the request with is_body_dropped set, for an answer that does not depend on it.
 */
typedef size_t (*http_body_limit_fn)(void *owner, const struct http_request *request);

struct http_server_numbers {
	size_t connections[CONNECTION_STATES];
	uint64_t connections_made, connections_given_up; /* since the start */
	uint64_t bodies_bytes;                           /* of bodies on their way in, now */
};

/*
 * address: a numeric IPv4 or IPv6 address; port 0 picks a free one. STATUS_CONFLICT when the port is taken,
 * STATUS_INVALID for an address that is none.
 */
MUST_CHECK status http_server_open(uv_loop_t *loop, const char *address, int port, http_handler_fn handler,
        void *owner, struct http_server **ret, struct error *err);
int http_server_port(const struct http_server *server);
void http_server_limit_bodies(
        struct http_server *server, http_body_limit_fn limit); /* with the handler's owner */
void http_server_look(const struct http_server *server, struct http_server_numbers *ret);
/*
 * Inside the handler: what the answer needs is not there yet. The response is ignored; after http_release() the handler is called again
 * with the same request, whose `holds` has grown by one. Every hold must be released exactly once, from the loop, also when the server
 * has been closed meanwhile or the client has gone: then nothing more happens.
 */
struct http_hold;
struct http_hold *http_hold(const struct http_request *request);
bool http_can_hold(const struct http_request *request); /* false for one that was not sent to a server */
void http_release(struct http_hold *hold);

/* Ends all connections; frees itself from the loop. */
void http_server_close(struct http_server *server);
