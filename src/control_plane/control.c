#include "control_plane/control.h"
#include "control_plane/branch_inventory.h"

#include <dirent.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>
#include <yyjson.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/number.h"
#include "base/role_lock.h"
#include "compute/configuration.h"
#include "compute/installation.h"
#include "control_plane/api.h"
#include "control_plane/audit_trail.h"
#include "control_plane/branch_archive.h"
#include "control_plane/compute_activity.h"
#include "control_plane/compute_spec.h"
#include "control_plane/control_socket.h"
#include "control_plane/endpoint_address.h"
#include "control_plane/endpoint_traffic.h"
#include "control_plane/health.h"
#include "control_plane/housekeeper.h"
#include "control_plane/identity.h"
#include "control_plane/ip_access.h"
#include "control_plane/issuer_keys.h"
#include "control_plane/metrics.h"
#include "control_plane/metrics_access.h"
#include "control_plane/operation_wait.h"
#include "control_plane/orphan.h"
#include "control_plane/reaper.h"
#include "control_plane/reconciler.h"
#include "control_plane/request_limit.h"
#include "control_plane/resource_json.h"
#include "control_plane/role_login.h"
#include "http/server.h"
#include "page_store/volume.h"

#define EXIT_FAILED 1
#define EXIT_USAGE  2
#define WORKERS     "8" /* steps of operations that may block at the same time */
#define EXIT_PATIENCE_MS                                                                                     \
	2000 /* a clone in a worker thread cannot be interrupted: the next start makes it anew */
#define DESCRIPTORS_WANTED  65536
#define STATUS_BRANCHES_MAX 1000 /* an answer is one line */

struct control {
	uv_loop_t loop;
	uv_signal_t terminate, interrupt;
	uv_timer_t patience;
	struct data_directory *dd;
	struct metadata *md;
	struct token_key *token_key;
	struct sealer *sealer;
	struct installation installations[INSTALLATIONS_MAX];
	struct services services;
	struct compute_activity *activity;
	struct http_server *http;
	struct control_socket *socket;
	bool is_exiting;
};

static status write_spec(void *owner, const char *uid, struct error *err)
{
	struct control *control = owner;
	return compute_spec_write(&control->services, uid, err);
}

static void note_change(void *owner, const struct fleet_member *member)
{
	struct control *control = owner;
	if (control->activity)
		compute_activity_note(control->activity, member);
	if (control->is_exiting)
		return;
	housekeeper_note(control->services.housekeeper, member);
	if (member->state == FLEET_ASLEEP) { /* it has cut, and nothing changes any more */
		housekeeper_look(control->services.housekeeper);
		reaper_look(control->services.reaper); /* it may be archived, to make room */
	}
}

static void note_start(void *owner, const struct fleet_member *member, bool has_failed)
{
	struct control *control = owner;
	if (has_failed)
		metrics_note_failed_wake(control->services.metrics);
	else
		metrics_note_wake(control->services.metrics, member->timing.start_ms);
}

static status find_by_uid_or_address(struct control *control, const char *uid, const char *address,
        struct endpoint_row *ret, struct error *err)
{
	return uid ? endpoint_row_find_uid(control->md, uid, ret, err)
	           : endpoint_row_find_address(control->md, address, ret, err);
}

static status find_route(
        void *owner, const char *uid, const char *address, struct control_route *ret, struct error *err)
{
	struct control *control = owner;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	char own_address[ADDRESS_MAX + 1];
	bool is_pooled = !uid && endpoint_address_from_pooler(address, own_address);
	status st = find_by_uid_or_address(control, uid, is_pooled ? own_address : address, &endpoint, err);
	if (st == STATUS_OK)
		st = branch_row_get(control->md, endpoint.branch, &branch, err);
	if (st == STATUS_OK)
		st = project_row_get(control->md, branch.project, &project, err);
	if (st == STATUS_NOT_FOUND)
		return error_set(err, st, 0, "there is no endpoint \"%s\"", uid ? uid : address);
	if (st != STATUS_OK)
		return st;
	if (branch.delete_usec != 0 || branch.is_purged || project.delete_usec != 0 || project.is_purged)
		return error_set(err, STATUS_NOT_FOUND, 0, "endpoint \"%s\" has been deleted", endpoint.uid);
	if (!branch.is_ready)
		return error_set(
		        err, STATUS_NOT_FOUND, 0, "endpoint \"%s\" is still being created", endpoint.uid);

	CLEANUP(free_text) char *name = endpoint_name(&project, &branch, &endpoint);
	CLEANUP(free_text) char *host = endpoint_host(control->dd, &endpoint);
	struct control_route route = { .is_disabled = endpoint.is_disabled,
		.is_read_only = endpoint.is_read_only,
		.is_pooled = is_pooled,
		.connections_max = configuration_client_connections(endpoint.max_cu),
		.pooled_connections_max = control->dd->settings.pooler_clients,
		.project_connections_max = control->dd->settings.connections_per_project };
	(void)snprintf(route.uid, sizeof route.uid, "%s", endpoint.uid);
	(void)snprintf(route.name, sizeof route.name, "%s", name);
	(void)snprintf(route.host, sizeof route.host, "%s", host);
	(void)snprintf(route.address, sizeof route.address, "%s", endpoint.address);
	(void)snprintf(route.project, sizeof route.project, "%s", project.uid);
	*ret = route;
	return STATUS_OK;
}

static void find_login(void *owner, const char *uid, const char *role, control_login_fn done, void *arg)
{
	struct control *control = owner;
	role_login_ask(&control->services, uid, role, done, arg);
}

static bool admits(void *owner, const char *address, char *ret_why, size_t size)
{
	struct control *control = owner;
	if (ip_access_allows(control->services.access, address))
		return true;
	ip_access_describe(&control->services, address, ret_why, size);
	return false;
}

static void announce_access(void *owner)
{
	struct control *control = owner;
	if (control->socket && !control->is_exiting)
		control_socket_announce_access(control->socket);
}

static bool take_report(void *owner, uint64_t connection, yyjson_val *report)
{
	struct control *control = owner;
	return endpoint_traffic_take(control->services.traffic, connection, report);
}

static void end_report(void *owner, uint64_t connection)
{
	struct control *control = owner;
	endpoint_traffic_end(control->services.traffic, connection);
}

static void add_connections(void *owner, const char *uid, yyjson_mut_doc *doc, yyjson_mut_val *compute)
{
	struct control *control = owner;
	(void)yyjson_mut_obj_add_uint(
	        doc, compute, "connections", endpoint_traffic_connections(control->services.traffic, uid));
}

static void add_branch(const struct control *control, yyjson_mut_doc *doc, yyjson_mut_val *list,
        const struct project_row *project, const struct branch_row *branch)
{
	yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);
	CLEANUP(free_text) char *name = branch_name(project, branch);
	yyjson_mut_obj_add_strcpy(doc, item, "name", name);
	yyjson_mut_obj_add_strcpy(doc, item, "volume", branch->volume_id);
	yyjson_mut_obj_add_sint(doc, item, "logical_bytes", branch->logical_size);
	yyjson_mut_obj_add_sint(doc, item, "own_bytes", branch->own_bytes);
	yyjson_mut_obj_add_sint(doc, item, "shared_bytes", branch->shared_bytes);
	yyjson_mut_obj_add_sint(doc, item, "history_bytes", branch->history_bytes);
	struct archive_failures failures;
	struct error ignored;
	char next[CLOCK_TEXT_MAX];
	if (branch_archive_failures(control->md, branch, &failures, &ignored) != STATUS_OK ||
	        failures.count == 0)
		return;
	clock_format_timestamp(failures.next_usec, next);
	CLEANUP(free_text)
	char *alarm = xasprintf("cannot be archived (%lld times, next try after %s): %s",
	        (long long)failures.count, next, failures.reason);
	yyjson_mut_obj_add_strcpy(doc, item, "alarm", alarm);
}

/* Space of every branch, as last measured. What cannot be read is left out: the rest of the status still helps. */
static void add_status(void *owner, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	struct control *control = owner;
	struct error err;
	CLEANUP(statement_done) struct statement st = { 0 };
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "branches");
	status code = branch_row_list_everywhere(control->md, &st, &err);
	while (code == STATUS_OK && yyjson_mut_arr_size(list) < STATUS_BRANCHES_MAX) {
		struct branch_row branch;
		CLEANUP(project_row_done) struct project_row project = { 0 };
		code = branch_row_next(&st, &branch, &err);
		if (code != STATUS_OK || branch.is_purged)
			continue;
		code = project_row_get(control->md, branch.project, &project, &err);
		if (code == STATUS_OK && !project.is_purged)
			add_branch(control, doc, list, &project, &branch);
	}
	if (code != STATUS_OK && code != STATUS_NOT_FOUND)
		log_warning("could not tell the space of all branches: %s", err.message);
}

static void on_closed(uv_handle_t *handle)
{
	(void)handle;
}

/* Steps in worker threads hold the loop open; what they leave half-made is made anew by the next start. */
static void on_patience_over(uv_timer_t *timer)
{
	(void)timer;
	_exit(0);
}

/* Ends this role only: computes run on, and open operations wait for the next start. */
static void begin_exit(struct control *control)
{
	if (control->is_exiting)
		return;
	control->is_exiting = true;
	log_info("stopping");
	http_server_close(control->http);
	control->services.http = NULL;
	reaper_close(control->services.reaper);
	housekeeper_close(control->services.housekeeper);
	branch_inventory_close(control->services.inventory);
	operation_waits_close(control->services.waits);
	control->services.waits = NULL;
	issuer_keys_close(control->services.issuer_keys);
	control->services.issuer_keys = NULL;
	reconciler_stop(control->services.reconciler);
	control_socket_close(control->socket);
	compute_activity_close(control->activity);
	control->activity = NULL;
	audit_trail_close(control->services.audit);
	control->services.audit = NULL;
	fleet_abandon(control->services.fleet);
	uv_close((uv_handle_t *)&control->terminate, on_closed);
	uv_close((uv_handle_t *)&control->interrupt, on_closed);
	(void)uv_timer_start(&control->patience, on_patience_over, EXIT_PATIENCE_MS, 0);
	uv_unref((uv_handle_t *)&control->patience);
}

static void on_signal(uv_signal_t *handle, int number)
{
	(void)number;
	begin_exit(handle->data);
}

static void on_shut_down(void *owner)
{
	begin_exit(owner);
}

static void note_volume(void *owner, const char *id)
{
	struct control *control = owner;
	struct branch_row branch;
	struct error err;
	bool is_planned = false;
	if (branch_row_find_volume(control->md, id, &branch, &err) == STATUS_NOT_FOUND &&
	        operation_row_plans_volume(control->md, id, &is_planned, &err) == STATUS_OK && !is_planned)
		log_warning("volume \"%s\" belongs to no branch in metadata.db; it is kept, remove it by "
		            "hand if it is not wanted",
		        id);
}

/* What cannot be cleaned up takes space, and no database down. */
static void sweep(struct control *control)
{
	struct error err;
	if (volume_sweep(control->dd, note_volume, control, &err) != STATUS_OK)
		log_warning("could not remove all that was left half-made: %s", err.message);
	orphan_sweep_computes(control->dd, control->md);
}

/*
 * Without metadata no database can be reached, and new ones would be made beside them. Refuse rather than begin anew.
 */
static status check_metadata_is_there(
        const struct data_directory *dd, const char *metadata_path, struct error *err)
{
	struct stat file;
	if (stat(metadata_path, &file) == 0 && file.st_size > 0)
		return STATUS_OK;
	CLEANUP(free_text) char *volumes = data_directory_path(dd, "volumes");
	DIR *dir = opendir(volumes);
	bool is_empty = true;
	for (struct dirent *entry; dir && (entry = readdir(dir));)
		is_empty = is_empty && entry->d_name[0] == '.';
	if (dir)
		(void)closedir(dir);
	if (is_empty)
		return STATUS_OK;
	status st = error_set(err, STATUS_CORRUPT, 0,
	        "\"%s\" is missing or empty although \"%s\" holds databases", metadata_path, volumes);
	error_hint(err, "Put metadata.db back, or move the volumes away to begin anew.");
	return st;
}

/*
 * Volumes from before the page store are files that this Tarn cannot run. Nothing is changed then, above all not metadata.db: the Tarn that
 * made them can still be started.
 */
static status check_volumes(const struct data_directory *dd, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "volumes");
	DIR *dir = opendir(path);
	status st = STATUS_OK;
	for (struct dirent *entry; dir && st == STATUS_OK && (entry = readdir(dir));) {
		char store[STORE_ID_MAX + 1];
		struct error problem;
		if (strchr(entry->d_name, '.')) /* half-made ones too: the sweep's */
			continue;
		if (volume_find_store(dd, entry->d_name, store, &problem) != STATUS_UNSUPPORTED)
			continue; /* what is wrong with a single one is told when it is opened */
		st = error_set(
		        err, STATUS_UNSUPPORTED, 0, "data directory \"%s\": %s", dd->path, problem.message);
		error_hint(err, "Nothing has been changed. Dump its databases with the Tarn that made it, "
		                "and load them into a "
		                "new data directory.");
	}
	if (dir)
		(void)closedir(dir);
	return st;
}

static status open_metadata(struct control *control, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(control->dd, "metadata.db");
	status st = check_metadata_is_there(control->dd, path, err);
	if (st == STATUS_OK)
		st = metadata_open(path, &control->md, err);
	if (st == STATUS_OK)
		st = identity_take_over_admin(control->md, control->dd, clock_wall_usec(), err);
	return st;
}

/* Every endpoint, also of deleted branches: a compute of theirs may still run and must be stopped. */
static status register_endpoints(struct control *control, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = endpoint_row_list_everywhere(control->md, &st, err);
	while (code == STATUS_OK) {
		CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
		struct branch_row branch;
		code = endpoint_row_next(&st, &endpoint, err);
		if (code != STATUS_OK)
			break;
		code = branch_row_get(control->md, endpoint.branch, &branch, err);
		bool should_run = endpoint.was_running && !endpoint.is_disabled && branch.is_ready &&
		                  branch.delete_usec == 0 && !branch.is_purged;
		if (code == STATUS_OK)
			code = fleet_register(control->services.fleet, endpoint.uid, should_run, err);
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

static status find_binary(char path[FILE_PATH_MAX], struct error *err)
{
	ssize_t len = readlink("/proc/self/exe", path, FILE_PATH_MAX - 1);
	if (len < 0)
		return error_set(err, STATUS_IO, 0, "could not find the path of this binary");
	path[len] = '\0';
	/* Replaced by an upgrade while we run: computes must be of our version. */
	if (access(path, X_OK) < 0)
		(void)snprintf(path, FILE_PATH_MAX, "/proc/self/exe");
	return STATUS_OK;
}

static status start_services(struct control *control, struct error *err)
{
	static const struct fleet_events events = {
		.write_spec = write_spec, .on_change = note_change, .on_start = note_start
	};
	static const struct control_answers answers = { .admits = admits,
		.route = find_route,
		.login = find_login,
		.on_shut_down = on_shut_down,
		.report = take_report,
		.report_ended = end_report,
		.add_compute = add_connections,
		.add_status = add_status };
	struct services *services = &control->services;
	char binary[FILE_PATH_MAX];
	status st = find_binary(binary, err);
	if (st == STATUS_OK)
		st = fleet_create(
		        &control->loop, control->dd, binary, &events, control, &services->fleet, err);
	if (st != STATUS_OK)
		return st;
	(void)reconciler_create(services);
	(void)reaper_create(services);
	(void)housekeeper_create(services);
	(void)branch_inventory_create(services);
	(void)operation_waits_create(services);
	(void)issuer_keys_create(services, clock_monotonic_usec);
	control->activity = compute_activity_create(services);
	st = register_endpoints(control, err);
	if (st == STATUS_OK)
		st = reaper_resume_purges(services, err);
	if (st == STATUS_OK)
		st = control_socket_open(&control->loop, control->dd, services->fleet, &answers, control,
		        &control->socket, err);
	if (st == STATUS_OK)
		st = http_server_open(&control->loop, control->dd->settings.api_address,
		        control->dd->settings.api_port, api_handle, services, &control->http, err);
	if (st == STATUS_CONFLICT)
		error_hint(err, "Stop what listens there, or choose another address with: tarn up --api "
		                "ADDRESS:PORT");
	if (st != STATUS_OK)
		return st;
	http_server_limit_bodies(control->http, api_body_limit);
	services->http = control->http;
	reconciler_kick(services->reconciler);
	reaper_look(services->reaper);
	housekeeper_look(services->housekeeper);
	return STATUS_OK;
}

static void tell_ready(void)
{
	const char *text = getenv("TARN_READY_FD");
	int64_t fd;
	if (!text || !number_parse(slice_from_text(text), 3, 1000, &fd))
		return;
	(void)!write((int)fd, "ready\n", 6);
	(void)close((int)fd);
}

/* {"pid":1,"ready":true,"arguments":"--data …"} */
static char *lock_text(const char *data, bool is_ready)
{
	CLEANUP(free_text) char *arguments = xasprintf("--data %s", data);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_int(doc, root, "pid", getpid());
	yyjson_mut_obj_add_bool(doc, root, "ready", is_ready);
	yyjson_mut_obj_add_str(doc, root, "arguments", arguments);
	char *text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, NULL);
	yyjson_mut_doc_free(doc);
	return text ? text : xstrdup("{}");
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= DESCRIPTORS_WANTED)
		return;
	limit.rlim_cur = limit.rlim_max < DESCRIPTORS_WANTED ? limit.rlim_max : DESCRIPTORS_WANTED;
	(void)setrlimit(RLIMIT_NOFILE, &limit); /* less is slower to run out of than nothing at all */
}

static status open_all(struct control *control, struct error *err)
{
	CLEANUP(free_text) char *key_path = data_directory_path(control->dd, "token.key");
	CLEANUP(free_text) char *sealer_path = data_directory_path(control->dd, "secret.key");
	status st = check_volumes(control->dd, err);
	if (st == STATUS_OK)
		st = token_key_load(key_path, &control->token_key, err);
	if (st == STATUS_OK)
		st = sealer_open(sealer_path, &control->sealer, err);
	if (st == STATUS_OK)
		st = open_metadata(control, err);
	if (st != STATUS_OK)
		return st;
	sweep(control);
	control->services = (struct services){
		.loop = &control->loop,
		.dd = control->dd,
		.md = control->md,
		.token_key = control->token_key,
		.sealer = control->sealer,
		.installations = control->installations,
		.installation_count = installation_scan(control->installations),
	};
	struct services *services = &control->services;
	services->metrics = metrics_create();
	services->traffic = endpoint_traffic_create((size_t)control->dd->settings.metrics_endpoints);
	services->limits = request_limits_create(&control->dd->settings);
	services->health = health_create();
	st = ip_access_open(control->md, announce_access, control, &services->access, err);
	if (st != STATUS_OK)
		return st;
	st = audit_trail_open(&control->loop, control->dd, &services->audit, err);
	if (st == STATUS_OK)
		st = metrics_access_prepare(control->dd, err);
	return st == STATUS_OK ? start_services(control, err) : st;
}

static void run_until_exit(struct control *control, struct role_lock *lock)
{
	struct error err;
	CLEANUP(free_text) char *text = lock_text(control->dd->path, true);
	if (role_lock_set_text(lock, text, &err) != STATUS_OK)
		log_warning("%s", err.message);
	log_info("REST API on http://%s:%d", control->dd->settings.api_address,
	        http_server_port(control->http));
	tell_ready();
	(void)uv_run(&control->loop, UV_RUN_DEFAULT);
}

static void close_all(struct control *control)
{
	/* All that used them is gone with the loop's last handle, or was never made. */
	if (control->services.reconciler) {
		reconciler_free(control->services.reconciler);
		uv_close((uv_handle_t *)&control->patience, on_closed);
		(void)uv_run(&control->loop, UV_RUN_DEFAULT);
		(void)uv_loop_close(&control->loop);
	}
	metrics_free(control->services.metrics);
	endpoint_traffic_free(control->services.traffic);
	ip_access_free(control->services.access);
	request_limits_free(control->services.limits);
	health_free(control->services.health);
	metadata_close(control->md);
	token_key_free(control->token_key);
	sealer_free(control->sealer);
}

static status run(const char *data, struct error *err)
{
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	status st = data_directory_open(data, &dd, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *lock_path = data_directory_path(dd, "run/control.lock");
	CLEANUP(free_text) char *text = lock_text(dd->path, false);
	struct role_lock *lock = NULL;
	st = role_lock_take(lock_path, text, &lock, err);
	if (st == STATUS_CONFLICT)
		return error_set(
		        err, st, 0, "another control process runs for data directory \"%s\"", dd->path);
	if (st != STATUS_OK)
		return st;

	struct control *control = xcalloc(1, sizeof *control);
	control->dd = dd;
	(void)uv_loop_init(&control->loop);
	(void)uv_timer_init(&control->loop, &control->patience);
	(void)uv_signal_init(&control->loop, &control->terminate);
	(void)uv_signal_init(&control->loop, &control->interrupt);
	control->terminate.data = control->interrupt.data = control;
	(void)uv_signal_start(&control->terminate, on_signal, SIGTERM);
	(void)uv_signal_start(&control->interrupt, on_signal, SIGINT);
	st = open_all(control, err);
	if (st == STATUS_OK) {
		run_until_exit(control, lock);
		close_all(control);
	}
	/* After a failed start some of it is half-made: the process ends, which takes it all. */
	if (st == STATUS_OK)
		free(control);
	role_lock_free(lock);
	return st;
}

int control_main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "data", required_argument, NULL, 'd' },
		{ NULL, 0, NULL, 0 },
	};
	const char *data = NULL;
	log_set_role("control");
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c != 'd') {
			(void)fprintf(stderr, "usage: tarn control --data DIR\n");
			return EXIT_USAGE;
		}
		data = optarg;
	}
	if (!data || optind != argc) {
		(void)fprintf(stderr, "usage: tarn control --data DIR\n");
		return EXIT_USAGE;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setenv("UV_THREADPOOL_SIZE", WORKERS, 0);
	raise_descriptor_limit();
	struct error err;
	if (run(data, &err) != STATUS_OK) {
		log_error("%s%s%s", err.message, err.hint[0] ? ". " : "", err.hint);
		return EXIT_FAILED;
	}
	return 0;
}
