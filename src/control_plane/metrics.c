#include "control_plane/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "control_plane/audit_trail.h"
#include "control_plane/endpoint_traffic.h"
#include "control_plane/metrics_access.h"
#include "control_plane/metrics_text.h"
#include "control_plane/operation.h"
#include "control_plane/reconciler.h"
#include "control_plane/request_limit.h"
#include "http/server.h"
#include "metadata/statement.h"

/* Upper bounds in milliseconds; one more bucket has what is above. */
static const double call_bounds[] = { 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 5000 };
static const double work_bounds[] = { 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000 };
#define BUCKETS 12

static const int codes[] = { 200, 400, 401, 403, 404, 405, 409, 413, 429, 500, 501, 503 };

struct histogram {
	uint64_t buckets[BUCKETS]; /* not cumulated */
	uint64_t count;
	double sum_ms;
};

struct route_counts {
	const struct http_route *route; /* NULL: calls that no route fits */
	char method[8];                 /* of those */
	uint64_t by_code[ARRAY_LEN(codes) + 1];
	struct histogram took;
};

/* "OTHER" and the methods that there are, for calls that no route fits. */
static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE", "OTHER" };

struct metrics {
	struct route_counts *routes; /* those that were called */
	size_t route_count;
	struct {
		uint64_t done, failed;
		struct histogram took;
	} operations[OPERATION_KINDS];
	struct histogram wakes;
	uint64_t failed_wakes;
};

struct metrics *metrics_create(void)
{
	return xcalloc(1, sizeof(struct metrics));
}

struct metrics *metrics_free(struct metrics *metrics)
{
	if (metrics)
		free(metrics->routes);
	free(metrics);
	return NULL;
}

/* ---- counting ---- */

static void observe(struct histogram *histogram, const double *bounds, double ms)
{
	size_t i = 0;
	while (i < BUCKETS - 1 && ms > bounds[i])
		i++;
	histogram->buckets[i]++;
	histogram->count++;
	histogram->sum_ms += ms;
}

static struct route_counts *find_route(
        struct metrics *metrics, const struct http_route *route, const char *method)
{
	for (size_t i = 0; i < metrics->route_count; i++)
		if (metrics->routes[i].route == route &&
		        (route || strcmp(metrics->routes[i].method, method) == 0))
			return &metrics->routes[i];
	metrics->routes = xrealloc(metrics->routes, (metrics->route_count + 1) * sizeof *metrics->routes);
	struct route_counts *counts = &metrics->routes[metrics->route_count++];
	*counts = (struct route_counts){ .route = route };
	(void)snprintf(counts->method, sizeof counts->method, "%s", method);
	return counts;
}

void metrics_note_call(struct metrics *metrics, const struct http_route *route, const char *method,
        int http_status, int64_t took_usec)
{
	if (!metrics)
		return;
	size_t known = 0, code = 0;
	while (known < ARRAY_LEN(methods) - 1 && strcmp(methods[known], method) != 0)
		known++;
	struct route_counts *counts = find_route(metrics, route, methods[known]);
	while (code < ARRAY_LEN(codes) && codes[code] != http_status)
		code++;
	counts->by_code[code]++;
	observe(&counts->took, call_bounds, (double)took_usec / 1000);
}

void metrics_note_operation(struct metrics *metrics, const char *kind, bool has_failed, int64_t took_usec)
{
	enum operation_kind number;
	if (!metrics || !operation_kind_parse(kind, &number))
		return;
	*(has_failed ? &metrics->operations[number].failed : &metrics->operations[number].done) += 1;
	observe(&metrics->operations[number].took, work_bounds, (double)took_usec / 1000);
}

void metrics_note_wake(struct metrics *metrics, double start_ms)
{
	if (metrics)
		observe(&metrics->wakes, work_bounds, start_ms);
}

void metrics_note_failed_wake(struct metrics *metrics)
{
	if (metrics)
		metrics->failed_wakes++;
}

/* ---- writing ---- */

/* labels: "" or "a=\"b\"". */
static void write_histogram(struct buffer *out, const char *name, const char *labels, const double *bounds,
        const struct histogram *h)
{
	const char *comma = *labels ? "," : "";
	const char *open = *labels ? "{" : "", *close = *labels ? "}" : "";
	uint64_t below = 0;
	for (size_t i = 0; i < BUCKETS - 1; i++) {
		below += h->buckets[i];
		buffer_printf(out, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, labels, comma,
		        bounds[i] / 1000, below);
	}
	buffer_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, h->count);
	buffer_printf(out, "%s_sum%s%s%s %.6f\n", name, open, labels, close, h->sum_ms / 1000);
	buffer_printf(out, "%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, h->count);
}

/* Patterns are ours: nothing in them needs to be escaped. */
static void route_labels(const struct route_counts *counts, char labels[256])
{
	(void)snprintf(labels, 256, "method=\"%s\",route=\"%s\"",
	        counts->route ? counts->route->method : counts->method,
	        counts->route ? counts->route->pattern : "");
}

static void write_calls(struct buffer *out, const struct metrics *metrics)
{
	char labels[256];
	metrics_head(out, "tarn_http_requests_total", "counter",
	        "Requests to the REST API that were answered; an empty route fits none.");
	for (size_t i = 0; i < metrics->route_count; i++) {
		route_labels(&metrics->routes[i], labels);
		for (size_t k = 0; k <= ARRAY_LEN(codes); k++) {
			if (metrics->routes[i].by_code[k] == 0)
				continue;
			char code[12] = "other";
			if (k < ARRAY_LEN(codes))
				(void)snprintf(code, sizeof code, "%d", codes[k]);
			buffer_printf(out, "tarn_http_requests_total{%s,code=\"%s\"} %" PRIu64 "\n", labels,
			        code, metrics->routes[i].by_code[k]);
		}
	}
	metrics_head(out, "tarn_http_request_duration_seconds", "histogram",
	        "From the first line of a request to its answer, the body's way included.");
	for (size_t i = 0; i < metrics->route_count; i++) {
		route_labels(&metrics->routes[i], labels);
		write_histogram(out, "tarn_http_request_duration_seconds", labels, call_bounds,
		        &metrics->routes[i].took);
	}
}

static void write_operations(
        struct buffer *out, const struct metrics *metrics, const struct services *services)
{
	metrics_head(out, "tarn_operations_total", "counter", "Operations that ended.");
	for (int i = 0; i < OPERATION_KINDS; i++) {
		const char *name = operation_kind_name((enum operation_kind)i);
		buffer_printf(out, "tarn_operations_total{kind=\"%s\",result=\"done\"} %" PRIu64 "\n", name,
		        metrics->operations[i].done);
		buffer_printf(out, "tarn_operations_total{kind=\"%s\",result=\"failed\"} %" PRIu64 "\n", name,
		        metrics->operations[i].failed);
	}
	metrics_head(out, "tarn_operation_duration_seconds", "histogram",
	        "From the request for an operation to its end.");
	for (int i = 0; i < OPERATION_KINDS; i++) {
		char labels[64];
		if (metrics->operations[i].took.count == 0)
			continue;
		(void)snprintf(
		        labels, sizeof labels, "kind=\"%s\"", operation_kind_name((enum operation_kind)i));
		write_histogram(out, "tarn_operation_duration_seconds", labels, work_bounds,
		        &metrics->operations[i].took);
	}
	struct reconciler_numbers numbers;
	reconciler_look(services->reconciler, &numbers);
	metrics_gauge(out, "tarn_operations_open", "Operations that have not ended.", (double)numbers.open);
	metrics_gauge(out, "tarn_operations_waiting", "Of those: not begun, because another one comes first.",
	        (double)numbers.waiting);
	metrics_gauge(out, "tarn_operations_oldest_age_seconds",
	        "Age of the oldest operation that has not ended; 0: there is none.",
	        (double)numbers.oldest_usec / (double)USEC_PER_SEC);
}

struct fleet_counts {
	size_t by_state[FLEET_STOPPING + 1], alarms;
};

static void count_member(void *arg, const struct fleet_member *member)
{
	struct fleet_counts *counts = arg;
	counts->by_state[member->state]++;
	counts->alarms += member->storage.alarm[0] != '\0';
}

static void write_computes(struct buffer *out, const struct metrics *metrics, const struct services *services)
{
	struct fleet_counts counts = { 0 };
	fleet_each(services->fleet, count_member, &counts);
	metrics_head(out, "tarn_computes", "gauge", "Computes by state.");
	for (size_t i = 0; i < ARRAY_LEN(counts.by_state); i++)
		buffer_printf(out, "tarn_computes{state=\"%s\"} %zu\n", fleet_state_name((enum fleet_state)i),
		        counts.by_state[i]);
	metrics_gauge(out, "tarn_storage_alarms",
	        "Computes whose storage has an alarm: a full disk, an archive that is stuck.",
	        (double)counts.alarms);
	metrics_head(out, "tarn_compute_wake_duration_seconds", "histogram",
	        "From the decision to start a compute until it accepts writes.");
	write_histogram(out, "tarn_compute_wake_duration_seconds", "", work_bounds, &metrics->wakes);
	metrics_counter(out, "tarn_compute_wake_failures_total", "Starts that were given up.",
	        (double)metrics->failed_wakes);
}

/*
 * Of the poolers that run, of which there are no more than computes; "endpoint" is a uid, which we make. Totals begin at 0 with each start of a
 * compute. A line without a help text is another state of the one above.
 */
static const struct pooler_line {
	const char *name, *type, *help, *state;
	size_t at; /* in struct fleet_pooler */
	double scale;
} pooler_lines[] = {
	{ "tarn_pooler_clients", "gauge", "Clients that are logged in to a pooler.", NULL,
	        offsetof(struct fleet_pooler, clients), 1 },
	{ "tarn_pooler_clients_waiting", "gauge", "Of those: that wait for a connection to Postgres.", NULL,
	        offsetof(struct fleet_pooler, waiting), 1 },
	{ "tarn_pooler_longest_wait_seconds", "gauge", "How long the first of them waits already.", NULL,
	        offsetof(struct fleet_pooler, longest_wait_usec), 1e-6 },
	{ "tarn_pooler_connections", "gauge", "Connections of a pooler to Postgres.", "active",
	        offsetof(struct fleet_pooler, servers_active), 1 },
	{ "tarn_pooler_connections", "gauge", NULL, "idle", offsetof(struct fleet_pooler, servers_idle), 1 },
	{ "tarn_pooler_connections_max", "gauge", "How many those to one database may be.", NULL,
	        offsetof(struct fleet_pooler, connections), 1 },
	{ "tarn_pooler_transactions_total", "counter", "Transactions that went through a pooler.", NULL,
	        offsetof(struct fleet_pooler, transactions), 1 },
	{ "tarn_pooler_queries_total", "counter", "Queries that went through a pooler.", NULL,
	        offsetof(struct fleet_pooler, queries), 1 },
	{ "tarn_pooler_wait_seconds_total", "counter", "What clients have waited for connections, together.",
	        NULL, offsetof(struct fleet_pooler, wait_usec), 1e-6 },
	{ "tarn_pooler_received_bytes_total", "counter", "Bytes from clients of a pooler.", NULL,
	        offsetof(struct fleet_pooler, received_bytes), 1 },
	{ "tarn_pooler_sent_bytes_total", "counter", "Bytes to clients of a pooler.", NULL,
	        offsetof(struct fleet_pooler, sent_bytes), 1 },
};

struct pooler_writing {
	struct buffer *out;
	const struct pooler_line *line;
};

static void write_pooler(void *arg, const struct fleet_member *member)
{
	const struct pooler_writing *writing = arg;
	const struct pooler_line *line = writing->line;
	int64_t value;
	if (member->pooler.pid == 0)
		return;
	memcpy(&value, (const char *)&member->pooler + line->at, sizeof value);
	buffer_printf(writing->out, "%s{endpoint=\"%s\"%s%s%s} %.17g\n", line->name, member->uid,
	        line->state ? ",state=\"" : "", line->state ? line->state : "", line->state ? "\"" : "",
	        (double)value * line->scale);
}

static void write_poolers(struct buffer *out, const struct services *services)
{
	metrics_counter(out, "tarn_pooler_clients_ended_total",
	        "Clients that were ended with their pooler: by a suspension, by a crash.",
	        (double)fleet_pooler_clients_ended(services->fleet));
	for (size_t i = 0; i < ARRAY_LEN(pooler_lines); i++) {
		struct pooler_writing writing = { .out = out, .line = &pooler_lines[i] };
		if (writing.line->help)
			metrics_head(out, writing.line->name, writing.line->type, writing.line->help);
		fleet_each(services->fleet, write_pooler, &writing);
	}
}

/* A number that cannot be read is left out. */
static void ask(struct buffer *out, struct metadata *md, const char *name, const char *help, const char *sql)
{
	struct error err;
	int64_t value = 0;
	if (statement_ask(md, sql, NULL, 0, &value, &err) == STATUS_OK)
		metrics_gauge(out, name, help, (double)value);
}

static void write_resources(struct buffer *out, const struct services *services)
{
	struct metadata *md = services->md;
	ask(out, md, "tarn_projects", "Projects that are not deleted.",
	        "SELECT count(*) FROM project WHERE is_purged = 0 AND delete_usec IS NULL");
	ask(out, md, "tarn_projects_deleted", "Projects that can still be undeleted.",
	        "SELECT count(*) FROM project WHERE is_purged = 0 AND delete_usec IS NOT NULL");
	ask(out, md, "tarn_branches", "Branches that are not deleted.",
	        "SELECT count(*) FROM branch WHERE is_purged = 0 AND delete_usec IS NULL");
	ask(out, md, "tarn_endpoints", "Endpoints, also of deleted branches.",
	        "SELECT count(*) FROM endpoint");
	ask(out, md, "tarn_snapshots", "Snapshots.", "SELECT count(*) FROM snapshot WHERE is_purged = 0");
	ask(out, md, "tarn_storage_bytes", "Bytes on disk of all projects, as last measured.",
	        "SELECT coalesce(sum(storage_bytes), 0) FROM project");
	ask(out, md, "tarn_logical_bytes", "Size of all branches as Postgres sees them, as last measured.",
	        "SELECT coalesce(sum(logical_size), 0) FROM branch WHERE is_purged = 0 AND delete_usec IS "
	        "NULL");
}

static void write_disk(struct buffer *out, const struct services *services)
{
	struct statvfs fs;
	if (statvfs(services->dd->path, &fs) < 0)
		return;
	metrics_gauge(out, "tarn_disk_free_bytes", "Room on the disk of the data directory.",
	        (double)fs.f_bavail * (double)fs.f_frsize);
	metrics_gauge(
	        out, "tarn_disk_size_bytes", "Size of that disk.", (double)fs.f_blocks * (double)fs.f_frsize);
}

static void write_http(struct buffer *out, const struct services *services)
{
	static const char *const names[] = { [CONNECTION_NEW] = "new",
		[CONNECTION_IDLE] = "idle",
		[CONNECTION_READING] = "reading",
		[CONNECTION_HELD] = "held",
		[CONNECTION_ANSWERING] = "answering" };
	metrics_counter(out, "tarn_http_requests_limited_total",
	        "Requests that were refused because there were too many.",
	        (double)request_limits_refused(services->limits));
	if (!services->http)
		return;
	struct http_server_numbers numbers;
	http_server_look(services->http, &numbers);
	metrics_head(out, "tarn_http_connections", "gauge", "Connections to the REST API by state.");
	for (size_t i = 0; i < CONNECTION_STATES; i++)
		buffer_printf(
		        out, "tarn_http_connections{state=\"%s\"} %zu\n", names[i], numbers.connections[i]);
	metrics_gauge(out, "tarn_http_connections_max", "How many there may be.", HTTP_CONNECTIONS_MAX);
	metrics_counter(out, "tarn_http_connections_accepted_total", "Connections that were accepted.",
	        (double)numbers.connections_made);
	metrics_counter(out, "tarn_http_connections_given_up_total",
	        "Connections that were closed to make room for another one.",
	        (double)numbers.connections_given_up);
}

static void write_audit(struct buffer *out, const struct services *services)
{
	struct audit_trail_numbers numbers;
	audit_trail_look(services->audit, &numbers);
	metrics_counter(out, "tarn_audit_lines_total", "Lines of the audit trail that were written.",
	        (double)numbers.lines);
	metrics_counter(out, "tarn_audit_lines_lost_total", "Lines of the audit trail that were lost.",
	        (double)numbers.lost);
	metrics_gauge(out, "tarn_audit_bytes", "Size of the audit trail.", (double)numbers.bytes);
	metrics_gauge(out, "tarn_audit_failing", "1 while the audit trail cannot be written.",
	        numbers.trouble[0] ? 1 : 0);
}

static size_t count_descriptors(void)
{
	CLEANUP(close_listing) DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;
	for (const struct dirent *entry; dir && (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	return count > 0 ? count - 1 : 0; /* not the listing itself */
}

/* Field `number` of /proc/self/stat, counted as proc(5) does, from 3 on. */
static double process_field(const char *stat, int number)
{
	const char *pos = strrchr(stat, ')');
	for (int i = 2; pos && i < number; i++)
		pos = strchr(pos + 1, ' ');
	return pos ? strtod(pos, NULL) : 0;
}

/* The names that Prometheus' own client libraries use. */
static void write_process(struct buffer *out)
{
	struct error err;
	struct rlimit limit;
	CLEANUP(buffer_done) struct buffer stat = { 0 }, boot = { 0 };
	double ticks = (double)sysconf(_SC_CLK_TCK), page = (double)sysconf(_SC_PAGESIZE);
	metrics_gauge(out, "process_open_fds", "Open descriptors.", (double)count_descriptors());
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		metrics_gauge(out, "process_max_fds", "How many there may be.", (double)limit.rlim_cur);
	if (file_read("/proc/self/stat", 4096, &stat, &err) != STATUS_OK)
		return;
	metrics_counter(out, "process_cpu_seconds_total", "Processor time, user and system.",
	        (process_field(stat.data, 14) + process_field(stat.data, 15)) / ticks);
	metrics_gauge(out, "process_virtual_memory_bytes", "Virtual memory.", process_field(stat.data, 23));
	metrics_gauge(out, "process_resident_memory_bytes", "Resident memory.",
	        process_field(stat.data, 24) * page);
	if (file_read("/proc/stat", 1 << 20, &boot, &err) != STATUS_OK)
		return;
	const char *btime = strstr(boot.data, "\nbtime ");
	if (btime)
		metrics_gauge(out, "process_start_time_seconds",
		        "When this process started, in seconds since 1970.",
		        strtod(btime + 7, NULL) + process_field(stat.data, 22) / ticks);
}

bool metrics_get(struct call *call)
{
	const struct services *services = call->services;
	if (!metrics_access_check(call))
		return false;
	if (!services->metrics)
		return api_fail(&call->error, API_NOT_IMPLEMENTED, "nothing is counted here");
	struct buffer out = { 0 };
	metrics_head(&out, "tarn_build_info", "gauge", "Always 1; the label says which Tarn this is.");
	buffer_printf(&out, "tarn_build_info{version=\"%s\"} 1\n", TARN_VERSION);
	write_calls(&out, services->metrics);
	write_operations(&out, services->metrics, services);
	write_computes(&out, services->metrics, services);
	write_poolers(&out, services);
	write_resources(&out, services);
	write_disk(&out, services);
	write_http(&out, services);
	if (services->traffic)
		endpoint_traffic_write(services->traffic, services->md, &out);
	write_audit(&out, services);
	write_process(&out);
	http_response_set_json(call->response, 200, out.data, out.len);
	call->response->content_type = "text/plain; version=0.0.4; charset=utf-8";
	return true;
}
