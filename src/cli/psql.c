/* `tarn psql`: finds the endpoint, gets a password for it, becomes psql (rest-api.md section 7). */
#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/command.h"
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

struct login {
	char *host, *user, *token;
};

static void login_done(struct login *login)
{
	free_text(&login->host);
	free_text(&login->user);
	free_text(&login->token);
}

static status get_token(struct rest *rest, const char *endpoint, char **ret, struct error *err)
{
	yyjson_mut_doc *request = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(request);
	yyjson_mut_doc_set_root(request, root);
	yyjson_mut_obj_add_str(request, root, "endpoint", endpoint);
	CLEANUP(free_text) char *body = yyjson_mut_write(request, 0, NULL);
	yyjson_mut_doc_free(request);
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	status st = rest_call(rest, "POST", API_PREFIX "credentials", body ? body : "{}", &doc, err);
	if (st != STATUS_OK)
		return st;
	const char *token = json_text(yyjson_doc_get_root(doc), "token");
	if (*token == '\0')
		return error_set(err, STATUS_INTERNAL, 0, "the server answered without a token");
	*ret = xstrdup(token);
	return STATUS_OK;
}

static status get_login(
        struct rest *rest, const struct psql_target *target, struct login *ret, struct error *err)
{
	CLEANUP(login_done) struct login login = { 0 };
	CLEANUP(json_free) yyjson_doc *endpoint = NULL;
	CLEANUP(json_free) yyjson_doc *me = NULL;
	CLEANUP(free_text) char *name = NULL;
	status st = psql_target_resolve(target, rest, &endpoint, err);
	if (st != STATUS_OK)
		return st;
	yyjson_val *root = yyjson_doc_get_root(endpoint);
	name = xstrdup(json_text(root, "name"));
	login.host = xstrdup(json_text(root, "status.hosts.host"));
	if (*login.host == '\0')
		return error_set(err, STATUS_UNAVAILABLE, 0, "endpoint \"%s\" has no host yet", name);
	if (yyjson_is_true(json_at(root, "status.disabled"))) {
		st = error_set(err, STATUS_CONFLICT, 0, "endpoint \"%s\" is disabled", name);
		error_hint(err,
		        "Enable it: tarn postgres update-endpoint %s spec.disabled --json "
		        "'{\"spec\":{\"disabled\":false}}'",
		        name);
		return st;
	}
	const char *state = json_text(root, "status.current_state");
	if (strcmp(state, "ACTIVE") != 0 && strcmp(state, "IDLE") != 0)
		return error_set(err, STATUS_UNAVAILABLE, 0,
		        "endpoint \"%s\" is not ready for accepting connections: its state is %s", name,
		        state);

	st = rest_call(rest, "GET", "/api/2.0/preview/scim/v2/Me", NULL, &me, err);
	if (st == STATUS_OK)
		st = get_token(rest, name, &login.token, err);
	if (st != STATUS_OK)
		return st;
	login.user = xstrdup(json_text(yyjson_doc_get_root(me), "userName"));
	*ret = login;
	login = (struct login){ 0 };
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

static status become_psql(const char *psql, const struct options *options,
        const struct connection *connection, const struct login *login, struct error *err)
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

static const struct option known[] = { { .name = "project" }, { .name = "branch" }, { .name = "endpoint" },
	{ .name = "autoscaling", .is_switch = true }, { .name = "max-retries" }, CONNECTION_OPTIONS,
	HELP_OPTION, { 0 } };

static int psql_main(const struct cli_services *services, int argc, char **argv)
{
	(void)services;
	CLEANUP(options_done) struct options options = { 0 };
	CLEANUP(psql_target_done) struct psql_target target = { 0 };
	struct error err;
	int code = 0;
	if (!command_begin(&psql_command, argc, argv, known, &options, &code))
		return code;
	if (options_count(&options, 0, 1, "tarn psql [TARGET] [FLAGS] [-- PSQL_ARGUMENTS]", &err) !=
	                STATUS_OK ||
	        psql_target_parse(&options, &target, &err) != STATUS_OK)
		return print_usage_failure(&err, "psql");

	CLEANUP(connection_done) struct connection connection = { 0 };
	CLEANUP(rest_freep) struct rest *rest = NULL;
	CLEANUP(login_done) struct login login = { 0 };
	CLEANUP(free_text) char *psql = NULL;
	if (find_psql(&psql, &err) != STATUS_OK ||
	        connection_find(&options, &connection, &err) != STATUS_OK ||
	        rest_open(&connection, option_is_on(&options, "debug"), &rest, &err) != STATUS_OK ||
	        get_login(rest, &target, &login, &err) != STATUS_OK ||
	        become_psql(psql, &options, &connection, &login, &err) != STATUS_OK)
		return print_failure(&err);
	return 0;
}

const struct command psql_command = {
	.name = "psql",
	.summary = "connect to an endpoint with psql",
	.help = "Usage: tarn psql [TARGET] [FLAGS] [-- PSQL_ARGUMENTS]\n"
	        "\n"
	        "Picks the endpoint, gets a password for it (a token that is good for an hour) and runs "
	        "psql, with TLS and\n"
	        "the server's certificate checked. A suspended endpoint wakes up. Where there is only one "
	        "project, branch or\n"
	        "endpoint, it need not be named; where there are several, you are asked, or, without a "
	        "terminal, told.\n"
	        "\n"
	        "TARGET is projects/PROJECT, projects/PROJECT/branches/BRANCH, or a whole endpoint name.\n"
	        "\n"
	        "Flags:\n"
	        "  --project P        id of the project\n"
	        "  --branch B         id of the branch\n"
	        "  --endpoint E       id of the endpoint\n"
	        "  --data DIR         data directory whose API to use\n"
	        "  -p, --profile NAME profile of ~/.databrickscfg to use\n"
	        "  --debug            print every HTTP request\n"
	        "Whatever stands behind -- reaches psql; -d and -p there replace the database and the port.\n"
	        "\n"
	        "Examples:\n"
	        "  tarn psql --project demo\n"
	        "  tarn psql --project demo --branch dev -- -c 'select count(*) from orders'\n"
	        "  tarn psql projects/demo/branches/dev -- -d app\n",
	.run = psql_main,
	.options = known,
};
