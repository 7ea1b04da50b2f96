/* `tarn down`: stops what runs on a data directory, with or without a `tarn up` that watches it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "cli/role.h"
#include "cli/stop.h"

/* Longer than what `up` itself allows its roles and computes. */
#define UP_TIMEOUT_USEC (240 * USEC_PER_SEC)

static status stop_up(const struct data_directory *dd, bool *ret_was_running, struct error *err)
{
	struct role_state state;
	status st = role_look(dd, "run/up.lock", &state, err);
	*ret_was_running = st == STATUS_OK && state.pid != 0;
	if (!*ret_was_running)
		return st;
	if (kill(state.pid, SIGTERM) < 0 && errno != ESRCH)
		return error_set(
		        err, STATUS_DENIED, errno, "could not stop tarn up (process %d)", (int)state.pid);
	if (process_wait(state.pid, UP_TIMEOUT_USEC))
		return STATUS_OK;
	st = error_set(err, STATUS_UNAVAILABLE, 0, "tarn up (process %d) does not end", (int)state.pid);
	error_hint(err, "See what it waits for with: tarn status --data %s", dd->path);
	return st;
}

static const struct option known[] = { DATA_OPTION, HELP_OPTION, { 0 } };

static int down_main(const struct cli_services *services, int argc, char **argv)
{
	(void)services;
	CLEANUP(options_done) struct options options = { 0 };
	struct error err;
	int code = 0;
	if (!command_begin(&down_command, argc, argv, known, &options, &code))
		return code;
	if (options_count(&options, 0, 0, "tarn down [--data DIR]", &err) != STATUS_OK)
		return print_usage_failure(&err, "down");

	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	bool was_running = false;
	size_t count = 0;
	if (local_data_directory(&options, &dd, &err) != STATUS_OK ||
	        stop_up(dd, &was_running, &err) != STATUS_OK || stop_all(dd, &count, &err) != STATUS_OK)
		return print_failure(&err);
	if (was_running || count > 0)
		(void)printf("Tarn on %s is stopped. Start it again with: tarn up --data %s\n", dd->path,
		        dd->path);
	else
		(void)printf("Nothing runs on %s.\n", dd->path);
	return 0;
}

const struct command down_command = {
	.name = "down",
	.summary = "stop everything cleanly",
	.help = "Usage: tarn down [--data DIR]\n"
	        "\n"
	        "Stops the proxy, suspends every compute by a clean shutdown of its Postgres, and ends "
	        "control. Works\n"
	        "also when tarn up or control has died. Nothing is lost; tarn up goes on where this ended.\n"
	        "\n"
	        "Flags:\n"
	        "  --data DIR    data directory (default: /var/lib/tarn for root, ~/.tarn for others)\n"
	        "\n"
	        "Example:\n"
	        "  tarn down\n",
	.run = down_main,
	.options = known,
};
