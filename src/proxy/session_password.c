#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <stdio.h>

#include "base/clock.h"
#include "proxy/authentication.h"
#include "proxy/client_session_internal.h"

#define TOKEN_PAYLOAD_MAX                                                                                    \
	(TOKEN_MAX_BYTES + 256u) /* a little more, so that a long token is refused with a reason */

/* --- asking --- */

static bool session_has_failed_too_often(struct client_session *s)
{
	int64_t seconds = login_limit_wait(s->home->failures, &s->login->attempt, clock_monotonic_usec());
	if (seconds == 0)
		return false;
	struct refusal refusal;
	refusal_failures(&refusal, slice_from_text(s->user), seconds);
	session_refuse(s, &refusal);
	return true;
}

static void session_begin_scram(struct client_session *s)
{
	uint8_t end_point[SCRAM_END_POINT_MAX];
	size_t len = scram_end_point(SSL_get_certificate(s->ssl), end_point);
	s->login->scram = scram_server_create(&s->login->role.verifier, (struct slice){ end_point, len });
	static const char *const mechanisms[] = { SCRAM_MECHANISM_PLUS, SCRAM_MECHANISM };
	size_t skipped = len > 0 ? 0 : 1;
	message_append_sasl(&s->out, mechanisms + skipped, ARRAY_LEN(mechanisms) - skipped);
}

void session_ask_password(struct client_session *s)
{
	struct session_login *login = s->login;
	login_attempt_for(&login->attempt, login->endpoint.uid, s->user);
	if (login->role.has_password && !login->endpoint.allows_passwords) {
		struct refusal refusal;
		refusal_native_off(&refusal, slice_from_text(s->user), login->endpoint.name);
		session_refuse(s, &refusal);
		return;
	}
	if (login->role.has_password) {
		if (session_has_failed_too_often(s))
			return;
		session_begin_scram(s);
	} else {
		message_append_authentication(&s->out, AUTHENTICATION_CLEARTEXT);
	}
	session_enter(s, SESSION_PASSWORD);
	if (session_flush(s) && (s->in || SSL_has_pending(s->ssl)))
		session_read_login(s);
}

/* --- reading --- */

/* Token or password are good. `len` bytes of them are still in `in`; what the client is to be told first is in `out`. */
static void session_let_in(struct client_session *s, size_t len)
{
	struct session_login *login = s->login;
	struct refusal refusal;
	if (login->endpoint.is_disabled) { /* told to those who may know only */
		refusal_disabled(&refusal, login->endpoint.name);
		session_refuse(s, &refusal);
		return;
	}
	if (!admission_enter(s->home->admission, &login->endpoint, s->is_pooled, &s->place, &refusal)) {
		session_refuse(s, &refusal);
		return;
	}
	half_open_leave(&s->seat);
	session_consume(s, len);
	session_note_let_in(s);
	if (!session_flush(s))
		return;
	/* If it has stopped since, the connect fails and control is asked to open it. */
	if (login->socket_path && !login->must_check)
		session_connect(s);
	else
		session_ask_open(s);
}

static void session_on_token(struct client_session *s, struct slice payload)
{
	struct session_login *login = s->login;
	struct refusal refusal;
	struct slice token;
	int64_t now = clock_monotonic_usec();
	if (!message_password_parse(payload, &token)) {
		refusal_no_password(&refusal);
		session_refuse(s, &refusal);
		return;
	}
	if (!authentication_accepts_token(s->home->token_key, token, clock_wall_usec(),
	            slice_from_text(s->user), &login->endpoint, &refusal)) {
		int64_t seconds = login_limit_wait(s->home->failures, &login->attempt, now);
		login_limit_note(s->home->failures, &login->attempt, now);
		if (seconds > 0)
			refusal_failures(&refusal, slice_from_text(s->user), seconds);
		session_refuse(s, &refusal);
		return;
	}
	session_let_in(s, MESSAGE_HEADER_LEN + payload.len);
}

static void session_refuse_scram(struct client_session *s, const struct error *err)
{
	struct refusal refusal;
	refusal_scram(&refusal, err);
	session_refuse(s, &refusal);
}

static void session_on_client_first(struct client_session *s, struct slice message, size_t len)
{
	struct session_login *login = s->login;
	CLEANUP(buffer_done) struct buffer answer = { 0 };
	struct error err;
	if (scram_server_first(login->scram, slice_from_text(login->mechanism), message, &answer, &err) !=
	        STATUS_OK) {
		session_refuse_scram(s, &err);
		return;
	}
	login->is_challenged = true;
	message_append_sasl_data(&s->out, AUTHENTICATION_SASL_CONTINUE, buffer_slice(&answer));
	session_consume(s, len);
	(void)session_flush(s);
}

/* SASLInitialResponse: a mechanism, and the client-first message in most cases. */
static void session_on_choice(struct client_session *s, struct slice payload)
{
	struct session_login *login = s->login;
	struct sasl_choice choice;
	struct error err;
	if (!message_sasl_choice_parse(payload, &choice)) {
		(void)!error_set(&err, STATUS_INVALID, 0, "invalid message format");
		session_refuse_scram(s, &err);
		return;
	}
	if (choice.mechanism.len == 0 || choice.mechanism.len >= sizeof login->mechanism) {
		(void)!error_set(
		        &err, STATUS_INVALID, 0, "client selected an invalid SASL authentication mechanism");
		session_refuse_scram(s, &err);
		return;
	}
	memcpy(login->mechanism, choice.mechanism.data, choice.mechanism.len);
	if (choice.response.data) {
		session_on_client_first(s, choice.response, MESSAGE_HEADER_LEN + payload.len);
		return;
	}
	message_append_sasl_data(&s->out, AUTHENTICATION_SASL_CONTINUE, slice_from_text(""));
	session_consume(s, MESSAGE_HEADER_LEN + payload.len);
	(void)session_flush(s);
}

static void session_on_client_final(struct client_session *s, struct slice message)
{
	struct session_login *login = s->login;
	CLEANUP(buffer_done) struct buffer answer = { 0 };
	struct error err;
	struct refusal refusal;
	bool is_right = false;
	/* Again: many may have been asked before the first of them failed. */
	if (session_has_failed_too_often(s))
		return;
	if (scram_server_final(login->scram, message, &is_right, &answer, &err) != STATUS_OK) {
		session_refuse_scram(s, &err);
		return;
	}
	if (!is_right) {
		login_limit_note(s->home->failures, &login->attempt, clock_monotonic_usec());
		refusal_native_password(&refusal, slice_from_text(s->user));
		refusal_append(&s->out, &refusal);
		session_note_refusal(s, refusal.reason);
		session_say_goodbye(
		        s, "%s%s%s", refusal.message, login->role.reason[0] ? ": " : "", login->role.reason);
		return;
	}
	message_append_sasl_data(&s->out, AUTHENTICATION_SASL_FINAL, buffer_slice(&answer));
	if (!login->role.is_permitted) {
		refusal_no_login(&refusal, slice_from_text(s->user));
		session_refuse(s, &refusal);
		return;
	}
	session_let_in(s, MESSAGE_HEADER_LEN + message.len);
}

static void session_on_password(struct client_session *s, struct slice payload)
{
	if (!s->login->scram)
		session_on_token(s, payload);
	else if (!s->login->mechanism[0])
		session_on_choice(s, payload);
	else if (!s->login->is_challenged)
		session_on_client_first(s, payload, MESSAGE_HEADER_LEN + payload.len);
	else
		session_on_client_final(s, payload);
}

static void session_refuse_password(struct client_session *s, bool is_password)
{
	struct refusal refusal;
	struct error err;
	if (!is_password)
		refusal_no_password(&refusal);
	else if (s->login->scram)
		refusal_scram(
		        &refusal, (error_fill(&err, STATUS_INVALID, 0, "invalid message length"), &err));
	else
		refusal_password(&refusal, slice_from_text(s->user), "The password is too long for a token.",
		        s->login->endpoint.name);
	session_refuse(s, &refusal);
}

void session_read_password(struct client_session *s)
{
	struct slice bytes = session_unread(s);
	struct message_header header;
	if (bytes.len == 0)
		return;
	bool is_password = bytes.data[0] == MESSAGE_PASSWORD;
	if (is_password && bytes.len < MESSAGE_HEADER_LEN)
		return;
	if (!is_password || !message_header_parse(bytes.data, &header) ||
	        header.payload_len > (s->login->scram ? SCRAM_MESSAGE_MAX : TOKEN_PAYLOAD_MAX)) {
		session_refuse_password(s, is_password);
		return;
	}
	if (bytes.len - MESSAGE_HEADER_LEN >= header.payload_len)
		session_on_password(s, (struct slice){ bytes.data + MESSAGE_HEADER_LEN, header.payload_len });
}
