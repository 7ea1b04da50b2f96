/* `tarn up`: flags, first run, and the frame around the watcher of the roles (watcher.h). */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "base/role_lock.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "cli/role.h"
#include "cli/stop.h"
#include "cli/up_settings.h"
#include "cli/watcher.h"

/* Every session of the proxy and every file of a Postgres takes one; what the host allows is not ours to spare. */
#define DESCRIPTORS_WANTED (1u << 20)

static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max < DESCRIPTORS_WANTED ? limit.rlim_max : DESCRIPTORS_WANTED;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static status refuse_second(const struct data_directory *dd, struct error *err)
{
	struct role_state state;
	status st = role_look(dd, "run/up.lock", &state, err);
	if (st != STATUS_OK || !state.is_running)
		return st;
	char since[CLOCK_TEXT_MAX] = "a moment ago";
	if (state.since_usec > 0)
		clock_format_timestamp(state.since_usec / USEC_PER_SEC * USEC_PER_SEC, since);
	st = error_set(err, STATUS_CONFLICT, 0, "Tarn runs already on \"%s\": process %d holds it since %s",
	        dd->path, (int)state.pid, since);
	error_hint(err, "Stop it with: tarn down --data %s", dd->path);
	return st;
}

/* Before any setting is changed: the `tarn up` that runs would hand the new ones to a role it happens to restart. */
static status refuse_second_by_path(const char *path, struct error *err)
{
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	if (data_directory_open(path, &dd, err) != STATUS_OK)
		return STATUS_OK; /* not there yet, or broken: initialising will tell */
	return refuse_second(dd, err);
}

static status take_up_lock(const struct data_directory *dd, struct role_lock **ret, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "run/up.lock");
	CLEANUP(free_text)
	char *text = xasprintf("{\"pid\":%d,\"ready\":false,\"arguments\":\"\"}", (int)getpid());
	status st = role_lock_take(path, text, ret, err);
	if (st == STATUS_CONFLICT && refuse_second(dd, err) == STATUS_OK)
		st = error_set(
		        err, STATUS_CONFLICT, 0, "another tarn up has just started on \"%s\"", dd->path);
	return st;
}

static void warn_of_exposure(const struct settings *settings)
{
	const char *address = settings->api_address;
	if (strncmp(address, "127.", 4) != 0 && strcmp(address, "::1") != 0)
		log_warning("the API at %s:%d has no TLS: tokens cross the network in clear text unless a "
		            "TLS proxy stands "
		            "in front of it",
		        address, settings->api_port);
}

static int serve(const struct data_directory *dd, struct role_lock *lock)
{
	struct error err;
	bool shall_stop = false;
	(void)printf("data directory: %s\n", dd->path);
	(void)fflush(stdout);
	warn_of_exposure(&dd->settings);
	status st = watcher_run(dd, lock, &shall_stop, &err);
	if (st != STATUS_OK)
		return print_failure(&err);
	size_t count = 0;
	if (shall_stop && stop_all(dd, &count, &err) != STATUS_OK)
		return print_failure(&err);
	return 0;
}

static const struct option known[] = { DATA_OPTION, UP_SETTINGS_OPTIONS, HELP_OPTION, { 0 } };

static int up_main(const struct cli_services *services, int argc, char **argv)
{
	(void)services;
	CLEANUP(options_done) struct options options = { 0 };
	struct error err;
	int code = 0;
	if (!command_begin(&up_command, argc, argv, known, &options, &code))
		return code;
	CLEANUP(up_settings_done) struct settings changes = { 0 };
	if (options_count(&options, 0, 0, "tarn up [FLAGS]", &err) != STATUS_OK ||
	        up_settings_parse(&options, &changes, &err) != STATUS_OK)
		return print_usage_failure(&err, "up");

	log_set_role("up");
	raise_descriptor_limit();
	const char *given = option_value(&options, "data");
	CLEANUP(free_text) char *path = given ? xstrdup(given) : data_directory_default();
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	struct role_lock *lock = NULL;
	if (refuse_second_by_path(path, &err) != STATUS_OK ||
	        data_directory_initialise(path, &changes, &err) != STATUS_OK ||
	        data_directory_open(path, &dd, &err) != STATUS_OK ||
	        take_up_lock(dd, &lock, &err) != STATUS_OK)
		return print_failure(&err);
	code = serve(dd, lock);
	role_lock_free(lock);
	return code;
}

const struct command up_command = {
	.name = "up",
	.summary = "start Tarn here and keep it running",
	.help = "Usage: tarn up [FLAGS]\n"
	        "\n"
	        "Makes the data directory on the first run, starts the control plane (REST API) and the "
	        "proxy (Postgres\n"
	        "over TLS), prints a line when each is ready, and starts them again if they die. Runs until "
	        "SIGTERM,\n"
	        "Ctrl-C or tarn down, which stop everything cleanly. If tarn up itself is killed, the "
	        "databases go on, and\n"
	        "the next tarn up takes them over. Settings given by flags are kept for the following runs.\n"
	        "\n"
	        "Flags:\n"
	        "  --data DIR             data directory (default: /var/lib/tarn for root, ~/.tarn for "
	        "others)\n"
	        "  --api ADDR:PORT        where the REST API listens (default: 127.0.0.1:8080)\n"
	        "  --pg-port N            port of Postgres (default: 5432)\n"
	        "  --domain NAME          endpoints are hosts below this name instead of loopback addresses; "
	        "'' ends it\n"
	        "  --pg-address ADDR,…    with a domain: the addresses where Postgres listens (default: "
	        "all)\n"
	        "  --tls-certificate FILE, --tls-key FILE\n"
	        "                         with a domain: a certificate of your own for *.NAME, and its key "
	        "(PEM); "
	        "both\n"
	        "                         are read again when they change\n"
	        "  --tls-root FILE        what clients verify it with, for tarn env (default: what their "
	        "system "
	        "trusts)\n"
	        "  --postgres-user NAME   system user Postgres runs as, when root starts Tarn (default: tarn "
	        "or postgres)\n"
	        "  --set NAME=VALUE       a limit, may be given several times:\n"
	        "                           projects                 (1000)\n"
	        "                           branches_per_project     (500)\n"
	        "                           unarchived_branches_per_project  beyond it, idle ones are "
	        "archived "
	        "(10)\n"
	        "                           archive_age_sec, archive_idle_sec  when a branch is archived "
	        "(1209600)\n"
	        "                           root_branches_per_project  those without a parent (3)\n"
	        "                           protected_branches_per_project  (1)\n"
	        "                           snapshots_per_project    made by hand (10)\n"
	        "                           active_computes_per_project  besides that of the default branch "
	        "(20)\n"
	        "                           roles_per_branch, databases_per_branch  (500, 500)\n"
	        "                           branch_ttl_max_sec       latest expiry of a branch (2592000)\n"
	        "                           history_retention_min_sec, history_retention_max_sec  restore "
	        "window "
	        "(172800, 3024000)\n"
	        "                           suspend_timeout_min_sec, suspend_timeout_max_sec  inactivity "
	        "timeout (60, 604800)\n"
	        "                           cu_max, autoscale_cu_max, autoscale_cu_spread  compute sizes "
	        "(112, "
	        "64, 16)\n"
	        "                           deleted_retention_sec    how long deleted things can be "
	        "undeleted (604800)\n"
	        "                           housekeeping_interval_sec  how often old history is thinned and "
	        "space "
	        "measured (300)\n"
	        "                           polling_requests_per_sec  of a volume or the proxy, from which "
	        "on idle "
	        "processors poll (2000; "
	        "1000000000: never)\n"
	        "                           requests_per_sec  of one identity to the REST API (500)\n"
	        "                           failures_per_min  bad tokens and logins of one address, bad "
	        "logins to a role (60)\n"
	        "                           idle_session_sec  a session of Postgres over which nothing goes "
	        "is "
	        "ended (86400)\n"
	        "                           silent_client_sec  a client on another machine that does not "
	        "answer is "
	        "gone (60)\n"
	        "                           pooler_clients, pooler_wait_sec  of one endpoint's pooler: "
	        "clients, "
	        "time in its "
	        "queue (10000, 120)\n"
	        "                           audit_retention_days, audit_file_mb, audit_total_mb  how long "
	        "and how "
	        "much of the audit trail is kept (365, 64, 4096)\n"
	        "                           metrics_access  who may read /metrics: loopback (also without a "
	        "token "
	        "from this machine) or token (loopback)\n"
	        "\n"
	        "Examples:\n"
	        "  tarn up\n"
	        "  tarn up --data /srv/tarn --api 127.0.0.1:9090 --pg-port 6432\n",
	.run = up_main,
	.options = known,
};
