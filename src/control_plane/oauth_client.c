#include "control_plane/oauth_client.h"

#include <stdarg.h>
#include <stdio.h>

#include "auth/api_token.h"
#include "auth/basic.h"
#include "base/log.h"
#include "base/number.h"
#include "control_plane/request_limit.h"
#include "control_plane/resource_json.h"

bool oauth_answer_error(struct call *call, int http_status, const char *error, const char *fmt, ...)
{
	char message[512];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(message, sizeof message, fmt, args);
	va_end(args);
	utf8_clean(message); /* the cut may be inside a character */
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_obj_add_str(call->out, root, "error", error);
	yyjson_mut_obj_add_strcpy(call->out, root, "error_description", message);
	char *text = json_write(call->out, root);
	http_response_set_json(call->response, http_status, text, strlen(text));
	http_response_add_header(call->response, "Cache-Control", "no-store");
	if (http_status == 401)
		http_response_add_header(call->response, "WWW-Authenticate", "Basic realm=\"tarn\"");
	log_info("%s %.100s refused: %s: %s, trace %s", call->request->method, call->request->path, error,
	        message, call->request->trace_id);
	return true;
}

bool oauth_answer_failure(struct call *call, const struct error *err)
{
	log_error("%s %.100s: %s, trace %s", call->request->method, call->request->path, err->message,
	        call->request->trace_id);
	return oauth_answer_error(call, 500, "server_error",
	        "Tarn could not do it; its log says why (trace %s)", call->request->trace_id);
}

/* The secret's row when it is one of that identity; every one is compared, whichever fits. */
static status find_secret(struct call *call, int64_t identity, const char *secret,
        struct client_secret_row *ret, struct error *err)
{
	char hash[API_TOKEN_HASH_LEN + 1];
	bool is_found = false;
	CLEANUP(statement_done) struct statement st = { 0 };
	api_token_hash(slice_from_text(secret), hash);
	status code = client_secret_row_list(call->services->md, identity, &st, err);
	while (code == STATUS_OK) {
		struct client_secret_row row;
		code = client_secret_row_next(&st, &row, err);
		if (code == STATUS_OK && secrets_equal(slice_from_text(hash), slice_from_text(row.hash))) {
			*ret = row;
			is_found = true;
		}
	}
	if (code != STATUS_NOT_FOUND)
		return code;
	return is_found ? STATUS_OK : error_set(err, STATUS_NOT_FOUND, 0, "no such secret");
}

static bool prove(struct call *call, const char *secret, struct oauth_client *client, bool *ret_is_answered)
{
	struct error err;
	struct client_secret_row row;
	*ret_is_answered = request_limit_admit_login(call);
	if (!*ret_is_answered)
		return false;
	status st = identity_row_find(
	        call->services->md, IDENTITY_SERVICE_PRINCIPAL, client->id, &client->principal, &err);
	if (st == STATUS_OK)
		st = find_secret(call, client->principal.id, secret, &row, &err);
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		return !oauth_answer_failure(call, &err);
	/* Said in the same way for all: nobody learns which ids exist. */
	if (st == STATUS_NOT_FOUND || strcmp(client->principal.login, client->id) != 0) {
		request_limit_note_bad_login(call);
		return !oauth_answer_error(
		        call, 401, "invalid_client", "the client id or the secret is not valid");
	}
	if (row.expire_usec <= call->now_usec)
		return !oauth_answer_error(call, 401, "invalid_client", "the secret has expired");
	if (!client->principal.is_active)
		return !oauth_answer_error(
		        call, 401, "invalid_client", "the service principal has been deactivated");
	client->is_confidential = true;
	(void)snprintf(client->secret, sizeof client->secret, "%s", row.id);
	call->caller = client->principal;
	return true;
}

bool oauth_client_identify(
        struct call *call, const struct http_form *form, struct oauth_client *ret, bool *ret_is_answered)
{
	CLEANUP(basic_done) struct basic_credential basic = { 0 };
	const char *header = call->request->authorization;
	const char *id = http_form_text(form, "client_id"), *secret = http_form_text(form, "client_secret");
	*ret_is_answered = true;
	if (header) {
		if (!basic_parse(header, &basic))
			return !oauth_answer_error(call, 401, "invalid_client",
			        "the Authorization header must be 'Basic' with base64 of "
			        "client_id:client_secret");
		if (secret || (id && strcmp(id, basic.id) != 0))
			return !oauth_answer_error(call, 400, "invalid_request",
			        "the client is named both in the Authorization header and in the form");
		id = basic.id;
		secret = basic.secret[0] ? basic.secret : NULL;
	}
	if (!id || strlen(id) > OAUTH_CLIENT_MAX)
		return !oauth_answer_error(call, 401, "invalid_client",
		        "a client_id is needed: the application id of a service principal, or '%s'",
		        OAUTH_PUBLIC_CLIENT);
	(void)snprintf(ret->id, sizeof ret->id, "%s", id);
	if (strcmp(id, OAUTH_PUBLIC_CLIENT) == 0) {
		if (secret)
			return !oauth_answer_error(call, 401, "invalid_client", "client '%s' has no secret",
			        OAUTH_PUBLIC_CLIENT);
		return true;
	}
	if (!secret)
		return !oauth_answer_error(
		        call, 401, "invalid_client", "the client id or the secret is not valid");
	return prove(call, secret, ret, ret_is_answered);
}

bool oauth_redirect_is_valid(const char *uri)
{
	static const char *const beginnings[] = { "http://localhost:", "http://127.0.0.1:" };
	for (size_t i = 0; i < ARRAY_LEN(beginnings); i++) {
		size_t len = strlen(beginnings[i]);
		if (strncmp(uri, beginnings[i], len) != 0 || strlen(uri) > OAUTH_REDIRECT_MAX)
			continue;
		const char *port = uri + len;
		size_t digits = strspn(port, "0123456789");
		int64_t number;
		return digits > 0 && digits <= 5 && port[0] != '0' &&
		       number_parse((struct slice){ (const uint8_t *)port, digits }, 1, 65535, &number) &&
		       (port[digits] == '\0' || strcmp(port + digits, "/") == 0);
	}
	return false;
}
