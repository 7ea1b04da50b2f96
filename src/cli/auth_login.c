/* `tarn auth login|describe|token`. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/auth.h"
#include "cli/client_login.h"
#include "cli/profile_file.h"
#include "cli/sign_in.h"

#define LIFE_DEFAULT_SEC (90 * 86400ll)
#define SECRET_MAX       512

/* --host, or what the connection would be otherwise. */
static status find_host(struct auth_call *call, char **ret, struct error *err)
{
	const char *given = option_value(call->options, "host");
	if (!given)
		given = getenv("DATABRICKS_HOST");
	if (given && *given) {
		CLEANUP(free_text)
		char *url = strstr(given, "://") ? xstrdup(given) : xasprintf("https://%s", given);
		for (size_t len = strlen(url); len > 0 && url[len - 1] == '/'; len--)
			url[len - 1] = '\0';
		for (const char *c = url; *c; c++)
			if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f)
				return error_set(err, STATUS_INVALID, 0, "flag \"--host\" is no URL");
		*ret = TAKE_PTR(url);
		return STATUS_OK;
	}
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	status st = local_data_directory(call->options, &dd, err);
	if (st != STATUS_OK) {
		error_hint(err, "Name the Tarn to sign in to: tarn auth login --host http://HOST:8080.");
		return st;
	}
	*ret = local_api_url(&dd->settings);
	return STATUS_OK;
}

/* The first line of standard input: never an argument, which others could see. */
static status read_secret(char out[SECRET_MAX], struct error *err)
{
	if (isatty(STDIN_FILENO))
		(void)fprintf(stderr, "Sign-in code or personal token: ");
	if (!fgets(out, SECRET_MAX, stdin))
		return error_set(err, STATUS_INVALID, 0, "standard input has no sign-in code");
	out[strcspn(out, "\r\n")] = '\0';
	return *out ? STATUS_OK : error_set(err, STATUS_INVALID, 0, "standard input has no sign-in code");
}

static status sign_in(struct auth_call *call, const char *host, char **ret, struct error *err)
{
	CLEANUP(exchange_freep) struct exchange *exchange = NULL;
	status st = exchange_open(option_is_on(call->options, "debug"), &exchange, err);
	if (st != STATUS_OK)
		return st;
	if (!option_is_on(call->options, "code"))
		return sign_in_with_browser(exchange, host, ret, err);
	char secret[SECRET_MAX];
	st = read_secret(secret, err);
	if (st == STATUS_OK)
		st = sign_in_with_secret(exchange, host, secret, ret, err);
	explicit_bzero(secret, sizeof secret);
	return st;
}

/* A personal token for this machine, which every client can use. */
static status make_token(struct auth_call *call, struct error *err, char **ret_token, char **ret_user)
{
	char machine[128] = "";
	int64_t life_usec = LIFE_DEFAULT_SEC * USEC_PER_SEC;
	const char *lifetime = option_value(call->options, "lifetime");
	CLEANUP(json_free) yyjson_doc *me = NULL, *made = NULL;
	status st = lifetime ? duration_parse("lifetime", lifetime, &life_usec, err) : STATUS_OK;
	if (st == STATUS_OK)
		st = rest_open(&call->connection, option_is_on(call->options, "debug"), &call->rest, err);
	if (st == STATUS_OK)
		st = rest_call(call->rest, "GET", "/api/2.0/preview/scim/v2/Me", NULL, &me, err);
	if (st != STATUS_OK)
		return st;
	(void)gethostname(machine, sizeof machine - 1);
	CLEANUP(free_text) char *comment = xasprintf("tarn auth login at %s", machine);
	CLEANUP(free_text) char *plain = auth_body("comment", comment, NULL);
	CLEANUP(free_text)
	char *body = xasprintf("%.*s,\"lifetime_seconds\":%lld}", (int)strlen(plain) - 1, plain,
	        (long long)(life_usec / USEC_PER_SEC));
	st = rest_call(call->rest, "POST", "/api/2.0/token/create", body, &made, err);
	if (st == STATUS_OK) {
		*ret_token = xstrdup(json_text(yyjson_doc_get_root(made), "token_value"));
		*ret_user = xstrdup(json_text(yyjson_doc_get_root(me), "userName"));
	}
	return st;
}

status auth_login(struct auth_call *call, struct error *err)
{
	CLEANUP(free_text) char *host = NULL, *token = NULL, *user = NULL, *path = NULL, *access = NULL;
	const char *profile = option_value(call->options, "profile");
	profile = profile ? profile : "DEFAULT";
	status st = find_host(call, &host, err);
	if (st == STATUS_OK)
		st = sign_in(call, host, &access, err);
	if (st != STATUS_OK)
		return st;
	call->connection.url = xstrdup(host);
	call->connection.token = TAKE_PTR(access);
	call->connection.origin = xstrdup("the sign-in");
	st = make_token(call, err, &token, &user);
	if (st == STATUS_OK)
		st = profile_save(profile, host, token, &path, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text)
	char *body = auth_body("host", host, "user", user, "profile", profile, "file", path, NULL);
	CLEANUP(json_free) yyjson_doc *doc = yyjson_read(body, strlen(body), 0);
	CLEANUP(free_text)
	char *text = xasprintf("Signed in to %s as %s; profile \"%s\" is in %s.", host, user, profile, path);
	return auth_print(call, yyjson_doc_get_root(doc), text, err);
}

status auth_describe(struct auth_call *call, struct error *err)
{
	CLEANUP(json_free) yyjson_doc *me = NULL;
	status st = auth_connect(call, err);
	if (st == STATUS_OK)
		st = rest_call(call->rest, "GET", "/api/2.0/preview/scim/v2/Me", NULL, &me, err);
	if (st != STATUS_OK)
		return st;
	const struct connection *connection = &call->connection;
	const char *user = json_text(yyjson_doc_get_root(me), "userName");
	CLEANUP(free_text)
	char *body = auth_body("host", connection->url, "user", user, "auth_type",
	        connection_auth_type(connection), "origin", connection->origin, NULL);
	CLEANUP(json_free) yyjson_doc *doc = yyjson_read(body, strlen(body), 0);
	CLEANUP(free_text)
	char *text = xasprintf("Host:  %s\nUser:  %s\nWith:  %s\nFrom:  %s", connection->url, user,
	        connection->token           ? "a token"
	        : connection->client_secret ? "a client id and secret"
	                                    : "a token of an outside issuer",
	        connection->origin ? connection->origin : "");
	return auth_print(call, yyjson_doc_get_root(doc), text, err);
}

/* As `databricks auth token`: {"access_token","token_type"}; for people only the token. */
status auth_token(struct auth_call *call, struct error *err)
{
	const char *token = NULL;
	struct client_login login = { 0 };
	CLEANUP(exchange_freep) struct exchange *exchange = NULL;
	status st = connection_find(call->options, &call->connection, err);
	if (st != STATUS_OK)
		return st;
	token = call->connection.token;
	if (!token)
		st = exchange_open(option_is_on(call->options, "debug"), &exchange, err);
	if (!token && st == STATUS_OK)
		st = client_login_token(&login, &call->connection, exchange, &token, err);
	if (st == STATUS_OK) {
		CLEANUP(free_text)
		char *body = auth_body("access_token", token, "token_type", "Bearer", NULL);
		CLEANUP(json_free) yyjson_doc *doc = yyjson_read(body, strlen(body), 0);
		st = auth_print(call, yyjson_doc_get_root(doc), token, err);
	}
	client_login_done(&login);
	return st;
}
