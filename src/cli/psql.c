/* `tarn psql`: finds the endpoint, gets a password for it, becomes psql (rest-api.md section 7). */
#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/number.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "cli/help.h"
#include "cli/psql_login.h"
#include "cli/psql_reach.h"
#include "cli/psql_target.h"
#include "cli/rest.h"

static bool is_executable(const char *path)
{
	return access(path, X_OK) == 0;
}

/* The last match wins: the highest version. */
static char *find_by_pattern(const char *pattern)
{
	glob_t found = { 0 };
	char *path = NULL;
	if (glob(pattern, 0, NULL, &found) == 0) {
		for (size_t i = found.gl_pathc; i > 0 && !path; i--)
			if (is_executable(found.gl_pathv[i - 1]))
				path = xstrdup(found.gl_pathv[i - 1]);
	}
	globfree(&found);
	return path;
}

static char *find_in_path(void)
{
	const char *path = getenv("PATH");
	CLEANUP(free_text) char *copy = xstrdup(path ? path : "");
	for (char *rest = copy, *folder; (folder = strsep(&rest, ":"));) {
		CLEANUP(free_text) char *candidate = xasprintf("%s/psql", *folder ? folder : ".");
		if (is_executable(candidate))
			return TAKE_PTR(candidate);
	}
	return NULL;
}

/* Where it may be besides PATH: Debian's packages, and what the set-up script built. */
static status find_psql(char **ret, struct error *err)
{
	const char *cache = getenv("TARN_CACHE"), *home = getenv("HOME");
	CLEANUP(free_text)
	char *own = xasprintf("%s/postgresql/*/bin/psql", cache && *cache ? cache : "/nonexistent");
	CLEANUP(free_text) char *users = xasprintf("%s/.cache/tarn/postgresql/*/bin/psql", home ? home : "");
	const char *const patterns[] = { "/usr/lib/postgresql/*/bin/psql", own,
		"/var/cache/tarn/postgresql/*/bin/psql", users };
	char *path = find_in_path();
	for (size_t i = 0; i < ARRAY_LEN(patterns) && !path; i++)
		path = find_by_pattern(patterns[i]);
	if (!path) {
		status st = error_set(err, STATUS_NOT_FOUND, 0, "psql is not installed");
		error_hint(err, "Install it with: apt install postgresql-client");
		return st;
	}
	*ret = path;
	return STATUS_OK;
}

/* Does the user give psql this setting, as "-d…", "-d …", "--dbname=…" or "--dbname …"? */
static bool is_given(const struct options *options, const char *letter, const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; i < options->rest_count; i++) {
		const char *arg = options->rest[i];
		if (strncmp(arg, letter, 2) == 0)
			return true;
		if (strncmp(arg, name, len) == 0 && (arg[len] == '=' || arg[len] == '\0'))
			return true;
	}
	return false;
}

/* Unless psql is told to go elsewhere. */
static status reach(const struct options *options, const struct connection *connection,
        const struct psql_login *login, int64_t attempts, struct error *err)
{
	if (attempts == 0 || is_given(options, "-h", "--host") || is_given(options, "-p", "--port"))
		return STATUS_OK;
	return psql_reach(login->host, connection->pg_port, attempts, err);
}

static status become_psql(const char *psql, const struct options *options,
        const struct connection *connection, const struct psql_login *login, struct error *err)
{
	CLEANUP(free_text) char *host = xasprintf("--host=%s", login->host);
	CLEANUP(free_text) char *user = xasprintf("--username=%s", login->user);
	CLEANUP(free_text) char *port = xasprintf("--port=%d", connection->pg_port);
	const char **argv = xcalloc(options->rest_count + 6, sizeof *argv);
	size_t count = 0;
	argv[count++] = "psql";
	argv[count++] = host;
	argv[count++] = user;
	if (!is_given(options, "-p", "--port"))
		argv[count++] = port;
	if (!is_given(options, "-d", "--dbname"))
		argv[count++] = "--dbname=databricks_postgres";
	for (size_t i = 0; i < options->rest_count; i++)
		argv[count++] = options->rest[i];

	/* Variables and not arguments: everybody on the machine can read arguments. */
	(void)setenv("PGPASSWORD", login->token, 1);
	(void)setenv("PGSSLMODE", connection->root_certificate ? "verify-full" : "require", 1);
	if (connection->root_certificate)
		(void)setenv("PGSSLROOTCERT", connection->root_certificate, 1);
	/* These name another server or another way in, and would win over what stands above. */
	static const char *const misleading[] = { "PGHOSTADDR", "PGSERVICE", "PGPASSFILE", "PGREQUIREAUTH" };
	for (size_t i = 0; i < ARRAY_LEN(misleading); i++)
		(void)unsetenv(misleading[i]);

	(void)fflush(NULL);
	(void)signal(
	        SIGPIPE, SIG_DFL); /* ignored signals stay ignored across exec, and psql counts on this one */
	(void)execv(psql, (char *const *)(uintptr_t)argv);
	int saved = errno;
	free(argv);
	return error_set(err, STATUS_IO, saved, "could not run \"%s\"", psql);
}

static const struct option known[] = {
	{ .name = "project",
	        .value = "ID",
	        .summary = "project to connect to",
	        .values = OPTION_VALUES_PROJECT_ID },
	{ .name = "branch",
	        .value = "ID",
	        .summary = "branch of it (default: the only one)",
	        .values = OPTION_VALUES_BRANCH_ID },
	{ .name = "endpoint",
	        .value = "ID",
	        .summary = "endpoint of that (default: the only one)",
	        .values = OPTION_VALUES_ENDPOINT_ID },
	{ .name = "autoscaling", .is_switch = true, .summary = "choose among projects" },
	{ .name = "provisioned", .is_switch = true, .summary = "choose among instances (the older API)" },
	{ .name = "max-retries",
	        .value = "N",
	        .summary = "how often to try to reach the server (default: 3; 0: leave it to psql)" },
	{ .name = "output", .letter = 'o', .is_hidden = true },
	CONNECTION_OPTIONS,
	HELP_OPTION,
	{ 0 },
};

static int psql_main(const struct cli_services *services, int argc, char **argv)
{
	(void)services;
	CLEANUP(options_done) struct options options = { 0 };
	CLEANUP(psql_target_done) struct psql_target target = { 0 };
	struct error err;
	int code = 0;
	int64_t attempts = 3;
	if (!command_begin(&psql_command, argc, argv, known, &options, &code))
		return code;
	const char *retries = option_value(&options, "max-retries");
	if (retries && !number_parse(slice_from_text(retries), 0, 100, &attempts))
		return usage_failure("psql",
		        "flag \"--max-retries\" must be a whole number from 0 to 100, not \"%s\"", retries);
	if (options_count(&options, 0, 1, "tarn psql [TARGET] [FLAGS] [-- PSQL_ARGUMENTS]", &err) !=
	                STATUS_OK ||
	        psql_target_parse(&options, &target, &err) != STATUS_OK)
		return print_usage_failure(&err, "psql");

	CLEANUP(connection_done) struct connection connection = { 0 };
	CLEANUP(rest_freep) struct rest *rest = NULL;
	CLEANUP(psql_login_done) struct psql_login login = { 0 };
	CLEANUP(free_text) char *psql = NULL;
	if (find_psql(&psql, &err) != STATUS_OK ||
	        connection_find(&options, &connection, &err) != STATUS_OK ||
	        rest_open(&connection, option_is_on(&options, "debug"), &rest, &err) != STATUS_OK ||
	        psql_login_get(rest, &target, &login, &err) != STATUS_OK ||
	        reach(&options, &connection, &login, attempts, &err) != STATUS_OK ||
	        become_psql(psql, &options, &connection, &login, &err) != STATUS_OK)
		return print_failure(&err);
	return 0;
}

static const struct help_line arguments[] = {
	{ "TARGET", "projects/PROJECT, projects/PROJECT/branches/BRANCH, or a whole endpoint name; any other "
	            "word is an instance of the older API" },
	{ "PSQL_ARGUMENTS",
	        "for psql: -d and -p take the place of the database (databricks_postgres) and the port" },
	{ NULL, NULL },
};

static const char *const examples[] = {
	"tarn psql --project demo --branch production",
	"tarn psql --project demo --branch dev -- -c 'select now()'",
	"tarn psql projects/demo/branches/dev -- -d databricks_postgres -c '\\d'",
	NULL,
};

static const struct help help = {
	.what = "connect to an endpoint with psql",
	.details = "Picks the endpoint, gets a password for it (a token that is good for an hour) and runs "
	           "psql, with TLS and the "
	           "server's certificate checked. An endpoint that sleeps wakes up. Where there is only one "
	           "project, branch or endpoint, it "
	           "need not be named; where there are several, you are asked, or, without a terminal, told.",
	.usage = "tarn psql [TARGET] [FLAGS] [-- PSQL_ARGUMENTS]",
	.arguments = arguments,
	.options = known,
	.examples = examples,
};

const struct command psql_command = {
	.name = "psql",
	.summary = "connect to an endpoint with psql",
	.text = &help,
	.run = psql_main,
	.options = known,
};
