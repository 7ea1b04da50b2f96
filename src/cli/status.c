/* `tarn status`: the roles and computes of a data directory. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "cli/control_request.h"
#include "cli/rest.h"
#include "cli/role.h"
#include "cli/table.h"

#define ANSWER_TIMEOUT_USEC (5 * USEC_PER_SEC)

static const char *state_name(const struct role_state *state)
{
	return !state->is_running ? "not running" : state->is_ready ? "ready" : "starting";
}

static void add_service(
        yyjson_mut_doc *doc, yyjson_mut_val *services, const char *name, const struct role_state *state)
{
	yyjson_mut_val *service = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_str(doc, service, "name", name);
	yyjson_mut_obj_add_str(doc, service, "state", state_name(state));
	if (state->pid > 0)
		yyjson_mut_obj_add_int(doc, service, "pid", state->pid);
	if (state->since_usec > 0) {
		char since[CLOCK_TEXT_MAX];
		clock_format_timestamp(state->since_usec / USEC_PER_SEC * USEC_PER_SEC, since);
		yyjson_mut_obj_add_strcpy(doc, service, "since", since);
	}
	yyjson_mut_arr_append(services, service);
}

/* Without control the locks still tell which computes run. */
static status add_unwatched_computes(
        const struct data_directory *dd, yyjson_mut_doc *doc, yyjson_mut_val *computes, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "computes");
	DIR *dir = opendir(path);
	if (!dir)
		return STATUS_OK;
	status st = STATUS_OK;
	for (const struct dirent *entry; st == STATUS_OK && (entry = readdir(dir));) {
		if (entry->d_name[0] == '.')
			continue;
		CLEANUP(free_text) char *lock = xasprintf("computes/%s/supervisor.lock", entry->d_name);
		struct role_state state;
		st = role_look(dd, lock, &state, err);
		if (st != STATUS_OK || !state.is_running)
			continue;
		yyjson_mut_val *compute = yyjson_mut_obj(doc);
		yyjson_mut_obj_add_strcpy(doc, compute, "uid", entry->d_name);
		yyjson_mut_obj_add_str(doc, compute, "state", "unwatched");
		yyjson_mut_obj_add_int(doc, compute, "pid", state.pid);
		yyjson_mut_arr_append(computes, compute);
	}
	(void)closedir(dir);
	return st;
}

/* {"data_directory","services":[{"name","state","pid","since"}],"computes":[…],"branches":[…]}: stable, scripts read it. */
static status collect(const struct data_directory *dd, yyjson_mut_doc *doc, struct error *err)
{
	static const char *const names[] = { "up", "control", "proxy" };
	yyjson_mut_val *root = yyjson_mut_obj(doc), *services = yyjson_mut_arr(doc),
	               *computes = yyjson_mut_arr(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_strcpy(doc, root, "data_directory", dd->path);
	yyjson_mut_obj_add_val(doc, root, "services", services);
	yyjson_mut_obj_add_val(doc, root, "computes", computes);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		CLEANUP(free_text) char *lock = xasprintf("run/%s.lock", names[i]);
		struct role_state state;
		status st = role_look(dd, lock, &state, err);
		if (st != STATUS_OK)
			return st;
		add_service(doc, services, names[i], &state);
	}

	CLEANUP(json_free) yyjson_doc *answer = NULL;
	struct error problem;
	if (control_request(dd, "status", ANSWER_TIMEOUT_USEC, &answer, &problem) != STATUS_OK)
		return add_unwatched_computes(dd, doc, computes, err);
	yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(answer), "computes"), *one;
	size_t i, count;
	yyjson_arr_foreach(list, i, count, one)
	        yyjson_mut_arr_append(computes, yyjson_val_mut_copy(doc, one));
	yyjson_val *branches = yyjson_obj_get(yyjson_doc_get_root(answer), "branches");
	if (yyjson_is_arr(branches))
		yyjson_mut_obj_add_val(doc, root, "branches", yyjson_val_mut_copy(doc, branches));
	return STATUS_OK;
}

static void add_cells(struct table *table, yyjson_val *object, const char *const members[])
{
	for (; *members; members++) {
		yyjson_val *value = yyjson_obj_get(object, *members);
		CLEANUP(free_text) char *number = NULL;
		if (yyjson_is_int(value) && yyjson_get_sint(value) != 0)
			number = xasprintf("%lld", (long long)yyjson_get_sint(value));
		table_add_cell(table, number ? number : json_text(object, *members));
	}
}

static void print_table(yyjson_val *list, const char *const titles[], const char *const members[])
{
	CLEANUP(table_done) struct table table = { 0 };
	for (; *titles; titles++)
		table_add_column(&table, *titles);
	size_t i, count;
	yyjson_val *one;
	yyjson_arr_foreach(list, i, count, one) add_cells(&table, one, members);
	CLEANUP(buffer_done) struct buffer out = { 0 };
	table_write(&table, &out);
	(void)fputs(out.data, stdout);
}

/* One line per compute that has told of its volume. */
static void print_storage(yyjson_val *computes)
{
	CLEANUP(table_done) struct table table = { 0 };
	static const char *const titles[] = { "STORAGE OF", "RESTORE POINTS", "NEWEST LSN",
		"REPLAY AFTER A CRASH", "LAYERS", "ALARM" };
	size_t i, count, lines = 0;
	yyjson_val *compute;
	for (i = 0; i < ARRAY_LEN(titles); i++)
		table_add_column(&table, titles[i]);
	yyjson_arr_foreach(computes, i, count, compute)
	{
		yyjson_val *storage = yyjson_obj_get(compute, "storage");
		if (!yyjson_is_obj(storage))
			continue;
		CLEANUP(free_text)
		char *points =
		        xasprintf("%lld", (long long)yyjson_get_sint(yyjson_obj_get(storage, "points")));
		CLEANUP(free_text)
		char *depth = xasprintf("%lld", (long long)yyjson_get_sint(yyjson_obj_get(storage, "depth")));
		CLEANUP(free_text)
		char *replay = xasprintf("%.1f s at %.0f MB/s",
		        yyjson_get_num(yyjson_obj_get(storage, "replay_estimate_ms")) / 1000,
		        yyjson_get_num(yyjson_obj_get(storage, "replay_speed_mb_s")));
		table_add_cell(&table, json_text(compute, "uid"));
		table_add_cell(&table, points);
		table_add_cell(&table, json_text(storage, "newest_lsn"));
		table_add_cell(&table, replay);
		table_add_cell(&table, depth);
		table_add_cell(&table, json_text(storage, "alarm"));
		lines++;
	}
	CLEANUP(buffer_done) struct buffer out = { 0 };
	table_write(&table, &out);
	if (lines > 0)
		(void)printf("\n%s", out.data);
}

static void add_number(struct table *table, yyjson_val *object, const char *member)
{
	CLEANUP(free_text)
	char *text = xasprintf("%lld", (long long)yyjson_get_sint(yyjson_obj_get(object, member)));
	table_add_cell(table, text);
}

/* One line per compute whose pooler runs. */
static void print_poolers(yyjson_val *computes)
{
	CLEANUP(table_done) struct table table = { 0 };
	static const char *const titles[] = { "POOLER OF", "PID", "CLIENTS", "WAITING", "CONNECTIONS",
		"IN USE", "QUERIES" };
	static const char *const members[] = { "pid", "clients", "waiting" };
	size_t i, count, lines = 0;
	yyjson_val *compute;
	for (i = 0; i < ARRAY_LEN(titles); i++)
		table_add_column(&table, titles[i]);
	yyjson_arr_foreach(computes, i, count, compute)
	{
		yyjson_val *pooler = yyjson_obj_get(compute, "pooler");
		if (!yyjson_is_obj(pooler))
			continue;
		long long active = yyjson_get_sint(yyjson_obj_get(pooler, "servers_active")),
		          idle = yyjson_get_sint(yyjson_obj_get(pooler, "servers_idle")),
		          max = yyjson_get_sint(yyjson_obj_get(pooler, "connections"));
		CLEANUP(free_text) char *connections = xasprintf("%lld of %lld", active + idle, max);
		table_add_cell(&table, json_text(compute, "uid"));
		for (size_t k = 0; k < ARRAY_LEN(members); k++)
			add_number(&table, pooler, members[k]);
		table_add_cell(&table, connections);
		add_number(&table, pooler, "servers_active");
		add_number(&table, pooler, "queries");
		lines++;
	}
	CLEANUP(buffer_done) struct buffer out = { 0 };
	table_write(&table, &out);
	if (lines > 0)
		(void)printf("\n%s", out.data);
}

static void add_megabytes(struct table *table, yyjson_val *branch, const char *member)
{
	CLEANUP(free_text)
	char *text = xasprintf("%.1f MB", (double)yyjson_get_sint(yyjson_obj_get(branch, member)) / 1e6);
	table_add_cell(table, text);
}

/* OWN goes when the branch is deleted; HISTORY is what its past costs, WAL included. */
static void print_branches(yyjson_val *branches)
{
	CLEANUP(table_done) struct table table = { 0 };
	static const char *const titles[] = { "BRANCH", "SIZE", "OWN", "SHARED", "HISTORY", "ALARM" };
	size_t i, count;
	yyjson_val *branch;
	if (yyjson_arr_size(branches) == 0)
		return;
	for (i = 0; i < ARRAY_LEN(titles); i++)
		table_add_column(&table, titles[i]);
	yyjson_arr_foreach(branches, i, count, branch)
	{
		table_add_cell(&table, json_text(branch, "name"));
		add_megabytes(&table, branch, "logical_bytes");
		add_megabytes(&table, branch, "own_bytes");
		add_megabytes(&table, branch, "shared_bytes");
		add_megabytes(&table, branch, "history_bytes");
		table_add_cell(&table, json_text(branch, "alarm"));
	}
	CLEANUP(buffer_done) struct buffer out = { 0 };
	table_write(&table, &out);
	(void)printf("\n%s", out.data);
}

static void print_text(yyjson_val *root)
{
	static const char *const service_titles[] = { "SERVICE", "STATE", "PID", "SINCE", NULL };
	static const char *const service_members[] = { "name", "state", "pid", "since", NULL };
	static const char *const compute_titles[] = { "COMPUTE", "ENDPOINT", "HOST", "STATE", "SINCE", "PID",
		"POSTGRES PID", "CONNECTIONS", "LAST ACTIVE", NULL };
	static const char *const compute_members[] = { "uid", "name", "host", "state", "since", "pid",
		"postgres_pid", "connections", "last_active_time", NULL };
	(void)printf("data directory: %s\n\n", json_text(root, "data_directory"));
	print_table(yyjson_obj_get(root, "services"), service_titles, service_members);
	yyjson_val *computes = yyjson_obj_get(root, "computes");
	if (yyjson_arr_size(computes) > 0) {
		(void)putchar('\n');
		print_table(computes, compute_titles, compute_members);
	}
	print_storage(computes);
	print_poolers(computes);
	print_branches(yyjson_obj_get(root, "branches"));
}

static const struct option known[] = { DATA_OPTION, OUTPUT_OPTION, HELP_OPTION, { 0 } };

static int status_main(const struct cli_services *services, int argc, char **argv)
{
	(void)services;
	CLEANUP(options_done) struct options options = { 0 };
	struct error err;
	enum output_form form;
	int code = 0;
	if (!command_begin(&status_command, argc, argv, known, &options, &code))
		return code;
	if (options_count(&options, 0, 0, "tarn status [--data DIR] [-o json]", &err) != STATUS_OK ||
	        output_form_parse(&options, &form, &err) != STATUS_OK)
		return print_usage_failure(&err, "status");

	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	if (local_data_directory(&options, &dd, &err) != STATUS_OK)
		return print_failure(&err);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	status st = collect(dd, doc, &err);
	CLEANUP(json_free) yyjson_doc *whole = st == STATUS_OK ? yyjson_mut_doc_imut_copy(doc, NULL) : NULL;
	yyjson_mut_doc_free(doc);
	if (st != STATUS_OK)
		return print_failure(&err);
	if (form == OUTPUT_TEXT) {
		print_text(yyjson_doc_get_root(whole));
		return 0;
	}
	CLEANUP(free_text) char *text = yyjson_write(whole, YYJSON_WRITE_PRETTY_TWO_SPACES, NULL);
	(void)puts(text ? text : "{}");
	return 0;
}

const struct command status_command = {
	.name = "status",
	.summary = "show what runs: services and computes",
	.help = "Usage: tarn status [--data DIR] [-o json]\n"
	        "\n"
	        "Shows the services of a data directory (up, control, proxy) and its computes: asleep, "
	        "starting, running\n"
	        "or stopping; \"unwatched\" while control is down. Connections are those of clients, as the "
	        "proxy told some\n"
	        "seconds ago. Below: the restore points of each compute "
	        "and "
	        "how long\n"
	        "recovery would take if it crashed now; clients and connections of the poolers that run; the "
	        "space of each branch: its size as Postgres sees "
	        "it, what "
	        "only it\n"
	        "uses, what it shares with others, and what its past and its WAL take.\n"
	        "\n"
	        "Flags:\n"
	        "  --data DIR         data directory (default: /var/lib/tarn for root, ~/.tarn for others)\n"
	        "  -o, --output json  for scripts\n"
	        "\n"
	        "Example:\n"
	        "  tarn status -o json\n",
	.run = status_main,
	.options = known,
};
