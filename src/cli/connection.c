#include "cli/connection.h"

#include <errno.h>
#include <stdlib.h>

#include "base/file.h"

#define CONFIG_FILE_MAX (1u << 20)
#define TOKEN_FILE_MAX  4096

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

status local_data_directory(const struct options *options, struct data_directory **ret, struct error *err)
{
	const char *path = option_value(options, "data");
	CLEANUP(free_text) char *chosen = path ? xstrdup(path) : data_directory_default();
	return data_directory_open(chosen, ret, err);
}

/* Tokens stand in a header line: only printable characters, so that nothing can be smuggled behind them. */
static bool token_is_plain(const char *token)
{
	if (*token == '\0')
		return false;
	for (; *token; token++)
		if ((unsigned char)*token <= 0x20 || (unsigned char)*token >= 0x7f)
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
	if (!token_is_plain(token))
		return error_set(err, STATUS_CORRUPT, 0, "file \"%s\" has no token", path);
	*ret = TAKE_PTR(token);
	return STATUS_OK;
}

/* As the SDKs do it: https unless said otherwise, and nothing behind the host. */
static char *normalise_url(const char *host)
{
	CLEANUP(free_text) char *url = strstr(host, "://") ? xstrdup(host) : xasprintf("https://%s", host);
	size_t len = strlen(url);
	while (len > 0 && url[len - 1] == '/')
		url[--len] = '\0';
	return TAKE_PTR(url);
}

static status set_remote(struct connection *connection, const char *origin, const char *host,
        const char *token, struct error *err)
{
	if (!token || !token_is_plain(token))
		return error_set(err, STATUS_INVALID, 0, "%s names a host but no usable token", origin);
	for (const char *c = host; *c; c++)
		if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f)
			return error_set(err, STATUS_INVALID, 0, "the host of %s is not a URL", origin);
	connection->url = normalise_url(host);
	connection->token = xstrdup(token);
	const char *certificate = getenv("PGSSLROOTCERT");
	connection->root_certificate = certificate && *certificate ? xstrdup(certificate) : NULL;
	connection->pg_port = 5432;

	/* After `eval "$(tarn env)"` the host is our own: then its port for Postgres is known, too. */
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
		return STATUS_OK;
	CLEANUP(free_text) char *own_url = local_api_url(&dd->settings);
	if (strcmp(own_url, connection->url) == 0) {
		connection->pg_port = dd->settings.pg_port;
		if (!connection->root_certificate)
			connection->root_certificate = data_directory_path(dd, "authority.crt");
	}
	return STATUS_OK;
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
	connection->root_certificate = data_directory_path(dd, "authority.crt");
	connection->pg_port = dd->settings.pg_port;
	return STATUS_OK;
}

static char *trim(char *text)
{
	text += strspn(text, " \t\r");
	size_t len = strlen(text);
	while (len > 0 && strchr(" \t\r", text[len - 1]))
		text[--len] = '\0';
	return text;
}

/* The file has "[NAME]" lines, and "key = value" lines below; lines that begin with # or ; are comments. */
static status set_profile(struct connection *connection, const char *name, struct error *err)
{
	const char *file = getenv("DATABRICKS_CONFIG_FILE"), *home = getenv("HOME");
	CLEANUP(free_text)
	char *path = file && *file ? xstrdup(file) : xasprintf("%s/.databrickscfg", home ? home : "");
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = file_read(path, CONFIG_FILE_MAX, &text, err);
	if (st != STATUS_OK)
		return error_prefix(err, "profile \"%s\"", name);

	const char *host = NULL, *token = NULL;
	bool is_inside = false, was_found = false;
	for (char *rest = text.data, *line; rest && (line = strsep(&rest, "\n"));) {
		line = trim(line);
		size_t len = strlen(line);
		if (line[0] == '[' && line[len - 1] == ']') {
			line[len - 1] = '\0';
			is_inside = strcmp(trim(line + 1), name) == 0;
			was_found = was_found || is_inside;
			continue;
		}
		char *equals = strchr(line, '=');
		if (!is_inside || !equals || line[0] == '#' || line[0] == ';')
			continue;
		*equals = '\0';
		const char *key = trim(line);
		if (strcmp(key, "host") == 0)
			host = trim(equals + 1);
		else if (strcmp(key, "token") == 0)
			token = trim(equals + 1);
	}
	if (!was_found)
		return error_set(err, STATUS_NOT_FOUND, 0, "file \"%s\" has no profile \"%s\"", path, name);
	CLEANUP(free_text) char *origin = xasprintf("profile \"%s\"", name);
	if (!host || *host == '\0')
		return error_set(err, STATUS_INVALID, 0, "%s in file \"%s\" has no host", origin, path);
	return set_remote(connection, origin, host, token, err);
}

status connection_find(const struct options *options, struct connection *ret, struct error *err)
{
	const char *profile = option_value(options, "profile");
	const char *host = getenv("DATABRICKS_HOST");
	CLEANUP(connection_done) struct connection connection = { 0 };
	status st;
	if (option_value(options, "data")) {
		st = set_local(&connection, options, err);
	} else if (profile) {
		st = set_profile(&connection, profile, err);
	} else if (host && *host) {
		st = set_remote(&connection, "the environment (DATABRICKS_HOST, DATABRICKS_TOKEN)", host,
		        getenv("DATABRICKS_TOKEN"), err);
	} else {
		profile = getenv("DATABRICKS_CONFIG_PROFILE");
		st = profile && *profile ? set_profile(&connection, profile, err)
		                         : set_local(&connection, options, err);
	}
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
	free_text(&connection->root_certificate);
}
