#include "proxy/client_session.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "proxy/client_session_internal.h"
#include "proxy/session_line.h"
#include "proxy/tcp_peer.h"
#include "proxy/tls_context.h"

#define SESSION_MAGIC      0x73657373u
#define TURNED_AWAY_LOG_MS 60000u

static void client_ready(uv_poll_t *poll, int poll_status, int events);
static void backend_ready(uv_poll_t *poll, int poll_status, int events);
static void home_note_end(struct session_home *home);
static void session_relay(struct client_session *s, enum relay_result result);

struct client_session *session_of(void *p)
{
	struct client_session *s = p;
	assert(s && s->magic == SESSION_MAGIC);
	return s;
}

static void session_check(const struct client_session *s)
{
	assert(s->magic == SESSION_MAGIC && s->state < SESSION_CLOSED);
	assert((s->login != NULL) == (s->state < SESSION_RELAYING || s->state == SESSION_CANCELLING));
	assert(!s->in || s->state < SESSION_RELAYING); /* S4 */
	assert(s->has_backend_poll == (s->state == SESSION_RELAYING));
	assert(s->state != SESSION_RELAYING || s->tls_is_up);
}

/* --- what is polled for --- */

static int mask_of(struct relay_wants wants)
{
	return (wants.read ? UV_READABLE : 0) | (wants.write ? UV_WRITABLE : 0);
}

static int client_mask_wanted(const struct client_session *s)
{
	int write = s->out.len > 0 || s->tls_wants_write ? UV_WRITABLE : 0;
	switch (s->state) {
	case SESSION_KNOCKING:
	case SESSION_HANDSHAKE:
	case SESSION_STARTUP:
	case SESSION_PASSWORD:
		return UV_READABLE | write;
	case SESSION_ROUTING:
	case SESSION_OPENING:
	case SESSION_CHECKING:
	case SESSION_CONNECTING:
	case SESSION_GREETING:
		return UV_DISCONNECT | write; /* S3 */
	case SESSION_RELAYING: {
		struct relay_wants wants = relay_client_wants(&s->relay);
		/* A client that cannot be read just now may go as well. */
		int gone = wants.read || s->relay.client_ended || s->has_hung_up ? 0 : UV_DISCONNECT;
		return mask_of(wants) | gone;
	}
	case SESSION_LINGERING:
		return s->is_said ? UV_READABLE : UV_WRITABLE;
	case SESSION_CANCELLING: /* clients close at once and still mean it */
	case SESSION_CLOSED:
		return 0;
	}
	return 0;
}

static void poll_apply(uv_poll_t *poll, int *mask, int wanted, uv_poll_cb ready)
{
	if (*mask == wanted)
		return;
	int rc = wanted ? uv_poll_start(poll, wanted, ready) : uv_poll_stop(poll);
	assert(rc == 0);
	(void)rc;
	*mask = wanted;
}

static void session_poll(struct client_session *s)
{
	if (s->state == SESSION_CLOSED)
		return;
	poll_apply(&s->client_poll, &s->client_mask, client_mask_wanted(s), client_ready);
	if (s->state == SESSION_RELAYING)
		poll_apply(&s->backend_poll, &s->backend_mask, mask_of(relay_backend_wants(&s->relay)),
		        backend_ready);
}

/* --- what is counted --- */

void session_note_refusal(struct client_session *s, enum refusal_reason reason)
{
	if (s->refused)
		return;
	s->refused = refusal_reason_name(reason);
	traffic_note_refusal(s->home->traffic, s->traffic, reason);
}

void session_note_let_in(struct client_session *s)
{
	s->counted_as = SESSION_LET_IN;
	traffic_note_waiting(s->traffic);
}

void session_note_open(struct client_session *s)
{
	uint64_t took_ms = uv_now(s->home->loop) - s->started;
	s->counted_as = SESSION_OPEN;
	s->login_ms = (int64_t)took_ms;
	s->was_wake = s->login->has_waited;
	traffic_note_open(s->traffic, took_ms, s->was_wake);
}

static void session_count_bytes(struct client_session *s)
{
	if (!s->traffic)
		return;
	const struct relay *relay = &s->relay;
	traffic_note_bytes(s->traffic, relay->bytes_from_client - s->counted_received,
	        relay->bytes_to_client - s->counted_sent);
	s->counted_received = relay->bytes_from_client;
	s->counted_sent = relay->bytes_to_client;
}

static void session_leave_traffic(struct client_session *s)
{
	session_count_bytes(s);
	if (s->counted_as != SESSION_OUTSIDE)
		traffic_note_gone(s->traffic, s->counted_as == SESSION_OPEN);
	s->counted_as = SESSION_OUTSIDE;
	traffic_give(&s->traffic);
}

void client_session_look(struct session_home *home, struct proxy_gauges *ret)
{
	*ret = (struct proxy_gauges){ .sessions = home->count,
		.connections_max = admission_max(home->admission),
		.logging_in = half_open_count(home->half_open),
		.buffer_bytes = block_pool_bytes(home->blocks) };
	for (struct client_session *s = home->first; s; s = s->next)
		session_count_bytes(s);
}

/* --- end --- */

static void session_log(struct client_session *s, const char *reason)
{
	if (!s->has_heard)
		return; /* a health check, or somebody who looks which ports are open */
	s->has_heard = false;
	if (s->login_ms < 0 && !s->is_cancel_request)
		session_note_refusal(s, REFUSAL_ABANDONED); /* unless there was another reason */
	CLEANUP(free_text) char *pooler = s->uid && s->is_pooled ? xasprintf("%s-pooler", s->uid) : NULL;
	const struct session_line line = { .endpoint = pooler ? pooler : s->uid,
		.user = s->user,
		.database = s->database ? s->database : s->user,
		.application = s->application,
		.client = s->peer,
		.tls = s->tls_is_up ? SSL_get_version(s->ssl) : NULL,
		.login = s->login_method,
		.seconds = (double)(uv_now(s->home->loop) - s->started) / 1000,
		.login_seconds = (double)s->login_ms / 1000,
		.was_wake = s->was_wake,
		.received = s->relay.bytes_from_client,
		.sent = s->relay.bytes_to_client,
		.refused = s->refused,
		.reason = reason };
	CLEANUP(buffer_done) struct buffer text = { 0 };
	session_line_write(&text, &line);
	log_info("%s", text.data);
}

static void session_free_if_done(struct client_session *s)
{
	if (--s->handles > 0 || s->state != SESSION_CLOSED)
		return;
	SSL_free(s->ssl);
	close_fd(&s->fd);
	buffer_done(&s->out);
	free(s->uid);
	free(s->user);
	free(s->database);
	free(s->application);
	s->magic = 0;
	free(s);
}

static void client_closed(uv_handle_t *handle)
{
	session_free_if_done(session_of(handle->data));
}

static void backend_closed(uv_handle_t *handle)
{
	struct client_session *s = session_of(handle->data);
	close_fd(&s->backend_fd);
	session_free_if_done(s);
}

void session_drop_login(struct client_session *s)
{
	struct session_login *login = TAKE_PTR(s->login);
	if (!login)
		return;
	control_question_cancel(login->question);
	backend_connection_close(login->connection);
	cancel_delivery_close(login->delivery);
	scram_server_free(login->scram);
	OPENSSL_cleanse(&login->role, sizeof login->role);
	buffer_done(&login->forward);
	free(login->socket_path);
	free(login);
}

/* Everything but the client's connection. */
static void session_drop_backend(struct client_session *s)
{
	session_drop_login(s);
	cancel_table_remove(s->home->cancels, &s->cancel);
	session_leave_traffic(s);
	relay_done(&s->relay);
	if (s->in)
		OPENSSL_cleanse(s->in->bytes, s->in->end);
	block_give(s->home->blocks, &s->in);
	if (s->has_backend_poll) {
		(void)shutdown(
		        s->backend_fd, SHUT_RDWR); /* now, and not when the loop has closed the handle */
		uv_close((uv_handle_t *)&s->backend_poll, backend_closed);
		s->has_backend_poll = false;
	} else {
		close_fd(&s->backend_fd);
	}
}

void session_end(struct client_session *s, const char *fmt, ...)
{
	if (s->state == SESSION_CLOSED)
		return;
	char reason[640];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(reason, sizeof reason, fmt, args);
	va_end(args);
	session_log(s, reason);
	session_enter(s, SESSION_CLOSED);
}

/* --- states --- */

static bool session_is_leaving(const struct client_session *s)
{
	return s->relay.client_ended || s->has_hung_up;
}

/* How long a session that relays may be without a byte. */
static uint64_t session_quiet_max_ms(const struct client_session *s)
{
	return session_is_leaving(s) ? LEAVE_MAX_MS : (uint64_t)s->home->idle_sec * 1000;
}

static void session_timeout(uv_timer_t *timer)
{
	struct client_session *s = session_of(timer->data);
	uint64_t now = uv_now(s->home->loop);
	switch (s->state) {
	case SESSION_RELAYING: {
		uint64_t quiet_ms = now - s->last_active, limit_ms = session_quiet_max_ms(s);
		if (quiet_ms < limit_ms)
			session_start_timer(s, limit_ms - quiet_ms);
		else if (session_is_leaving(s))
			session_say_goodbye(s, "client closed");
		else
			session_say_goodbye(s, "idle for %lld s", (long long)s->home->idle_sec);
		break;
	}
	case SESSION_LINGERING:
	case SESSION_CANCELLING:
		session_end(s, "client did not close");
		break;
	case SESSION_CLOSED:
		break;
	default:
		session_login_timeout(s);
	}
}

void session_start_timer(struct client_session *s, uint64_t ms)
{
	(void)uv_timer_start(&s->timer, session_timeout, ms, 0);
}

static bool session_begin_relay(struct client_session *s)
{
	if (uv_poll_init(s->home->loop, &s->backend_poll, s->backend_fd) < 0)
		return false;
	s->backend_poll.data = s;
	s->has_backend_poll = true;
	s->handles++;
	buffer_done(&s->out);
	session_drop_login(s);
	relay_start(&s->relay, s->ssl, s->backend_fd, s->home->blocks, &s->in);
	return true;
}

void session_enter(struct client_session *s, enum session_state state)
{
	assert(s->state != SESSION_CLOSED);
	if (state == SESSION_RELAYING && !session_begin_relay(s)) {
		session_end(s, "could not watch a connection to the compute");
		return;
	}
	s->state = state;
	switch (state) {
	case SESSION_KNOCKING:
		session_start_timer(s, LOGIN_MAX_MS);
		break;
	case SESSION_HANDSHAKE:
	case SESSION_STARTUP:
	case SESSION_ROUTING:
	case SESSION_PASSWORD:
	case SESSION_GREETING:
		break; /* the running deadline holds: S2 */
	case SESSION_OPENING:
	case SESSION_CHECKING:
		(void)uv_timer_stop(&s->timer); /* the question has its own deadline */
		break;
	case SESSION_CONNECTING:
		session_start_timer(s, GREETING_MAX_MS);
		break;
	case SESSION_RELAYING:
		s->last_active = uv_now(s->home->loop);
		session_start_timer(s, session_quiet_max_ms(s));
		break;
	case SESSION_CANCELLING:
		session_start_timer(s, CANCEL_MAX_MS);
		break;
	case SESSION_LINGERING:
		session_drop_backend(s);
		session_start_timer(s, LINGER_MS);
		break;
	case SESSION_CLOSED:
		session_drop_backend(s);
		half_open_leave(&s->seat);
		admission_leave(&s->place);
		*(s->prev ? &s->prev->next : &s->home->first) = s->next;
		if (s->next)
			s->next->prev = s->prev;
		s->home->count--;
		uv_close((uv_handle_t *)&s->client_poll, client_closed);
		uv_close((uv_handle_t *)&s->timer, client_closed);
		home_note_end(s->home);
		return;
	}
	if (state == SESSION_RELAYING && (s->relay.to_backend || SSL_has_pending(s->ssl))) {
		/* What the client sent ahead is in our memory already, where no poll sees it. */
		enum relay_result result = relay_backend_ready(&s->relay, false, true);
		if (result == RELAY_GOES_ON)
			result = relay_client_ready(&s->relay, true, false);
		session_relay(s, result);
	}
	session_poll(s);
}

/* --- bytes of the login --- */

bool session_flush(struct client_session *s)
{
	while (s->out.len > 0) {
		ERR_clear_error();
		int len = s->out.len > BLOCK_BYTES ? (int)BLOCK_BYTES : (int)s->out.len;
		int n = SSL_write(s->ssl, s->out.data, len);
		if (n > 0) {
			buffer_consume(&s->out, (size_t)n);
			continue;
		}
		if (SSL_get_error(s->ssl, n) == SSL_ERROR_WANT_WRITE)
			break;
		session_end(s, "connection to the client failed: %s", tls_failure_text(errno));
		return false;
	}
	session_poll(s);
	return true;
}

bool session_fill(struct client_session *s)
{
	struct block_pool *blocks = s->home->blocks;
	if (!s->in)
		s->in = block_take_small(blocks);
	struct block *in = s->in;
	if (in->start > 0) {
		memmove(in->bytes, in->bytes + in->start, in->end - in->start);
		in->end -= in->start;
		in->start = 0;
	}
	int n = 1, why = SSL_ERROR_WANT_READ;
	while (n > 0 && in->end < in->size) {
		ERR_clear_error();
		n = SSL_read(s->ssl, in->bytes + in->end, (int)(in->size - in->end));
		if (n > 0)
			in->end += (size_t)n;
		else
			why = SSL_get_error(s->ssl, n);
	}
	s->tls_wants_write = why == SSL_ERROR_WANT_WRITE;
	if (in->start == in->end)
		block_give(blocks, &s->in);
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

/* --- last words --- */

static void session_linger(struct client_session *s)
{
	if (!s->is_said) {
		if (s->tls_is_up) {
			if (!session_flush(s))
				return;
		} else if (s->out.len > 0) {
			/* In the clear: short, on a fresh socket; a client that cannot take it goes without. */
			(void)!send(s->fd, s->out.data, s->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
			buffer_done(&s->out);
		}
		if (s->out.len > 0)
			return;
		s->is_said = true;
		ERR_clear_error();
		if (s->tls_is_up)
			(void)SSL_shutdown(s->ssl);
		(void)shutdown(s->fd, SHUT_WR);
		session_poll(s);
		return;
	}
	/* Closing with bytes unread would reset the connection, and the client could lose what we said. */
	char ignored[4096];
	ssize_t n = recv(s->fd, ignored, sizeof ignored, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		session_end(s, "closed");
}

void session_say_goodbye(struct client_session *s, const char *fmt, ...)
{
	char reason[640];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(reason, sizeof reason, fmt, args);
	va_end(args);
	session_log(s, reason);
	session_enter(s, SESSION_LINGERING);
	session_linger(s);
}

void session_refuse(struct client_session *s, const struct refusal *refusal)
{
	session_note_refusal(s, refusal->reason);
	refusal_append(&s->out, refusal);
	session_say_goodbye(s, "%s%s%s", refusal->message, refusal->detail[0] ? ": " : "", refusal->detail);
}

/* --- events --- */

static void session_relay(struct client_session *s, enum relay_result result)
{
	s->last_active = uv_now(s->home->loop);
	wakefulness_note(s->home->wakefulness);
	switch (result) {
	case RELAY_GOES_ON:
		if (s->home->on_drained && relay_is_at_rest(&s->relay))
			session_say_goodbye(s, "proxy is stopping");
		break;
	case RELAY_CLIENT_CLOSED:
		/* Its end has been read and everything has been given to it: there is no close to wait for. */
		ERR_clear_error();
		(void)SSL_shutdown(s->ssl);
		session_end(s, "client closed");
		break;
	case RELAY_BACKEND_CLOSED:
		if (s->is_pooled && s->relay.said_ready) {
			/* Postgres says why it ends a session; a pooler that is killed does not. */
			struct refusal refusal;
			refusal_pooler_gone(&refusal);
			refusal_append(&s->out, &refusal);
		}
		session_say_goodbye(s, "server closed");
		break;
	case RELAY_CLIENT_FAILED:
		session_end(s, "connection to the client failed: %s", tls_failure_text(errno));
		break;
	case RELAY_BACKEND_FAILED:
		session_say_goodbye(s, "connection to the server failed: %s", strerror(errno));
	}
}

static void session_relay_client(struct client_session *s, bool is_broken, int events)
{
	bool was_leaving = session_is_leaving(s), can_read = relay_client_wants(&s->relay).read;
	if (is_broken && !can_read) {
		/* What it sent before is of no use to anybody: nobody is left to read the answers. */
		session_end(s, "connection to the client failed");
		return;
	}
	if ((events & UV_DISCONNECT) && !can_read)
		s->has_hung_up = true; /* its last bytes are read when the server takes them */
	session_relay(s, relay_client_ready(&s->relay, is_broken || (events & UV_READABLE),
	                         is_broken || (events & UV_WRITABLE)));
	if (s->state == SESSION_RELAYING && session_is_leaving(s) && !was_leaving)
		session_start_timer(s, LEAVE_MAX_MS);
}

static void client_ready(uv_poll_t *poll, int poll_status, int events)
{
	struct client_session *s = session_of(poll->data);
	bool is_writable = events & UV_WRITABLE;
	if (poll_status < 0) {
		/* The socket is in error and libuv has stopped to watch it; reading tells which error. */
		s->client_mask = 0;
		is_writable = true;
	}
	session_check(s);
	switch (s->state) {
	case SESSION_KNOCKING:
		session_knock(s);
		break;
	case SESSION_HANDSHAKE:
		session_handshake(s);
		break;
	case SESSION_STARTUP:
	case SESSION_PASSWORD:
		if (!is_writable || session_flush(s))
			session_read_login(s);
		break;
	case SESSION_ROUTING:
	case SESSION_OPENING:
	case SESSION_CHECKING:
	case SESSION_CONNECTING:
	case SESSION_GREETING:
		if (poll_status < 0 || (events & UV_DISCONNECT))
			session_end(s, "client closed while it waited for the compute");
		else if (is_writable && s->state == SESSION_GREETING)
			session_greet(s);
		else if (is_writable)
			(void)session_flush(s);
		break;
	case SESSION_RELAYING:
		session_relay_client(s, poll_status < 0, events);
		break;
	case SESSION_LINGERING:
		session_linger(s);
		break;
	case SESSION_CANCELLING:
	case SESSION_CLOSED:
		break;
	}
	session_poll(s);
}

static void backend_ready(uv_poll_t *poll, int poll_status, int events)
{
	struct client_session *s = session_of(poll->data);
	session_check(s);
	if (poll_status < 0) {
		/*
		 * Closed with bytes of ours unread; what it said before is still there to be read. Sending takes the error off the socket
		 * when there is no room to read: otherwise each poll would report it at once, for as long as the client is slow.
		 */
		s->backend_mask = 0;
		events = UV_READABLE | UV_WRITABLE;
	}
	session_relay(s, relay_backend_ready(&s->relay, events & UV_READABLE, events & UV_WRITABLE));
	session_poll(s);
}

/* --- begin, stop --- */

static void print_address(const struct sockaddr *address, char out[INET6_ADDRSTRLEN], in_port_t *ret_port)
{
	out[0] = '\0';
	*ret_port = 0;
	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)address;
		(void)inet_ntop(AF_INET, &in->sin_addr, out, INET6_ADDRSTRLEN);
		*ret_port = ntohs(in->sin_port);
	} else if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
		(void)inet_ntop(AF_INET6, &in6->sin6_addr, out, INET6_ADDRSTRLEN);
		*ret_port = ntohs(in6->sin6_port);
	}
}

/* --- room for those that are half-open --- */

static struct client_session *session_of_seat(struct half_open_seat *seat)
{
	return session_of((char *)seat - offsetof(struct client_session, seat));
}

static void session_make_room(struct client_session *s)
{
	session_note_refusal(s, REFUSAL_LIMIT);
	session_end(s, "made room for another login: this one had begun %llu ms before",
	        (unsigned long long)(uv_now(s->home->loop) - s->started));
}

/* A flood is one line a minute. */
static void home_note_turned_away(struct session_home *home, const char *source, const char *destination)
{
	uint64_t now = uv_now(home->loop);
	home->turned_away++;
	traffic_note_refusal(home->traffic, NULL, REFUSAL_LIMIT);
	if (home->turned_away_since != 0 && now - home->turned_away_since < TURNED_AWAY_LOG_MS)
		return;
	log_warning("too many logins are in progress: turned away %zu connections; the last one came from %s "
	            "for %s",
	        home->turned_away, *source ? source : "this machine", destination);
	home->turned_away = 0;
	home->turned_away_since = now;
}

static bool home_has_room(struct session_home *home, const char *source, const char *destination)
{
	struct half_open_seat *oldest = NULL;
	enum half_open_room room;
	while ((room = half_open_ask(home->half_open, source, destination, uv_now(home->loop), &oldest)) ==
	        HALF_OPEN_DROP)
		session_make_room(session_of_seat(oldest));
	if (room == HALF_OPEN_FULL)
		home_note_turned_away(home, source, destination);
	return room == HALF_OPEN_ROOM;
}

bool session_move_to(struct client_session *s, const char *uid)
{
	struct half_open_seat *oldest = NULL;
	enum half_open_room room;
	while ((room = half_open_ask_move(&s->seat, uid, uv_now(s->home->loop), &oldest)) == HALF_OPEN_DROP)
		session_make_room(session_of_seat(oldest));
	if (room == HALF_OPEN_ROOM) {
		half_open_move(&s->seat, uid);
		return true;
	}
	session_note_refusal(s, REFUSAL_LIMIT);
	session_end(s, "too many logins to the endpoint are in progress");
	return false;
}

void client_session_start(struct session_home *home, int fd, const struct sockaddr *peer)
{
	struct sockaddr_storage local;
	socklen_t local_len = sizeof local;
	struct login_attempt attempt;
	in_port_t port;
	char address[INET6_ADDRSTRLEN];
	login_attempt_from(peer, &attempt);
	if (getsockname(fd, (struct sockaddr *)&local, &local_len) < 0) {
		close_fd(&fd);
		return;
	}
	print_address((struct sockaddr *)&local, address, &port);
	const char *source = attempt.is_loopback ? "" : attempt.address;
	if (!home_has_room(home, source, address)) {
		close_fd(&fd);
		return;
	}
	struct client_session *s = xcalloc(1, sizeof *s);
	*s = (struct client_session){ .magic = SESSION_MAGIC,
		.home = home,
		.fd = fd,
		.backend_fd = -1,
		.login_ms = -1,
		.started = uv_now(home->loop) };
	if (uv_poll_init(home->loop, &s->client_poll, fd) < 0) {
		close_fd(&fd);
		free(s);
		return;
	}
	(void)uv_timer_init(home->loop, &s->timer);
	s->client_poll.data = s->timer.data = s;
	s->handles = 2;
	s->login = xcalloc(1, sizeof *s->login);
	s->login->attempt = attempt;
	memcpy(s->login->address, address, sizeof address);
	half_open_enter(home->half_open, &s->seat, source, address, uv_now(home->loop));
	print_address(peer, s->address, &port);
	s->is_local = attempt.is_loopback;
	s->access_round = home->access_round;
	s->is_remote = !s->is_local && strcmp(s->address, s->login->address) != 0;
	(void)snprintf(
	        s->peer, sizeof s->peer, peer->sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", s->address, port);
	s->next = home->first;
	if (s->next)
		s->next->prev = s;
	home->first = s;
	home->count++;
	session_enter(s, SESSION_KNOCKING);
	session_knock(s); /* the first bytes are often there already */
}

void client_session_end_silent(struct session_home *home)
{
	struct client_session *next;
	for (struct client_session *s = home->first; s; s = next) {
		next = s->next;
		if (s->is_remote && s->state == SESSION_RELAYING &&
		        tcp_peer_is_silent(s->fd, home->silent_sec))
			session_end(s, "the client's machine does not answer any more");
	}
}

/* --- stop --- */

/* Within the end of a session; the last one tells. */
static void home_note_end(struct session_home *home)
{
	if (!home->on_drained || home->first)
		return;
	void (*on_drained)(void *owner) = home->on_drained;
	home->on_drained = NULL;
	on_drained(home->owner);
}

void client_session_drain(struct session_home *home, void (*on_drained)(void *owner), void *owner)
{
	struct refusal refusal;
	struct client_session *next;
	refusal_shutting_down(&refusal);
	home->on_drained = on_drained;
	home->owner = owner;
	for (struct client_session *s = home->first; s; s = next) {
		next = s->next;
		if (s->state < SESSION_STARTUP)
			session_end(s, "proxy is stopping");
		else if (s->state < SESSION_GREETING)
			session_refuse(s, &refusal);
		else if (s->state == SESSION_RELAYING && relay_is_at_rest(&s->relay))
			session_say_goodbye(s, "proxy is stopping");
	}
	home_note_end(home);
}

void client_session_stop_all(struct session_home *home)
{
	home->on_drained = NULL;
	while (home->first) {
		struct client_session *s = home->first;
		if (s->tls_is_up && s->state != SESSION_LINGERING) {
			ERR_clear_error();
			(void)SSL_shutdown(s->ssl);
		}
		session_end(s, "proxy is stopping");
	}
}
