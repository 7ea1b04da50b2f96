#include "compute/activity.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/number.h"
#include "compute/admin_connection.h"

#define LOOK_MIN_USEC      (USEC_PER_SEC / 4)
#define LOOK_MAX_USEC      (5 * USEC_PER_SEC)
#define LOOK_NO_LIMIT_USEC (60 * USEC_PER_SEC) /* no timeout: only for last_active_time */
#define LOOKS_PER_TIMEOUT  4

void activity_begin(struct activity *activity, int64_t now_usec)
{
	*activity = (struct activity){ .last_active_usec = now_usec };
}

enum activity_verdict activity_judge(
        struct activity *activity, const struct activity_sight *sight, int64_t timeout_usec, int64_t now_usec)
{
	/* Who began and is not here any more; a reset of the server's counters makes it negative and tells nothing. */
	int64_t left =
	        (sight->sessions_begun - activity->sessions_begun) - (sight->clients - activity->clients);
	bool has_pooled = sight->pooled_queries != activity->pooled_queries;
	if (activity->has_looked)
		activity->pooled_credit += sight->pooled_ended - activity->pooled_ended;
	int64_t pooled = left < 0 ? 0 : left < activity->pooled_credit ? left : activity->pooled_credit;
	activity->pooled_credit -= pooled;
	bool has_left = activity->has_looked && (left > pooled || (pooled > 0 && has_pooled));
	int64_t last = sight->is_busy || has_left ? now_usec : sight->last_change_usec;
	if (last > activity->last_active_usec)
		activity->last_active_usec = last;
	if (activity->last_active_usec > now_usec) /* the clock was set back */
		activity->last_active_usec = now_usec;
	activity->sessions_begun = sight->sessions_begun;
	activity->clients = sight->clients;
	activity->pooled_ended = sight->pooled_ended;
	activity->pooled_queries = sight->pooled_queries;
	activity->has_looked = true;
	bool is_due = timeout_usec > 0 && now_usec - activity->last_active_usec >= timeout_usec;
	return is_due && !sight->is_busy ? ACTIVITY_SUSPEND : ACTIVITY_STAY;
}

int64_t activity_next_look_usec(const struct activity *activity, int64_t timeout_usec, int64_t now_usec)
{
	if (timeout_usec <= 0)
		return LOOK_NO_LIMIT_USEC;
	int64_t wait = timeout_usec / LOOKS_PER_TIMEOUT;
	if (wait > LOOK_MAX_USEC)
		wait = LOOK_MAX_USEC;
	int64_t left = activity->last_active_usec + timeout_usec - now_usec;
	if (left < wait)
		wait = left;
	return wait < LOOK_MIN_USEC ? LOOK_MIN_USEC : wait;
}

struct activity_monitor {
	char *socket_folder;
	PGconn *connection;
	int64_t own_sessions; /* how often we connected: the server counts them too */
};

struct activity_monitor *activity_monitor_create(const char *socket_folder)
{
	struct activity_monitor *monitor = xcalloc(1, sizeof *monitor);
	monitor->socket_folder = xstrdup(socket_folder);
	return monitor;
}

struct activity_monitor *activity_monitor_free(struct activity_monitor *monitor)
{
	if (!monitor)
		return NULL;
	PQfinish(monitor->connection);
	free(monitor->socket_folder);
	free(monitor);
	return NULL;
}

/* $1 is ADMIN_APPLICATION. One row. */
static const char look[] =
        "SELECT coalesce(bool_or(CASE"
        "  WHEN starts_with(application_name, $1) AND usename = 'cloud_admin' THEN false"
        "  WHEN backend_type = 'client backend' THEN state IS DISTINCT FROM 'idle'"
        "  ELSE backend_type IN ('walsender', 'autovacuum worker', 'parallel worker')"
        "    OR backend_type LIKE 'logical replication%worker' END), false),"
        " coalesce(max(CASE WHEN backend_type = 'client backend'"
        "   AND NOT (starts_with(application_name, $1) AND usename = 'cloud_admin')"
        "   THEN (extract(epoch FROM greatest(state_change, backend_start)) * 1000000)::int8 END), 0),"
        " (SELECT coalesce(sum(sessions), 0)::int8 FROM pg_stat_database),"
        " count(*) FILTER (WHERE backend_type = 'client backend'"
        "   AND NOT (starts_with(application_name, $1) AND usename = 'cloud_admin')),"
        " EXISTS (SELECT FROM pg_subscription WHERE subenabled)"
        " FROM pg_stat_activity WHERE pid <> pg_backend_pid()";

static int64_t number_at(const PGresult *row, int column)
{
	int64_t number = 0;
	(void)!number_parse(slice_from_text(PQgetvalue(row, 0, column)), INT64_MIN, INT64_MAX, &number);
	return number;
}

static status look_once(struct activity_monitor *monitor, struct activity_sight *ret, struct error *err)
{
	if (!monitor->connection) {
		status st = admin_connect(
		        monitor->socket_folder, "postgres", ADMIN_APPLICATION, &monitor->connection, err);
		/* So that the server has counted this session before the counter is read. */
		if (st == STATUS_OK)
			st = admin_query(monitor->connection, "SELECT pg_stat_force_next_flush()", NULL, err);
		if (st != STATUS_OK)
			return st;
		monitor->own_sessions++;
	}
	CLEANUP(admin_clear) PGresult *row = NULL;
	status st = admin_query_with(
	        monitor->connection, look, (const char *const[]){ ADMIN_APPLICATION }, 1, &row, err);
	if (st != STATUS_OK)
		return st;
	*ret = (struct activity_sight){
		.is_busy = PQgetvalue(row, 0, 0)[0] == 't',
		.last_change_usec = number_at(row, 1),
		.sessions_begun = number_at(row, 2) - monitor->own_sessions,
		.clients = number_at(row, 3),
		.has_subscriptions = PQgetvalue(row, 0, 4)[0] == 't',
	};
	return STATUS_OK;
}

status activity_look(struct activity_monitor *monitor, struct activity_sight *ret, struct error *err)
{
	status st = look_once(monitor, ret, err);
	if (st != STATUS_OK)
		admin_disconnect(&monitor->connection);
	return st;
}

status activity_has_clients(const char *socket_folder, bool *ret, struct error *err)
{
	struct activity_monitor *monitor = activity_monitor_create(socket_folder);
	struct activity_sight sight;
	status st = look_once(monitor, &sight, err);
	if (st == STATUS_OK)
		*ret = sight.clients > 0 || sight.is_busy; /* of replication, too */
	(void)activity_monitor_free(monitor);
	return st;
}
