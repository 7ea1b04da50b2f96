#include "control_plane/oauth_token.h"

#include <stdio.h>

#include "auth/api_token.h"
#include "auth/pkce.h"
#include "base/clock.h"
#include "base/log.h"
#include "control_plane/oauth_authorize.h"
#include "control_plane/oauth_client.h"
#include "control_plane/oauth_exchange.h"
#include "control_plane/oauth_grant.h"
#include "control_plane/request_limit.h"
#include "control_plane/resource_json.h"

#define SESSION_LIFE_SEC (90 * 86400ll)

bool oauth_scope_is_known(const char *scope, bool *ret_is_offline)
{
	static const char *const known[] = { "all-apis", "offline_access" };
	*ret_is_offline = false;
	for (const char *pos = scope ? scope : ""; *pos;) {
		size_t len = strcspn(pos, " ");
		bool is_known = len == 0;
		for (size_t i = 0; i < ARRAY_LEN(known); i++) {
			if (strlen(known[i]) == len && memcmp(pos, known[i], len) == 0) {
				is_known = true;
				*ret_is_offline = *ret_is_offline || i == 1;
			}
		}
		if (!is_known)
			return false;
		pos += len;
		pos += strspn(pos, " ");
	}
	return true;
}

/* ---- Grants; the caller's transaction is rolled back unless they commit it ---- */

static bool by_client_credentials(struct call *call, const struct oauth_client *client)
{
	struct error err;
	struct oauth_grant grant = { 0 };
	struct token_row origin = { .identity = client->principal.id };
	if (!client->is_confidential)
		return oauth_answer_error(call, 400, "unauthorized_client",
		        "client '%s' has no credentials of its own: it signs users in", client->id);
	(void)snprintf(origin.secret, sizeof origin.secret, "%s", client->secret);
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK ||
	        oauth_grant_access(call, &origin, ACCESS_LIFE_SEC, &grant, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return oauth_answer_failure(call, &err);
	return oauth_grant_answer(call, &grant, "client_credentials");
}

static status give_access(struct call *call, const struct oauth_session_row *session,
        struct oauth_grant *grant, struct error *err)
{
	struct token_row origin = { .identity = session->identity, .session = session->id };
	return oauth_grant_access(call, &origin, ACCESS_LIFE_SEC, grant, err);
}

/* Whose grant it is becomes call->caller. STATUS_DENIED when he has been deactivated. */
static status take_caller(struct call *call, int64_t identity, struct error *err)
{
	status st = identity_row_get(call->services->md, identity, &call->caller, err);
	if (st == STATUS_OK && !call->caller.is_active)
		return error_set(err, STATUS_DENIED, 0, "the user has been deactivated");
	return st;
}

static bool refuse_grant(struct call *call, const char *message)
{
	return oauth_answer_error(call, 400, "invalid_grant", "%s", message);
}

/* O2: somebody else has it, too. Committed, unlike what else a refusal leaves. */
static bool end_session(struct call *call, int64_t session, struct transaction *tx, const char *message)
{
	struct error err;
	if (oauth_session_row_remove(call->services->md, session, &err) != STATUS_OK ||
	        transaction_commit(tx, &err) != STATUS_OK)
		return oauth_answer_failure(call, &err);
	return refuse_grant(call, message);
}

static bool exchange_code(
        struct call *call, const struct authorization_code_row *code, struct transaction *tx)
{
	struct error err;
	struct oauth_grant grant = { 0 };
	struct metadata *md = call->services->md;
	struct oauth_session_row session = { .identity = code->identity,
		.create_usec = call->now_usec,
		.expire_usec = call->now_usec + SESSION_LIFE_SEC * USEC_PER_SEC };
	(void)snprintf(session.client, sizeof session.client, "%s", code->client);
	(void)snprintf(session.sign_in_token, sizeof session.sign_in_token, "%s", code->sign_in_token);
	status st = take_caller(call, code->identity, &err);
	if (st == STATUS_DENIED)
		return refuse_grant(call, err.message);
	if (st != STATUS_OK || oauth_session_row_insert(md, &session, &err) != STATUS_OK ||
	        authorization_code_row_set_session(md, code->hash, session.id, &err) != STATUS_OK ||
	        give_access(call, &session, &grant, &err) != STATUS_OK ||
	        (code->is_offline && oauth_grant_refresh(call, &session, &grant, &err) != STATUS_OK) ||
	        transaction_commit(tx, &err) != STATUS_OK)
		return oauth_answer_failure(call, &err);
	return oauth_grant_answer(call, &grant, "authorization_code");
}

static bool by_code(struct call *call, const struct oauth_client *client, const struct http_form *form)
{
	struct error err;
	struct authorization_code_row code;
	char hash[API_TOKEN_HASH_LEN + 1];
	struct metadata *md = call->services->md;
	const char *text = http_form_text(form, "code"), *verifier = http_form_text(form, "code_verifier"),
	           *redirect_uri = http_form_text(form, "redirect_uri");
	if (!text || !verifier || !redirect_uri)
		return oauth_answer_error(
		        call, 400, "invalid_request", "code, redirect_uri and code_verifier are required");
	api_token_hash(slice_from_text(text), hash);
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        token_row_remove_expired(md, call->now_usec, &err) != STATUS_OK ||
	        oauth_rows_remove_expired(md, call->now_usec, &err) != STATUS_OK)
		return oauth_answer_failure(call, &err);
	status st = authorization_code_row_find(md, hash, &code, &err);
	if (st == STATUS_NOT_FOUND)
		return refuse_grant(call, "the code is not valid, or it has expired");
	if (st != STATUS_OK)
		return oauth_answer_failure(call, &err);
	if (code.session != 0)
		return end_session(
		        call, code.session, &tx, "the code was used before; its session has ended");
	if (strcmp(code.client, client->id) != 0 || strcmp(code.redirect_uri, redirect_uri) != 0 ||
	        !pkce_verify(code.challenge, verifier)) {
		/* Whoever guesses has one try. */
		if (authorization_code_row_remove(md, hash, &err) != STATUS_OK ||
		        transaction_commit(&tx, &err) != STATUS_OK)
			return oauth_answer_failure(call, &err);
		return refuse_grant(
		        call, "the code belongs to another client, redirect_uri or code_verifier");
	}
	return exchange_code(call, &code, &tx);
}

/* Ours, for programs without a browser: a sign-in code or personal token in the place of the page. */
static bool by_sign_in(struct call *call, const struct oauth_client *client, const struct http_form *form)
{
	struct error err;
	struct token_row token;
	struct oauth_grant grant = { 0 };
	struct metadata *md = call->services->md;
	const char *secret = http_form_text(form, "secret");
	if (client->is_confidential || !secret)
		return oauth_answer_error(call, 400, "invalid_request",
		        "secret is required: a sign-in code or a personal token, sent by "
		        "client " OAUTH_PUBLIC_CLIENT);
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK)
		return oauth_answer_failure(call, &err);
	if (!oauth_sign_in(call, secret, &token)) {
		(void)request_limit_note_bad_token(call);
		return call->error.code == API_UNAUTHENTICATED && refuse_grant(call, call->error.message);
	}
	struct oauth_session_row session = { .identity = token.identity,
		.create_usec = call->now_usec,
		.expire_usec = call->now_usec + ACCESS_LIFE_SEC * USEC_PER_SEC };
	(void)snprintf(session.client, sizeof session.client, "%s", client->id);
	if (token.kind != TOKEN_SIGN_IN)
		(void)snprintf(session.sign_in_token, sizeof session.sign_in_token, "%s", token.id);
	if (oauth_session_row_insert(md, &session, &err) != STATUS_OK ||
	        give_access(call, &session, &grant, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return oauth_answer_failure(call, &err);
	return oauth_grant_answer(call, &grant, "sign-in");
}

static bool rotate(struct call *call, const struct refresh_token_row *old,
        const struct oauth_session_row *session, struct transaction *tx)
{
	struct error err;
	struct oauth_grant grant = { 0 };
	status st = take_caller(call, session->identity, &err);
	if (st == STATUS_DENIED)
		return refuse_grant(call, err.message);
	if (st != STATUS_OK || refresh_token_row_set_used(call->services->md, old->hash, &err) != STATUS_OK ||
	        give_access(call, session, &grant, &err) != STATUS_OK ||
	        oauth_grant_refresh(call, session, &grant, &err) != STATUS_OK ||
	        transaction_commit(tx, &err) != STATUS_OK)
		return oauth_answer_failure(call, &err);
	return oauth_grant_answer(call, &grant, "refresh_token");
}

static bool by_refresh_token(
        struct call *call, const struct oauth_client *client, const struct http_form *form)
{
	struct error err;
	struct refresh_token_row row;
	struct oauth_session_row session;
	char hash[API_TOKEN_HASH_LEN + 1];
	struct metadata *md = call->services->md;
	const char *text = http_form_text(form, "refresh_token");
	if (!text)
		return oauth_answer_error(call, 400, "invalid_request", "refresh_token is required");
	api_token_hash(slice_from_text(text), hash);
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        token_row_remove_expired(md, call->now_usec, &err) != STATUS_OK ||
	        oauth_rows_remove_expired(md, call->now_usec, &err) != STATUS_OK)
		return oauth_answer_failure(call, &err);
	status st = refresh_token_row_find(md, hash, &row, &err);
	if (st == STATUS_OK)
		st = oauth_session_row_get(md, row.session, &session, &err);
	if (st == STATUS_NOT_FOUND)
		return refuse_grant(call, "the refresh token is not valid, or it has expired: sign in again");
	if (st != STATUS_OK)
		return oauth_answer_failure(call, &err);
	if (row.is_used)
		return end_session(call, session.id, &tx,
		        "the refresh token was used before, so somebody else may have it: the session has "
		        "ended, sign in "
		        "again");
	if (strcmp(session.client, client->id) != 0)
		return refuse_grant(call, "the refresh token belongs to another client");
	return rotate(call, &row, &session, &tx);
}

/* ---- The calls ---- */

static bool read_form(struct call *call, struct http_form *ret)
{
	struct error err;
	if (!http_form_is_announced(call->request))
		return !oauth_answer_error(call, 400, "invalid_request",
		        "the body must be a form: Content-Type: application/x-www-form-urlencoded");
	if (http_form_parse(buffer_slice(&call->request->body), ret, &err) != STATUS_OK)
		return !oauth_answer_error(call, 400, "invalid_request", "%s", err.message);
	return true;
}

bool oauth_token(struct call *call)
{
	CLEANUP(http_form_done) struct http_form form = { 0 };
	struct oauth_client client = { 0 };
	bool is_answered, is_offline;
	if (!read_form(call, &form))
		return true;
	const char *grant_type = http_form_text(&form, "grant_type");
	if (!grant_type)
		return oauth_answer_error(call, 400, "invalid_request", "grant_type is required");
	if (strcmp(grant_type, OAUTH_EXCHANGE_GRANT) == 0)
		return oauth_exchange(call, &form);
	if (!oauth_client_identify(call, &form, &client, &is_answered))
		return is_answered;
	if (!oauth_scope_is_known(http_form_text(&form, "scope"), &is_offline))
		return oauth_answer_error(
		        call, 400, "invalid_scope", "the only scopes are all-apis and offline_access");
	if (strcmp(grant_type, "client_credentials") == 0)
		return by_client_credentials(call, &client);
	if (strcmp(grant_type, "authorization_code") == 0)
		return by_code(call, &client, &form);
	if (strcmp(grant_type, "refresh_token") == 0)
		return by_refresh_token(call, &client, &form);
	if (strcmp(grant_type, OAUTH_SIGN_IN_GRANT) == 0)
		return by_sign_in(call, &client, &form);
	return oauth_answer_error(call, 400, "unsupported_grant_type",
	        "grant_type must be client_credentials, authorization_code, refresh_token "
	        "or " OAUTH_EXCHANGE_GRANT);
}

static status forget(struct call *call, const char *text, struct error *err)
{
	struct metadata *md = call->services->md;
	char hash[API_TOKEN_HASH_LEN + 1];
	struct refresh_token_row refresh;
	struct token_row access;
	api_token_hash(slice_from_text(text), hash);
	status st = refresh_token_row_find(md, hash, &refresh, err);
	if (st == STATUS_OK)
		return oauth_session_row_remove(md, refresh.session, err);
	if (st == STATUS_NOT_FOUND)
		st = token_row_find(md, hash, &access, err);
	if (st == STATUS_NOT_FOUND || (st == STATUS_OK && access.kind != TOKEN_ACCESS))
		return STATUS_OK; /* RFC 7009 2.2: what is not valid is revoked already */
	return st == STATUS_OK ? token_row_forget(md, hash, err) : st;
}

/* Who has the token may revoke it: nothing else is asked for. */
bool oauth_revoke(struct call *call)
{
	struct error err;
	CLEANUP(http_form_done) struct http_form form = { 0 };
	if (!read_form(call, &form))
		return true;
	const char *text = http_form_text(&form, "token");
	if (!text)
		return oauth_answer_error(call, 400, "invalid_request", "token is required");
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK ||
	        forget(call, text, &err) != STATUS_OK || transaction_commit(&tx, &err) != STATUS_OK)
		return oauth_answer_failure(call, &err);
	log_info("REVOKE, trace %s", call->request->trace_id);
	return call_answer(call, yyjson_mut_obj(call->out));
}
