#include "control_plane/oauth_authorize.h"

#include <stdio.h>

#include "auth/api_token.h"
#include "base/clock.h"
#include "base/log.h"
#include "control_plane/oauth_client.h"
#include "control_plane/oauth_token.h"
#include "control_plane/request_limit.h"

#define CODE_LIFE_SEC 120
#define STATE_MAX     1024
#define SECRET_FIELD  "secret"

/* What a client asks for; the form has it in hidden fields. */
struct wish {
	const char *response_type, *client_id, *redirect_uri, *scope, *state, *challenge, *method;
	bool is_offline;
};

static const struct {
	const char *name;
	size_t offset;
} parameters[] = {
	{ "response_type", offsetof(struct wish, response_type) },
	{ "client_id", offsetof(struct wish, client_id) },
	{ "redirect_uri", offsetof(struct wish, redirect_uri) },
	{ "scope", offsetof(struct wish, scope) },
	{ "state", offsetof(struct wish, state) },
	{ "code_challenge", offsetof(struct wish, challenge) },
	{ "code_challenge_method", offsetof(struct wish, method) },
};

static const char **text_of(struct wish *wish, size_t i)
{
	return (const char **)(void *)((char *)wish + parameters[i].offset);
}

/* ---- Pages ---- */

static void append_escaped(struct buffer *page, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&':
			buffer_append_text(page, "&amp;");
			break;
		case '<':
			buffer_append_text(page, "&lt;");
			break;
		case '>':
			buffer_append_text(page, "&gt;");
			break;
		case '"':
			buffer_append_text(page, "&quot;");
			break;
		case '\'':
			buffer_append_text(page, "&#39;");
			break;
		default:
			buffer_append(page, text, 1);
		}
	}
}

static void begin_page(struct buffer *page, const char *title)
{
	buffer_printf(page,
	        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title>\n"
	        "<meta name=\"viewport\" content=\"width=device-width\">\n<style>"
	        "body{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:4em auto;padding:0 "
	        "1em;color:#222;background:#fff}"
	        "input{font:inherit;width:100%%;box-sizing:border-box;padding:.5em;margin:.5em 0 1em}"
	        "button{font:inherit;padding:.5em "
	        "1.5em}.bad{color:#b00020}code{background:#f2f2f2;padding:.1em .3em}"
	        "</style></head><body><h1>%s</h1>\n",
	        title, title);
}

static bool answer_page(struct call *call, int http_status, struct buffer *page)
{
	buffer_append_text(page, "</body></html>\n");
	http_response_set_page(call->response, http_status, xstrdup(page->data));
	return true;
}

/* The request cannot be trusted with a redirect. */
static bool answer_bad_request(struct call *call, const char *message)
{
	CLEANUP(buffer_done) struct buffer page = { 0 };
	begin_page(&page, "This request cannot be answered");
	buffer_append_text(&page, "<p class=\"bad\">");
	append_escaped(&page, message);
	buffer_append_text(&page, "</p>\n");
	log_info("%s %.100s refused: %s, trace %s", call->request->method, call->request->path, message,
	        call->request->trace_id);
	return answer_page(call, 400, &page);
}

static bool answer_form(struct call *call, struct wish *wish, int http_status, const char *problem)
{
	CLEANUP(buffer_done) struct buffer page = { 0 };
	begin_page(&page, "Sign in to Tarn");
	buffer_append_text(&page, "<p>A program on this computer (<code>");
	append_escaped(&page, wish->client_id);
	buffer_append_text(&page, "</code>, at <code>");
	append_escaped(&page, wish->redirect_uri);
	buffer_append_text(
	        &page, "</code>) asks to act as you. Go on only if you have just started it.</p>\n");
	if (problem) {
		buffer_append_text(&page, "<p class=\"bad\">");
		append_escaped(&page, problem);
		buffer_append_text(&page, "</p>\n");
	}
	buffer_append_text(&page, "<form method=\"post\" action=\"/oidc/v1/authorize\">\n");
	for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
		const char *text = *text_of(wish, i);
		if (!text)
			continue;
		buffer_printf(&page, "<input type=\"hidden\" name=\"%s\" value=\"", parameters[i].name);
		append_escaped(&page, text);
		buffer_append_text(&page, "\">\n");
	}
	buffer_append_text(&page,
	        "<label>Sign-in code or personal access token<input type=\"password\" name=\"" SECRET_FIELD
	        "\" autocomplete=\"off\" autofocus required></label>\n<button>Sign in</button></form>\n"
	        "<p>An administrator makes a sign-in code for you with <code>tarn auth users sign-in-code "
	        "YOUR-EMAIL</code>. "
	        "It works once.</p>\n");
	return answer_page(call, http_status, &page);
}

/* ---- Redirects ---- */

static void append_parameter(struct buffer *uri, char mark, const char *name, const char *value)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	buffer_printf(uri, "%c%s=", mark, name);
	for (; *value; value++) {
		if (strchr(plain, *value))
			buffer_append(uri, value, 1);
		else
			buffer_printf(uri, "%%%02X", (unsigned char)*value);
	}
}

static bool redirect(struct call *call, const struct wish *wish, const char *name, const char *value,
        const char *description)
{
	CLEANUP(buffer_done) struct buffer uri = { 0 };
	buffer_append_text(&uri, wish->redirect_uri);
	append_parameter(&uri, '?', name, value);
	if (description)
		append_parameter(&uri, '&', "error_description", description);
	if (wish->state)
		append_parameter(&uri, '&', "state", wish->state);
	http_response_redirect(call->response, uri.data);
	return true;
}

/* ---- Checks ---- */

/* False: answered. */
static bool check(struct call *call, struct wish *wish)
{
	if (!wish->client_id || strcmp(wish->client_id, OAUTH_PUBLIC_CLIENT) != 0)
		return !answer_bad_request(call,
		        "client_id must be '" OAUTH_PUBLIC_CLIENT "': no other program can sign users in.");
	if (!wish->redirect_uri || !oauth_redirect_is_valid(wish->redirect_uri))
		return !answer_bad_request(call, "redirect_uri must be http://localhost:PORT or "
		                                 "http://127.0.0.1:PORT: a program on the computer on "
		                                 "which you sign in.");
	if (wish->state && strlen(wish->state) > STATE_MAX)
		return !answer_bad_request(call, "state is longer than 1024 bytes.");
	if (!wish->response_type || strcmp(wish->response_type, "code") != 0)
		return !redirect(
		        call, wish, "error", "unsupported_response_type", "response_type must be code");
	if (!wish->challenge || !pkce_challenge_is_valid(wish->challenge) || !wish->method ||
	        strcmp(wish->method, "S256") != 0)
		return !redirect(call, wish, "error", "invalid_request",
		        "code_challenge with code_challenge_method S256 is required");
	if (!oauth_scope_is_known(wish->scope, &wish->is_offline))
		return !redirect(call, wish, "error", "invalid_scope",
		        "the only scopes are all-apis and offline_access");
	return true;
}

bool oauth_authorize_page(struct call *call)
{
	struct wish wish = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
		const char *text = http_request_query(call->request, parameters[i].name);
		*text_of(&wish, i) = text && *text ? text : NULL;
	}
	return !check(call, &wish) || answer_form(call, &wish, 200, NULL);
}

/* ---- Signing in ---- */

bool oauth_sign_in(struct call *call, const char *secret, struct token_row *token)
{
	static const char bad[] = "This is no sign-in code or personal access token that is valid here.";
	struct error err;
	struct metadata *md = call->services->md;
	char hash[API_TOKEN_HASH_LEN + 1];
	api_token_hash(slice_from_text(secret), hash);
	status st = token_row_find(md, hash, token, &err);
	if (st == STATUS_OK)
		st = identity_row_get(md, token->identity, &call->caller, &err);
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		return call_fail(call, &err);
	/* An access token lives for an hour, and must not become a session of months. */
	if (st == STATUS_NOT_FOUND || token->kind == TOKEN_ACCESS ||
	        (token->expire_usec != 0 && token->expire_usec <= call->now_usec)) {
		call->caller = (struct identity_row){ 0 };
		return api_fail(&call->error, API_UNAUTHENTICATED, "%s", bad);
	}
	if (!call->caller.is_active)
		return api_fail(
		        &call->error, API_UNAUTHENTICATED, "'%s' has been deactivated.", call->caller.login);
	if (token->kind == TOKEN_SIGN_IN && token_row_forget(md, hash, &err) != STATUS_OK)
		return call_fail(call, &err);
	return true;
}

static bool give_code(
        struct call *call, const struct wish *wish, const char *secret, char code[API_TOKEN_LEN + 1])
{
	struct error err;
	struct token_row token;
	struct metadata *md = call->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (!oauth_sign_in(call, secret, &token))
		return false;
	struct authorization_code_row row = { .identity = token.identity,
		.is_offline = wish->is_offline,
		.expire_usec = call->now_usec + CODE_LIFE_SEC * USEC_PER_SEC };
	secret_generate(SECRET_AUTHORIZATION, code);
	api_token_hash(slice_from_text(code), row.hash);
	(void)snprintf(row.client, sizeof row.client, "%s", wish->client_id);
	(void)snprintf(row.redirect_uri, sizeof row.redirect_uri, "%s", wish->redirect_uri);
	(void)snprintf(row.challenge, sizeof row.challenge, "%s", wish->challenge);
	if (token.kind != TOKEN_SIGN_IN)
		(void)snprintf(row.sign_in_token, sizeof row.sign_in_token, "%s", token.id);
	if (oauth_rows_remove_expired(md, call->now_usec, &err) != STATUS_OK ||
	        authorization_code_row_insert(md, &row, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_info("%s: SIGN_IN for client %s at %s, trace %s", call->caller.login, wish->client_id,
	        wish->redirect_uri, call->request->trace_id);
	return true;
}

bool oauth_authorize(struct call *call)
{
	struct error err;
	struct wish wish = { 0 };
	CLEANUP(http_form_done) struct http_form form = { 0 };
	if (!http_form_is_announced(call->request) ||
	        http_form_parse(buffer_slice(&call->request->body), &form, &err) != STATUS_OK)
		return answer_bad_request(call, "The body must be the form of this page.");
	for (size_t i = 0; i < ARRAY_LEN(parameters); i++)
		*text_of(&wish, i) = http_form_text(&form, parameters[i].name);
	const char *secret = http_form_text(&form, SECRET_FIELD);
	if (!check(call, &wish))
		return true;
	char code[API_TOKEN_LEN + 1];
	if (secret && give_code(call, &wish, secret, code))
		return redirect(call, &wish, "code", code, NULL);
	if (!secret)
		(void)api_fail(&call->error, API_UNAUTHENTICATED,
		        "Enter a sign-in code or a personal access token.");
	(void)request_limit_note_bad_token(call);
	log_info("SIGN_IN refused: %s, trace %s", call->error.message, call->request->trace_id);
	return answer_form(call, &wish, api_code_http_status(call->error.code), call->error.message);
}
