#include "cli/up_settings.h"

#include <errno.h>
#include <unistd.h>

#include "base/number.h"

static status parse_port(const char *flag, const char *text, int *ret, struct error *err)
{
	int64_t port = 0;
	if (!number_parse(slice_from_text(text), 1, 65535, &port))
		return error_set(err, STATUS_INVALID, 0,
		        "flag \"--%s\" needs a port from 1 to 65535, not \"%s\"", flag, text);
	*ret = (int)port;
	return STATUS_OK;
}

/* "127.0.0.1:8080" or "[::1]:8080"; whether the address is one is checked with the other settings. */
static status parse_api(const char *text, struct settings *changes, struct error *err)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	bool has_brackets = len > 2 && text[0] == '[' && text[len - 1] == ']';
	if (len == 0 || (!has_brackets && (memchr(text, ':', len) || text[0] == '[')))
		return error_set(err, STATUS_INVALID, 0,
		        "flag \"--api\" needs an address and a port, such as 127.0.0.1:8080, not \"%s\"",
		        text);
	status st = parse_port("api", colon + 1, &changes->api_port, err);
	if (st == STATUS_OK)
		changes->api_address = has_brackets ? xstrndup(text + 1, len - 2) : xstrndup(text, len);
	return st;
}

static status parse_limit(const char *text, struct settings *changes, struct error *err)
{
	if (strncmp(text, "metrics_access=", 15) ==
	        0) { /* what it may be is checked with the other settings */
		free_text(&changes->metrics_access);
		changes->metrics_access = xstrdup(text + 15);
		return STATUS_OK;
	}
	struct slice name = { .data = (const uint8_t *)text, .len = strcspn(text, "=") };
	int64_t *limit = settings_find_limit(changes, name);
	if (!limit)
		return error_set(err, STATUS_INVALID, 0, "flag \"--set\" knows no limit \"%.*s\"",
		        (int)name.len, text);
	if (text[name.len] != '=' || !number_parse(slice_from_text(text + name.len + 1), 1, INT32_MAX, limit))
		return error_set(err, STATUS_INVALID, 0,
		        "flag \"--set %.*s=VALUE\" needs a whole number above 0", (int)name.len, text);
	return STATUS_OK;
}

/*
 * A file, or nothing to end the setting. The whole path is kept, since roles run in another folder, and symbolic links in it stay what
 * they are: who renews a certificate lets one point to another file.
 */
static status parse_file(const struct options *options, const char *flag, char **ret, struct error *err)
{
	const char *path = option_value(options, flag);
	if (!path)
		return STATUS_OK;
	if (*path != '\0' && access(path, R_OK) < 0)
		return error_set(
		        err, STATUS_INVALID, errno, "flag \"--%s\": could not read file \"%s\"", flag, path);
	CLEANUP(free_text) char *here = getcwd(NULL, 0);
	bool is_whole = *path == '\0' || *path == '/';
	if (!is_whole && !here)
		return error_set(err, STATUS_IO, errno, "could not tell the current folder");
	*ret = is_whole ? xstrdup(path) : xasprintf("%s/%s", here, path);
	return STATUS_OK;
}

static status parse_files(const struct options *options, struct settings *changes, struct error *err)
{
	status st = parse_file(options, "tls-certificate", &changes->tls_certificate, err);
	if (st == STATUS_OK)
		st = parse_file(options, "tls-key", &changes->tls_key, err);
	if (st == STATUS_OK)
		st = parse_file(options, "tls-root", &changes->tls_root, err);
	return st;
}

status up_settings_parse(const struct options *options, struct settings *changes, struct error *err)
{
	CLEANUP(up_settings_done) struct settings parsed = { 0 };
	const char *api = option_value(options, "api"), *port = option_value(options, "pg-port");
	const char *domain = option_value(options, "domain"), *user = option_value(options, "postgres-user");
	const char *addresses = option_value(options, "pg-address");
	status st = api ? parse_api(api, &parsed, err) : STATUS_OK;
	if (st == STATUS_OK && port)
		st = parse_port("pg-port", port, &parsed.pg_port, err);
	for (size_t i = 0; st == STATUS_OK && i < options->use_count; i++)
		if (strcmp(options->uses[i].name, "set") == 0)
			st = parse_limit(options->uses[i].value, &parsed, err);
	if (st == STATUS_OK)
		st = parse_files(options, &parsed, err);
	if (st == STATUS_OK && user && *user == '\0')
		st = error_set(err, STATUS_INVALID, 0, "flag \"--postgres-user\" needs the name of a user");
	if (st != STATUS_OK)
		return st;
	parsed.domain = domain ? xstrdup(domain) : NULL;
	parsed.pg_address = addresses ? xstrdup(addresses) : NULL;
	parsed.postgres_user = user ? xstrdup(user) : NULL;
	*changes = parsed;
	parsed = (struct settings){ 0 };
	return STATUS_OK;
}

void up_settings_done(struct settings *changes)
{
	free_text(&changes->api_address);
	free_text(&changes->pg_address);
	free_text(&changes->domain);
	free_text(&changes->tls_certificate);
	free_text(&changes->tls_key);
	free_text(&changes->tls_root);
	free_text(&changes->postgres_user);
	free_text(&changes->metrics_access);
}
