#include "http/server.h"

#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/number.h"
#include "base/random.h"

#define WATCH_INTERVAL_MS 1000

/* One accepted connection; in the server's list while libmicrohttpd has it. */
struct http_connection {
	struct http_connection *next, **link;
	int fd;                /* borrowed from libmicrohttpd */
	int64_t deadline_usec; /* monotonic (S3) */
	bool is_answering;     /* an answer is on its way out */
};

struct http_server {
	uv_loop_t *loop;
	struct MHD_Daemon *daemon;
	uv_poll_t poll;
	uv_timer_t timer; /* when libmicrohttpd wants to run again without new input */
	uv_timer_t watch; /* S3 */
	int handles_open;
	bool is_closing;
	int port;
	struct http_connection *connections;
	struct exchange *held; /* libmicrohttpd must not be stopped while a connection is suspended */
	http_handler_fn handler;
	void *owner;
};

/* Between the exchange that is held and whoever releases it, who frees it. */
struct http_hold {
	struct exchange *exchange; /* NULL: the request has ended */
};

/* One request on its way in; libmicrohttpd's per-request pointer. */
struct exchange {
	struct http_request request;
	struct http_connection *connection;
	struct http_server *server;
	struct MHD_Connection *mhd;
	struct exchange *next_held, **held_link; /* while the connection is suspended */
	struct http_hold *hold;                  /* NULL: the handler has not held it, or it was released */
	struct error uri_error;                  /* code STATUS_OK: none */
	bool has_begun;
	bool is_too_long;
	uint64_t received;
};

static void connection_set_deadline(struct http_connection *connection, int seconds)
{
	if (connection)
		connection->deadline_usec = clock_monotonic_usec() + seconds * USEC_PER_SEC;
}

static void on_watch(uv_timer_t *timer);

static void on_connection(void *arg, struct MHD_Connection *mhd, void **socket_context,
        enum MHD_ConnectionNotificationCode code)
{
	struct http_server *server = arg;
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		struct http_connection *connection = xcalloc(1, sizeof *connection);
		connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		connection->next = server->connections;
		connection->link = &server->connections;
		if (connection->next)
			connection->next->link = &connection->next;
		server->connections = connection;
		connection_set_deadline(connection, HTTP_FIRST_REQUEST_SEC);
		if (!uv_is_active((uv_handle_t *)&server->watch))
			(void)uv_timer_start(&server->watch, on_watch, WATCH_INTERVAL_MS, WATCH_INTERVAL_MS);
		*socket_context = connection;
	} else {
		struct http_connection *connection = *socket_context;
		*connection->link = connection->next;
		if (connection->next)
			connection->next->link = connection->link;
		free(connection);
		*socket_context = NULL;
		if (!server->connections)
			(void)uv_timer_stop(&server->watch);
	}
}

/* Called with the request line as sent, before anything is decoded; what it returns is the request's pointer.
 */
static void *on_uri(void *arg, const char *uri, struct MHD_Connection *mhd)
{
	struct exchange *exchange = xcalloc(1, sizeof *exchange);
	exchange->server = arg;
	exchange->mhd = mhd;
	exchange->request.exchange = exchange;
	exchange->connection =
	        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	connection_set_deadline(exchange->connection, HTTP_REQUEST_SEC);
	random_hex(exchange->request.trace_id, HTTP_TRACE_ID_LEN);
	(void)!http_request_parse_uri(&exchange->request, uri, &exchange->uri_error);
	return exchange;
}

static void on_completed(
        void *arg, struct MHD_Connection *mhd, void **request_context, enum MHD_RequestTerminationCode code)
{
	(void)arg, (void)mhd, (void)code;
	struct exchange *exchange = *request_context;
	if (!exchange)
		return;
	connection_set_deadline(exchange->connection, HTTP_IDLE_SEC);
	if (exchange->connection)
		exchange->connection->is_answering = false;
	if (exchange->hold)
		exchange->hold->exchange = NULL;
	http_request_done(&exchange->request);
	free(exchange);
	*request_context = NULL;
}

/* Takes the response's body. */
static enum MHD_Result send_response(struct MHD_Connection *mhd, struct http_response *response)
{
	struct MHD_Response *out =
	        MHD_create_response_from_buffer(response->body_len, response->body, MHD_RESPMEM_MUST_FREE);
	if (!out)
		return MHD_NO;
	response->body = NULL;
	enum MHD_Result ok =
	        MHD_add_response_header(out, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json; charset=utf-8");
	for (size_t i = 0; i < response->header_count && ok == MHD_YES; i++)
		ok = MHD_add_response_header(out, response->headers[i].name, response->headers[i].value);
	if (ok == MHD_YES)
		ok = MHD_queue_response(mhd, (unsigned)response->status, out);
	MHD_destroy_response(out);
	return ok;
}

static char *copy_header(struct MHD_Connection *mhd, const char *name)
{
	const char *value = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, name);
	return value ? xstrdup(value) : NULL;
}

bool http_can_hold(const struct http_request *request)
{
	return request->exchange != NULL;
}

struct http_hold *http_hold(const struct http_request *request)
{
	struct exchange *exchange = request->exchange;
	assert(exchange && !exchange->hold);
	struct http_hold *hold = xcalloc(1, sizeof *hold);
	hold->exchange = exchange;
	exchange->hold = hold;
	return hold;
}

/* The handler has held the request: its connection rests. */
static void suspend(struct http_server *server, struct exchange *exchange)
{
	exchange->request.holds++;
	exchange->next_held = server->held;
	exchange->held_link = &server->held;
	if (exchange->next_held)
		exchange->next_held->held_link = &exchange->next_held;
	server->held = exchange;
	MHD_suspend_connection(exchange->mhd);
}

/* libmicrohttpd calls on_request() again for it when it runs next. */
static void resume(struct exchange *exchange)
{
	*exchange->held_link = exchange->next_held;
	if (exchange->next_held)
		exchange->next_held->held_link = exchange->held_link;
	exchange->held_link = NULL;
	MHD_resume_connection(exchange->mhd);
}

static void run(struct http_server *server);

void http_release(struct http_hold *hold)
{
	struct exchange *exchange = hold->exchange;
	free(hold);
	if (!exchange)
		return;
	assert(exchange->held_link); /* never from inside the handler that holds it */
	exchange->hold = NULL;
	struct http_server *server = exchange->server;
	connection_set_deadline(exchange->connection, HTTP_REQUEST_SEC);
	resume(exchange);
	run(server);
}

static enum MHD_Result answer(
        struct http_server *server, struct MHD_Connection *mhd, struct exchange *exchange)
{
	CLEANUP(http_response_done) struct http_response response = { 0 };
	const char *trace_id = exchange->request.trace_id;
	if (exchange->uri_error.code != STATUS_OK) {
		http_response_set_error(&response, exchange->uri_error.code == STATUS_LIMIT ? 414 : 400,
		        "INVALID_PARAMETER_VALUE", exchange->uri_error.message, NULL, trace_id);
	} else if (exchange->is_too_long) {
		char message[96];
		(void)snprintf(
		        message, sizeof message, "the request body is longer than %u bytes", HTTP_BODY_MAX);
		http_response_set_error(&response, 413, "INVALID_PARAMETER_VALUE", message, NULL, trace_id);
	} else if (server->is_closing) {
		http_response_set_error(
		        &response, 503, "TEMPORARILY_UNAVAILABLE", "Tarn is stopping", NULL, trace_id);
	} else {
		server->handler(server->owner, &exchange->request, &response);
		if (exchange->hold) {
			suspend(server, exchange);
			return MHD_YES;
		}
	}
	if (exchange->connection)
		exchange->connection->is_answering = true;
	return send_response(mhd, &response);
}

/*
 * The headers are in, the body is not. A body announced as too long is refused at once when the client waits
 * for leave to send it (Expect: 100-continue) or it is beyond all reason; otherwise it is read and dropped,
 * because a client that is still sending when we close sees a connection reset instead of the answer.
 */
static enum MHD_Result begin(
        struct http_server *server, struct MHD_Connection *mhd, struct exchange *exchange, const char *method)
{
	exchange->has_begun = true;
	(void)snprintf(exchange->request.method, sizeof exchange->request.method, "%s", method);
	exchange->request.authorization = copy_header(mhd, MHD_HTTP_HEADER_AUTHORIZATION);
	exchange->request.host = copy_header(mhd, MHD_HTTP_HEADER_HOST);

	const char *length =
	        MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
	int64_t announced = 0;
	if (!length || (number_parse(slice_from_text(length), 0, INT64_MAX, &announced) &&
	                       announced <= HTTP_BODY_MAX))
		return MHD_YES;
	exchange->is_too_long = true;
	const char *expect = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT);
	if ((expect && strcasecmp(expect, "100-continue") == 0) || announced > HTTP_DISCARD_MAX)
		return answer(server, mhd, exchange);
	return MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
        const char *version, const char *upload, size_t *upload_len, void **request_context)
{
	(void)url, (void)version;
	struct http_server *server = arg;
	struct exchange *exchange = *request_context;
	if (!exchange)
		return MHD_NO;
	if (!exchange->has_begun)
		return begin(server, mhd, exchange, method);
	if (*upload_len == 0)
		return answer(server, mhd, exchange);

	exchange->received += *upload_len;
	if (exchange->received > HTTP_DISCARD_MAX)
		return MHD_NO;
	if (exchange->received > HTTP_BODY_MAX) {
		exchange->is_too_long = true;
		buffer_done(&exchange->request.body);
		exchange->request.body = (struct buffer){ 0 };
	}
	if (!exchange->is_too_long)
		buffer_append(&exchange->request.body, upload, *upload_len);
	*upload_len = 0;
	return MHD_YES;
}

static void on_timer(uv_timer_t *timer);

static void run(struct http_server *server)
{
	(void)MHD_run(server->daemon);
	MHD_UNSIGNED_LONG_LONG timeout_ms;
	if (MHD_get_timeout(server->daemon, &timeout_ms) == MHD_YES)
		(void)uv_timer_start(&server->timer, on_timer, timeout_ms, 0);
	else
		(void)uv_timer_stop(&server->timer);
}

static void on_timer(uv_timer_t *timer)
{
	run(timer->data);
}

static void on_readable(uv_poll_t *poll, int code, int events)
{
	(void)code, (void)events;
	run(poll->data);
}

/* The client will send nothing more, and all it has sent has been read. */
static bool has_ended(const struct http_connection *connection)
{
	char byte;
	return recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/*
 * libmicrohttpd does not notice an end of stream that comes together with the last bytes before it (edge-triggered epoll),
 * so we look for it; a client that has ended its side and waits for our answer is left alone.
 */
static void on_watch(uv_timer_t *timer)
{
	struct http_server *server = timer->data;
	int64_t now = clock_monotonic_usec();
	for (struct http_connection *c = server->connections; c; c = c->next) {
		/* libmicrohttpd owns the descriptor: it closes it when it sees the end of the stream. */
		if (c->deadline_usec <= now || (!c->is_answering && has_ended(c)))
			(void)shutdown(c->fd, SHUT_RDWR);
	}
}

static status bind_listener(const char *address, int port, int *ret_fd, int *ret_port, struct error *err)
{
	char port_text[16];
	(void)snprintf(port_text, sizeof port_text, "%d", port);
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM };
	struct addrinfo *found = NULL;
	int code = getaddrinfo(address, port_text, &hints, &found);
	if (code != 0)
		return error_set(err, STATUS_INVALID, 0, "\"%s\" port %d is not a listen address: %s",
		        address, port, gai_strerror(code));

	CLEANUP(close_fd) int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;
	bool is_listening = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
	                    bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 128) == 0;
	int saved = errno;
	freeaddrinfo(found);
	if (!is_listening)
		return error_set(err, saved == EADDRINUSE ? STATUS_CONFLICT : STATUS_IO, saved,
		        "could not listen on %s port %d", address, port);

	struct sockaddr_storage bound;
	socklen_t len = sizeof bound;
	if (getsockname(fd, (struct sockaddr *)&bound, &len) < 0)
		return error_set(err, STATUS_IO, errno, "could not read the listen address");
	*ret_port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
	                                              : ((struct sockaddr_in *)&bound)->sin_port);
	*ret_fd = TAKE_FD(fd);
	return STATUS_OK;
}

status http_server_open(uv_loop_t *loop, const char *address, int port, http_handler_fn handler, void *owner,
        struct http_server **ret, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	int bound_port = 0;
	status st = bind_listener(address, port, &fd, &bound_port, err);
	if (st != STATUS_OK)
		return st;

	struct http_server *server = xcalloc(1, sizeof *server);
	*server = (struct http_server){
		.loop = loop, .port = bound_port, .handler = handler, .owner = owner, .handles_open = 3
	};
	server->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request,
	        server, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
	        (unsigned)HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	        (size_t)HTTP_HEADERS_BYTES_MAX, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
	        MHD_OPTION_URI_LOG_CALLBACK, on_uri, server, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
	        server, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	if (!server->daemon) {
		free(server);
		return error_set(err, STATUS_IO, errno, "could not start the HTTP server");
	}
	(void)TAKE_FD(fd); /* libmicrohttpd closes it */

	int epoll_fd = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	int code = uv_poll_init(loop, &server->poll, epoll_fd);
	if (code != 0) {
		MHD_stop_daemon(server->daemon);
		free(server);
		return error_set(err, STATUS_IO, -code, "could not watch the HTTP server");
	}
	(void)uv_timer_init(loop, &server->timer);
	(void)uv_timer_init(loop, &server->watch);
	server->poll.data = server->timer.data = server->watch.data = server;
	(void)uv_poll_start(&server->poll, UV_READABLE, on_readable);
	*ret = server;
	return STATUS_OK;
}

int http_server_port(const struct http_server *server)
{
	return server->port;
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct http_server *server = handle->data;
	if (--server->handles_open == 0)
		free(server);
}

void http_server_close(struct http_server *server)
{
	if (!server || server->is_closing)
		return;
	server->is_closing = true;
	/* The epoll descriptor belongs to the daemon: stop watching it before it is closed. */
	(void)uv_poll_stop(&server->poll);
	/* Who holds them releases into the void: on_completed() cuts the tie. */
	while (server->held)
		resume(server->held);
	MHD_stop_daemon(server->daemon);
	uv_close((uv_handle_t *)&server->poll, on_handle_closed);
	uv_close((uv_handle_t *)&server->timer, on_handle_closed);
	uv_close((uv_handle_t *)&server->watch, on_handle_closed);
}
