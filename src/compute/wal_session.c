#include "compute/wal_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/number.h"
#include "compute/admin_connection.h"

struct wal_session {
	char *socket_folder;
	PGconn *connection;
	_Atomic int64_t count; /* read by the loop while a job works */
	_Atomic pid_t checkpointer;
	_Atomic bool is_stale; /* the connection is one to an earlier Postgres */
};

struct wal_session *wal_session_create(const char *socket_folder)
{
	struct wal_session *session = xcalloc(1, sizeof *session);
	session->socket_folder = xstrdup(socket_folder);
	return session;
}

struct wal_session *wal_session_free(struct wal_session *session)
{
	if (!session)
		return NULL;
	PQfinish(session->connection);
	free(session->socket_folder);
	free(session);
	return NULL;
}

void wal_session_renew(struct wal_session *session)
{
	session->is_stale = true;
	session->checkpointer = 0;
}

pid_t wal_session_checkpointer(const struct wal_session *session)
{
	return session->checkpointer;
}

int64_t wal_session_count(const struct wal_session *session)
{
	return session->count;
}

static status number_at(
        const PGresult *row, int column, int64_t min, int64_t max, int64_t *ret, struct error *err)
{
	const char *text = PQgetvalue(row, 0, column);
	if (!number_parse(slice_from_text(text), min, max, ret))
		return error_set(err, STATUS_INTERNAL, 0,
		        "Postgres answered \"%.60s\" where a number was asked for", text);
	return STATUS_OK;
}

static status lsn_at(const PGresult *row, int column, uint64_t *ret, struct error *err)
{
	const char *text = PQgetvalue(row, 0, column);
	if (!lsn_parse(slice_from_text(text), ret))
		return error_set(err, STATUS_INTERNAL, 0,
		        "Postgres answered \"%.60s\" where an LSN was asked for", text);
	return STATUS_OK;
}

/* It lives as long as the server does. */
static status find_checkpointer(struct wal_session *session, struct error *err)
{
	CLEANUP(admin_clear) PGresult *row = NULL;
	int64_t pid = 0;
	status st = admin_query(session->connection,
	        "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE backend_type = 'checkpointer'",
	        &row, err);
	if (st == STATUS_OK)
		st = number_at(row, 0, 0, INT32_MAX, &pid, err);
	if (st == STATUS_OK)
		session->checkpointer = (pid_t)pid;
	return st;
}

/* One statement that gives one row; connects first when there is no connection. */
static status ask_within(struct wal_session *session, int64_t patience_usec, const char *statement,
        PGresult **ret, struct error *err)
{
	if (session->is_stale)
		admin_disconnect(&session->connection);
	session->is_stale = false;
	if (!session->connection) {
		status st = admin_connect(
		        session->socket_folder, "postgres", ADMIN_APPLICATION, &session->connection, err);
		if (st != STATUS_OK)
			return st;
		session->count++;
		/*
		 * So that the server counts this session now. And no standby of the tenant's may hold up our commits, and his log is not
		 * for telling of every restore point.
		 */
		st = admin_query(session->connection,
		        "SET synchronous_commit = local; SET log_min_messages = fatal; SET log_statement = "
		        "none;"
		        " SET log_min_duration_statement = -1; SELECT pg_stat_force_next_flush()",
		        NULL, err);
		if (st == STATUS_OK)
			st = find_checkpointer(session, err);
		if (st != STATUS_OK)
			return st;
	}
	CLEANUP(admin_clear) PGresult *row = NULL;
	status st = admin_query_within(session->connection, patience_usec, statement, &row, err);
	if (st == STATUS_OK && PQresultStatus(row) == PGRES_TUPLES_OK && PQntuples(row) != 1)
		st = error_set(err, STATUS_INTERNAL, 0, "Postgres gave %d rows for one", PQntuples(row));
	if (st == STATUS_OK && ret)
		*ret = TAKE_PTR(row);
	return st;
}

static status ask(struct wal_session *session, const char *statement, PGresult **ret, struct error *err)
{
	return ask_within(session, ADMIN_PATIENCE, statement, ret, err);
}

static status end_call(struct wal_session *session, status st)
{
	if (st != STATUS_OK)
		admin_disconnect(&session->connection);
	return st;
}

/* The name of the segment has the timeline in front; pg_control still has the old one for a while after a promotion. */
#define TIMELINE_SQL "('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int8"
#define SEGMENT_SQL  "(SELECT setting FROM pg_settings WHERE name = 'wal_segment_size')"

static status look(struct wal_session *session, struct wal_position *ret, struct error *err)
{
	CLEANUP(admin_clear) PGresult *row = NULL;
	struct wal_position position;
	int64_t timeline = 0, segment_size = 0;
	status st = ask(session,
	        "SELECT pg_current_wal_insert_lsn(), wal_records, " TIMELINE_SQL ", " SEGMENT_SQL
	        " FROM pg_stat_wal",
	        &row, err);
	if (st == STATUS_OK)
		st = lsn_at(row, 0, &position.lsn, err);
	if (st == STATUS_OK)
		st = number_at(row, 1, 0, INT64_MAX, &position.records, err);
	if (st == STATUS_OK)
		st = number_at(row, 2, 1, UINT32_MAX, &timeline, err);
	if (st == STATUS_OK)
		st = number_at(row, 3, 1 << 20, 1 << 30, &segment_size, err);
	if (st != STATUS_OK)
		return st;
	position.timeline = (uint32_t)timeline;
	position.segment_size = (uint32_t)segment_size;
	*ret = position;
	return STATUS_OK;
}

status wal_session_look(struct wal_session *session, struct wal_position *ret, struct error *err)
{
	return end_call(session, look(session, ret, err));
}

static status flush(struct wal_session *session, uint64_t *ret_lsn, uint32_t *ret_timeline, struct error *err)
{
	CLEANUP(admin_clear) PGresult *before = NULL;
	CLEANUP(admin_clear) PGresult *after = NULL;
	uint64_t inserted, flushed;
	int64_t timeline = 0;
	status st =
	        ask(session, "SELECT pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn(), " TIMELINE_SQL,
	                &before, err);
	if (st == STATUS_OK)
		st = lsn_at(before, 0, &inserted, err);
	if (st == STATUS_OK)
		st = lsn_at(before, 1, &flushed, err);
	if (st == STATUS_OK)
		st = number_at(before, 2, 1, UINT32_MAX, &timeline, err);
	if (st == STATUS_OK && flushed < inserted) {
		/* The commit of a transaction that has a number and wrote WAL is flushed (one without WAL is not), and with it all before. */
		st = ask(session, "SELECT pg_logical_emit_message(true, 'tarn', '')", NULL, err);
		if (st == STATUS_OK)
			st = ask(session, "SELECT pg_current_wal_flush_lsn()", &after, err);
		if (st == STATUS_OK)
			st = lsn_at(after, 0, &flushed, err);
		if (st == STATUS_OK && flushed < inserted)
			st = error_set(err, STATUS_INTERNAL, 0, "Postgres did not flush its WAL");
	}
	if (st != STATUS_OK)
		return st;
	*ret_lsn = flushed;
	*ret_timeline = (uint32_t)timeline;
	return STATUS_OK;
}

status wal_session_flush(
        struct wal_session *session, uint64_t *ret_lsn, uint32_t *ret_timeline, struct error *err)
{
	return end_call(session, flush(session, ret_lsn, ret_timeline, err));
}

static status redo(struct wal_session *session, bool do_checkpoint, struct wal_redo *ret, struct error *err)
{
	CLEANUP(admin_clear) PGresult *row = NULL;
	uint64_t lsn;
	int64_t timeline = 0;
	status st =
	        do_checkpoint ? ask_within(session, ADMIN_LONG_PATIENCE, "CHECKPOINT", NULL, err) : STATUS_OK;
	if (st == STATUS_OK)
		st = ask(session, "SELECT redo_lsn, timeline_id FROM pg_control_checkpoint()", &row, err);
	if (st == STATUS_OK)
		st = lsn_at(row, 0, &lsn, err);
	if (st == STATUS_OK)
		st = number_at(row, 1, 1, UINT32_MAX, &timeline, err);
	if (st != STATUS_OK)
		return st;
	*ret = (struct wal_redo){ .lsn = lsn, .timeline = (uint32_t)timeline };
	return STATUS_OK;
}

status wal_session_redo(
        struct wal_session *session, bool do_checkpoint, struct wal_redo *ret, struct error *err)
{
	return end_call(session, redo(session, do_checkpoint, ret, err));
}

/*
 * Nobody can add a subscription between the look and the mark: the catalog is locked until the commit. When the lock cannot be
 * had soon (CREATE SUBSCRIPTION waits for its publisher) the answer is yes, which costs a clone one more start.
 */
static status begin_mark(struct wal_session *session, bool *ret_is_locked, struct error *err)
{
	status st = ask(session, "SELECT 1", NULL, err); /* there is a connection */
	if (st == STATUS_OK)
		st = admin_query(
		        session->connection, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", NULL, err);
	if (st == STATUS_OK)
		st = admin_query(session->connection, "SET LOCAL lock_timeout = '200ms'", NULL, err);
	if (st != STATUS_OK)
		return st;
	struct error busy;
	*ret_is_locked = admin_query(session->connection, "LOCK TABLE pg_subscription IN SHARE MODE", NULL,
	                         &busy) == STATUS_OK;
	if (*ret_is_locked)
		return STATUS_OK;
	st = admin_query(session->connection, "ROLLBACK", NULL, err);
	return st == STATUS_OK ? admin_query(session->connection,
	                                 "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", NULL, err)
	                       : st;
}

static status mark(struct wal_session *session, struct wal_mark *ret, struct error *err)
{
	CLEANUP(admin_clear) PGresult *row = NULL;
	CLEANUP(admin_clear) PGresult *after = NULL;
	bool is_locked = false;
	struct wal_mark made;
	int64_t timeline = 0, segment_size = 0;
	status st = begin_mark(session, &is_locked, err);
	/* A number for the transaction, so that its commit is flushed and with it the record. */
	if (st == STATUS_OK)
		st = ask(session,
		        "SELECT pg_create_restore_point('tarn'), " TIMELINE_SQL ", " SEGMENT_SQL ","
		        " EXISTS (SELECT FROM pg_subscription)"
		        " OR current_setting('max_prepared_transactions')::int > 0, pg_current_xact_id()",
		        &row, err);
	if (st == STATUS_OK)
		st = lsn_at(row, 0, &made.lsn, err);
	if (st == STATUS_OK)
		st = number_at(row, 1, 1, UINT32_MAX, &timeline, err);
	if (st == STATUS_OK)
		st = number_at(row, 2, 1 << 20, 1 << 30, &segment_size, err);
	if (st != STATUS_OK)
		return st;
	made.timeline = (uint32_t)timeline;
	made.segment_size = (uint32_t)segment_size;
	made.needs_hygiene = !is_locked || PQgetvalue(row, 0, 3)[0] == 't';
	made.wall_usec = clock_wall_usec();
	st = admin_query(session->connection, "COMMIT", NULL, err);
	if (st == STATUS_OK)
		st = ask(session, "SELECT pg_current_wal_insert_lsn()", &after, err);
	if (st == STATUS_OK)
		st = lsn_at(after, 0, &made.after_lsn, err);
	if (st != STATUS_OK)
		return st;
	*ret = made;
	return STATUS_OK;
}

status wal_session_mark(struct wal_session *session, struct wal_mark *ret, struct error *err)
{
	return end_call(session, mark(session, ret, err));
}

status wal_session_replayed_blocks(struct wal_session *session, int64_t *ret, struct error *err)
{
	CLEANUP(admin_clear) PGresult *row = NULL;
	int64_t blocks = 0;
	status st = ask(session,
	        "SELECT coalesce(prefetch + hit + skip_init + skip_new + skip_fpw + skip_rep, 0)"
	        " FROM pg_stat_recovery_prefetch",
	        &row, err);
	if (st == STATUS_OK)
		st = number_at(row, 0, 0, INT64_MAX, &blocks, err);
	if (st == STATUS_OK)
		*ret = blocks;
	return end_call(session, st);
}

status wal_session_cancel_writers(struct wal_session *session, int64_t began_before_usec, struct error *err)
{
	CLEANUP(free_text)
	char *statement =
	        xasprintf("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity"
	                  " WHERE backend_type = 'client backend' AND state = 'active'"
	                  " AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()"
	                  " AND (%" PRId64 " = 0 OR xact_start < to_timestamp(%" PRId64 " / 1000000.0))",
	                began_before_usec, began_before_usec);
	return end_call(session, ask(session, statement, NULL, err));
}
