/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/download.h"

/* A server that says one thing to everybody and notes what it was asked. */
struct server {
	int fd, port;
	const char *answer; /* NULL: it accepts and says nothing */
	char request[2048];
	int connections;
	pthread_t thread;
};

static void read_request(struct server *server, int client)
{
	size_t len = 0;
	while (len < sizeof server->request - 1 && !strstr(server->request, "\r\n\r\n")) {
		ssize_t n = read(client, server->request + len, sizeof server->request - 1 - len);
		if (n <= 0)
			return;
		len += (size_t)n;
		server->request[len] = '\0';
	}
}

static void *serve(void *arg)
{
	struct server *server = arg;
	for (int client; (client = accept(server->fd, NULL, NULL)) >= 0; (void)close(client)) {
		char byte;
		server->connections++;
		memset(server->request, 0, sizeof server->request);
		read_request(server, client);
		if (server->answer)
			(void)!send(client, server->answer, strlen(server->answer), MSG_NOSIGNAL);
		else
			(void)!read(client, &byte, 1); /* until the client gives up */
	}
	return NULL;
}

static void begin(struct server *server, const char *answer)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof address;
	*server = (struct server){ .answer = answer };
	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(server->fd, 8), 0);
	assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &len), 0);
	server->port = ntohs(address.sin_port);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void end(struct server *server)
{
	(void)shutdown(server->fd, SHUT_RDWR);
	(void)pthread_join(server->thread, NULL);
	(void)close(server->fd);
}

static status get_with(const char *url, const struct download_limits *limits, const atomic_bool *is_stopped,
        struct buffer *out, struct error *err)
{
	buffer_append_text(out, "before ");
	status st = download(url, limits, is_stopped, out, err);
	if (st != STATUS_OK)
		assert_string_equal(out->data, "before "); /* nothing of what failed */
	return st;
}

static status get(const char *url, struct buffer *out, struct error *err)
{
	static const struct download_limits limits = { .bytes = 1000, .timeout_ms = 5000 };
	static const atomic_bool is_stopped = false;
	return get_with(url, &limits, &is_stopped, out, err);
}

static void gets_a_document(void **state)
{
	(void)state;
	struct server server;
	struct error err;
	CLEANUP(buffer_done) struct buffer out = { 0 };
	begin(&server, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\nhello");
	CLEANUP(free_text) char *url = xasprintf("http://127.0.0.1:%d/a/../b?c=d", server.port);
	status st = get(url, &out, &err);
	end(&server);
	if (st != STATUS_OK)
		fail_msg("%s", err.message);
	assert_string_equal(out.data, "before hello");
	/* D3: as it was named, and nothing that says who we are but our version. */
	assert_int_equal(strncmp(server.request, "GET /a/../b?c=d HTTP/1.1\r\n", 26), 0);
	assert_null(strstr(server.request, "Authorization"));
	assert_null(strstr(server.request, "Cookie"));
	assert_null(strstr(server.request, "Accept-Encoding"));
}

static void expect_failure(const char *answer, status expected, const char *message)
{
	struct server server;
	struct error err;
	CLEANUP(buffer_done) struct buffer out = { 0 };
	begin(&server, answer);
	CLEANUP(free_text) char *url = xasprintf("http://localhost:%d/document", server.port);
	status st = get(url, &out, &err);
	end(&server);
	assert_int_equal(st, expected);
	assert_int_equal(server.connections, 1);
	if (!strstr(err.message, message) || !strstr(err.message, url))
		fail_msg("\"%s\" is not in \"%s\"", message, err.message);
}

static void takes_nothing_but_200(void **state)
{
	(void)state;
	expect_failure("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", STATUS_UNAVAILABLE,
	        "HTTP status 404");
	expect_failure("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", STATUS_UNAVAILABLE, "HTTP status 500");
	expect_failure("HTTP/1.1 204 None\r\n\r\n", STATUS_UNAVAILABLE, "HTTP status 204");
	expect_failure("nonsense\r\n\r\n", STATUS_UNAVAILABLE, "could not get");
	expect_failure("", STATUS_UNAVAILABLE, "could not get");
	expect_failure(
	        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", STATUS_UNAVAILABLE, "could not get");
}

static void follows_nobody(void **state)
{
	(void)state;
	static const char *const places[] = { "http://127.0.0.1:1/", "file:///etc/passwd",
		"https://example.com/", "/elsewhere" };
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		CLEANUP(free_text)
		char *answer = xasprintf(
		        "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", places[i]);
		expect_failure(answer, STATUS_UNAVAILABLE, "which is not followed");
	}
}

static void bounds_what_comes(void **state)
{
	(void)state;
	CLEANUP(buffer_done) struct buffer answer = { 0 };
	buffer_append_text(&answer, "HTTP/1.1 200 OK\r\n\r\n");
	for (int i = 0; i < 101; i++)
		buffer_append_text(&answer, "0123456789");
	expect_failure(answer.data, STATUS_LIMIT, "longer than 1000 bytes");
}

static void does_not_wait_for_ever(void **state)
{
	(void)state;
	static const struct download_limits short_limits = { .bytes = 1000, .timeout_ms = 200 },
	                                    long_limits = { .bytes = 1000, .timeout_ms = 600000 };
	struct server server;
	struct error err;
	atomic_bool is_stopped = false;
	CLEANUP(buffer_done) struct buffer out = { 0 }, again = { 0 };
	begin(&server, NULL);
	CLEANUP(free_text) char *url = xasprintf("http://127.0.0.1:%d/", server.port);
	assert_int_equal(get_with(url, &short_limits, &is_stopped, &out, &err), STATUS_UNAVAILABLE);
	atomic_store(&is_stopped, true);
	assert_int_equal(get_with(url, &long_limits, &is_stopped, &again, &err), STATUS_UNAVAILABLE);
	end(&server);
	CLEANUP(buffer_done) struct buffer nobody = { 0 };
	assert_int_equal(get(url, &nobody, &err), STATUS_UNAVAILABLE);
}

/* D1: nothing is connected to. */
static void refuses_addresses_that_are_not_for_it(void **state)
{
	(void)state;
	static const char *const urls[] = { "", "http://example.com/", "http://10.0.0.1/",
		"file:///etc/passwd", "gopher://127.0.0.1/", "http://u@127.0.0.1/",
		"http://127.0.0.1.example.com/", "ftp://localhost/" };
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		struct error err;
		CLEANUP(buffer_done) struct buffer out = { 0 };
		assert_int_equal(get(urls[i], &out, &err), STATUS_INVALID);
	}
}

/* D2: names and spellings that lead to this machine although they do not say so, and to places where nobody's documents are. */
static void looks_where_a_name_leads(void **state)
{
	(void)state;
	static const char *const hosts[] = { "127.1", "2130706433", "0x7f.0.0.1", "[::ffff:127.0.0.1]",
		"0.0.0.0", "[::]", "169.254.169.254", "[fe80::1]", "224.0.0.1", "255.255.255.255",
		"[ff02::1]" };
	struct server server;
	begin(&server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		struct error err;
		CLEANUP(buffer_done) struct buffer out = { 0 };
		CLEANUP(free_text) char *url = xasprintf("https://%s:%d/", hosts[i], server.port);
		assert_int_equal(get(url, &out, &err), STATUS_UNAVAILABLE);
		if (!strstr(err.message, "that is not connected to"))
			fail_msg("%s: %s", url, err.message);
	}
	end(&server);
	assert_int_equal(server.connections, 0);
}

/* A certificate is needed: what is on the port does not speak TLS at all. */
static void wants_tls_where_it_says_so(void **state)
{
	(void)state;
	struct server server;
	struct error err;
	CLEANUP(buffer_done) struct buffer out = { 0 };
	begin(&server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	CLEANUP(free_text) char *url = xasprintf("https://127.0.0.1:%d/", server.port);
	static const struct download_limits limits = { .bytes = 1000, .timeout_ms = 500 };
	static const atomic_bool is_stopped = false;
	assert_int_equal(get_with(url, &limits, &is_stopped, &out, &err), STATUS_UNAVAILABLE);
	end(&server);
	assert_null(strstr(server.request, "GET"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gets_a_document),
		cmocka_unit_test(takes_nothing_but_200),
		cmocka_unit_test(follows_nobody),
		cmocka_unit_test(bounds_what_comes),
		cmocka_unit_test(does_not_wait_for_ever),
		cmocka_unit_test(refuses_addresses_that_are_not_for_it),
		cmocka_unit_test(looks_where_a_name_leads),
		cmocka_unit_test(wants_tls_where_it_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
