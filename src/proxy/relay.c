#include "proxy/relay.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "proxy/tls_socket.h"

static void relay_check(const struct relay *r)
{
	assert(r->ssl && r->backend_fd >= 0);
	assert(!r->to_backend || r->to_backend->start < r->to_backend->end);
	assert(!r->to_client || r->to_client->start < r->to_client->end);
}

static bool may_read_client(const struct relay *r)
{
	return !r->to_backend && !r->client_ended && !r->more_in_tls && !r->backend_is_deaf;
}

void relay_start(struct relay *relay, SSL *ssl, int backend_fd, struct block_pool *pool, struct block **early)
{
	*relay = (struct relay){ .ssl = ssl, .backend_fd = backend_fd, .pool = pool, .said_ready = true };
	if (*early && (*early)->start < (*early)->end)
		relay->to_backend = TAKE_PTR(*early);
	else
		block_give(pool, early);
	relay->is_answered = !relay->to_backend; /* the greeting ends with ReadyForQuery */
	relay_check(relay);
}

void relay_done(struct relay *relay)
{
	if (!relay->pool)
		return;
	block_give(relay->pool, &relay->to_backend);
	block_give(relay->pool, &relay->to_client);
}

/* Fills to_backend as far as bytes are there without waiting. */
static enum relay_result read_client(struct relay *r)
{
	struct block *block = block_take(r->pool);
	enum relay_result result = RELAY_GOES_ON;
	int n;
	r->read_wants_write = false;
	do {
		ERR_clear_error();
		n = SSL_read(r->ssl, block->bytes + block->end, (int)(block->size - block->end));
		if (n > 0)
			block->end += (size_t)n;
	} while (n > 0 && block->end < block->size && SSL_has_pending(r->ssl));
	if (n <= 0) {
		switch (SSL_get_error(r->ssl, n)) {
		case SSL_ERROR_WANT_READ:
			break;
		case SSL_ERROR_WANT_WRITE:
			r->read_wants_write = true;
			break;
		case SSL_ERROR_ZERO_RETURN:
			r->client_ended = true;
			break;
		default:
			result = RELAY_CLIENT_FAILED;
		}
	}
	r->bytes_from_client += block->end;
	if (block->end > 0) {
		r->to_backend = block;
		r->is_answered = false;
	} else {
		block_give(r->pool, &block);
	}
	return result;
}

static void send_backend(struct relay *r)
{
	struct block *block = r->to_backend;
	while (block->start < block->end) {
		ssize_t n = send(r->backend_fd, block->bytes + block->start, block->end - block->start,
		        MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n < 0) {
			/* It has closed; what it said before that may still be read, so the end is seen there. */
			r->backend_is_deaf = true;
			break;
		}
		block->start += (size_t)n;
	}
	block_give(r->pool, &r->to_backend);
}

static enum relay_result pump_to_backend(struct relay *r)
{
	r->more_in_tls = false;
	for (unsigned round = 0; round < RELAY_ROUNDS; round++) {
		if (!r->to_backend && !r->client_ended) {
			enum relay_result result = read_client(r);
			if (result != RELAY_GOES_ON)
				return result;
		}
		if (r->to_backend) {
			send_backend(r);
			if (r->to_backend || r->backend_is_deaf)
				return RELAY_GOES_ON;
		} else if (!r->client_ended) {
			return RELAY_GOES_ON;
		}
		if (r->client_ended) {
			(void)shutdown(r->backend_fd, SHUT_WR); /* R2 */
			return RELAY_GOES_ON;
		}
		if (!SSL_has_pending(r->ssl))
			return RELAY_GOES_ON;
	}
	r->more_in_tls = true;
	return RELAY_GOES_ON;
}

/* Fills to_client; a result only when the backend has ended. */
static enum relay_result read_backend(struct relay *r)
{
	struct block *block = block_take(r->pool);
	ssize_t n;
	do {
		n = recv(r->backend_fd, block->bytes, block->size, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		static const char ready[] = "Z\0\0\0\5I";
		const size_t len = sizeof ready - 1;
		block->end = (size_t)n;
		r->is_answered =
		        block->end >= len && memcmp(block->bytes + block->end - len, ready, len) == 0;
		r->said_ready = n >= 6 && memcmp(block->bytes + n - 6, "Z\0\0\0\5", 5) == 0;
		r->to_client = block;
		return RELAY_GOES_ON;
	}
	bool is_waiting = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
	block_give(r->pool, &block);
	if (is_waiting)
		return RELAY_GOES_ON;
	if (r->client_ended)
		return RELAY_CLIENT_CLOSED;
	/* A server that closes with bytes of ours unread resets the socket; that is still its ordinary end. */
	return n == 0 || errno == ECONNRESET ? RELAY_BACKEND_CLOSED : RELAY_BACKEND_FAILED;
}

static enum relay_result pump_to_client(struct relay *r)
{
	if (!r->to_client) {
		enum relay_result result = read_backend(r);
		if (result != RELAY_GOES_ON || !r->to_client)
			return result;
	}
	struct block *block = r->to_client;
	r->write_wants_read = false;
	while (block->start < block->end) {
		ERR_clear_error();
		tls_socket_more_follows(r->ssl, block->end - block->start > TLS_RECORD_MAX);
		int n = SSL_write(r->ssl, block->bytes + block->start, (int)(block->end - block->start));
		if (n > 0) {
			block->start += (size_t)n;
			r->bytes_to_client += (size_t)n;
			continue;
		}
		switch (SSL_get_error(r->ssl, n)) {
		case SSL_ERROR_WANT_WRITE:
			return RELAY_GOES_ON; /* the same bytes are offered again: OpenSSL may hold half a record */
		case SSL_ERROR_WANT_READ:
			r->write_wants_read = true;
			return RELAY_GOES_ON;
		default:
			return RELAY_CLIENT_FAILED;
		}
	}
	block_give(r->pool, &r->to_client);
	return RELAY_GOES_ON;
}

enum relay_result relay_client_ready(struct relay *relay, bool is_readable, bool is_writable)
{
	relay_check(relay);
	enum relay_result result = RELAY_GOES_ON;
	if (may_read_client(relay) && (is_readable || relay->read_wants_write))
		result = pump_to_backend(relay);
	if (result == RELAY_GOES_ON && relay->to_client && (is_writable || relay->write_wants_read))
		result = pump_to_client(relay);
	relay_check(relay);
	return result;
}

enum relay_result relay_backend_ready(struct relay *relay, bool is_readable, bool is_writable)
{
	relay_check(relay);
	enum relay_result result = RELAY_GOES_ON;
	if (is_writable && (relay->to_backend || relay->more_in_tls))
		result = pump_to_backend(relay);
	if (result == RELAY_GOES_ON && is_readable && !relay->to_client)
		result = pump_to_client(relay);
	relay_check(relay);
	return result;
}

bool relay_is_at_rest(const struct relay *relay)
{
	return relay->is_answered && !relay->to_backend && !relay->to_client && !relay->more_in_tls;
}

struct relay_wants relay_client_wants(const struct relay *relay)
{
	return (struct relay_wants){
		.read = may_read_client(relay) || relay->write_wants_read,
		.write = (relay->to_client && !relay->write_wants_read) || relay->read_wants_write,
	};
}

struct relay_wants relay_backend_wants(const struct relay *relay)
{
	return (struct relay_wants){
		.read = !relay->to_client,
		/* more_in_tls: a writable backend is the signal to go on, after the other sessions had their turn. */
		.write = relay->to_backend || relay->more_in_tls,
	};
}
