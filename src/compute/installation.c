#include "compute/installation.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/number.h"
#include "base/program.h"

#define MAJOR_OLDEST 16
#define MAJOR_NEWEST 18

bool installation_library(const char *bin_dir, const char *name, char *ret_path, size_t size)
{
	/* Debian and plain builds keep modules in ../lib; pgextwlist's package puts its module into ../lib/plugins. */
	static const char *const folders[] = { "lib", "lib/postgresql", "lib/plugins",
		"lib/postgresql/plugins" };
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		CLEANUP(free_text) char *path = xasprintf("%s/../%s/%s.so", bin_dir, folders[i], name);
		char resolved[PATH_MAX];
		if (!realpath(path, resolved) || strlen(resolved) >= size)
			continue;
		if (ret_path)
			memcpy(ret_path, resolved, strlen(resolved) + 1);
		return true;
	}
	return false;
}

/* Debian has control files in /usr/share/postgresql/17, plain builds in PREFIX/share or PREFIX/share/postgresql. */
static bool has_control_file(const struct installation *found, const char *name)
{
	CLEANUP(free_text)
	char *debian = xasprintf("/usr/share/postgresql/%d/extension/%s.control", found->major, name);
	CLEANUP(free_text) char *plain = xasprintf("%s/../share/extension/%s.control", found->bin_dir, name);
	CLEANUP(free_text)
	char *shared = xasprintf("%s/../share/postgresql/extension/%s.control", found->bin_dir, name);
	bool is_debian = strncmp(found->bin_dir, "/usr/lib/postgresql/", strlen("/usr/lib/postgresql/")) == 0;
	return (is_debian && access(debian, R_OK) == 0) || access(plain, R_OK) == 0 ||
	       access(shared, R_OK) == 0;
}

/* "postgres (PostgreSQL) 17.11 (Debian 17.11-0+deb13u1)" */
static bool parse_version(const char *text, struct installation *found)
{
	const char *number = strstr(text, "(PostgreSQL) ");
	if (!number)
		return false;
	number += strlen("(PostgreSQL) ");
	size_t len = strcspn(number, " \n");
	if (len == 0 || len >= sizeof found->version)
		return false;
	memcpy(found->version, number, len);
	found->version[len] = '\0';
	int64_t major = 0;
	struct slice digits = { (const uint8_t *)number, strspn(number, "0123456789") };
	if (!number_parse(digits, 1, 999, &major))
		return false;
	found->major = (int)major;
	return true;
}

static void judge(struct installation *found)
{
	static const char *const programs[] = { "initdb", "pg_resetwal", "pg_waldump" };
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		CLEANUP(free_text) char *path = xasprintf("%s/%s", found->bin_dir, programs[i]);
		if (access(path, X_OK) < 0) {
			(void)snprintf(found->problem, sizeof found->problem, "program \"%s\" is missing",
			        programs[i]);
			return;
		}
	}
	if (found->major < MAJOR_OLDEST || found->major > MAJOR_NEWEST) {
		(void)snprintf(found->problem, sizeof found->problem, "Tarn runs Postgres %d to %d",
		        MAJOR_OLDEST, MAJOR_NEWEST);
		return;
	}
	if (strspn(found->version, "0123456789.") != strlen(found->version)) {
		(void)snprintf(found->problem, sizeof found->problem, "it is a pre-release");
		return;
	}
	found->has_vector = installation_library(found->bin_dir, "vector", NULL, PATH_MAX);
	found->has_extension_whitelist = installation_library(found->bin_dir, "pgextwlist", NULL, PATH_MAX);
	found->has_databricks_auth = has_control_file(found, "databricks_auth");
	found->is_accepted = true;
}

static bool is_known(const struct installation *list, size_t count, const char *bin_dir)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].bin_dir, bin_dir) == 0)
			return true;
	return false;
}

static size_t look_at(const char *folder, struct installation out[INSTALLATIONS_MAX], size_t count)
{
	char bin_dir[PATH_MAX];
	if (count == INSTALLATIONS_MAX || !realpath(folder, bin_dir) ||
	        strlen(bin_dir) >= sizeof out[count].bin_dir || is_known(out, count, bin_dir))
		return count;
	CLEANUP(free_text) char *postgres = xasprintf("%s/postgres", bin_dir);
	if (access(postgres, X_OK) < 0)
		return count;
	struct installation found = { 0 };
	(void)snprintf(found.bin_dir, sizeof found.bin_dir, "%s", bin_dir);
	const char *const argv[] = { postgres, "--version", NULL };
	struct program program = { .argv = argv };
	CLEANUP(buffer_done) struct buffer output = { 0 };
	struct error err;
	if (program_run(&program, &output, &err) != STATUS_OK || !parse_version(output.data, &found))
		(void)snprintf(found.problem, sizeof found.problem, "it does not tell its version");
	else
		judge(&found);
	out[count] = found;
	return count + 1;
}

/* Every <root>/<major>/bin. */
static size_t look_below(const char *root, struct installation out[INSTALLATIONS_MAX], size_t count)
{
	for (int major = MAJOR_NEWEST + 4; major >= MAJOR_OLDEST - 4; major--) {
		CLEANUP(free_text) char *folder = xasprintf("%s/%d/bin", root, major);
		count = look_at(folder, out, count);
	}
	return count;
}

static size_t look_at_list(const char *list, struct installation out[INSTALLATIONS_MAX], size_t count)
{
	while (list && *list) {
		size_t len = strcspn(list, ":");
		CLEANUP(free_text) char *folder = xstrndup(list, len);
		if (folder[0] == '/')
			count = look_at(folder, out, count);
		list += len + (list[len] == ':');
	}
	return count;
}

static size_t look_in_cache(const char *cache, struct installation out[INSTALLATIONS_MAX], size_t count)
{
	CLEANUP(free_text) char *root = xasprintf("%s/postgresql", cache);
	return look_below(root, out, count);
}

size_t installation_scan(struct installation out[INSTALLATIONS_MAX])
{
	size_t count = look_at_list(getenv("TARN_POSTGRES"), out, 0);
	count = look_below("/usr/lib/postgresql", out, count);
	const char *cache = getenv("TARN_CACHE");
	if (cache && cache[0] == '/')
		count = look_in_cache(cache, out, count);
	count = look_in_cache("/var/cache/tarn", out, count);
	const char *home = getenv("HOME");
	if (home && home[0] == '/') {
		CLEANUP(free_text) char *own = xasprintf("%s/.cache/tarn", home);
		count = look_in_cache(own, out, count);
	}
	return look_at("/usr/local/pgsql/bin", out, count);
}

static int64_t minor_of(const struct installation *installation)
{
	const char *dot = strchr(installation->version, '.');
	int64_t minor = 0;
	return dot && number_parse(slice_from_text(dot + 1), 0, 9999, &minor) ? minor : 0;
}

status installation_find(int major, struct installation *ret, struct error *err)
{
	struct installation list[INSTALLATIONS_MAX];
	size_t count = installation_scan(list);
	const struct installation *best = NULL;
	CLEANUP(buffer_done) struct buffer names = { 0 };
	for (size_t i = 0; i < count; i++) {
		const struct installation *one = &list[i];
		buffer_printf(&names, "%s%s in %s%s%s", i ? ", " : "", one->version[0] ? one->version : "?",
		        one->bin_dir, one->is_accepted ? "" : " - ", one->problem);
		if (one->is_accepted && one->major == major && (!best || minor_of(one) > minor_of(best)))
			best = one;
	}
	if (best) {
		*ret = *best;
		return STATUS_OK;
	}
	status st =
	        error_set(err, STATUS_NOT_FOUND, 0, "no usable Postgres %d on this machine (found: %.250s)",
	                major, names.len ? names.data : "none");
	error_hint(err, "Install it (tools/setup does), or name its folder in TARN_POSTGRES.");
	return st;
}
