/* TLS socket: OpenSSL over it is a client's connection as over its own, on TCP; the end is seen, and nobody is killed by a signal. */
#include "proxy/tls_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/tls_context.h"
#include "proxy_fixture.h"

struct scene {
	struct fixture_folder folder;
	struct authority *authority;
	SSL_CTX *server_context, *client_context;
	SSL *server, *client;
	int server_fd, client_fd;
};

static int choose_certificate(SSL *ssl, void *unused)
{
	(void)unused;
	const struct scene *scene = SSL_get_app_data(ssl);
	X509 *certificate = NULL;
	EVP_PKEY *key = NULL;
	struct error err;
	assert_int_equal(
	        authority_issue(scene->authority, "localhost", NULL, &certificate, &key, &err), STATUS_OK);
	int rc = SSL_use_certificate(ssl, certificate) == 1 && SSL_use_PrivateKey(ssl, key) == 1;
	X509_free(certificate);
	EVP_PKEY_free(key);
	return rc;
}

/* A TCP connection over the loopback device, both ends non-blocking. */
static void connect_pair(int *ret_server, int *ret_client)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	*ret_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(*ret_client, (struct sockaddr *)&address, sizeof address), 0);
	*ret_server = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(*ret_server >= 0);
	assert_int_equal(fcntl(*ret_client, F_SETFL, O_NONBLOCK), 0);
	int on = 1; /* as the listener sets it */
	assert_int_equal(setsockopt(*ret_server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
	close_fd(&listener);
}

static void wait_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&poll_fd, 1, 10000), 1);
}

static struct scene *scene_begin(void)
{
	struct scene *scene = xcalloc(1, sizeof *scene);
	struct error err;
	scene->folder = fixture_folder_make();
	scene->authority = fixture_authority(&scene->folder);
	assert_int_equal(tls_context_create(choose_certificate, &scene->server_context, &err), STATUS_OK);
	scene->client_context = SSL_CTX_new(TLS_client_method());
	connect_pair(&scene->server_fd, &scene->client_fd);
	scene->server = SSL_new(scene->server_context);
	scene->client = SSL_new(scene->client_context);
	assert_true(tls_socket_attach(scene->server, scene->server_fd));
	SSL_set_fd(scene->client, scene->client_fd);
	SSL_set_app_data(scene->server, scene);
	SSL_set_accept_state(scene->server);
	SSL_set_connect_state(scene->client);
	while (SSL_do_handshake(scene->client) != 1 || SSL_do_handshake(scene->server) != 1) {
		int rc = SSL_do_handshake(scene->server);
		assert_true(rc == 1 || SSL_get_error(scene->server, rc) == SSL_ERROR_WANT_READ);
		if (!SSL_is_init_finished(scene->client))
			wait_readable(scene->client_fd);
	}
	return scene;
}

static void scene_end(struct scene *scene)
{
	SSL_free(scene->server);
	SSL_free(scene->client);
	SSL_CTX_free(scene->client_context);
	tls_context_freep(&scene->server_context);
	authority_free(scene->authority);
	fixture_folder_remove(&scene->folder);
	close_fd(&scene->server_fd);
	close_fd(&scene->client_fd);
	free(scene);
}

static void test_records_that_belong_together(void **unused)
{
	(void)unused;
	struct scene *scene = scene_begin();
	static uint8_t out[3 * TLS_RECORD_MAX], in[sizeof out];
	for (size_t i = 0; i < sizeof out; i++)
		out[i] = (uint8_t)(i * 7 + (i >> 9));
	for (unsigned round = 0; round < 20; round++) {
		for (size_t i = 0; i < 3; i++) {
			tls_socket_more_follows(scene->server, i < 2);
			assert_int_equal(SSL_write(scene->server, out + i * TLS_RECORD_MAX, TLS_RECORD_MAX),
			        TLS_RECORD_MAX);
		}
		/* All of it comes, and nothing waits for more to be written. */
		for (size_t got = 0; got < sizeof in;) {
			int n = SSL_read(scene->client, in + got, (int)(sizeof in - got));
			if (n > 0)
				got += (size_t)n;
			else
				wait_readable(scene->client_fd);
		}
		assert_memory_equal(in, out, sizeof in);
	}
	scene_end(scene);
}

static void test_nothing_to_read_and_no_room(void **unused)
{
	(void)unused;
	struct scene *scene = scene_begin();
	static uint8_t bytes[TLS_RECORD_MAX];
	int rc = SSL_read(scene->server, bytes, sizeof bytes);
	assert_int_equal(SSL_get_error(scene->server, rc), SSL_ERROR_WANT_READ);
	while ((rc = SSL_write(scene->server, bytes, sizeof bytes)) > 0)
		;
	assert_int_equal(SSL_get_error(scene->server, rc), SSL_ERROR_WANT_WRITE);
	scene_end(scene);
}

static void test_an_end_without_a_word(void **unused)
{
	(void)unused;
	struct scene *scene = scene_begin();
	uint8_t byte;
	close_fd(&scene->client_fd); /* nothing unread: an end of input, no reset */
	wait_readable(scene->server_fd);
	int rc = SSL_read(scene->server, &byte, 1);
	assert_int_equal(SSL_get_error(scene->server, rc), SSL_ERROR_ZERO_RETURN);
	scene_end(scene);
}

static void test_a_client_that_is_gone(void **unused)
{
	/* The default disposition of SIGPIPE is to be killed. */
	(void)unused;
	struct scene *scene = scene_begin();
	static const uint8_t bytes[64];
	struct linger now = { .l_onoff = 1, .l_linger = 0 };
	assert_int_equal(setsockopt(scene->client_fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
	close_fd(&scene->client_fd); /* a reset */
	wait_readable(scene->server_fd);
	int rc = SSL_write(scene->server, bytes, sizeof bytes);
	assert_int_equal(SSL_get_error(scene->server, rc), SSL_ERROR_SYSCALL);
	rc = SSL_write(scene->server, bytes, sizeof bytes);
	assert_true(rc <= 0);
	scene_end(scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records_that_belong_together),
		cmocka_unit_test(test_nothing_to_read_and_no_room),
		cmocka_unit_test(test_an_end_without_a_word),
		cmocka_unit_test(test_a_client_that_is_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
