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

#define WATCH_INTERVAL_MS   1000
#define CONNECTIONS_LEAVING 64 /* that have been given up, and are not closed yet */

struct http_server {
	uv_loop_t *loop;
	struct MHD_Daemon *daemon;
	uv_poll_t poll;
	uv_timer_t timer; /* when libmicrohttpd wants to run again without new input */
	uv_timer_t watch; /* S3 */
	int handles_open;
	bool is_closing;
	int port;
	struct connection_table table;
	uint64_t bodies_bytes;         /* kept of all bodies that are on their way in (S6) */
	http_body_limit_fn body_limit; /* NULL: every body may be as long as HTTP_BODY_MAX */
	struct exchange *held;         /* libmicrohttpd must not be stopped while a connection is suspended */
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
	bool is_crowded_out;     /* all bodies together take too much */
	uint64_t body_max;       /* more is too long */
	uint64_t received, kept; /* bytes of the body */
};

static void connection_set_deadline(struct http_connection *connection, int seconds)
{
	if (connection)
		connection->deadline_usec = clock_monotonic_usec() + seconds * USEC_PER_SEC;
}

static void note_state(const struct exchange *exchange, enum connection_state state)
{
	if (exchange->connection)
		connection_set_state(exchange->connection, state, clock_monotonic_usec());
}

static void on_watch(uv_timer_t *timer);

static void on_connection(void *arg, struct MHD_Connection *mhd, void **socket_context,
        enum MHD_ConnectionNotificationCode code)
{
	struct http_server *server = arg;
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		int64_t now = clock_monotonic_usec();
		struct http_connection *connection = connection_table_add(&server->table,
		        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
		        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr, now);
		connection_set_deadline(connection, HTTP_FIRST_REQUEST_SEC);
		if (server->table.count > HTTP_CONNECTIONS_MAX)
			connection_table_give_up_one(&server->table, connection, now);
		if (!uv_is_active((uv_handle_t *)&server->watch))
			(void)uv_timer_start(&server->watch, on_watch, WATCH_INTERVAL_MS, WATCH_INTERVAL_MS);
		*socket_context = connection;
	} else {
		connection_table_remove(&server->table, *socket_context);
		*socket_context = NULL;
		if (server->table.count == 0)
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
	note_state(exchange, CONNECTION_READING);
	exchange->request.begin_usec = clock_monotonic_usec();
	if (exchange->connection)
		(void)snprintf(exchange->request.peer, sizeof exchange->request.peer, "%s",
		        connection_peer(exchange->connection));
	random_hex(exchange->request.trace_id, HTTP_TRACE_ID_LEN);
	(void)!http_request_parse_uri(&exchange->request, uri, &exchange->uri_error);
	return exchange;
}

static void on_completed(
        void *arg, struct MHD_Connection *mhd, void **request_context, enum MHD_RequestTerminationCode code)
{
	(void)mhd, (void)code;
	struct http_server *server = arg;
	struct exchange *exchange = *request_context;
	if (!exchange)
		return;
	connection_set_deadline(exchange->connection, HTTP_IDLE_SEC);
	note_state(exchange, CONNECTION_IDLE);
	server->bodies_bytes -= exchange->kept;
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
	enum MHD_Result ok = MHD_add_response_header(out, MHD_HTTP_HEADER_CONTENT_TYPE,
	        response->content_type ? response->content_type : "application/json; charset=utf-8");
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
	note_state(exchange, CONNECTION_HELD);
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
		(void)snprintf(message, sizeof message, "the request body is longer than %llu bytes",
		        (unsigned long long)exchange->body_max);
		http_response_set_error(&response, 413, "INVALID_PARAMETER_VALUE", message, NULL, trace_id);
	} else if (exchange->is_crowded_out) {
		http_response_add_header(&response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
		http_response_set_error(&response, 503, "TEMPORARILY_UNAVAILABLE",
		        "too many requests with long bodies at the same time", NULL, trace_id);
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
	note_state(exchange, CONNECTION_ANSWERING);
	return send_response(mhd, &response);
}

static bool has_header(struct MHD_Connection *mhd, const char *name)
{
	return MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, name) != NULL;
}

/* Of several headers of a name the last one: a proxy that appends its own leaves those of the client in front. */
static enum MHD_Result keep_last(void *out, enum MHD_ValueKind kind, const char *name, const char *value)
{
	(void)kind;
	if (strcasecmp(name, "X-Forwarded-For") == 0)
		*(const char **)out = value;
	return MHD_YES;
}

static void read_head(struct MHD_Connection *mhd, struct http_request *request, const char *method)
{
	/* libmicrohttpd leaves the body of an answer to HEAD out by itself. */
	(void)snprintf(
	        request->method, sizeof request->method, "%s", strcmp(method, "HEAD") == 0 ? "GET" : method);
	request->authorization = copy_header(mhd, MHD_HTTP_HEADER_AUTHORIZATION);
	request->host = copy_header(mhd, MHD_HTTP_HEADER_HOST);
	request->user_agent = copy_header(mhd, MHD_HTTP_HEADER_USER_AGENT);
	request->content_type = copy_header(mhd, MHD_HTTP_HEADER_CONTENT_TYPE);
	const char *forwarded_for = NULL;
	(void)MHD_get_connection_values(mhd, MHD_HEADER_KIND, keep_last, &forwarded_for);
	request->forwarded_for = forwarded_for ? xstrdup(forwarded_for) : NULL;
	request->is_forwarded = has_header(mhd, "X-Forwarded-For") || has_header(mhd, "Forwarded") ||
	                        has_header(mhd, MHD_HTTP_HEADER_VIA);
}

/* Bytes of the body as announced; 0: none; INT64_MAX: as many as come, or more than anybody can count. */
static int64_t announced_bytes(struct MHD_Connection *mhd)
{
	const char *length =
	        MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
	int64_t announced = 0;
	if (!length)
		return has_header(mhd, MHD_HTTP_HEADER_TRANSFER_ENCODING) ? INT64_MAX : 0;
	return number_parse(slice_from_text(length), 0, INT64_MAX, &announced) ? announced : INT64_MAX;
}

/*
 * The headers are in, the body is not. A body that will not be kept is not even read when the client waits for leave to send it
 * (Expect: 100-continue) or it is beyond all reason; otherwise it is read and dropped, because a client that is still sending when we close
 * sees a connection reset instead of the answer.
 */
static enum MHD_Result begin(
        struct http_server *server, struct MHD_Connection *mhd, struct exchange *exchange, const char *method)
{
	exchange->has_begun = true;
	exchange->body_max = HTTP_BODY_MAX;
	read_head(mhd, &exchange->request, method);
	int64_t announced = announced_bytes(mhd);
	bool is_chunked = !has_header(mhd, MHD_HTTP_HEADER_CONTENT_LENGTH);
	if (announced == 0)
		return MHD_YES;
	if (exchange->uri_error.code != STATUS_OK)
		exchange->body_max = 0;
	else if (server->body_limit)
		exchange->body_max = server->body_limit(server->owner, &exchange->request);
	exchange->request.is_body_dropped = exchange->body_max == 0;
	exchange->is_too_long =
	        !is_chunked && exchange->body_max > 0 && announced > (int64_t)exchange->body_max;
	if (!exchange->is_too_long && !exchange->request.is_body_dropped)
		return MHD_YES;
	const char *expect = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT);
	if ((expect && strcasecmp(expect, "100-continue") == 0) ||
	        (!is_chunked && announced > HTTP_DISCARD_MAX))
		return answer(server, mhd, exchange);
	return MHD_YES;
}

static void drop_body(struct http_server *server, struct exchange *exchange)
{
	buffer_done(&exchange->request.body);
	exchange->request.body = (struct buffer){ 0 };
	server->bodies_bytes -= exchange->kept;
	exchange->kept = 0;
}

static void take_body(struct http_server *server, struct exchange *exchange, const char *bytes, size_t len)
{
	if (exchange->request.is_body_dropped)
		return;
	if (exchange->received > exchange->body_max)
		exchange->is_too_long = true;
	else if (server->bodies_bytes + len > HTTP_BODIES_MAX)
		exchange->is_crowded_out = true;
	if (exchange->is_too_long || exchange->is_crowded_out) {
		drop_body(server, exchange);
		return;
	}
	buffer_append(&exchange->request.body, bytes, len);
	exchange->kept += len;
	server->bodies_bytes += len;
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
	take_body(server, exchange, upload, *upload_len);
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
	struct http_connection *c;
	TAILQ_FOREACH (c, &server->table.connections, link) {
		/* libmicrohttpd owns the descriptor: it closes it when it sees the end of the stream. */
		if (c->deadline_usec <= now || (c->state != CONNECTION_ANSWERING && has_ended(c)))
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
	connection_table_begin(&server->table);
	server->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request,
	        server, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
	        (unsigned)(HTTP_CONNECTIONS_MAX + CONNECTIONS_LEAVING), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
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

void http_server_limit_bodies(struct http_server *server, http_body_limit_fn limit)
{
	server->body_limit = limit;
}

void http_server_look(const struct http_server *server, struct http_server_numbers *ret)
{
	*ret = (struct http_server_numbers){ .connections_made = server->table.made,
		.connections_given_up = server->table.given_up,
		.bodies_bytes = server->bodies_bytes };
	const struct http_connection *c;
	TAILQ_FOREACH (c, &server->table.connections, link)
		ret->connections[c->state]++;
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
