/*
 * The parent's side and ours, in order (numbers of traps as in branching.h):
 *
 *   1  a temporary physical slot with reserved WAL: the parent keeps every segment from here on
 *   2  pg_backup_start: a checkpoint; recovery of the clone begins at its redo position
 *   3  the files are copied, while the parent goes on writing them; full-page images in the WAL repair what was torn
 *   4  pg_backup_stop: the position up to which the clone must replay to be consistent (T2, T6), and the label (T3)
 *   5  the WAL between the two is copied
 *   6  the connection ends, and with it the slot
 *
 * All of it in one transaction, which shows the parent's supervisor that the compute is in use. Whatever breaks the
 * connection ends the backup and the slot on the parent's side; the half-made clone is ours to remove.
 */
#include "compute/branching.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/number.h"
#include "base/random.h"
#include "compute/admin_connection.h"
#include "page_store/volume.h"

/* Not the supervisor's name: this is activity, and may not be suspended. */
#define BRANCHING_APPLICATION "tarn branching"

static status read_number_at(
        const PGresult *row, int column, int64_t min, int64_t max, int64_t *ret, struct error *err)
{
	const char *text = PQgetvalue(row, 0, column);
	if (!number_parse(slice_from_text(text), min, max, ret))
		return error_set(err, STATUS_INTERNAL, 0,
		        "Postgres answered \"%.60s\" where a number was asked for", text);
	return STATUS_OK;
}

static status read_lsn_at(const PGresult *row, int column, uint64_t *ret, struct error *err)
{
	const char *text = PQgetvalue(row, 0, column);
	if (!lsn_parse(slice_from_text(text), ret))
		return error_set(err, STATUS_INTERNAL, 0,
		        "Postgres answered \"%.60s\" where an LSN was asked for", text);
	return STATUS_OK;
}

/* Is it the parent's Postgres that answers, and has it only what a clone can have? */
static status check_parent(
        PGconn *connection, const struct data_directory *dd, const char *parent_id, struct error *err)
{
	CLEANUP(admin_clear) PGresult *row = NULL;
	status st = admin_query(connection,
	        "SELECT current_setting('data_directory'), pg_is_in_recovery(),"
	        " (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global'))",
	        &row, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *expected = data_directory_path(dd, "volumes/%s/data", parent_id);
	if (strcmp(PQgetvalue(row, 0, 0), expected) != 0)
		return error_set(err, STATUS_INTERNAL, 0,
		        "the Postgres that was asked runs on \"%s\", not on \"%s\"", PQgetvalue(row, 0, 0),
		        expected);
	if (PQgetvalue(row, 0, 1)[0] == 't')
		return error_set(err, STATUS_UNAVAILABLE, 0, "the parent is in recovery");
	if (strcmp(PQgetvalue(row, 0, 2), "0") != 0) {
		st = error_set(err, STATUS_UNSUPPORTED, 0,
		        "the parent has a tablespace, which a branch would share with it (T18)");
		error_hint(err, "Move its tables to the default tablespace and drop it.");
		return st;
	}
	return STATUS_OK;
}

static status start_backup(PGconn *connection, const char *id, struct restore_point *point, struct error *err)
{
	char suffix[9];
	random_hex(suffix, 8);
	CLEANUP(free_text) char *slot = xasprintf("tarn_branch_%s", suffix);
	CLEANUP(free_text) char *label = xasprintf("tarn branch %s", id);
	status st = admin_query_with(connection, "SELECT pg_create_physical_replication_slot($1, true, true)",
	        (const char *const[]){ slot }, 1, NULL, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(admin_clear) PGresult *started = NULL;
	st = admin_query_with(connection, "SELECT pg_backup_start($1, true)", (const char *const[]){ label },
	        1, &started, err);
	if (st == STATUS_OK)
		st = read_lsn_at(started, 0, &point->redo_lsn, err);
	if (st != STATUS_OK)
		return st;
	/* The checkpoint just made is on the parent's own timeline, which it keeps for as long as it runs. */
	CLEANUP(admin_clear) PGresult *facts = NULL;
	st = admin_query(connection,
	        "SELECT c.timeline_id, i.bytes_per_wal_segment, current_setting('server_version_num')::int / "
	        "10000,"
	        " current_setting('max_prepared_transactions')::int"
	        " FROM pg_control_checkpoint() c, pg_control_init() i",
	        &facts, err);
	int64_t timeline = 0, segment_size = 0, major = 0, prepared = 0;
	if (st == STATUS_OK)
		st = read_number_at(facts, 0, 1, UINT32_MAX, &timeline, err);
	if (st == STATUS_OK)
		st = read_number_at(facts, 1, 1, 1 << 30, &segment_size, err);
	if (st == STATUS_OK)
		st = read_number_at(facts, 2, 1, 999, &major, err);
	if (st == STATUS_OK)
		st = read_number_at(facts, 3, 0, INT32_MAX, &prepared, err);
	if (st != STATUS_OK)
		return st;
	point->parent_timeline = (uint32_t)timeline;
	point->wal_segment_size = (uint32_t)segment_size;
	point->postgres_major = (int)major;
	point->needs_hygiene = prepared > 0;
	return STATUS_OK;
}

/*
 * Will the clone have subscriptions at the position where it begins? Nobody can add one between this look and that position:
 * the catalog is locked until the caller closes *ret_guard. When the lock cannot be had soon (CREATE SUBSCRIPTION waits for
 * its publisher) the answer is yes, which costs the clone one more start. A connection of its own, because an error in the
 * backup's session would drop its slot.
 */
static status look_for_subscriptions(
        const char *socket_folder, PGconn **ret_guard, bool *ret_has_some, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *guard = NULL;
	CLEANUP(admin_clear) PGresult *row = NULL;
	status st = admin_connect(socket_folder, "postgres", BRANCHING_APPLICATION, &guard, err);
	if (st == STATUS_OK)
		st = admin_query(guard, "SET lock_timeout = '200ms'", NULL, err);
	if (st == STATUS_OK)
		st = admin_query(guard, "BEGIN", NULL, err);
	if (st != STATUS_OK)
		return st;
	struct error busy;
	if (admin_query(guard, "LOCK TABLE pg_subscription IN SHARE MODE", NULL, &busy) != STATUS_OK) {
		*ret_has_some = true;
		return STATUS_OK;
	}
	st = admin_query(guard, "SELECT EXISTS (SELECT FROM pg_subscription)", &row, err);
	if (st != STATUS_OK)
		return st;
	*ret_has_some = PQgetvalue(row, 0, 0)[0] == 't';
	*ret_guard = TAKE_PTR(guard);
	return STATUS_OK;
}

static status stop_backup(
        PGconn *connection, const char *socket_folder, struct restore_point *point, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *guard = NULL;
	CLEANUP(admin_clear) PGresult *row = NULL;
	bool has_subscriptions = false;
	status st = look_for_subscriptions(socket_folder, &guard, &has_subscriptions, err);
	if (st == STATUS_OK)
		st = admin_query(connection, "SELECT lsn, labelfile, spcmapfile FROM pg_backup_stop(false)",
		        &row, err);
	if (st == STATUS_OK)
		st = read_lsn_at(row, 0, &point->end_lsn, err);
	if (st != STATUS_OK)
		return st;
	if (PQgetlength(row, 0, 2) > 0)
		return error_set(
		        err, STATUS_UNSUPPORTED, 0, "the parent got a tablespace while it was copied");
	point->backup_label = xstrdup(PQgetvalue(row, 0, 1));
	point->needs_hygiene = point->needs_hygiene || has_subscriptions;
	return STATUS_OK;
}

static status clone_parent(const struct data_directory *dd, const char *socket_folder, const char *id,
        struct restore_point *point, struct branching_result *ret, struct error *err)
{
	CLEANUP(admin_disconnect) PGconn *connection = NULL;
	status st = admin_connect(socket_folder, "postgres", BRANCHING_APPLICATION, &connection, err);
	if (st == STATUS_OK)
		st = check_parent(connection, dd, point->parent_id, err);
	if (st == STATUS_OK)
		st = admin_query(connection, "BEGIN", NULL, err);
	if (st == STATUS_OK)
		st = start_backup(connection, id, point, err);
	if (st == STATUS_OK)
		st = volume_clone_begin(dd, point->parent_id, id, err);
	if (st == STATUS_OK)
		st = stop_backup(connection, socket_folder, point, err);
	int64_t wall_usec = clock_wall_usec();
	if (st == STATUS_OK)
		st = volume_clone_finish(dd, id, point, err);
	if (st != STATUS_OK)
		return st;
	*ret = (struct branching_result){ .lsn = point->end_lsn, .wall_usec = wall_usec };
	return STATUS_OK;
}

status branching_clone(const struct data_directory *dd, const char *parent_id, const char *parent_socket_dir,
        const char *id, uint32_t timeline, struct branching_result *ret, struct error *err)
{
	struct restore_point point = { .timeline = timeline };
	if (strlen(parent_id) > VOLUME_ID_MAX)
		return error_set(err, STATUS_INVALID, 0, "the parent's name is too long");
	memcpy(point.parent_id, parent_id, strlen(parent_id) + 1);
	status st = clone_parent(dd, parent_socket_dir, id, &point, ret, err);
	free(point.backup_label);
	if (st == STATUS_OK || st == STATUS_EXISTS)
		return st;
	volume_clone_abort(dd, id);
	return error_prefix(err, "could not clone \"%s\"", parent_id);
}
