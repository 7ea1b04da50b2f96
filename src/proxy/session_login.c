#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "pgwire/startup.h"
#include "proxy/authentication.h"
#include "proxy/client_session_internal.h"
#include "proxy/session_line.h"
#include "proxy/tls_context.h"
#include "proxy/tls_socket.h"

#define TLS_HANDSHAKE_BYTE 0x16
#define COMPUTE_SOCKET     ".s.PGSQL.5432"

/* --- KNOCKING --- */

static void session_begin_tls(struct client_session *s)
{
	s->ssl = SSL_new(s->home->tls);
	if (!s->ssl || !tls_socket_attach(s->ssl, s->fd) || SSL_set_app_data(s->ssl, s) != 1) {
		session_end(s, "could not set TLS up: %s", tls_failure_text(0));
		return;
	}
	SSL_set_accept_state(s->ssl);
	session_enter(s, SESSION_HANDSHAKE);
	session_handshake(s);
}

/* One byte in the clear; a fresh socket has room for it. */
static bool session_answer(struct client_session *s, char byte)
{
	if (send(s->fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1)
		return true;
	session_end(s, "could not answer the client: %s", strerror(errno));
	return false;
}

static void session_deliver_done(void *owner)
{
	session_end(session_of(owner), "cancel request delivered");
}

static void session_end_unmatched_cancel(struct client_session *s)
{
	s->is_cancel_request = true;
	traffic_note_cancel(s->home->traffic, NULL);
	session_end(s, "cancel request for no session");
}

/* A key that names nothing looks the same from outside. */
static void session_cancel(struct client_session *s, struct cancel_key key)
{
	const struct cancel_target *target = cancel_table_find(s->home->cancels, key);
	if (target)
		s->login->delivery = cancel_delivery_start(
		        s->home->loop, target->socket_path, key, session_deliver_done, s);
	if (!s->login->delivery) {
		session_end_unmatched_cancel(s);
		return;
	}
	s->is_cancel_request = true;
	free(s->uid);
	s->uid = xstrdup(target->uid);
	traffic_note_cancel(s->home->traffic, target->uid);
	session_enter(s, SESSION_CANCELLING);
}

/* Does the packet that begins with `head` have to be answered here? False when the session has gone on or ended. */
static bool session_refuse_head(struct client_session *s, status st, const struct error *err)
{
	if (st == STATUS_OK)
		return false;
	struct refusal refusal;
	refusal_protocol(&refusal, err);
	session_refuse(s, &refusal);
	return true;
}

/* The client must wait for our answer; what is there already was put there by somebody else (CVE-2021-23222). */
static bool session_is_stuffed(struct client_session *s, bool is_tls)
{
	uint8_t byte;
	if (recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 1)
		return false;
	struct refusal refusal;
	refusal_stuffed(&refusal, is_tls);
	session_refuse(s, &refusal);
	return true;
}

/* The head of a plain packet is in hand. Returns whether to read on in this state. */
static bool session_on_knock(struct client_session *s)
{
	struct session_login *login = s->login;
	struct startup_head head;
	struct error err;
	struct refusal refusal;
	if (session_refuse_head(s, startup_head_parse(login->knock, &head, &err), &err))
		return false;
	switch (head.kind) {
	case STARTUP_TLS_REQUEST:
		if (!session_is_stuffed(s, true) && session_answer(s, 'S'))
			session_begin_tls(s);
		return false;
	case STARTUP_GSS_REQUEST:
		if (login->gss_was_asked) {
			(void)session_refuse_head(s, startup_refuse_request(head.kind, &err), &err);
			return false;
		}
		login->gss_was_asked = true;
		login->knock_len = 0;
		return !session_is_stuffed(s, false) && session_answer(s, 'N');
	case STARTUP_CANCEL_REQUEST:
		if (head.packet_len != KNOCK_MAX)
			session_end_unmatched_cancel(s);
		else if (login->knock_len < KNOCK_MAX)
			return true;
		else {
			struct cancel_key key;
			if (cancel_request_parse((struct slice){ login->knock, KNOCK_MAX }, &key))
				session_cancel(s, key);
			else
				session_end_unmatched_cancel(s);
		}
		return false;
	case STARTUP_SESSION:
		refusal_tls_required(&refusal);
		session_refuse(s, &refusal);
		return false;
	}
	return false;
}

void session_knock(struct client_session *s)
{
	struct session_login *login = s->login;
	for (;;) {
		/* The first byte of TLS is not taken from the socket: OpenSSL reads it. */
		bool may_be_tls = login->knock_len == 0 && !login->gss_was_asked;
		size_t want = login->knock_len < STARTUP_HEAD_LEN ? STARTUP_HEAD_LEN : KNOCK_MAX;
		uint8_t *at = login->knock + login->knock_len;
		ssize_t n = recv(s->fd, at, may_be_tls ? 1 : want - login->knock_len,
		        MSG_DONTWAIT | (may_be_tls ? MSG_PEEK : 0));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n <= 0) {
			session_end(s, "client closed before it asked for anything");
			return;
		}
		s->has_heard = true;
		if (may_be_tls && *at == TLS_HANDSHAKE_BYTE) {
			login->is_direct = true;
			session_begin_tls(s);
			return;
		}
		if (may_be_tls)
			n = recv(
			        s->fd, at, want, MSG_DONTWAIT); /* at least the byte that was seen is there */
		if (n <= 0) {
			session_end(s, "client closed before it asked for anything");
			return;
		}
		login->knock_len += (size_t)n;
		if (login->knock_len >= STARTUP_HEAD_LEN && (login->knock_len == want) &&
		        !session_on_knock(s))
			return;
	}
}

/* --- HANDSHAKE --- */

int client_session_choose_certificate(SSL *ssl, void *unused)
{
	(void)unused;
	struct client_session *s = session_of(SSL_get_app_data(ssl));
	struct session_login *login = s->login;
	struct certificate found;
	struct error err;
	const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	server_name_parse(sni, s->home->domain, &login->server_name);
	const char *name = login->server_name.name[0] ? login->server_name.name : NULL;
	const struct own_certificate *own = s->home->own;
	/* Who gives no name and comes over the network means the domain; over loopback it may be the address. */
	if (own && (sni ? own_certificate_covers(own, sni) : s->is_remote))
		return own_certificate_use(own, ssl);
	if (certificate_cache_get(s->home->certificates, name, login->address, clock_wall_usec(), &found,
	            &err) != STATUS_OK) {
		log_error("could not issue a certificate for \"%s\": %s", name ? name : login->address,
		        err.message);
		return 0;
	}
	return SSL_use_certificate(ssl, found.certificate) == 1 && SSL_use_PrivateKey(ssl, found.key) == 1;
}

void session_handshake(struct client_session *s)
{
	ERR_clear_error();
	errno = 0;
	int rc = SSL_accept(s->ssl);
	int sys_errno = errno;
	int why = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(s->ssl, rc);
	s->tls_wants_write = why == SSL_ERROR_WANT_WRITE;
	if (s->login->server_name.uid[0] && !s->login->has_moved) {
		s->login->has_moved = true;
		if (!session_move_to(s, s->login->server_name.uid))
			return;
	}
	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
		return;
	if (why != SSL_ERROR_NONE) {
		session_end(s, "TLS handshake failed: %s",
		        why == SSL_ERROR_SSL || sys_errno ? tls_failure_text(sys_errno) : "client closed");
		return;
	}
	s->tls_is_up = true;
	session_enter(s, SESSION_STARTUP);
	if (s->login->is_direct && !tls_has_alpn(s->ssl)) {
		struct refusal refusal;
		refusal_no_alpn(&refusal);
		session_refuse(s, &refusal);
		return;
	}
	if (SSL_has_pending(s->ssl))
		session_read_login(s);
}

/* --- STARTUP, ROUTING --- */

struct slice session_unread(const struct client_session *s)
{
	return s->in ? block_slice(s->in) : (struct slice){ 0 };
}

/* Wiped: it may have been a token. */
void session_consume(struct client_session *s, size_t len)
{
	OPENSSL_cleanse(s->in->bytes + s->in->start, len);
	s->in->start += len;
	if (s->in->start == s->in->end)
		block_give(s->home->blocks, &s->in);
}

/* What every question may be answered with, but CONTROL_OK. */
static void session_on_failed_answer(
        struct client_session *s, const struct control_answer *answer, bool is_open)
{
	struct session_login *login = s->login;
	struct refusal refusal;
	switch (answer->kind) {
	case CONTROL_NOT_FOUND:
		if (login->endpoint.uid[0] || login->uid[0])
			refusal_unknown_endpoint(
			        &refusal, login->endpoint.uid[0] ? login->endpoint.uid : login->uid, false);
		else
			refusal_unknown_endpoint(&refusal, login->address, true);
		break;
	case CONTROL_NOT_ALLOWED:
		refusal_address(&refusal, answer->message);
		break;
	case CONTROL_DISABLED:
		refusal_disabled(&refusal, login->endpoint.name[0] ? login->endpoint.name : login->uid);
		break;
	case CONTROL_START_FAILED:
		refusal_start_failed(&refusal, answer->message, answer->hint);
		break;
	case CONTROL_SHUTTING_DOWN:
		refusal_shutting_down(&refusal);
		break;
	case CONTROL_BUSY:
		refusal_busy(&refusal);
		break;
	case CONTROL_REFUSED:
		refusal_told(&refusal, answer->sqlstate, answer->message, answer->hint);
		break;
	case CONTROL_NOT_NOW:
	case CONTROL_UNREACHABLE:
		refusal_not_ready(&refusal, answer->message);
		break;
	case CONTROL_OK:
	case CONTROL_FAILED:
		log_error("control could not answer: %s", answer->message);
		if (is_open)
			refusal_start_failed(&refusal, answer->message, answer->hint);
		else
			refusal_internal(&refusal, "the endpoint could not be looked up");
	}
	session_refuse(s, &refusal);
}

static void session_take_socket(struct session_login *login, const struct control_answer *answer)
{
	free(login->socket_path);
	login->socket_path =
	        answer->socket_dir[0] ? xasprintf("%s/%s", answer->socket_dir, COMPUTE_SOCKET) : NULL;
}

/* False: it has been refused. */
static bool session_may_be_pooled(struct client_session *s)
{
	struct startup_message message;
	struct error err;
	struct refusal refusal;
	struct slice packet = buffer_slice(&s->login->forward);
	if (startup_parse(packet, &message, &err) != STATUS_OK)
		refusal_protocol(&refusal, &err);
	else if (route_accepts_pooled(&message, s->login->endpoint.uid, &refusal))
		return true;
	session_refuse(s, &refusal);
	return false;
}

static void session_on_route(void *owner, const struct control_answer *answer)
{
	struct client_session *s = session_of(owner);
	struct session_login *login = s->login;
	login->question = NULL;
	bool is_ok = answer->kind == CONTROL_OK && answer->endpoint.uid[0] &&
	             (!login->uid[0] || strcmp(login->uid, answer->endpoint.uid) == 0);
	if (!is_ok) {
		session_on_failed_answer(s, answer, false);
		return;
	}
	if (login->wants_read_only && !answer->endpoint.is_read_only) {
		struct refusal refusal;
		refusal_no_read_only_host(&refusal, login->uid);
		session_refuse(s, &refusal);
		return;
	}
	login->endpoint = answer->endpoint;
	free(s->uid);
	s->uid = xstrdup(answer->endpoint.uid);
	s->traffic = traffic_take(s->home->traffic, s->uid);
	s->login_method = answer->login.has_password ? "password" : "token";
	login->role = answer->login;
	login->must_check = answer->login.has_password && !answer->login.is_fresh;
	s->is_pooled = s->is_pooled || answer->endpoint.is_pooled;
	if (s->is_pooled && !session_may_be_pooled(s))
		return;
	if (!s->is_pooled) /* the pooler is asked for with an open */
		session_take_socket(login, answer);
	session_ask_password(s);
}

/* For the log; NULL when the client did not say. */
static char *copy_parameter(struct slice text)
{
	return text.data ? xstrndup(text.data, text.len < SESSION_TEXT_MAX ? text.len : SESSION_TEXT_MAX)
	                 : NULL;
}

/* The whole start-up packet. */
static void session_on_startup(struct client_session *s, struct slice packet)
{
	struct session_login *login = s->login;
	struct startup_message message;
	struct error err;
	struct refusal refusal;
	if (session_refuse_head(s, startup_parse(packet, &message, &err), &err))
		return;
	size_t kept = message.user.len < ROLE_NAME_MAX ? message.user.len : ROLE_NAME_MAX;
	s->user = xstrndup(message.user.data, kept);
	s->database = copy_parameter(message.database);
	s->application = copy_parameter(startup_parameter(&message, "application_name"));
	if (startup_needs_negotiation(&message))
		startup_append_negotiation(&s->out, &message);
	if (!authentication_accepts_user(message.user, &refusal) ||
	        !route_choose(&login->server_name, &message, login->uid, &s->is_pooled, &refusal)) {
		session_refuse(s, &refusal);
		return;
	}
	login->wants_read_only = route_take_read_only(login->uid);
	if (login->uid[0])
		s->uid = xstrdup(login->uid);
	startup_append_forward(&login->forward, &message);
	session_consume(s, packet.len);
	session_enter(s, SESSION_ROUTING);
	login->question = control_ask_route(s->home->control, login->uid[0] ? login->uid : NULL,
	        login->uid[0] ? NULL : login->address, s->user, s->address, session_on_route, s);
}

static void session_read_startup(struct client_session *s)
{
	struct slice bytes = session_unread(s);
	struct startup_head head;
	struct error err;
	if (bytes.len < STARTUP_HEAD_LEN ||
	        session_refuse_head(s, startup_head_parse(bytes.data, &head, &err), &err))
		return;
	struct slice packet = { bytes.data, head.packet_len };
	struct cancel_key key;
	switch (head.kind) {
	case STARTUP_SESSION:
		if (bytes.len >= head.packet_len)
			session_on_startup(s, packet);
		return;
	case STARTUP_CANCEL_REQUEST:
		if (bytes.len < head.packet_len)
			return;
		if (cancel_request_parse(packet, &key))
			session_cancel(s, key);
		else
			session_end_unmatched_cancel(s);
		return;
	case STARTUP_TLS_REQUEST:
	case STARTUP_GSS_REQUEST:
		(void)session_refuse_head(s, startup_refuse_request(head.kind, &err), &err);
	}
}

void session_read_login(struct client_session *s)
{
	bool is_open = session_fill(s);
	if (s->state == SESSION_STARTUP)
		session_read_startup(s);
	else
		session_read_password(s);
	if (!is_open && s->state < SESSION_CONNECTING)
		session_end(s, "client closed during login");
}

/* --- OPENING, CHECKING, CONNECTING, GREETING --- */

static void session_not_now(struct client_session *s, const char *reason)
{
	struct session_login *login = s->login;
	uint64_t now = uv_now(s->home->loop);
	if (login->not_now_since == 0) {
		login->not_now_since = now;
		login->pause_ms = REOPEN_PAUSE_MS;
	}
	if (now - login->not_now_since >= REOPEN_MAX_MS) {
		struct refusal refusal;
		refusal_not_ready(&refusal, reason);
		session_refuse(s, &refusal);
		return;
	}
	session_enter(s, SESSION_OPENING);
	session_start_timer(s, login->pause_ms);
	login->pause_ms =
	        login->pause_ms * 2 < REOPEN_PAUSE_MAX_MS ? login->pause_ms * 2 : REOPEN_PAUSE_MAX_MS;
}

static void session_on_ready(struct client_session *s)
{
	struct session_login *login = s->login;
	const struct greeting *greeting = backend_connection_greeting(login->connection);
	struct slice words = backend_connection_words(login->connection);
	if (greeting->has_key)
		s->cancel = cancel_table_add(s->home->cancels, greeting->key, s->uid, login->socket_path);
	buffer_append(&s->out, words.data, words.len);
	s->backend_fd = backend_connection_take(TAKE_PTR(login->connection));
	session_note_open(s);
	session_enter(s, SESSION_GREETING);
	session_greet(s);
}

static void session_on_outcome(void *owner, enum backend_outcome outcome)
{
	struct client_session *s = session_of(owner);
	struct session_login *login = s->login;
	struct refusal refusal;
	char reason[160];
	(void)snprintf(reason, sizeof reason, "%s", backend_connection_reason(login->connection));
	struct slice words = backend_connection_words(login->connection);
	switch (outcome) {
	case BACKEND_READY:
		session_on_ready(s);
		break;
	case BACKEND_NOT_NOW:
		backend_connection_close(TAKE_PTR(login->connection));
		session_not_now(s, reason);
		break;
	case BACKEND_REFUSED:
		buffer_append(&s->out, words.data, words.len);
		session_note_refusal(s, REFUSAL_POSTGRES);
		session_say_goodbye(s, "%s: SQLSTATE %s", reason,
		        backend_connection_greeting(login->connection)->sqlstate);
		break;
	case BACKEND_BROKEN:
		log_error("endpoint %s: %s", login->endpoint.uid, reason);
		refusal_internal(&refusal, reason);
		session_refuse(s, &refusal);
	}
}

void session_connect(struct client_session *s)
{
	struct session_login *login = s->login;
	struct error err;
	status st = backend_connection_open(s->home->loop, login->socket_path, buffer_slice(&login->forward),
	        session_on_outcome, s, &login->connection, &err);
	if (st == STATUS_OK) {
		session_enter(s, SESSION_CONNECTING);
	} else if (st == STATUS_UNAVAILABLE) {
		session_not_now(s, err.message);
	} else {
		struct refusal refusal;
		log_error("endpoint %s: %s", login->endpoint.uid, err.message);
		refusal_not_ready(&refusal, err.message);
		session_refuse(s, &refusal);
	}
}

/* The compute runs, so now Postgres itself has been asked. */
static void session_on_check(void *owner, const struct control_answer *answer)
{
	struct client_session *s = session_of(owner);
	struct session_login *login = s->login;
	struct slice user = slice_from_text(s->user);
	struct refusal refusal;
	login->question = NULL;
	if (answer->kind != CONTROL_OK) {
		session_on_failed_answer(s, answer, true);
	} else if (!answer->login.has_password || !answer->endpoint.allows_passwords) {
		refusal_native_off(&refusal, user, login->endpoint.name);
		session_refuse(s, &refusal);
	} else if (!answer->login.is_fresh) {
		session_not_now(s, "it has just stopped");
	} else if (!scram_verifier_equal(&login->role.verifier, &answer->login.verifier)) {
		refusal_native_password(&refusal, user);
		session_refuse(s, &refusal);
	} else if (!answer->login.is_permitted) {
		refusal_no_login(&refusal, user);
		session_refuse(s, &refusal);
	} else {
		login->must_check = false;
		if (s->is_pooled && !login->has_pooler)
			session_ask_open(s);
		else
			session_connect(s);
	}
}

static void session_on_open(void *owner, const struct control_answer *answer)
{
	struct client_session *s = session_of(owner);
	struct session_login *login = s->login;
	login->question = NULL;
	if (answer->kind == CONTROL_NOT_NOW) {
		session_not_now(s, answer->message);
		return;
	}
	if (answer->kind != CONTROL_OK || !answer->socket_dir[0]) {
		session_on_failed_answer(s, answer, true);
		return;
	}
	login->has_waited |= answer->has_waited;
	session_take_socket(login, answer);
	if (login->role.has_password && (login->must_check || answer->has_waited)) {
		login->must_check = true;
		session_enter(s, SESSION_CHECKING);
		login->question = control_ask_route(s->home->control, login->endpoint.uid, NULL, s->user,
		        s->address, session_on_check, s);
	} else {
		session_connect(s);
	}
}

void session_ask_open(struct client_session *s)
{
	struct session_login *login = s->login;
	session_enter(s, SESSION_OPENING);
	/* The pooler is asked to take the role once it is certain who it is. */
	login->has_pooler = s->is_pooled && !login->must_check;
	login->question = control_ask_open(s->home->control, login->endpoint.uid,
	        login->has_pooler ? s->user : NULL, session_on_open, s);
}

void session_greet(struct client_session *s)
{
	if (session_flush(s) && s->out.len == 0)
		session_enter(s, SESSION_RELAYING);
}

void session_login_timeout(struct client_session *s)
{
	struct refusal refusal;
	switch (s->state) {
	case SESSION_KNOCKING:
	case SESSION_HANDSHAKE:
		session_note_refusal(s, REFUSAL_TIMEOUT);
		session_end(s, "login took too long");
		return;
	case SESSION_STARTUP:
	case SESSION_ROUTING:
	case SESSION_PASSWORD:
		refusal_login_timeout(&refusal);
		session_refuse(s, &refusal);
		return;
	case SESSION_OPENING:
		session_ask_open(s);
		return;
	case SESSION_CONNECTING:
		refusal_not_ready(&refusal, "the compute did not answer in time");
		session_refuse(s, &refusal);
		return;
	default:
		session_end(s, "client took too long to read the greeting");
	}
}
