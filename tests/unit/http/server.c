/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define PATIENCE_USEC (20 * USEC_PER_SEC)

struct fixture {
	uv_loop_t loop;
	struct http_server *server;
	int requests;
	size_t last_body_len;
	struct http_hold *hold;   /* of the last request for /held */
	struct http_request last; /* its facts; the pointers are not ours */
	char user_agent[64], forwarded_for[64];
};

/* Answers with method, path and the length of the body. */
static void echo(void *owner, const struct http_request *request, struct http_response *response)
{
	struct fixture *f = owner;
	f->requests++;
	f->last_body_len = request->body.len;
	f->last = *request;
	(void)snprintf(
	        f->user_agent, sizeof f->user_agent, "%s", request->user_agent ? request->user_agent : "");
	(void)snprintf(f->forwarded_for, sizeof f->forwarded_for, "%s",
	        request->forwarded_for ? request->forwarded_for : "none");
	if (strncmp(request->path, "/held", 5) == 0 && request->holds < 2) {
		f->hold = http_hold(request);
		return;
	}
	char *body = xasprintf("{\"method\":\"%s\",\"path\":\"%s\",\"len\":%zu,\"auth\":\"%s\"}",
	        request->method, request->path, request->body.len,
	        request->authorization ? request->authorization : "");
	http_response_add_header(response, "X-Test", "yes");
	http_response_set_json(response, 200, body, strlen(body));
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	struct error err;
	assert_int_equal(uv_loop_init(&f->loop), 0);
	assert_int_equal(http_server_open(&f->loop, "127.0.0.1", 0, echo, f, &f->server, &err), STATUS_OK);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	http_server_close(f->server);
	assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	free(f);
	return 0;
}

static int connect_to(const struct fixture *f)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)http_server_port(f->server)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

/* One turn of the server: it and the client share this thread. */
static void turn(struct fixture *f)
{
	(void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void send_all(struct fixture *f, int fd, const char *bytes, size_t len)
{
	int64_t deadline = clock_monotonic_usec() + PATIENCE_USEC;
	for (size_t done = 0; done < len;) {
		ssize_t n = send(fd, bytes + done, len - done, MSG_NOSIGNAL);
		if (n > 0)
			done += (size_t)n;
		else if (errno != EAGAIN)
			fail_msg("send: %s", strerror(errno));
		turn(f);
		assert_true(clock_monotonic_usec() < deadline);
	}
}

/* Reads until `end` is there or the server closes; false when it closed. */
static bool read_until(struct fixture *f, int fd, const char *end, struct buffer *got)
{
	int64_t deadline = clock_monotonic_usec() + PATIENCE_USEC;
	while (!got->data || !strstr(got->data, end)) {
		char chunk[4096];
		turn(f);
		ssize_t n = recv(fd, chunk, sizeof chunk, 0);
		if (n > 0)
			buffer_append(got, chunk, (size_t)n);
		else if (n == 0 || errno != EAGAIN)
			return false;
		assert_true(clock_monotonic_usec() < deadline);
	}
	return true;
}

static void answers_two_requests_on_one_connection(void **state)
{
	struct fixture *f = *state;
	CLEANUP(close_fd) int fd = connect_to(f);
	static const char first[] = "GET /one?x=1 HTTP/1.1\r\nHost: h\r\nauthorization: Bearer t\r\n\r\n";
	CLEANUP(buffer_done) struct buffer a = { 0 };
	send_all(f, fd, first, strlen(first));
	assert_true(read_until(f, fd, "}", &a));
	assert_non_null(strstr(a.data, "200 OK"));
	assert_non_null(strstr(a.data, "X-Test: yes"));
	assert_non_null(strstr(a.data, "Content-Type: application/json"));
	assert_non_null(strstr(a.data, "\"path\":\"/one\",\"len\":0,\"auth\":\"Bearer t\""));
	static const char second[] = "POST /two HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
	CLEANUP(buffer_done) struct buffer b = { 0 };
	send_all(f, fd, second, strlen(second));
	assert_true(read_until(f, fd, "}", &b));
	assert_non_null(strstr(b.data, "\"method\":\"POST\",\"path\":\"/two\",\"len\":3"));
	assert_int_equal(f->requests, 2);
}

static void takes_chunks(void **state)
{
	struct fixture *f = *state;
	CLEANUP(close_fd) int fd = connect_to(f);
	static const char text[] = "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	                           "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
	CLEANUP(buffer_done) struct buffer got = { 0 };
	send_all(f, fd, text, strlen(text));
	assert_true(read_until(f, fd, "}", &got));
	assert_non_null(strstr(got.data, "\"len\":5"));
}

/* The client sends it all, sees the answer and no connection reset; the handler never sees the body. */
static void refuses_a_long_body(void **state)
{
	struct fixture *f = *state;
	size_t len = 10u << 20;
	char *body = xcalloc(1, len);
	memset(body, 'x', len);
	CLEANUP(close_fd) int fd = connect_to(f);
	CLEANUP(free_text)
	char *head = xasprintf("POST /long HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", len);
	send_all(f, fd, head, strlen(head));
	send_all(f, fd, body, len);
	CLEANUP(buffer_done) struct buffer got = { 0 };
	assert_true(read_until(f, fd, "}]}", &got));
	assert_non_null(strstr(got.data, " 413 "));
	assert_non_null(strstr(got.data, "INVALID_PARAMETER_VALUE"));
	assert_int_equal(f->requests, 0);

	/* and the connection goes on */
	static const char next[] = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
	CLEANUP(buffer_done) struct buffer again = { 0 };
	send_all(f, fd, next, strlen(next));
	assert_true(read_until(f, fd, "}", &again));
	assert_int_equal(f->requests, 1);
	free(body);
}

static void refuses_a_long_body_in_chunks(void **state)
{
	struct fixture *f = *state;
	CLEANUP(close_fd) int fd = connect_to(f);
	static const char head[] = "POST /long HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
	send_all(f, fd, head, strlen(head));
	CLEANUP(buffer_done) struct buffer chunk = { 0 };
	buffer_append_text(&chunk, "10000\r\n");
	for (int i = 0; i < 0x10000; i++)
		buffer_append_text(&chunk, "x");
	buffer_append_text(&chunk, "\r\n");
	for (int i = 0; i < 20; i++)
		send_all(f, fd, chunk.data, chunk.len);
	send_all(f, fd, "0\r\n\r\n", 5);
	CLEANUP(buffer_done) struct buffer got = { 0 };
	assert_true(read_until(f, fd, "}]}", &got));
	assert_non_null(strstr(got.data, " 413 "));
	assert_int_equal(f->requests, 0);
}

static void refuses_at_once_who_waits_for_leave(void **state)
{
	struct fixture *f = *state;
	CLEANUP(close_fd) int fd = connect_to(f);
	static const char head[] =
	        "POST /long HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2000000\r\n\r\n";
	send_all(f, fd, head, strlen(head));
	CLEANUP(buffer_done) struct buffer got = { 0 };
	assert_true(read_until(f, fd, "}]}", &got));
	assert_non_null(strstr(got.data, " 413 "));
	assert_int_equal(f->requests, 0);
}

static void takes_exactly_the_limit(void **state)
{
	struct fixture *f = *state;
	char *body = xcalloc(1, HTTP_BODY_MAX);
	memset(body, 'y', HTTP_BODY_MAX);
	CLEANUP(close_fd) int fd = connect_to(f);
	CLEANUP(free_text)
	char *head = xasprintf("POST /max HTTP/1.1\r\nHost: h\r\nContent-Length: %u\r\n\r\n", HTTP_BODY_MAX);
	send_all(f, fd, head, strlen(head));
	send_all(f, fd, body, HTTP_BODY_MAX);
	CLEANUP(buffer_done) struct buffer got = { 0 };
	assert_true(read_until(f, fd, "}", &got));
	assert_int_equal(f->requests, 1);
	assert_int_equal(f->last_body_len, HTTP_BODY_MAX);
	free(body);
}

static void answers_a_bad_uri_with_json(void **state)
{
	struct fixture *f = *state;
	CLEANUP(close_fd) int fd = connect_to(f);
	static const char text[] = "GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n";
	CLEANUP(buffer_done) struct buffer got = { 0 };
	send_all(f, fd, text, strlen(text));
	assert_true(read_until(f, fd, "}]}", &got));
	assert_non_null(strstr(got.data, " 400 "));
	assert_non_null(strstr(got.data, "INVALID_PARAMETER_VALUE"));
	assert_int_equal(f->requests, 0);
}

static void outlives_garbage_and_half_requests(void **state)
{
	struct fixture *f = *state;
	static const char *const texts[] = { "\x16\x03\x01\x02", "\r\n\r\n\r\n", "GET",
		"GET / HTTP/9.9\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf",
		"GET / HTTP/1.1\r\nHost: h\r\nX" };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		CLEANUP(close_fd) int fd = connect_to(f);
		send_all(f, fd, texts[i], strlen(texts[i]));
		turn(f);
	}
	assert_int_equal(f->requests, 0);
	CLEANUP(close_fd) int fd = connect_to(f);
	static const char good[] = "GET /fine HTTP/1.1\r\nHost: h\r\n\r\n";
	CLEANUP(buffer_done) struct buffer got = { 0 };
	send_all(f, fd, good, strlen(good));
	assert_true(read_until(f, fd, "}", &got));
	assert_int_equal(f->requests, 1);
}

/* libmicrohttpd misses an end of stream that arrives together with the bytes before it. */
static void lets_go_of_who_has_ended(void **state)
{
	struct fixture *f = *state;
	static const char *const texts[] = { "GET", "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf" };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		CLEANUP(close_fd) int fd = connect_to(f);
		ssize_t len = (ssize_t)strlen(texts[i]);
		assert_int_equal(send(fd, texts[i], (size_t)len, MSG_NOSIGNAL), len);
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
		CLEANUP(buffer_done) struct buffer got = { 0 };
		assert_false(read_until(f, fd, "never", &got)); /* the server closes */
		if (i == 1)
			assert_non_null(strstr(got.data, " 200 "));
	}
	assert_int_equal(f->requests, 1);
}

static void bounds_the_headers(void **state)
{
	struct fixture *f = *state;
	CLEANUP(close_fd) int fd = connect_to(f);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	buffer_append_text(&text, "GET / HTTP/1.1\r\nHost: h\r\n");
	while (text.len < 2 * HTTP_HEADERS_BYTES_MAX)
		buffer_append_text(&text, "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
	buffer_append_text(&text, "\r\n");
	(void)!send(fd, text.data, text.len, MSG_NOSIGNAL);
	CLEANUP(buffer_done) struct buffer got = { 0 };
	(void)read_until(f, fd, "never", &got); /* refused or closed, not waited for */
	assert_int_equal(f->requests, 0);
}

static void ask(struct fixture *f, int fd, const char *text, const char *expected)
{
	CLEANUP(buffer_done) struct buffer got = { 0 };
	send_all(f, fd, text, strlen(text));
	assert_true(read_until(f, fd, "}", &got));
	if (!strstr(got.data, expected))
		fail_msg("no \"%s\" in: %s", expected, got.data);
}

static void tells_who_asks(void **state)
{
	struct fixture *f = *state;
	int64_t before = clock_monotonic_usec();
	CLEANUP(close_fd) int fd = connect_to(f);
	ask(f, fd, "GET / HTTP/1.1\r\nHost: h\r\nuser-agent: cli/1\r\n\r\n", " 200 ");
	assert_string_equal(f->last.peer, "127.0.0.1");
	assert_string_equal(f->user_agent, "cli/1");
	assert_false(f->last.is_forwarded);
	assert_in_range(f->last.begin_usec, before, clock_monotonic_usec());
	static const char *const headers[] = { "X-Forwarded-For: 10.9.8.7",
		"x-forwarded-for:", "Forwarded: for=10.9.8.7", "Via: 1.1 front" };
	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		CLEANUP(free_text)
		char *text = xasprintf("GET / HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n", headers[i]);
		ask(f, fd, text, " 200 ");
		assert_true(f->last.is_forwarded);
		assert_string_equal(f->last.peer, "127.0.0.1");
	}
	assert_string_equal(f->forwarded_for, "none");
	/* What the last proxy has appended is the last header, whatever the client wrote above it. */
	ask(f, fd,
	        "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1\r\nVia: x\r\nx-forwarded-for: "
	        "2.2.2.2, "
	        "3.3.3.3\r\n\r\n",
	        " 200 ");
	assert_string_equal(f->forwarded_for, "2.2.2.2, 3.3.3.3");
	/* HEAD is answered as GET, without the body. */
	CLEANUP(buffer_done) struct buffer got = { 0 };
	static const char head[] = "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n";
	send_all(f, fd, head, strlen(head));
	assert_true(read_until(f, fd, "\r\n\r\n", &got));
	assert_non_null(strstr(got.data, " 200 "));
	assert_string_equal(f->last.method, "GET");
}

/* As the control plane does: nothing of a body without a token, little on a page that is open. */
static size_t limit_by_header(void *owner, const struct http_request *request)
{
	(void)owner;
	return !request->authorization ? 0 : strcmp(request->path, "/small") == 0 ? 4 : HTTP_BODY_MAX;
}

static void keeps_only_bodies_that_are_worth_it(void **state)
{
	struct fixture *f = *state;
	http_server_limit_bodies(f->server, limit_by_header);
	CLEANUP(close_fd) int fd = connect_to(f);
	ask(f, fd, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "\"len\":0");
	assert_true(f->last.is_body_dropped);
	ask(f, fd, "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	        "\"len\":0");
	assert_true(f->last.is_body_dropped);
	ask(f, fd, "POST /a HTTP/1.1\r\nHost: h\r\nAuthorization: t\r\nContent-Length: 3\r\n\r\nabc",
	        "\"len\":3");
	assert_false(f->last.is_body_dropped);
	ask(f, fd, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "\"len\":0");
	assert_false(f->last.is_body_dropped); /* there was none */
	ask(f, fd, "POST /small HTTP/1.1\r\nHost: h\r\nAuthorization: t\r\nContent-Length: 4\r\n\r\nabcd",
	        "\"len\":4");
	int requests = f->requests;
	ask(f, fd, "POST /small HTTP/1.1\r\nHost: h\r\nAuthorization: t\r\nContent-Length: 5\r\n\r\nabcde",
	        "longer than 4 bytes");
	assert_int_equal(f->requests, requests);
	/* Who asks first is not made to send it. */
	ask(f, fd, "POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
	        "\"len\":0");
	struct http_server_numbers numbers;
	http_server_look(f->server, &numbers);
	assert_int_equal(numbers.bodies_bytes, 0);
}

static void bounds_all_bodies_together(void **state)
{
	struct fixture *f = *state;
	enum { CONNECTIONS = HTTP_BODIES_MAX / HTTP_BODY_MAX + 1 };
	int fds[CONNECTIONS];
	char *body = xcalloc(1, HTTP_BODY_MAX);
	memset(body, 'x', HTTP_BODY_MAX);
	CLEANUP(free_text)
	char *head = xasprintf("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %u\r\n\r\n", HTTP_BODY_MAX);
	struct http_server_numbers numbers;
	for (size_t i = 0; i < CONNECTIONS; i++) { /* all but the last byte of each */
		fds[i] = connect_to(f);
		send_all(f, fds[i], head, strlen(head));
		send_all(f, fds[i], body, HTTP_BODY_MAX - 1);
	}
	for (int i = 0; i < 200; i++)
		turn(f);
	http_server_look(f->server, &numbers);
	assert_in_range(numbers.bodies_bytes, HTTP_BODIES_MAX / 2, HTTP_BODIES_MAX);
	size_t refused = 0, served = 0;
	for (size_t i = 0; i < CONNECTIONS; i++) {
		CLEANUP(buffer_done) struct buffer got = { 0 };
		send_all(f, fds[i], "x", 1);
		assert_true(read_until(f, fds[i], "}", &got));
		refused += strstr(got.data, " 503 ") && strstr(got.data, "Retry-After");
		served += strstr(got.data, " 200 ") != NULL;
		assert_int_equal(close(fds[i]), 0);
	}
	assert_int_equal(refused + served, CONNECTIONS);
	assert_in_range(refused, 1, 2);
	http_server_look(f->server, &numbers);
	assert_int_equal(numbers.bodies_bytes, 0);
	free(body);
}

/* Slow senders, silent ones and kept connections fill the table; who comes with a request is served all the same. */
static void a_full_table_locks_nobody_out(void **state)
{
	struct fixture *f = *state;
	struct rlimit limit;
	enum { CONNECTIONS = HTTP_CONNECTIONS_MAX + 100 };
	int fds[CONNECTIONS];
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < 2 * CONNECTIONS + 50)
		skip();
	for (size_t i = 0; i < CONNECTIONS; i++) {
		fds[i] = connect_to(f);
		static const char *const texts[] = { "", "GET /slow HTTP/1.1\r\nX-",
			"GET /kept HTTP/1.1\r\nHost: h\r\n\r\n" };
		const char *text = texts[i % ARRAY_LEN(texts)];
		if (*text)
			(void)!send(fds[i], text, strlen(text), MSG_NOSIGNAL);
		for (int k = 0; k < 3; k++)
			turn(f);
		if (i > 0 && i % 100 == 0) {
			CLEANUP(close_fd) int fd = connect_to(f);
			ask(f, fd, "GET /fine HTTP/1.1\r\nHost: h\r\n\r\n", "/fine");
		}
	}
	for (int i = 0; i < 100; i++)
		turn(f);
	CLEANUP(close_fd) int fd = connect_to(f);
	ask(f, fd, "GET /fine HTTP/1.1\r\nHost: h\r\n\r\n", "/fine");
	struct http_server_numbers numbers;
	http_server_look(f->server, &numbers);
	size_t open = 0;
	for (size_t i = 0; i < CONNECTION_STATES; i++)
		open += numbers.connections[i];
	assert_in_range(open, HTTP_CONNECTIONS_MAX - 100, HTTP_CONNECTIONS_MAX);
	assert_in_range(numbers.connections_given_up, 90, 200);
	for (size_t i = 0; i < CONNECTIONS; i++)
		assert_int_equal(close(fds[i]), 0);
}

static void wait_for_hold(struct fixture *f)
{
	int64_t deadline = clock_monotonic_usec() + PATIENCE_USEC;
	while (!f->hold) {
		turn(f);
		assert_true(clock_monotonic_usec() < deadline);
	}
}

static void release(struct fixture *f)
{
	struct http_hold *hold = f->hold;
	f->hold = NULL;
	http_release(hold);
}

static void asks_again_what_was_held(void **state)
{
	struct fixture *f = *state;
	static const char held[] = "POST /held HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
	static const char other[] = "GET /other HTTP/1.1\r\nHost: h\r\n\r\n";
	CLEANUP(close_fd) int fd = connect_to(f);
	CLEANUP(close_fd) int second = connect_to(f);
	CLEANUP(buffer_done) struct buffer a = { 0 }, b = { 0 };
	send_all(f, fd, held, strlen(held));
	wait_for_hold(f);
	/* Others are served meanwhile. */
	send_all(f, second, other, strlen(other));
	assert_true(read_until(f, second, "}", &b));
	assert_int_equal(f->requests, 2);
	release(f);
	wait_for_hold(f);
	assert_int_equal(f->requests, 3);
	release(f);
	assert_true(read_until(f, fd, "}", &a));
	assert_non_null(strstr(a.data, "\"path\":\"/held\",\"len\":3"));
	assert_int_equal(f->requests, 4);
	/* The connection goes on as any other. */
	send_all(f, fd, other, strlen(other));
	CLEANUP(buffer_done) struct buffer c = { 0 };
	assert_true(read_until(f, fd, "}", &c));
	assert_non_null(strstr(c.data, "/other"));
}

static void outlives_who_goes_while_held(void **state)
{
	struct fixture *f = *state;
	static const char held[] = "GET /held HTTP/1.1\r\nHost: h\r\n\r\n";
	int fd = connect_to(f);
	send_all(f, fd, held, strlen(held));
	wait_for_hold(f);
	assert_int_equal(close(fd), 0);
	release(f);
	for (int i = 0; i < 100; i++)
		turn(f);
	if (f->hold)
		release(f);
	/* And a server that is closed while it holds. */
	CLEANUP(close_fd) int last = connect_to(f);
	send_all(f, last, held, strlen(held));
	wait_for_hold(f);
	http_server_close(f->server);
	release(f);
	assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
	struct error err;
	assert_int_equal(http_server_open(&f->loop, "127.0.0.1", 0, echo, f, &f->server, &err), STATUS_OK);
}

static void says_who_is_in_the_way(void **state)
{
	struct fixture *f = *state;
	struct http_server *second = NULL;
	struct error err;
	assert_int_equal(
	        http_server_open(&f->loop, "127.0.0.1", http_server_port(f->server), echo, f, &second, &err),
	        STATUS_CONFLICT);
	assert_non_null(strstr(err.message, "could not listen on 127.0.0.1 port"));
	assert_int_equal(http_server_open(&f->loop, "localhost", 0, echo, f, &second, &err), STATUS_INVALID);
	assert_null(second);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(answers_two_requests_on_one_connection),
		TEST(takes_chunks),
		TEST(refuses_a_long_body),
		TEST(refuses_a_long_body_in_chunks),
		TEST(refuses_at_once_who_waits_for_leave),
		TEST(takes_exactly_the_limit),
		TEST(answers_a_bad_uri_with_json),
		TEST(outlives_garbage_and_half_requests),
		TEST(lets_go_of_who_has_ended),
		TEST(bounds_the_headers),
		TEST(tells_who_asks),
		TEST(keeps_only_bodies_that_are_worth_it),
		TEST(bounds_all_bodies_together),
		TEST(a_full_table_locks_nobody_out),
		TEST(asks_again_what_was_held),
		TEST(outlives_who_goes_while_held),
		TEST(says_who_is_in_the_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
