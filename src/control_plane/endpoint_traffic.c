#include "control_plane/endpoint_traffic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/log.h"
#include "base/text_map.h"
#include "control_plane/metrics_text.h"
#include "metadata/endpoint_row.h"

#define NUMBER_MAX (UINT64_C(1) << 53) /* what JSON can say exactly */

/* Members of a report, in the order of `numbers`; behind them the reasons of refusals. */
static const char *const counters[] = { "opened", "received", "sent", "logins", "login_ms", "wakes",
	"wake_ms", "cancels", "unmatched_cancels" };
enum { OPENED, RECEIVED, SENT, LOGINS, LOGIN_MS, WAKES, WAKE_MS, CANCELS, UNMATCHED_CANCELS, COUNTERS };
_Static_assert(ARRAY_LEN(counters) == COUNTERS, "one name each");
/* As the proxy names them (proxy/refusal.h); "other" for what a newer one may add. */
static const char *const reasons[] = { "authentication", "permission", "address", "limit", "failures",
	"unknown_endpoint", "disabled", "not_ready", "protocol", "timeout", "postgres", "abandoned",
	"internal", "other" };
#define NUMBERS (COUNTERS + ARRAY_LEN(reasons))

static const char *const gauges[] = { "sessions", "connections_max", "logging_in", "buffer_bytes" };
enum { SESSIONS, CONNECTIONS_MAX, LOGGING_IN, BUFFER_BYTES, GAUGES };
_Static_assert(ARRAY_LEN(gauges) == GAUGES, "one name each");

/* One endpoint, or all together. */
struct part {
	uint64_t life;
	uint64_t waiting, open;
	uint64_t last[NUMBERS]; /* of this life */
	uint64_t base[NUMBERS]; /* of those before */
};

struct endpoint {
	struct text_link link;
	TAILQ_ENTRY(endpoint) age; /* the one told of last at the end */
	char uid[RESOURCE_ID_MAX + 1];
	uint64_t reporter;
	struct part part;
	char *labels; /* while metrics are written; NULL: it is gone */
};

struct endpoint_traffic {
	size_t max;
	struct text_map map;
	TAILQ_HEAD(endpoint_ages, endpoint) ages;
	struct part total;
	uint64_t total_reporter; /* 0: none is connected */
	uint64_t gauges[GAUGES];
};

struct endpoint_traffic *endpoint_traffic_create(size_t max)
{
	struct endpoint_traffic *traffic = xcalloc(1, sizeof *traffic);
	traffic->max = max;
	TAILQ_INIT(&traffic->ages);
	return traffic;
}

static void forget(struct endpoint_traffic *traffic, struct endpoint *endpoint)
{
	TAILQ_REMOVE(&traffic->ages, endpoint, age);
	text_map_remove(&traffic->map, &endpoint->link);
	free(endpoint->labels);
	free(endpoint);
}

struct endpoint_traffic *endpoint_traffic_free(struct endpoint_traffic *traffic)
{
	if (!traffic)
		return NULL;
	while (!TAILQ_EMPTY(&traffic->ages))
		forget(traffic, TAILQ_FIRST(&traffic->ages));
	text_map_done(&traffic->map);
	free(traffic);
	return NULL;
}

/* ---- reading a report ---- */

/* A member that is missing is 0. */
static bool read_number(yyjson_val *object, const char *name, uint64_t *ret)
{
	yyjson_val *value = yyjson_obj_get(object, name);
	*ret = yyjson_get_uint(value);
	return !value || (yyjson_is_uint(value) && *ret <= NUMBER_MAX);
}

static size_t reason_of(const char *name)
{
	size_t i = 0;
	while (i < ARRAY_LEN(reasons) - 1 && strcmp(reasons[i], name) != 0)
		i++;
	return COUNTERS + i;
}

static bool read_refused(yyjson_val *refused, struct part *part)
{
	yyjson_val *key, *value;
	size_t i, count;
	bool is_ok = true;
	if (!refused)
		return true;
	if (!yyjson_is_obj(refused))
		return false;
	yyjson_obj_foreach(refused, i, count, key, value)
	{
		is_ok = is_ok && yyjson_is_uint(value) && yyjson_get_uint(value) <= NUMBER_MAX;
		if (is_ok)
			part->last[reason_of(yyjson_get_str(key))] += yyjson_get_uint(value);
	}
	return is_ok;
}

static bool read_part(yyjson_val *object, struct part *ret)
{
	struct part part = { 0 };
	bool is_ok = yyjson_is_obj(object) && read_number(object, "life", &part.life) && part.life != 0 &&
	             read_number(object, "waiting", &part.waiting) && read_number(object, "open", &part.open);
	for (size_t i = 0; i < COUNTERS && is_ok; i++)
		is_ok = read_number(object, counters[i], &part.last[i]);
	is_ok = is_ok && read_refused(yyjson_obj_get(object, "refused"), &part);
	if (is_ok)
		*ret = part;
	return is_ok;
}

static bool read_uid(yyjson_val *object, const char **ret)
{
	*ret = yyjson_get_str(yyjson_obj_get(object, "uid"));
	size_t len = *ret ? strlen(*ret) : 0;
	return len > 0 && len <= RESOURCE_ID_MAX &&
	       strspn(*ret, "abcdefghijklmnopqrstuvwxyz0123456789-") ==
	               yyjson_get_len(yyjson_obj_get(object, "uid"));
}

/* ---- adding up ---- */

static void part_take(struct part *part, const struct part *told)
{
	for (size_t i = 0; i < NUMBERS; i++) {
		if (part->life != told->life) {
			part->base[i] += part->last[i]; /* N1 */
			part->last[i] = 0;
		}
		if (told->last[i] > part->last[i])
			part->last[i] = told->last[i];
	}
	part->life = told->life;
	part->waiting = told->waiting;
	part->open = told->open;
}

static uint64_t part_number(const struct part *part, size_t i)
{
	return part->base[i] + part->last[i];
}

static struct endpoint *find_endpoint(const struct endpoint_traffic *traffic, const char *uid)
{
	struct text_link *link = text_map_find(&traffic->map, uid);
	return link ? TEXT_MAP_THING(link, struct endpoint, link) : NULL;
}

/* NULL: there are `max`, and all have connections. */
static struct endpoint *make_endpoint(struct endpoint_traffic *traffic, const char *uid)
{
	if (traffic->map.count >= traffic->max) {
		struct endpoint *oldest;
		TAILQ_FOREACH (oldest, &traffic->ages, age)
			if (oldest->part.open + oldest->part.waiting == 0)
				break;
		if (!oldest)
			return NULL;
		forget(traffic, oldest);
	}
	struct endpoint *endpoint = xcalloc(1, sizeof *endpoint);
	(void)snprintf(endpoint->uid, sizeof endpoint->uid, "%s", uid);
	text_map_add(&traffic->map, &endpoint->link, endpoint->uid);
	TAILQ_INSERT_TAIL(&traffic->ages, endpoint, age);
	return endpoint;
}

static void take_endpoint(
        struct endpoint_traffic *traffic, uint64_t reporter, const char *uid, const struct part *told)
{
	struct endpoint *endpoint = find_endpoint(traffic, uid);
	if (!endpoint)
		endpoint = make_endpoint(traffic, uid);
	if (!endpoint)
		return; /* N2 */
	TAILQ_REMOVE(&traffic->ages, endpoint, age);
	TAILQ_INSERT_TAIL(&traffic->ages, endpoint, age);
	endpoint->reporter = reporter;
	part_take(&endpoint->part, told);
}

/* Checked to the end before anything is taken: N3. */
static bool check_report(yyjson_val *report, struct part *ret_total, uint64_t ret_gauges[GAUGES])
{
	yyjson_val *endpoints = yyjson_obj_get(report, "endpoints"), *now = yyjson_obj_get(report, "now"),
	           *one;
	size_t i, count;
	const char *uid;
	struct part part;
	bool is_ok = read_part(yyjson_obj_get(report, "total"), ret_total) && yyjson_is_obj(now) &&
	             yyjson_is_arr(endpoints);
	for (size_t k = 0; k < GAUGES && is_ok; k++)
		is_ok = read_number(now, gauges[k], &ret_gauges[k]);
	yyjson_arr_foreach(endpoints, i, count, one) is_ok =
	        is_ok && read_uid(one, &uid) && read_part(one, &part);
	return is_ok;
}

bool endpoint_traffic_take(struct endpoint_traffic *traffic, uint64_t reporter, yyjson_val *report)
{
	yyjson_val *one;
	size_t i, count;
	struct part total, part;
	uint64_t now[GAUGES];
	if (!check_report(report, &total, now))
		return false;
	part_take(&traffic->total, &total);
	memcpy(traffic->gauges, now, sizeof now);
	traffic->total_reporter = reporter;
	yyjson_arr_foreach(yyjson_obj_get(report, "endpoints"), i, count, one)
	{
		const char *uid;
		if (read_uid(one, &uid) && read_part(one, &part))
			take_endpoint(traffic, reporter, uid, &part);
	}
	return true;
}

void endpoint_traffic_end(struct endpoint_traffic *traffic, uint64_t reporter)
{
	struct endpoint *endpoint;
	TAILQ_FOREACH (endpoint, &traffic->ages, age)
		if (endpoint->reporter == reporter)
			endpoint->part.open = endpoint->part.waiting = 0;
	if (traffic->total_reporter != reporter)
		return;
	traffic->total_reporter = 0;
	traffic->total.open = traffic->total.waiting = 0;
	memset(traffic->gauges, 0, sizeof traffic->gauges);
}

uint64_t endpoint_traffic_connections(const struct endpoint_traffic *traffic, const char *uid)
{
	const struct endpoint *endpoint = find_endpoint(traffic, uid);
	return endpoint ? endpoint->part.open + endpoint->part.waiting : 0;
}

/* ---- metrics ---- */

/* Fills labels, and forgets who is gone. False: the metadata could not be read; nothing is forgotten then. */
static bool find_labels(struct endpoint_traffic *traffic, struct metadata *md)
{
	CLEANUP(buffer_done) struct buffer uids = { 0 };
	CLEANUP(statement_done) struct statement st = { 0 };
	struct endpoint *endpoint, *next;
	struct endpoint_ids ids;
	struct error err;
	buffer_append_text(&uids, "[");
	TAILQ_FOREACH (endpoint, &traffic->ages, age) {
		buffer_printf(&uids, "%s\"%s\"", uids.len > 1 ? "," : "", endpoint->uid);
		free_text(&endpoint->labels);
	}
	buffer_append_text(&uids, "]");
	status code = endpoint_ids_list(md, uids.data, &st, &err);
	while (code == STATUS_OK && (code = endpoint_ids_next(&st, &ids, &err)) == STATUS_OK) {
		CLEANUP(buffer_done) struct buffer labels = { 0 };
		metrics_add_label(&labels, "endpoint", ids.uid);
		metrics_add_label(&labels, "project", ids.project_id);
		metrics_add_label(&labels, "branch", ids.branch_id);
		endpoint = find_endpoint(traffic, ids.uid);
		if (endpoint && !endpoint->labels)
			endpoint->labels = xstrdup(labels.data);
	}
	if (code != STATUS_NOT_FOUND) {
		log_error("could not read the names of endpoints for /metrics: %s", err.message);
		return false;
	}
	for (endpoint = TAILQ_FIRST(&traffic->ages); endpoint; endpoint = next) {
		next = TAILQ_NEXT(endpoint, age);
		if (!endpoint->labels)
			forget(traffic, endpoint);
	}
	return true;
}

static void write_of_endpoints(struct buffer *out, const struct endpoint_traffic *traffic, const char *name,
        const char *help, size_t which)
{
	struct endpoint *endpoint;
	metrics_head(out, name, "counter", help);
	TAILQ_FOREACH (endpoint, &traffic->ages, age)
		buffer_printf(out, "%s{%s} %" PRIu64 "\n", name, endpoint->labels,
		        part_number(&endpoint->part, which));
}

static void write_seconds(struct buffer *out, const struct endpoint_traffic *traffic, const char *name,
        const char *help, size_t times, size_t ms)
{
	struct endpoint *endpoint;
	metrics_head(out, name, "summary", help);
	TAILQ_FOREACH (endpoint, &traffic->ages, age) {
		buffer_printf(out, "%s_sum{%s} %.3f\n", name, endpoint->labels,
		        (double)part_number(&endpoint->part, ms) / 1000);
		buffer_printf(out, "%s_count{%s} %" PRIu64 "\n", name, endpoint->labels,
		        part_number(&endpoint->part, times));
	}
}

static void write_endpoints(struct buffer *out, const struct endpoint_traffic *traffic)
{
	struct endpoint *endpoint;
	metrics_head(out, "tarn_endpoint_connections", "gauge",
	        "Connections that were let in: waiting for a compute, or open.");
	TAILQ_FOREACH (endpoint, &traffic->ages, age) {
		buffer_printf(out, "tarn_endpoint_connections{%s,state=\"open\"} %" PRIu64 "\n",
		        endpoint->labels, endpoint->part.open);
		buffer_printf(out, "tarn_endpoint_connections{%s,state=\"waiting\"} %" PRIu64 "\n",
		        endpoint->labels, endpoint->part.waiting);
	}
	write_of_endpoints(out, traffic, "tarn_endpoint_connections_opened_total",
	        "Connections that came to the compute.", OPENED);
	write_of_endpoints(out, traffic, "tarn_endpoint_received_bytes_total",
	        "Bytes from clients, without TLS.", RECEIVED);
	write_of_endpoints(
	        out, traffic, "tarn_endpoint_sent_bytes_total", "Bytes to clients, without TLS.", SENT);
	write_of_endpoints(out, traffic, "tarn_endpoint_cancel_requests_total",
	        "Cancel requests that were delivered.", CANCELS);
	write_seconds(out, traffic, "tarn_endpoint_login_duration_seconds",
	        "From accept to the greeting, of connections that found the compute running.", LOGINS,
	        LOGIN_MS);
	write_seconds(out, traffic, "tarn_endpoint_wake_duration_seconds",
	        "From accept to the greeting, of connections that waited for the compute to start.", WAKES,
	        WAKE_MS);
	metrics_head(out, "tarn_endpoint_refusals_total", "counter", "Connections that were not let in.");
	TAILQ_FOREACH (endpoint, &traffic->ages, age) {
		for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
			uint64_t count = part_number(&endpoint->part, COUNTERS + i);
			if (count > 0)
				buffer_printf(out,
				        "tarn_endpoint_refusals_total{%s,reason=\"%s\"} %" PRIu64 "\n",
				        endpoint->labels, reasons[i], count);
		}
	}
}

static void write_total(struct buffer *out, const struct endpoint_traffic *traffic)
{
	const struct part *total = &traffic->total;
	metrics_gauge(out, "tarn_proxy_up", "1 while a proxy is connected and has told of itself.",
	        traffic->total_reporter != 0);
	metrics_gauge(out, "tarn_proxy_sessions", "Connections to the Postgres port, let in or not.",
	        (double)traffic->gauges[SESSIONS]);
	metrics_gauge(out, "tarn_proxy_sessions_logging_in", "Of those: not let in yet.",
	        (double)traffic->gauges[LOGGING_IN]);
	metrics_gauge(out, "tarn_proxy_buffer_bytes", "Memory for bytes that are on their way.",
	        (double)traffic->gauges[BUFFER_BYTES]);
	metrics_head(out, "tarn_proxy_connections", "gauge",
	        "Connections of all endpoints that were let in: waiting for a compute, or open.");
	buffer_printf(out, "tarn_proxy_connections{state=\"open\"} %" PRIu64 "\n", total->open);
	buffer_printf(out, "tarn_proxy_connections{state=\"waiting\"} %" PRIu64 "\n", total->waiting);
	metrics_gauge(out, "tarn_proxy_connections_max", "How many there may be.",
	        (double)traffic->gauges[CONNECTIONS_MAX]);
	const struct {
		const char *name, *help;
		size_t which;
	} all[] = {
		{ "tarn_proxy_connections_opened_total", "Connections that came to a compute.", OPENED },
		{ "tarn_proxy_received_bytes_total", "Bytes from clients, without TLS.", RECEIVED },
		{ "tarn_proxy_sent_bytes_total", "Bytes to clients, without TLS.", SENT },
	};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		metrics_counter(out, all[i].name, all[i].help, (double)part_number(total, all[i].which));
	metrics_head(out, "tarn_proxy_cancel_requests_total", "counter", "Cancel requests.");
	buffer_printf(out, "tarn_proxy_cancel_requests_total{result=\"delivered\"} %" PRIu64 "\n",
	        part_number(total, CANCELS));
	buffer_printf(out, "tarn_proxy_cancel_requests_total{result=\"unmatched\"} %" PRIu64 "\n",
	        part_number(total, UNMATCHED_CANCELS));
	metrics_head(out, "tarn_proxy_refusals_total", "counter", "Connections that were not let in.");
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		buffer_printf(out, "tarn_proxy_refusals_total{reason=\"%s\"} %" PRIu64 "\n", reasons[i],
		        part_number(total, COUNTERS + i));
}

void endpoint_traffic_write(struct endpoint_traffic *traffic, struct metadata *md, struct buffer *out)
{
	write_total(out, traffic);
	if (find_labels(traffic, md))
		write_endpoints(out, traffic);
}
