/*
 * Relay: whoever writes, reads and closes in whichever order, with sockets that hold little, each side gets what the other one said: every
 * byte once, in order, and nothing else; and as long as nobody fails, all of it. Input: one step in each byte, its kind in the lower three bits and
 * how much in the upper five.
 */
#include "proxy/relay.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "proxy/tls_context.h"
#include "proxy/tls_socket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SMALL_SOCKET (4 << 10)
#define STEPS_MAX    400u
#define MUCH         (128u << 10) /* each way, at most */
#define CHUNK        2048u

static SSL_CTX *server_context, *client_context;
static X509 *certificate;
static EVP_PKEY *key;

static void require(bool is_so)
{
	if (!is_so)
		abort();
}

static int choose_certificate(SSL *ssl, void *unused)
{
	(void)unused;
	return SSL_use_certificate(ssl, certificate) == 1 && SSL_use_PrivateKey(ssl, key) == 1;
}

static void begin(void)
{
	struct error err;
	(void)signal(SIGPIPE, SIG_IGN);
	key = EVP_EC_gen("P-256");
	certificate = X509_new();
	require(key && certificate && X509_set_version(certificate, X509_VERSION_3) == 1 &&
	        X509_set_pubkey(certificate, key) == 1);
	require(X509_gmtime_adj(X509_getm_notBefore(certificate), -60) &&
	        X509_gmtime_adj(X509_getm_notAfter(certificate), 86400) &&
	        X509_sign(certificate, key, EVP_sha256()) > 0);
	require(tls_context_create(choose_certificate, &server_context, &err) == STATUS_OK);
	client_context = SSL_CTX_new(TLS_client_method());
	require(client_context);
}

/* One direction: bytes by their position, so that a lost or doubled one is seen. */
struct direction {
	size_t sent, received, offered; /* offered: to an SSL_write that wants the same bytes again */
	bool has_ended;
};

struct scene {
	int client[2], backend[2]; /* the relay's end is the first of each */
	SSL *ssl, *peer;
	struct block_pool *pool;
	struct relay relay;
	struct direction up, down; /* from the client; to it */
	enum relay_result result;
	bool client_is_gone, backend_is_gone;
};

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static void check_bytes(struct direction *direction, const uint8_t *bytes, size_t len)
{
	require(direction->received + len <= direction->sent);
	for (size_t i = 0; i < len; i++)
		require(bytes[i] == byte_at(direction->received + i));
	direction->received += len;
}

static size_t fill(uint8_t *bytes, const struct direction *direction, size_t wanted)
{
	size_t left = direction->sent < MUCH ? MUCH - direction->sent : 0,
	       len = wanted < left ? wanted : left;
	for (size_t i = 0; i < len; i++)
		bytes[i] = byte_at(direction->sent + i);
	return len;
}

static void client_writes(struct scene *s, size_t wanted)
{
	uint8_t bytes[CHUNK];
	if (s->up.has_ended)
		return;
	if (s->up.offered == 0)
		s->up.offered = fill(bytes, &s->up, wanted);
	else
		(void)fill(bytes, &s->up, s->up.offered);
	if (s->up.offered == 0)
		return;
	int n = SSL_write(s->peer, bytes, (int)s->up.offered);
	if (n <= 0)
		return;
	s->up.sent += (size_t)n;
	s->up.offered = 0;
}

static void backend_writes(struct scene *s, size_t wanted)
{
	uint8_t bytes[CHUNK];
	size_t len = s->down.has_ended ? 0 : fill(bytes, &s->down, wanted);
	ssize_t n = len ? send(s->backend[1], bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	s->down.sent += n > 0 ? (size_t)n : 0;
}

static void client_reads(struct scene *s, size_t wanted)
{
	uint8_t bytes[CHUNK];
	int n = s->client_is_gone ? 0 : SSL_read(s->peer, bytes, (int)wanted);
	check_bytes(&s->down, bytes, n > 0 ? (size_t)n : 0);
}

static void backend_reads(struct scene *s, size_t wanted)
{
	uint8_t bytes[CHUNK];
	ssize_t n = s->backend_is_gone ? 0 : recv(s->backend[1], bytes, wanted, MSG_DONTWAIT);
	check_bytes(&s->up, bytes, n > 0 ? (size_t)n : 0);
}

static void turn(struct scene *s)
{
	struct relay *relay = &s->relay;
	if (s->result != RELAY_GOES_ON)
		return;
	struct relay_wants wants = relay_client_wants(relay);
	if (wants.read || wants.write)
		s->result = relay_client_ready(relay, wants.read, wants.write);
	if (s->result != RELAY_GOES_ON)
		return;
	wants = relay_backend_wants(relay);
	if (wants.read || wants.write)
		s->result = relay_backend_ready(relay, wants.read, wants.write);
	require(block_pool_in_use(s->pool) <= 2);
	(void)relay_is_at_rest(relay);
}

static void step(struct scene *s, uint8_t byte)
{
	size_t much = byte >> 3, len = 1 + much * (CHUNK - 1) / 31;
	switch (byte & 7) {
	case 0:
		client_writes(s, len);
		break;
	case 1:
		backend_writes(s, len);
		break;
	case 2:
		client_reads(s, len);
		break;
	case 3:
		backend_reads(s, len);
		break;
	case 4: /* the client says good-bye, or is gone */
		if (much < 30 || s->up.has_ended)
			break;
		s->up.has_ended = true;
		if (much == 30 && s->up.offered == 0) {
			(void)SSL_shutdown(s->peer);
		} else {
			s->client_is_gone = true;
			(void)shutdown(s->client[1], SHUT_RDWR);
		}
		break;
	case 5: /* the server closes one side, or both */
		if (much < 30 || s->down.has_ended)
			break;
		s->down.has_ended = true;
		s->backend_is_gone = much == 31;
		(void)shutdown(s->backend[1], much == 30 ? SHUT_WR : SHUT_RDWR);
		break;
	default:
		turn(s);
	}
}

static void make_pair(int fds[2])
{
	int size = SMALL_SOCKET;
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
	for (int i = 0; i < 2; i++)
		require(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
}

static void shake_hands(struct scene *s)
{
	s->ssl = SSL_new(server_context);
	s->peer = SSL_new(client_context);
	require(s->ssl && s->peer && tls_socket_attach(s->ssl, s->client[0]) &&
	        SSL_set_fd(s->peer, s->client[1]) == 1);
	SSL_set_accept_state(s->ssl);
	SSL_set_connect_state(s->peer);
	SSL_set_mode(s->peer, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	for (int i = 0; i < 20 && !(SSL_is_init_finished(s->ssl) && SSL_is_init_finished(s->peer)); i++) {
		(void)SSL_do_handshake(s->peer);
		(void)SSL_do_handshake(s->ssl);
	}
	require(SSL_is_init_finished(s->ssl) && SSL_is_init_finished(s->peer));
}

/* Nobody has failed: what was said arrives, all of it, in the end. */
static void run_dry(struct scene *s)
{
	for (unsigned i = 0; i < 4 * MUCH / CHUNK + 100; i++) {
		if (s->up.offered > 0)
			client_writes(s, 0);
		turn(s);
		client_reads(s, CHUNK);
		backend_reads(s, CHUNK);
	}
	if (!s->client_is_gone && !s->backend_is_gone && s->result != RELAY_CLIENT_FAILED &&
	        s->result != RELAY_BACKEND_FAILED) {
		require(s->down.received == s->down.sent);
		/* A server that has closed its side is done with its client. */
		require(s->down.has_ended || s->up.received == s->up.sent);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!key)
		begin();
	struct scene s = { .result = RELAY_GOES_ON };
	struct block *none = NULL;
	make_pair(s.client);
	make_pair(s.backend);
	shake_hands(&s);
	s.pool = block_pool_create();
	relay_start(&s.relay, s.ssl, s.backend[0], s.pool, &none);
	for (size_t i = 0; i < size && i < STEPS_MAX; i++)
		step(&s, data[i]);
	run_dry(&s);
	relay_done(&s.relay);
	require(block_pool_in_use(s.pool) == 0);
	block_pool_free(s.pool);
	SSL_free(s.ssl);
	SSL_free(s.peer);
	for (int i = 0; i < 2; i++) {
		close_fd(&s.client[i]);
		close_fd(&s.backend[i]);
	}
	return 0;
}
