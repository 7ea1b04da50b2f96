#include "compute/admin_connection.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "compute/libpq.h"

/*
 * The owner of a database may have set for it whose rights its sessions begin with. transaction_timeout is new in 17: only what this
 * server knows is set. Nobody's transaction holds up an operation, a look or a suspension for ever: a tenant's ALTER ROLE that is not
 * committed locks that role, and pg_maintain lets tenants lock whole system tables. Nor does a statement go on for ever that nobody waits for.
 */
static const char freedom[] =
        "SET SESSION AUTHORIZATION DEFAULT; SET ROLE NONE;"
        "SELECT pg_catalog.set_config(name, CASE name WHEN 'default_transaction_read_only' THEN 'off'"
        " WHEN 'synchronous_commit' THEN 'on' WHEN 'client_min_messages' THEN 'warning' WHEN 'lock_timeout' "
        "THEN '10s' WHEN 'client_connection_check_interval' THEN '1s'"
        " ELSE '0' END, false)"
        " FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', "
        "'transaction_timeout',"
        " 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'default_transaction_read_only',"
        " 'synchronous_commit', 'client_min_messages', 'client_connection_check_interval')";

static void drop_notice(void *arg, const PGresult *result)
{
	(void)arg, (void)result;
}

/* libpq's texts end with a newline and may have several lines: only the first is kept. */
static status failed(struct error *err, const char *what, const char *text)
{
	size_t len = strcspn(text, "\n");
	return error_set(err, STATUS_UNAVAILABLE, 0, "%s: %.*s", what, (int)(len < 300 ? len : 300), text);
}

status admin_connect(const char *socket_folder, const char *database, const char *application, PGconn **ret,
        struct error *err)
{
	const char *const names[] = { "host", "port", "user", "dbname", "application_name", "options",
		"sslmode", "gssencmode", "client_encoding", "connect_timeout", NULL };
	const char *const values[] = { socket_folder, "5432", "cloud_admin", database, application,
		"-c search_path=pg_catalog -c statement_timeout=0 -c local_preload_libraries=", "disable",
		"disable", "UTF8", "30", NULL };
	status st = libpq_load(err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(admin_disconnect) PGconn *connection = PQconnectdbParams(names, values, 0);
	if (!connection)
		return error_set(err, STATUS_NO_MEMORY, 0, "out of memory connecting to Postgres");
	if (PQstatus(connection) != CONNECTION_OK)
		return failed(err, "could not connect to Postgres", PQerrorMessage(connection));
	(void)PQsetNoticeReceiver(connection, drop_notice, NULL);
	if (PQsetnonblocking(connection, 1) != 0)
		return failed(err, "could not connect to Postgres", PQerrorMessage(connection));
	st = admin_query(connection, freedom, NULL, err);
	if (st != STATUS_OK)
		return st;
	*ret = TAKE_PTR(connection);
	return STATUS_OK;
}

/* What a caller can act on (errcodes.txt); everything else may work another time. */
static status meaning_of(const char *sqlstate)
{
	static const struct {
		const char *sqlstate;
		status code;
	} meanings[] = {
		{ "42710", STATUS_EXISTS },    /* duplicate_object */
		{ "42P04", STATUS_EXISTS },    /* duplicate_database */
		{ "42704", STATUS_NOT_FOUND }, /* undefined_object */
		{ "3D000", STATUS_NOT_FOUND }, /* invalid_catalog_name */
		{ "2BP01", STATUS_CONFLICT },  /* dependent_objects_still_exist */
		{ "55006", STATUS_CONFLICT },  /* object_in_use */
		{ "0LP01", STATUS_CONFLICT },  /* invalid_grant_operation */
		{ "42939", STATUS_INVALID },   /* reserved_name */
		{ "42602", STATUS_INVALID },   /* invalid_name */
		{ "53100", STATUS_NO_SPACE },  /* disk_full */
	};
	for (size_t i = 0; sqlstate && i < ARRAY_LEN(meanings); i++) {
		if (strcmp(sqlstate, meanings[i].sqlstate) == 0)
			return meanings[i].code;
	}
	return STATUS_UNAVAILABLE;
}

static status judge(PGconn *connection, PGresult *result, PGresult **ret, struct error *err)
{
	CLEANUP(admin_clear) PGresult *owned = result;
	ExecStatusType outcome = PQresultStatus(result);
	if (outcome != PGRES_COMMAND_OK && outcome != PGRES_TUPLES_OK) {
		const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
		const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
		(void)!failed(err, "Postgres refused a statement", text ? text : PQerrorMessage(connection));
		err->code = meaning_of(PQresultErrorField(result, PG_DIAG_SQLSTATE));
		if (detail)
			error_hint(err, "%.*s", (int)strcspn(detail, "\n"), detail);
		return err->code;
	}
	if (ret)
		*ret = TAKE_PTR(owned);
	return STATUS_OK;
}

/* Until something can be read, or written while there is something to write. False: not in time. */
static bool wait_for(PGconn *connection, bool is_writing, int64_t end_usec)
{
	struct pollfd socket = { .fd = PQsocket(connection), .events = POLLIN };
	if (is_writing)
		socket.events |= POLLOUT;
	for (;;) {
		int64_t left = end_usec - clock_monotonic_usec();
		int n = poll(&socket, 1, left > 0 ? (int)(left / 1000 + 1) : 0);
		if (n >= 0 || errno != EINTR)
			return n != 0; /* what is wrong with the socket is told by the next read */
	}
}

/* The last result of what was sent, as PQexec() has it. NULL and *ret_is_late: no answer in time. */
static PGresult *await_result(PGconn *connection, int64_t end_usec, bool *ret_is_late)
{
	CLEANUP(admin_clear) PGresult *last = NULL;
	for (bool is_open = true;;) {
		int unsent = PQflush(connection);
		bool must_wait = is_open && (unsent > 0 || PQisBusy(connection));
		if (must_wait && !wait_for(connection, unsent > 0, end_usec)) {
			*ret_is_late = true;
			return NULL;
		}
		if (must_wait) {
			is_open = PQconsumeInput(connection) != 0;
			continue;
		}
		/* Does not block: the result is there, or the connection is gone, which is a result too. */
		PGresult *next = PQgetResult(connection);
		if (!next)
			return TAKE_PTR(last);
		PQclear(last);
		last = next;
	}
}

/* is_sent: by libpq. */
static status finish(
        PGconn *connection, int is_sent, int64_t patience_usec, PGresult **ret, struct error *err)
{
	bool is_late = false;
	if (!is_sent)
		return failed(err, "could not ask Postgres", PQerrorMessage(connection));
	PGresult *result = await_result(connection, clock_monotonic_usec() + patience_usec, &is_late);
	if (!is_late)
		return judge(connection, result, ret, err);
	/* Broken off, not only given up: Postgres sees it, and nobody can take its late answer for that of another statement. */
	(void)shutdown(PQsocket(connection), SHUT_RDWR);
	error_fill(err, STATUS_UNAVAILABLE, 0, "Postgres did not answer within %lld ms",
	        (long long)(patience_usec / 1000));
	err->sys_errno = ETIMEDOUT;
	return STATUS_UNAVAILABLE;
}

status admin_query_within(
        PGconn *connection, int64_t patience_usec, const char *statement, PGresult **ret, struct error *err)
{
	return finish(connection, PQsendQuery(connection, statement), patience_usec, ret, err);
}

status admin_query(PGconn *connection, const char *statement, PGresult **ret, struct error *err)
{
	return admin_query_within(connection, ADMIN_PATIENCE, statement, ret, err);
}

status admin_query_with(PGconn *connection, const char *statement, const char *const *values, int count,
        PGresult **ret, struct error *err)
{
	int is_sent = PQsendQueryParams(connection, statement, count, NULL, values, NULL, NULL, 0);
	return finish(connection, is_sent, ADMIN_PATIENCE, ret, err);
}

status admin_append_identifier(PGconn *connection, struct buffer *out, const char *name, struct error *err)
{
	char *quoted = PQescapeIdentifier(connection, name, strlen(name));
	if (!quoted)
		return error_set(err, STATUS_INVALID, 0, "\"%s\" is not a valid name", name);
	buffer_append_text(out, quoted);
	PQfreemem(quoted);
	return STATUS_OK;
}

status admin_run_on_within(PGconn *connection, int64_t patience_usec, const char *before, const char *name,
        const char *between, const char *other, const char *after, struct error *err)
{
	CLEANUP(buffer_done) struct buffer statement = { 0 };
	buffer_append_text(&statement, before);
	status st = admin_append_identifier(connection, &statement, name, err);
	if (st == STATUS_OK && between)
		buffer_append_text(&statement, between);
	if (st == STATUS_OK && other)
		st = admin_append_identifier(connection, &statement, other, err);
	if (st != STATUS_OK)
		return st;
	if (after)
		buffer_append_text(&statement, after);
	return admin_query_within(connection, patience_usec, statement.data, NULL, err);
}

status admin_run_on(PGconn *connection, const char *before, const char *name, const char *between,
        const char *other, const char *after, struct error *err)
{
	return admin_run_on_within(connection, ADMIN_PATIENCE, before, name, between, other, after, err);
}
