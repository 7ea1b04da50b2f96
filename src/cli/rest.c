#include "cli/rest.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "cli/client_login.h"
#include "cli/exchange.h"

#define PAUSE_MAX_SEC  10
#define PAUSES_MAX_SEC 60 /* of one call, altogether */

struct rest {
	const struct connection *connection;
	struct exchange *exchange;
	struct client_login login; /* of a client with a secret */
};

void json_free(yyjson_doc **doc)
{
	yyjson_doc_free(*doc);
	*doc = NULL;
}

const char *json_text(yyjson_val *object, const char *name)
{
	const char *text = yyjson_get_str(json_at(object, name));
	return text ? text : "";
}

yyjson_val *json_at(yyjson_val *object, const char *names)
{
	for (;;) {
		size_t len = strcspn(names, ".");
		object = yyjson_obj_getn(object, names, len);
		if (!object || names[len] == '\0')
			return object;
		names += len + 1;
	}
}

static void append_encoded(struct buffer *out, const char *text, bool keep_slashes)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
	for (; *text; text++) {
		if (strchr(plain, *text) || (*text == '/' && keep_slashes))
			buffer_append(out, text, 1);
		else
			buffer_printf(out, "%%%02X", (unsigned char)*text);
	}
}

void path_append_name(struct buffer *path, const char *name)
{
	append_encoded(path, name, true);
}

void path_append_query(struct buffer *path, const char *name, const char *value)
{
	buffer_append_text(path, strchr(path->data, '?') ? "&" : "?");
	buffer_printf(path, "%s=", name);
	append_encoded(path, value, false);
}

status rest_open(const struct connection *connection, bool is_debug, struct rest **ret, struct error *err)
{
	CLEANUP(rest_freep) struct rest *rest = xcalloc(1, sizeof *rest);
	rest->connection = connection;
	status st = exchange_open(is_debug, &rest->exchange, err);
	if (st != STATUS_OK)
		return st;
	if (is_debug)
		(void)fprintf(stderr, "connection: %s (%s)\n", connection->url, connection->origin);
	*ret = TAKE_PTR(rest);
	return STATUS_OK;
}

struct rest *rest_free(struct rest *rest)
{
	if (rest) {
		exchange_freep(&rest->exchange);
		client_login_done(&rest->login);
		free(rest);
	}
	return NULL;
}

void rest_set_timeout(struct rest *rest, long timeout_ms)
{
	exchange_set_timeout(rest->exchange, timeout_ms);
}

static status code_of(long http)
{
	switch (http) {
	case 401:
	case 403:
		return STATUS_DENIED;
	case 404:
		return STATUS_NOT_FOUND;
	case 409:
		return STATUS_EXISTS;
	case 429:
		return STATUS_LIMIT;
	case 501:
		return STATUS_UNSUPPORTED;
	case 503:
		return STATUS_UNAVAILABLE;
	default:
		return http < 500 ? STATUS_INVALID : STATUS_INTERNAL;
	}
}

static status refuse(const struct rest *rest, const struct exchange_answer *answer, struct error *err)
{
	const struct connection *connection = rest->connection;
	long http = answer->http_status;
	const char *message = json_text(yyjson_doc_get_root(answer->doc), "message");
	status st = *message ? error_set(err, code_of(http), 0, "%s", message)
	                     : error_set(err, code_of(http), 0, "%s answered with HTTP status %ld",
	                               connection->url, http);
	if (http == 401)
		error_hint(err, "Asked %s with %s.", connection->url, connection->origin);
	return st;
}

/* One request with the authorization of the connection. */
static status ask(struct rest *rest, const char *method, const char *url, const char *body,
        struct exchange_answer *ret, struct error *err)
{
	const char *token = rest->connection->token;
	if (!token) {
		status st = client_login_token(&rest->login, rest->connection, rest->exchange, &token, err);
		if (st != STATUS_OK)
			return st;
	}
	CLEANUP(free_text) char *authorization = xasprintf("Bearer %s", token);
	const struct exchange_request request = {
		.method = method,
		.url = url,
		.authorization = authorization,
		.content_type = body ? "application/json" : NULL,
		.body = body,
	};
	return exchange_perform(rest->exchange, rest->connection->url, &request, ret, err);
}

/* The answer to the last of as many requests as it takes: a token that has ended, a server that asks for a pause. */
static status ask_patiently(struct rest *rest, const char *method, const char *url, const char *body,
        struct exchange_answer *ret, struct error *err)
{
	bool has_new_token = false;
	for (int64_t paused_sec = 0;;) {
		struct exchange_answer answer = { 0 };
		status st = ask(rest, method, url, body, &answer, err);
		if (st != STATUS_OK)
			return st;
		int64_t pause_sec =
		        answer.retry_after_sec < PAUSE_MAX_SEC ? answer.retry_after_sec : PAUSE_MAX_SEC;
		if (answer.http_status == 401 && rest->login.token && !has_new_token) {
			client_login_forget(&rest->login);
			has_new_token = true;
		} else if (answer.http_status == 429 && pause_sec > 0 &&
		           paused_sec + pause_sec <= PAUSES_MAX_SEC) {
			const struct timespec pause = { .tv_sec = pause_sec };
			(void)nanosleep(&pause, NULL);
			paused_sec += pause_sec;
		} else {
			*ret = answer;
			return STATUS_OK;
		}
		json_free(&answer.doc);
	}
}

status rest_call(struct rest *rest, const char *method, const char *path, const char *body, yyjson_doc **ret,
        struct error *err)
{
	const char *server = rest->connection->url;
	CLEANUP(free_text) char *url = xasprintf("%s%s", server, path);
	struct exchange_answer answer = { 0 };
	status st = ask_patiently(rest, method, url, body, &answer, err);
	if (st != STATUS_OK) {
		if (!*err->hint)
			error_hint(err, "Used: %s.", rest->connection->origin);
		return st;
	}
	CLEANUP(json_free) yyjson_doc *doc = answer.doc;
	if (answer.http_status >= 400)
		return refuse(rest, &answer, err);
	if (answer.http_status < 200 || answer.http_status >= 300)
		return error_set(err, STATUS_INTERNAL, 0, "%s answered with HTTP status %ld", server,
		        answer.http_status);
	if (answer.http_status == 204) { /* there is nothing to say */
		json_free(&doc);
		doc = yyjson_read("{}", 2, 0);
	}
	if (!yyjson_is_obj(yyjson_doc_get_root(doc)))
		return error_set(
		        err, STATUS_INTERNAL, 0, "%s answered with something that is no JSON object", server);
	*ret = TAKE_PTR(doc);
	return STATUS_OK;
}
