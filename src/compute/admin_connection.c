#include "compute/admin_connection.h"

#include <stdlib.h>

#include "compute/libpq.h"

/* transaction_timeout is new in 17: only what this server knows is set. */
static const char freedom[] =
        "SELECT pg_catalog.set_config(name, CASE name WHEN 'default_transaction_read_only' THEN 'off'"
        " WHEN 'synchronous_commit' THEN 'on' WHEN 'client_min_messages' THEN 'warning' ELSE '0' END, false)"
        " FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', "
        "'transaction_timeout',"
        " 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'default_transaction_read_only',"
        " 'synchronous_commit', 'client_min_messages')";

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
		"-c search_path=pg_catalog -c statement_timeout=0", "disable", "disable", "UTF8", "30",
		NULL };
	status st = libpq_load(err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(admin_disconnect) PGconn *connection = PQconnectdbParams(names, values, 0);
	if (!connection)
		return error_set(err, STATUS_NO_MEMORY, 0, "out of memory connecting to Postgres");
	if (PQstatus(connection) != CONNECTION_OK)
		return failed(err, "could not connect to Postgres", PQerrorMessage(connection));
	(void)PQsetNoticeReceiver(connection, drop_notice, NULL);
	st = admin_query(connection, freedom, NULL, err);
	if (st != STATUS_OK)
		return st;
	*ret = TAKE_PTR(connection);
	return STATUS_OK;
}

static status judge(PGconn *connection, PGresult *result, PGresult **ret, struct error *err)
{
	CLEANUP(admin_clear) PGresult *owned = result;
	ExecStatusType outcome = PQresultStatus(result);
	if (outcome != PGRES_COMMAND_OK && outcome != PGRES_TUPLES_OK) {
		const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
		return failed(err, "Postgres refused a statement", text ? text : PQerrorMessage(connection));
	}
	if (ret)
		*ret = TAKE_PTR(owned);
	return STATUS_OK;
}

status admin_query(PGconn *connection, const char *statement, PGresult **ret, struct error *err)
{
	return judge(connection, PQexec(connection, statement), ret, err);
}

status admin_query_with(PGconn *connection, const char *statement, const char *const *values, int count,
        PGresult **ret, struct error *err)
{
	return judge(connection, PQexecParams(connection, statement, count, NULL, values, NULL, NULL, 0), ret,
	        err);
}
