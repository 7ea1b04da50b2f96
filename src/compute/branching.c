#include "compute/branching.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/number.h"
#include "base/random.h"
#include "page_store/volume.h"

static void connection_freep(PGconn **connection)
{
	PQfinish(*connection);
	*connection = NULL;
}

static void result_freep(PGresult **result)
{
	PQclear(*result);
	*result = NULL;
}

/* libpq ends its messages with a newline; ours are one line. */
static status postgres_error(const char *text, const char *doing, struct error *err)
{
	size_t len = strcspn(text, "\n");
	return error_set(err, STATUS_UNAVAILABLE, 0, "could not %s: %.*s", doing, (int)len, text);
}

static status parent_connect(const char *socket_dir, PGconn **ret, struct error *err)
{
	const char *const keywords[] = { "host", "port", "user", "dbname", "application_name",
		"connect_timeout", "client_encoding", "options", NULL };
	const char *const values[] = { socket_dir, "5432", "cloud_admin", "postgres", "tarn clone", "10",
		"UTF8", "-c statement_timeout=0 -c idle_session_timeout=0", NULL };
	CLEANUP(connection_freep) PGconn *connection = PQconnectdbParams(keywords, values, 0);
	if (PQstatus(connection) != CONNECTION_OK)
		return postgres_error(PQerrorMessage(connection), "connect to the parent", err);
	*ret = TAKE_PTR(connection);
	return STATUS_OK;
}

/* Runs one query that answers exactly one row of `columns` non-null values. */
static status query_row(PGconn *connection, const char *doing, const char *sql, const char *parameter,
        int columns, PGresult **ret, struct error *err)
{
	const char *const parameters[] = { parameter };
	CLEANUP(result_freep)
	PGresult *result = PQexecParams(connection, sql, parameter ? 1 : 0, NULL, parameters, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		return postgres_error(PQerrorMessage(connection), doing, err);
	if (PQntuples(result) != 1 || PQnfields(result) != columns)
		return error_set(err, STATUS_INTERNAL, 0, "could not %s: unexpected answer", doing);
	for (int i = 0; i < columns; i++)
		if (PQgetisnull(result, 0, i))
			return error_set(err, STATUS_INTERNAL, 0, "could not %s: unexpected null", doing);
	*ret = TAKE_PTR(result);
	return STATUS_OK;
}

/* What must be true of the parent before its files are copied. */
static status parent_check(PGconn *connection, struct restore_point *point, struct error *err)
{
	CLEANUP(result_freep) PGresult *row = NULL;
	status st = query_row(connection, "examine the parent",
	        "SELECT pg_is_in_recovery(),"
	        " (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')),"
	        " EXISTS (SELECT FROM pg_subscription) OR EXISTS (SELECT FROM pg_prepared_xacts),"
	        " (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size')",
	        NULL, 4, &row, err);
	if (st != STATUS_OK)
		return st;
	if (PQgetvalue(row, 0, 0)[0] != 'f')
		return error_set(err, STATUS_UNAVAILABLE, 0, "the parent is still recovering");
	if (strcmp(PQgetvalue(row, 0, 1), "0") != 0) {
		st = error_set(err, STATUS_CONFLICT, 0,
		        "the parent has tablespaces, which a branch would share with it");
		error_hint(err, "Move everything to the default tablespace and drop the others.");
		return st;
	}
	int64_t segment_size;
	if (!number_parse(slice_from_text(PQgetvalue(row, 0, 3)), 1 << 20, 1 << 30, &segment_size))
		return error_set(err, STATUS_INTERNAL, 0, "the parent's WAL segment size is not a number");
	point->needs_hygiene = PQgetvalue(row, 0, 2)[0] == 't';
	point->wal_segment_size = (uint32_t)segment_size;
	point->postgres_major = PQserverVersion(connection) / 10000;
	return STATUS_OK;
}

/* "NAME: VALUE" of a backup label, VALUE up to a blank or the end of the line (xlogbackup.c, build_backup_content). */
static bool label_value(const char *label, const char *name, struct slice *ret)
{
	const char *at = strstr(label, name);
	if (!at || (at != label && at[-1] != '\n'))
		return false;
	at += strlen(name);
	*ret = (struct slice){ (const uint8_t *)at, strcspn(at, " \n") };
	return ret->len > 0;
}

static status read_label(const char *label, struct restore_point *point, struct error *err)
{
	struct slice redo, timeline;
	int64_t number;
	if (!label_value(label, "START WAL LOCATION: ", &redo) || !lsn_parse(redo, &point->redo_lsn) ||
	        !label_value(label, "START TIMELINE: ", &timeline) ||
	        !number_parse(timeline, 1, UINT32_MAX, &number))
		return error_set(err, STATUS_INTERNAL, 0,
		        "the parent's backup label has no start location or timeline");
	point->parent_timeline = (uint32_t)number;
	point->backup_label = xstrdup(label);
	return STATUS_OK;
}

/*
 * From pg_backup_start to a complete clone. The slot made before keeps every segment from the start location on; it is
 * temporary, so that it and the backup end with the connection, however this ends.
 */
static status clone_between(const struct data_directory *dd, PGconn *connection, const char *id,
        struct restore_point *point, struct branching_result *result, struct error *err)
{
	CLEANUP(result_freep) PGresult *slot = NULL, *start = NULL, *stop = NULL;
	char slot_name[32] = "tarn_clone_";
	random_hex(slot_name + strlen(slot_name), 16);
	status st = query_row(connection, "keep the parent's WAL",
	        "SELECT slot_name FROM pg_create_physical_replication_slot($1, true, true)", slot_name, 1,
	        &slot, err);
	if (st != STATUS_OK)
		return st;
	st = query_row(connection, "start a backup of the parent", "SELECT pg_backup_start($1, fast => true)",
	        id, 1, &start, err);
	if (st != STATUS_OK)
		return st;
	st = volume_clone_begin(dd, point->parent_id, id, err);
	if (st != STATUS_OK)
		return st;
	st = query_row(connection, "end the backup of the parent",
	        "SELECT lsn, labelfile FROM pg_backup_stop(wait_for_archive => false)", NULL, 2, &stop, err);
	if (st != STATUS_OK)
		return st;
	if (!lsn_parse(slice_from_text(PQgetvalue(stop, 0, 0)), &point->end_lsn))
		return error_set(err, STATUS_INTERNAL, 0, "the parent's backup ended at no position");
	int64_t now = clock_wall_usec();
	st = read_label(PQgetvalue(stop, 0, 1), point, err);
	if (st == STATUS_OK)
		st = volume_clone_finish(dd, id, point, err);
	if (st == STATUS_OK)
		*result = (struct branching_result){ .lsn = point->end_lsn, .wall_usec = now };
	return st;
}

status branching_clone(const struct data_directory *dd, const char *parent_id, const char *parent_socket_dir,
        const char *id, uint32_t timeline, struct branching_result *ret, struct error *err)
{
	struct restore_point point = { .timeline = timeline };
	struct branching_result result;
	if (strlen(parent_id) > VOLUME_ID_MAX)
		return error_set(err, STATUS_INVALID, 0, "volume id \"%.64s…\" is too long", parent_id);
	strcpy(point.parent_id, parent_id);
	CLEANUP(connection_freep) PGconn *connection = NULL;
	status st = parent_connect(parent_socket_dir, &connection, err);
	if (st == STATUS_OK)
		st = parent_check(connection, &point, err);
	if (st == STATUS_OK) {
		st = clone_between(dd, connection, id, &point, &result, err);
		if (st != STATUS_OK && st != STATUS_EXISTS)
			volume_clone_abort(dd, id);
	}
	free(point.backup_label);
	if (st == STATUS_OK)
		*ret = result;
	return st;
}
