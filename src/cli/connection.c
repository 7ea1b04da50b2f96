#include "cli/connection.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/file.h"

#define TOKEN_FILE_MAX 4096

char *local_api_url(const struct settings *settings)
{
	const char *address = settings->api_address;
	/* "All addresses" is where the server listens; a client needs one of them. */
	if (strcmp(address, "0.0.0.0") == 0)
		address = "127.0.0.1";
	else if (strcmp(address, "::") == 0)
		address = "::1";
	bool is_v6 = strchr(address, ':') != NULL;
	return xasprintf("http://%s%s%s:%d", is_v6 ? "[" : "", address, is_v6 ? "]" : "", settings->api_port);
}

char *database_root_certificate(const struct data_directory *dd)
{
	const struct settings *settings = &dd->settings;
	if (settings->tls_root)
		return xstrdup(settings->tls_root);
	return settings->tls_certificate ? xstrdup("system") : data_directory_path(dd, "authority.crt");
}

status local_data_directory(const struct options *options, struct data_directory **ret, struct error *err)
{
	const char *path = option_value(options, "data");
	CLEANUP(free_text) char *chosen = path ? xstrdup(path) : data_directory_default();
	return data_directory_open(chosen, ret, err);
}

/* What goes into a header line or a URL: only printable characters, so that nothing can be smuggled behind it. */
static bool is_plain(const char *text)
{
	if (*text == '\0')
		return false;
	for (; *text; text++)
		if ((unsigned char)*text <= 0x20 || (unsigned char)*text >= 0x7f)
			return false;
	return true;
}

status admin_token_read(const struct data_directory *dd, char **ret, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "admin.token");
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = file_read(path, TOKEN_FILE_MAX, &text, err);
	if (st != STATUS_OK) {
		if (err->sys_errno == EACCES)
			error_hint(err, "Run this as the user who runs tarn up, or set DATABRICKS_HOST and "
			                "DATABRICKS_TOKEN.");
		return st;
	}
	CLEANUP(free_text) char *token = xstrndup(text.data ? text.data : "", text.len);
	token[strcspn(token, "\n")] = '\0';
	if (!is_plain(token))
		return error_set(err, STATUS_CORRUPT, 0, "file \"%s\" has no token", path);
	*ret = TAKE_PTR(token);
	return STATUS_OK;
}

/* What a connection is made of, each with where it was found. */
enum attribute {
	HOST,
	TOKEN,
	CLIENT_ID,
	CLIENT_SECRET,
	OIDC_TOKEN_ENV,
	OIDC_TOKEN_FILE,
	AUTH_TYPE,
	ATTRIBUTE_COUNT
};

static const struct {
	const char *key, *variable;
} attributes[ATTRIBUTE_COUNT] = {
	[HOST] = { "host", "DATABRICKS_HOST" },
	[TOKEN] = { "token", "DATABRICKS_TOKEN" },
	[CLIENT_ID] = { "client_id", "DATABRICKS_CLIENT_ID" },
	[CLIENT_SECRET] = { "client_secret", "DATABRICKS_CLIENT_SECRET" },
	[OIDC_TOKEN_ENV] = { "oidc_token_env", "DATABRICKS_OIDC_TOKEN_ENV" },
	[OIDC_TOKEN_FILE] = { "oidc_token_filepath", "DATABRICKS_OIDC_TOKEN_FILEPATH" },
	[AUTH_TYPE] = { "auth_type", "DATABRICKS_AUTH_TYPE" },
};

struct found_value {
	char *value; /* NULL: not found */
	char *source;
};

static void found_done(struct found_value (*found)[ATTRIBUTE_COUNT])
{
	for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
		free_text(&(*found)[i].value);
		free_text(&(*found)[i].source);
	}
}

static void take_environment(struct found_value *found, bool with_auth_type)
{
	for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
		const char *value = getenv(attributes[i].variable);
		if (found[i].value || !value || *value == '\0' || (i == AUTH_TYPE && !with_auth_type))
			continue;
		found[i].value = xstrdup(value);
		found[i].source = xstrdup(attributes[i].variable);
	}
}

status profiles_read(struct ini *ret, char **ret_path, struct error *err)
{
	const char *file = getenv("DATABRICKS_CONFIG_FILE"), *home = getenv("HOME");
	file = file && *file ? file : "~/.databrickscfg";
	CLEANUP(free_text)
	char *path = file[0] == '~' && file[1] == '/' ? xasprintf("%s%s", home ? home : "", file + 1)
	                                              : xstrdup(file);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = file_read(path, INI_TEXT_MAX, &text, err);
	if (st == STATUS_OK)
		st = ini_parse(path, buffer_slice(&text), ret, err);
	if (st == STATUS_OK)
		*ret_path = TAKE_PTR(path);
	return st;
}

static void take_section(
        struct found_value *found, const struct ini *ini, const char *path, const char *profile)
{
	for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
		const char *value = ini_value(ini, profile, attributes[i].key);
		if (found[i].value || !value)
			continue;
		found[i].value = xstrdup(value);
		found[i].source = xasprintf("profile \"%s\" of file \"%s\"", profile, path);
	}
}

/* `origin` is where the profile's name comes from. */
static status take_profile(
        struct found_value *found, const char *profile, const char *origin, struct error *err)
{
	CLEANUP(ini_done) struct ini ini = { 0 };
	CLEANUP(free_text) char *path = NULL;
	status st = profiles_read(&ini, &path, err);
	if (st != STATUS_OK)
		return error_prefix(err, "profile \"%s\" (from %s)", profile, origin);
	if (strcmp(profile, PROFILES_SETTINGS) == 0)
		return error_set(
		        err, STATUS_INVALID, 0, "\"%s\" in file \"%s\" is no profile", profile, path);
	if (!ini_has_section(&ini, profile)) {
		st = error_set(err, STATUS_NOT_FOUND, 0, "file \"%s\" has no profile \"%s\" (from %s)", path,
		        profile, origin);
		error_hint(err, "Its profiles are the names in [brackets].");
		return st;
	}
	take_section(found, &ini, path, profile);
	for (size_t i = 0; i < ATTRIBUTE_COUNT; i++)
		if (ini_value(&ini, profile, attributes[i].key))
			return STATUS_OK;
	return error_set(err, STATUS_INVALID, 0,
	        "profile \"%s\" (from %s) of file \"%s\" says neither a host nor how to log in", profile,
	        origin, path);
}

/* The profile of those who name none, if there is such a file and it has one. */
static status take_default_profile(struct found_value *found, struct error *err)
{
	CLEANUP(ini_done) struct ini ini = { 0 };
	CLEANUP(free_text) char *path = NULL;
	status st = profiles_read(&ini, &path, err);
	if (st != STATUS_OK)
		return st == STATUS_NOT_FOUND ? STATUS_OK : st;
	const char *named = ini_value(&ini, PROFILES_SETTINGS, "default_profile");
	if (named && !ini_has_section(&ini, named))
		return error_set(err, STATUS_NOT_FOUND, 0,
		        "file \"%s\" has no profile \"%s\", which its default_profile names", path, named);
	take_section(found, &ini, path, named ? named : "DEFAULT");
	return STATUS_OK;
}

/* As the SDKs do it: https unless said otherwise, and nothing behind the host. */
static status take_url(const struct found_value *host, char **ret, struct error *err)
{
	CLEANUP(free_text)
	char *url = strstr(host->value, "://") ? xstrdup(host->value) : xasprintf("https://%s", host->value);
	char *authority = strstr(url, "://") + 3;
	authority[strcspn(authority, "/?#")] = '\0';
	bool is_http = strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
	if (!is_http || !is_plain(url) || *authority == '\0' || strpbrk(authority, "@\\\"<>"))
		return error_set(err, STATUS_INVALID, 0,
		        "the host in %s must be a URL such as http://127.0.0.1:8080", host->source);
	*ret = TAKE_PTR(url);
	return STATUS_OK;
}

/* Something else was found, or nobody would look for this. */
static status refuse_missing(const struct found_value *found, enum attribute missing, struct error *err)
{
	const struct found_value *other = found;
	while (other < found + AUTH_TYPE && !other->value)
		other++;
	assert(other->value);
	return error_set(err, STATUS_INVALID, 0,
	        "there is a %s (from %s) but no %s: set %s, or %s in a profile",
	        attributes[other - found].key, other->source, attributes[missing].key,
	        attributes[missing].variable, attributes[missing].key);
}

enum method { METHOD_TOKEN, METHOD_CLIENT, METHOD_OUTSIDE_ENV, METHOD_OUTSIDE_FILE, METHOD_COUNT };

static const char *const methods[METHOD_COUNT] = { "pat", "oauth-m2m", "env-oidc", "file-oidc" };

/* Of the variable that has the token of an outside issuer. */
static const char *outside_variable(const struct found_value *found)
{
	return found[OIDC_TOKEN_ENV].value ? found[OIDC_TOKEN_ENV].value : "DATABRICKS_OIDC_TOKEN";
}

/* What somebody who says nothing means. */
static enum method guess_method(const struct found_value *found)
{
	const char *outside = getenv(outside_variable(found));
	if (found[TOKEN].value)
		return METHOD_TOKEN;
	if (found[CLIENT_SECRET].value)
		return METHOD_CLIENT;
	if (outside && *outside)
		return METHOD_OUTSIDE_ENV;
	if (found[OIDC_TOKEN_FILE].value)
		return METHOD_OUTSIDE_FILE;
	return found[CLIENT_ID].value ? METHOD_CLIENT : METHOD_TOKEN;
}

static status choose_method(const struct found_value *found, enum method *ret, struct error *err)
{
	const char *type = found[AUTH_TYPE].value;
	enum method method = 0;
	if (!type)
		method = guess_method(found);
	else
		while (method < METHOD_COUNT && strcmp(type, methods[method]) != 0)
			method++;
	if (method == METHOD_COUNT) {
		status st = error_set(err, STATUS_UNSUPPORTED, 0,
		        "auth_type \"%s\" (from %s) is not one that tarn knows", type,
		        found[AUTH_TYPE].source);
		error_hint(err,
		        "It knows pat (a token), oauth-m2m (client_id and client_secret), env-oidc and "
		        "file-oidc.%s",
		        strcmp(type, "databricks-cli") == 0 ? " `tarn auth login` gets a token." : "");
		return st;
	}
	if (!type && found[TOKEN].value && found[CLIENT_ID].value && found[CLIENT_SECRET].value) {
		status st = error_set(err, STATUS_INVALID, 0,
		        "more than one authorization method is configured: pat (token from %s) and oauth-m2m "
		        "(client_id from "
		        "%s)",
		        found[TOKEN].source, found[CLIENT_ID].source);
		error_hint(err, "Remove one of them, or say which with DATABRICKS_AUTH_TYPE or auth_type.");
		return st;
	}
	if (method == METHOD_CLIENT && !(found[CLIENT_ID].value && found[CLIENT_SECRET].value))
		return refuse_missing(found, found[CLIENT_ID].value ? CLIENT_SECRET : CLIENT_ID, err);
	if (method == METHOD_TOKEN && !found[TOKEN].value)
		return refuse_missing(found, found[CLIENT_ID].value ? CLIENT_SECRET : TOKEN, err);
	if (method == METHOD_OUTSIDE_FILE && !found[OIDC_TOKEN_FILE].value)
		return refuse_missing(found, OIDC_TOKEN_FILE, err);
	*ret = method;
	return STATUS_OK;
}

/* "host and token from profile …", or "host from …, token from …". */
static char *describe(const struct found_value *found, enum attribute secret)
{
	const char *host = found[HOST].source, *other = found[secret].source;
	if (strcmp(host, other) == 0)
		return xasprintf("host and %s from %s", attributes[secret].key, host);
	return xasprintf("host from %s, %s from %s", host, attributes[secret].key, other);
}

/* After `eval "$(tarn env)"` the host is our own: then its port for Postgres is known, too. */
static void find_database_server(struct connection *connection)
{
	const char *certificate = getenv("PGSSLROOTCERT");
	connection->root_certificate = certificate && *certificate ? xstrdup(certificate) : NULL;
	connection->pg_port = 5432;
	CLEANUP(free_text) char *path = data_directory_default();
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	if (connection->root_certificate) {
		const char *end = strrchr(connection->root_certificate, '/');
		if (end && strcmp(end, "/authority.crt") == 0) {
			free_text(&path);
			path = xstrndup(
			        connection->root_certificate, (size_t)(end - connection->root_certificate));
		}
	}
	struct error ignored;
	if (data_directory_open(path, &dd, &ignored) != STATUS_OK)
		return;
	CLEANUP(free_text) char *own_url = local_api_url(&dd->settings);
	if (strcmp(own_url, connection->url) == 0) {
		connection->pg_port = dd->settings.pg_port;
		if (!connection->root_certificate)
			connection->root_certificate = database_root_certificate(dd);
	}
}

/* A value that goes into a request. */
static status take_value(const struct found_value *found, enum attribute i, char **ret, struct error *err)
{
	if (!found[i].value)
		return STATUS_OK;
	if (!is_plain(found[i].value))
		return error_set(err, STATUS_INVALID, 0,
		        "the %s in %s has characters that cannot be part of one", attributes[i].key,
		        found[i].source);
	*ret = xstrdup(found[i].value);
	return STATUS_OK;
}

static status take_method(
        struct connection *connection, const struct found_value *found, enum method method, struct error *err)
{
	status st = STATUS_OK;
	if (method == METHOD_TOKEN) {
		connection->origin = describe(found, TOKEN);
		return take_value(found, TOKEN, &connection->token, err);
	}
	st = take_value(found, CLIENT_ID, &connection->client_id, err);
	if (method == METHOD_CLIENT) {
		connection->origin = describe(found, CLIENT_SECRET);
		return st == STATUS_OK ? take_value(found, CLIENT_SECRET, &connection->client_secret, err)
		                       : st;
	}
	if (method == METHOD_OUTSIDE_ENV)
		connection->outside_token_variable = xstrdup(outside_variable(found));
	else
		connection->outside_token_file = xstrdup(found[OIDC_TOKEN_FILE].value);
	connection->origin = xasprintf("host from %s, the token of an outside issuer from %s%s",
	        found[HOST].source, connection->outside_token_variable ? "" : "file ",
	        connection->outside_token_variable ? connection->outside_token_variable
	                                           : connection->outside_token_file);
	return st;
}

static status set_remote(struct connection *connection, const struct found_value *found, struct error *err)
{
	enum method method = METHOD_TOKEN;
	if (!found[HOST].value)
		return refuse_missing(found, HOST, err);
	status st = take_url(&found[HOST], &connection->url, err);
	if (st == STATUS_OK)
		st = choose_method(found, &method, err);
	if (st == STATUS_OK)
		st = take_method(connection, found, method, err);
	if (st == STATUS_OK)
		find_database_server(connection);
	return st;
}

const char *connection_auth_type(const struct connection *connection)
{
	if (connection->token)
		return methods[METHOD_TOKEN];
	if (connection->client_secret)
		return methods[METHOD_CLIENT];
	return methods[connection->outside_token_variable ? METHOD_OUTSIDE_ENV : METHOD_OUTSIDE_FILE];
}

static status set_local(struct connection *connection, const struct options *options, struct error *err)
{
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	status st = local_data_directory(options, &dd, err);
	if (st == STATUS_OK)
		st = admin_token_read(dd, &connection->token, err);
	if (st != STATUS_OK)
		return st;
	connection->url = local_api_url(&dd->settings);
	connection->origin = xasprintf("host and token from data directory \"%s\"", dd->path);
	connection->root_certificate = data_directory_path(dd, "authority.crt");
	connection->pg_port = dd->settings.pg_port;
	return STATUS_OK;
}

static bool is_empty(const struct found_value *found)
{
	return !found[HOST].value && !found[TOKEN].value && !found[CLIENT_ID].value &&
	       !found[CLIENT_SECRET].value;
}

static status find(const struct options *options, struct connection *connection, struct error *err)
{
	CLEANUP(found_done) struct found_value found[ATTRIBUTE_COUNT] = { 0 };
	const char *profile = option_value(options, "profile"), *chosen = getenv("DATABRICKS_CONFIG_PROFILE");
	const char *data = option_value(options, "data");
	if (data && profile)
		return error_set(err, STATUS_INVALID, 0, "give \"--data\" or \"--profile\", not both");
	if (data)
		return set_local(connection, options, err);
	status st = STATUS_OK;
	if (profile) {
		st = take_profile(found, profile, "--profile", err);
		take_environment(found, false);
	} else {
		take_environment(found, true);
		if (chosen && *chosen) {
			st = take_profile(found, chosen, "DATABRICKS_CONFIG_PROFILE", err);
		} else if (is_empty(found)) {
			st = set_local(connection, options, err);
			if (st != STATUS_NOT_FOUND)
				return st;
			struct error no_directory = *err;
			st = take_default_profile(found, err);
			if (st == STATUS_OK && is_empty(found)) {
				*err = no_directory;
				return err->code;
			}
		}
	}
	return st == STATUS_OK ? set_remote(connection, found, err) : st;
}

status connection_find(const struct options *options, struct connection *ret, struct error *err)
{
	CLEANUP(connection_done) struct connection connection = { 0 };
	status st = find(options, &connection, err);
	if (st != STATUS_OK)
		return st;
	*ret = connection;
	connection = (struct connection){ 0 };
	return STATUS_OK;
}

void connection_done(struct connection *connection)
{
	free_text(&connection->url);
	free_text(&connection->token);
	free_text(&connection->client_id);
	free_text(&connection->client_secret);
	free_text(&connection->outside_token_variable);
	free_text(&connection->outside_token_file);
	free_text(&connection->origin);
	free_text(&connection->root_certificate);
}
