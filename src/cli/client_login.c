#include "cli/client_login.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/rest.h"

#define RENEW_EARLY_SEC   40 /* as the SDKs: a request that is on its way must not find its token at its end */
#define LIFE_MAX_SEC      (30 * 86400)
#define OUTSIDE_TOKEN_MAX (64 << 10)

static status get(struct exchange *exchange, const char *url, struct exchange_answer *ret, struct error *err)
{
	const struct exchange_request request = { .method = "GET", .url = url };
	return exchange_perform(exchange, url, &request, ret, err);
}

static bool is_http(const char *url)
{
	return strncmp(url, "https://", 8) == 0 || strncmp(url, "http://", 7) == 0;
}

/* What the server says about itself leads to the URL; a server that says nothing has it at the usual place. */
static status find_token_url(const char *server, struct exchange *exchange, char **ret, struct error *err)
{
	CLEANUP(free_text) char *url = xasprintf("%s/.well-known/databricks-config", server);
	struct exchange_answer answer = { 0 };
	status st = get(exchange, url, &answer, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(json_free) yyjson_doc *config = answer.doc;
	const char *named =
	        answer.http_status == 200 ? json_text(yyjson_doc_get_root(config), "oidc_endpoint") : "";
	CLEANUP(free_text) char *root = is_http(named) ? xstrdup(named) : xasprintf("%s/oidc", server);
	for (size_t len = strlen(root); len > 0 && root[len - 1] == '/'; len--)
		root[len - 1] = '\0';

	free_text(&url);
	url = xasprintf("%s/.well-known/oauth-authorization-server", root);
	answer = (struct exchange_answer){ 0 };
	st = get(exchange, url, &answer, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(json_free) yyjson_doc *discovery = answer.doc;
	named = answer.http_status == 200 ? json_text(yyjson_doc_get_root(discovery), "token_endpoint") : "";
	*ret = is_http(named) ? xstrdup(named) : xasprintf("%s/v1/token", root);
	return STATUS_OK;
}

static char *basic_authorization(const struct connection *connection)
{
	CLEANUP(free_text) char *pair = xasprintf("%s:%s", connection->client_id, connection->client_secret);
	size_t len = strlen(pair);
	CLEANUP(free_text) char *encoded = xcalloc(len * 4 / 3 + 8, 1);
	(void)EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)pair, (int)len);
	return xasprintf("Basic %s", encoded);
}

static status refuse(
        const struct connection *connection, long http_status, yyjson_val *root, struct error *err)
{
	const char *said = json_text(root, "error_description");
	if (*said == '\0')
		said = *json_text(root, "message") ? json_text(root, "message") : json_text(root, "error");
	bool has_client = connection->client_id != NULL;
	status st = error_set(err, http_status < 500 ? STATUS_DENIED : STATUS_INTERNAL, 0,
	        "%s gave no token%s%s%s: %s%s(HTTP status %ld)", connection->url,
	        has_client ? " to client \"" : "", has_client ? connection->client_id : "",
	        has_client ? "\"" : "", said, *said ? " " : "", http_status);
	error_hint(err, "Used: %s.", connection->origin);
	return st;
}

static status take_token(struct client_login *login, const struct connection *connection, long http_status,
        yyjson_val *root, struct error *err)
{
	const char *token = json_text(root, "access_token");
	if (http_status != 200 || *token == '\0')
		return refuse(connection, http_status, root, err);
	for (const char *c = token; *c; c++)
		if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f)
			return error_set(err, STATUS_INTERNAL, 0, "%s gave a token that cannot be one",
			        connection->url);
	yyjson_val *life = yyjson_obj_get(root, "expires_in");
	double life_sec = yyjson_is_num(life) ? yyjson_get_num(life) : 0;
	if (!(life_sec > 0))
		life_sec = 0;
	if (life_sec > LIFE_MAX_SEC)
		life_sec = LIFE_MAX_SEC;
	free_text(&login->token);
	login->token = xstrdup(token);
	login->renew_at_usec = clock_monotonic_usec() + ((int64_t)life_sec - RENEW_EARLY_SEC) * USEC_PER_SEC;
	return STATUS_OK;
}

/* *ret, which the caller frees, goes into a form. */
static status read_outside_token(const struct connection *connection, char **ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	const char *variable = connection->outside_token_variable;
	const char *value = variable ? getenv(variable) : NULL;
	if (variable && value)
		buffer_append_text(&text, value);
	status st = variable ? STATUS_OK
	                     : file_read(connection->outside_token_file, OUTSIDE_TOKEN_MAX, &text, err);
	if (st != STATUS_OK)
		return st;
	const char *start = text.data ? text.data + strspn(text.data, " \t\r\n") : "";
	size_t len = strcspn(start, " \t\r\n");
	if (len == 0) {
		st = error_set(err, STATUS_NOT_FOUND, 0, "there is no token in %s%s", variable ? "" : "file ",
		        variable ? variable : connection->outside_token_file);
		error_hint(err, "It must have the token that an outside issuer gave out.");
		return st;
	}
	*ret = xstrndup(start, len);
	return STATUS_OK;
}

static status exchange_outside_token(struct client_login *login, const struct connection *connection,
        struct exchange *exchange, struct exchange_answer *ret, struct error *err)
{
	CLEANUP(free_text) char *token = NULL;
	CLEANUP(buffer_done) struct buffer form = { 0 };
	status st = read_outside_token(connection, &token, err);
	if (st != STATUS_OK)
		return st;
	form_add_field(&form, "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
	form_add_field(&form, "subject_token_type", "urn:ietf:params:oauth:token-type:jwt");
	form_add_field(&form, "subject_token", token);
	form_add_field(&form, "scope", "all-apis");
	if (connection->client_id)
		form_add_field(&form, "client_id", connection->client_id);
	const struct exchange_request request = { .method = "POST",
		.url = login->token_url,
		.content_type = "application/x-www-form-urlencoded",
		.body = form.data };
	return exchange_perform(exchange, login->token_url, &request, ret, err);
}

static status exchange_secret(struct client_login *login, const struct connection *connection,
        struct exchange *exchange, struct exchange_answer *ret, struct error *err)
{
	CLEANUP(free_text) char *authorization = basic_authorization(connection);
	const struct exchange_request request = {
		.method = "POST",
		.url = login->token_url,
		.authorization = authorization,
		.content_type = "application/x-www-form-urlencoded",
		.body = "grant_type=client_credentials&scope=all-apis",
	};
	return exchange_perform(exchange, login->token_url, &request, ret, err);
}

status client_login_token(struct client_login *login, const struct connection *connection,
        struct exchange *exchange, const char **ret, struct error *err)
{
	if (!login->token || clock_monotonic_usec() >= login->renew_at_usec) {
		struct exchange_answer answer = { 0 };
		status st = login->token_url
		                    ? STATUS_OK
		                    : find_token_url(connection->url, exchange, &login->token_url, err);
		if (st == STATUS_OK)
			st = connection->client_secret
			             ? exchange_secret(login, connection, exchange, &answer, err)
			             : exchange_outside_token(login, connection, exchange, &answer, err);
		if (st != STATUS_OK)
			return st;
		CLEANUP(json_free) yyjson_doc *doc = answer.doc;
		st = take_token(login, connection, answer.http_status, yyjson_doc_get_root(doc), err);
		if (st != STATUS_OK)
			return st;
	}
	*ret = login->token;
	return STATUS_OK;
}

void client_login_forget(struct client_login *login)
{
	free_text(&login->token);
}

void client_login_done(struct client_login *login)
{
	free_text(&login->token);
	free_text(&login->token_url);
}
