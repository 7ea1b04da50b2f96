#include "compute/pooler_program.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/number.h"
#include "base/program.h"

bool pooler_program_parse_version(const char *text, struct pooler_program *ret)
{
	static const char name[] = "PgBouncer ";
	if (strncmp(text, name, strlen(name)) != 0)
		return false;
	const char *version = text + strlen(name);
	size_t len = strcspn(version, " \r\n");
	size_t major_len = strspn(version, "0123456789");
	int64_t major, minor;
	if (len >= sizeof ret->version || version[major_len] != '.')
		return false;
	const char *rest = version + major_len + 1;
	struct slice minor_text = { (const uint8_t *)rest, strspn(rest, "0123456789") };
	if (!number_parse((struct slice){ (const uint8_t *)version, major_len }, 0, 999, &major) ||
	        !number_parse(minor_text, 0, 9999, &minor))
		return false;
	memcpy(ret->version, version, len);
	ret->version[len] = '\0';
	/* A later major version is newer than every minor one. */
	ret->minor = major == 1 ? (int)minor : major > 1 ? INT_MAX : 0;
	return true;
}

static bool look_at(const char *path, struct pooler_program *ret)
{
	struct pooler_program found = { 0 };
	char resolved[PATH_MAX];
	if (!realpath(path, resolved) || strlen(resolved) >= sizeof found.path || access(resolved, X_OK) < 0)
		return false;
	memcpy(found.path, resolved, strlen(resolved) + 1);
	const char *const argv[] = { resolved, "--version", NULL };
	struct program program = { .argv = argv };
	CLEANUP(buffer_done) struct buffer output = { 0 };
	struct error err;
	if (program_run(&program, &output, &err) != STATUS_OK || !output.data ||
	        !pooler_program_parse_version(output.data, &found))
		return false;
	*ret = found;
	return true;
}

/* True when it is there and new enough; of one that is too old *old is told. */
static bool try_path(const char *path, struct pooler_program *ret, struct pooler_program *old)
{
	struct pooler_program found;
	if (!look_at(path, &found))
		return false;
	if (found.minor >= POOLER_VERSION_OLDEST_MINOR) {
		*ret = found;
		return true;
	}
	*old = found;
	return false;
}

static bool try_cache(
        const char *cache, const char *below, struct pooler_program *ret, struct pooler_program *old)
{
	if (!cache || cache[0] != '/')
		return false;
	CLEANUP(free_text) char *path = xasprintf("%s%s/pgbouncer/current/bin/pgbouncer", cache, below);
	return try_path(path, ret, old);
}

status pooler_program_find(struct pooler_program *ret, struct error *err)
{
	static const char *const places[] = { "/usr/sbin/pgbouncer", "/usr/bin/pgbouncer",
		"/usr/local/bin/pgbouncer", "/usr/local/sbin/pgbouncer" };
	struct pooler_program old = { 0 };
	const char *named = getenv("TARN_PGBOUNCER");
	if (named && named[0]) { /* and no other, so that a test can take it away */
		if (try_path(named, ret, &old))
			return STATUS_OK;
	} else {
		for (size_t i = 0; i < ARRAY_LEN(places); i++)
			if (try_path(places[i], ret, &old))
				return STATUS_OK;
		if (try_cache(getenv("TARN_CACHE"), "", ret, &old) ||
		        try_cache("/var/cache/tarn", "", ret, &old) ||
		        try_cache(getenv("HOME"), "/.cache/tarn", ret, &old))
			return STATUS_OK;
	}
	status st = old.version[0]
	                    ? error_set(err, STATUS_UNSUPPORTED, 0,
	                              "PgBouncer %s (%s) is too old: prepared statements need 1.%d or newer",
	                              old.version, old.path, POOLER_VERSION_OLDEST_MINOR)
	                    : error_set(err, STATUS_NOT_FOUND, 0, "PgBouncer is not installed");
	error_hint(err,
	        "Install PgBouncer 1.%d or newer (tools/setup does), or name the program in TARN_PGBOUNCER.",
	        POOLER_VERSION_OLDEST_MINOR);
	return st;
}

status pooler_user_find(const struct system_user *postgres_user, struct system_user *ret, struct error *err)
{
	if (!postgres_user->is_other) {
		*ret = *postgres_user;
		return STATUS_OK;
	}
	struct system_user found;
	status st = system_user_find(POOLER_USER, &found, err);
	if (st == STATUS_OK && (found.uid == 0 || found.uid == postgres_user->uid))
		st = error_set(err, STATUS_INVALID, 0,
		        "system user \"" POOLER_USER "\" is also the user that Postgres or Tarn runs as");
	if (st != STATUS_OK) {
		error_hint(err, "Create the user that the pooler runs as: useradd --system " POOLER_USER);
		return st;
	}
	*ret = found;
	return STATUS_OK;
}
