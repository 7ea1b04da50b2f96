#include "compute/pooler_console.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/number.h"
#include "compute/admin_connection.h"
#include "compute/libpq.h"

static void drop_notice(void *arg, const PGresult *result)
{
	(void)arg, (void)result;
}

static status failed(struct error *err, const char *what, const char *text)
{
	size_t len = strcspn(text, "\n");
	return error_set(
	        err, STATUS_UNAVAILABLE, 0, "%s PgBouncer: %.*s", what, (int)(len < 256 ? len : 256), text);
}

status pooler_console_open(const char *socket_folder, PGconn **ret, struct error *err)
{
	const char *const names[] = { "host", "port", "user", "dbname", "sslmode", "gssencmode",
		"client_encoding", "application_name", "connect_timeout", NULL };
	const char *const values[] = { socket_folder, "5432", POOLER_CONSOLE_ROLE, POOLER_CONSOLE_DB,
		"disable", "disable", "UTF8", ADMIN_APPLICATION, "5", NULL };
	status st = libpq_load(err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(admin_disconnect) PGconn *console = PQconnectdbParams(names, values, 0);
	if (!console)
		return error_set(err, STATUS_NO_MEMORY, 0, "out of memory connecting to PgBouncer");
	if (PQstatus(console) != CONNECTION_OK)
		return failed(err, "could not connect to", PQerrorMessage(console));
	(void)PQsetNoticeReceiver(console, drop_notice, NULL);
	*ret = TAKE_PTR(console);
	return STATUS_OK;
}

/* False when the answer is not there in time. */
static bool wait_for_answer(PGconn *console, int64_t deadline)
{
	while (PQisBusy(console)) {
		int64_t left = deadline - clock_monotonic_usec();
		struct pollfd ready = { .fd = PQsocket(console), .events = POLLIN };
		if (left <= 0)
			return false;
		if (poll(&ready, 1, (int)(left / 1000) + 1) > 0 && !PQconsumeInput(console))
			break; /* PQgetResult() tells what was wrong */
	}
	return true;
}

/* *ret may be NULL; else the caller clears it. */
static status run(PGconn *console, const char *command, PGresult **ret, struct error *err)
{
	int64_t deadline = clock_monotonic_usec() + POOLER_CONSOLE_MS * 1000ll;
	CLEANUP(admin_clear) PGresult *first = NULL;
	if (!PQsendQuery(console, command))
		return failed(err, "could not ask", PQerrorMessage(console));
	for (;;) {
		if (!wait_for_answer(console, deadline))
			return error_set(err, STATUS_UNAVAILABLE, 0, "PgBouncer does not answer");
		CLEANUP(admin_clear) PGresult *result = PQgetResult(console);
		if (!result)
			break;
		if (!first)
			first = TAKE_PTR(result);
	}
	ExecStatusType outcome = first ? PQresultStatus(first) : PGRES_FATAL_ERROR;
	if (outcome != PGRES_COMMAND_OK && outcome != PGRES_TUPLES_OK)
		return failed(err, "a command was refused by", PQerrorMessage(console));
	if (ret)
		*ret = TAKE_PTR(first);
	return STATUS_OK;
}

/* 0 when there is no such column: versions differ. */
static int64_t number_at(const PGresult *rows, int row, const char *column)
{
	int64_t number = 0;
	int at = PQfnumber(rows, column);
	if (at >= 0)
		(void)!number_parse(slice_from_text(PQgetvalue(rows, row, at)), 0, INT64_MAX, &number);
	return number;
}

static const char *text_at(const PGresult *rows, int row, const char *column)
{
	int at = PQfnumber(rows, column);
	return at >= 0 ? PQgetvalue(rows, row, at) : "";
}

static bool is_own(const PGresult *rows, int row)
{
	return strcmp(text_at(rows, row, "database"), POOLER_CONSOLE_DB) == 0;
}

static status look_at_pools(PGconn *console, struct pooler_counts *ret, struct error *err)
{
	CLEANUP(admin_clear) PGresult *rows = NULL;
	status st = run(console, "SHOW POOLS", &rows, err);
	for (int i = 0; st == STATUS_OK && i < PQntuples(rows); i++) {
		if (is_own(rows, i))
			continue;
		int64_t waiting = number_at(rows, i, "cl_waiting");
		int64_t longest =
		        number_at(rows, i, "maxwait") * USEC_PER_SEC + number_at(rows, i, "maxwait_us");
		ret->clients += number_at(rows, i, "cl_active") + waiting;
		ret->waiting += waiting;
		ret->servers_active += number_at(rows, i, "sv_active") + number_at(rows, i, "sv_tested") +
		                       number_at(rows, i, "sv_login") +
		                       number_at(rows, i, "sv_being_canceled");
		ret->servers_idle += number_at(rows, i, "sv_idle") + number_at(rows, i, "sv_used");
		if (longest > ret->longest_wait_usec)
			ret->longest_wait_usec = longest;
	}
	return st;
}

static status look_at_totals(PGconn *console, struct pooler_counts *ret, struct error *err)
{
	CLEANUP(admin_clear) PGresult *rows = NULL;
	status st = run(console, "SHOW STATS_TOTALS", &rows, err);
	for (int i = 0; st == STATUS_OK && i < PQntuples(rows); i++) {
		if (is_own(rows, i))
			continue;
		ret->transactions += number_at(rows, i, "xact_count");
		ret->queries += number_at(rows, i, "query_count");
		ret->wait_usec += number_at(rows, i, "wait_time");
		ret->received_bytes += number_at(rows, i, "bytes_received");
		ret->sent_bytes += number_at(rows, i, "bytes_sent");
	}
	return st;
}

static status look_at_servers(PGconn *console, struct pooler_sight *ret, struct error *err)
{
	CLEANUP(admin_clear) PGresult *rows = NULL;
	status st = run(console, "SHOW SERVERS", &rows, err);
	if (st != STATUS_OK)
		return st;
	int count = PQntuples(rows);
	ret->servers = xcalloc((size_t)count + 1, sizeof *ret->servers);
	for (int i = 0; i < count; i++) {
		struct pooler_server *server = &ret->servers[ret->server_count];
		server->pid = (pid_t)number_at(rows, i, "remote_pid");
		(void)snprintf(server->user, sizeof server->user, "%s", text_at(rows, i, "user"));
		ret->server_count += server->pid > 0; /* it has not greeted yet */
	}
	return STATUS_OK;
}

status pooler_console_look(PGconn *console, struct pooler_sight *ret, struct error *err)
{
	CLEANUP(pooler_sight_done) struct pooler_sight sight = { 0 };
	status st = look_at_pools(console, &sight.counts, err);
	if (st == STATUS_OK)
		st = look_at_totals(console, &sight.counts, err);
	if (st == STATUS_OK)
		st = look_at_servers(console, &sight, err);
	if (st != STATUS_OK)
		return st;
	*ret = sight;
	sight = (struct pooler_sight){ 0 };
	return STATUS_OK;
}

status pooler_console_reload(PGconn *console, struct error *err)
{
	return run(console, "RELOAD", NULL, err);
}

status pooler_console_end_clients(PGconn *console, const char *user, struct error *err)
{
	CLEANUP(admin_clear) PGresult *rows = NULL;
	status st = run(console, "SHOW CLIENTS", &rows, err);
	if (st == STATUS_OK && PQfnumber(rows, "id") < 0)
		return error_set(err, STATUS_UNSUPPORTED, 0, "this PgBouncer cannot end single clients");
	for (int i = 0; st == STATUS_OK && i < PQntuples(rows); i++) {
		char command[64];
		struct error ignored;
		if (is_own(rows, i) || strcmp(text_at(rows, i, "user"), user) != 0)
			continue;
		(void)snprintf(
		        command, sizeof command, "KILL_CLIENT %lld", (long long)number_at(rows, i, "id"));
		(void)!run(console, command, NULL, &ignored); /* it has gone meanwhile */
	}
	return st;
}
