#include "metadata/snapshot_schedule_row.h"

#include <stdlib.h>

#define SELECT "SELECT branch, cadences, considered_usec, next_usec FROM snapshot_schedule "

void snapshot_schedule_row_done(struct snapshot_schedule_row *row)
{
	free(row->cadences);
	*row = (struct snapshot_schedule_row){ 0 };
}

status snapshot_schedule_row_put(
        struct metadata *md, const struct snapshot_schedule_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT OR REPLACE INTO snapshot_schedule(branch, cadences, considered_usec, next_usec)"
	        " VALUES (?, ?, ?, ?)",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, row->branch);
	statement_bind_text(&st, row->cadences);
	statement_bind_integer(&st, row->considered_usec);
	statement_bind_integer(&st, row->next_usec);
	return statement_run(&st, err);
}

status snapshot_schedule_row_remove(struct metadata *md, int64_t branch, struct error *err)
{
	return statement_do(md, "DELETE FROM snapshot_schedule WHERE branch = ?", INTEGERS(branch), err);
}

static status one(struct metadata *md, const char *sql, int64_t value, struct snapshot_schedule_row *ret,
        struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open_for(md, sql, INTEGERS(value), &st, err);
	if (code == STATUS_OK)
		code = statement_next(&st, err);
	if (code != STATUS_OK)
		return code;
	struct snapshot_schedule_row row = { .branch = statement_integer(&st) };
	row.cadences = statement_text_copy(&st);
	row.considered_usec = statement_integer(&st);
	row.next_usec = statement_integer(&st);
	*ret = row;
	return STATUS_OK;
}

status snapshot_schedule_row_find(
        struct metadata *md, int64_t branch, struct snapshot_schedule_row *ret, struct error *err)
{
	return one(md, SELECT "WHERE branch = ?", branch, ret, err);
}

status snapshot_schedule_row_find_due(
        struct metadata *md, int64_t now_usec, struct snapshot_schedule_row *ret, struct error *err)
{
	return one(md,
	        SELECT
	        "WHERE next_usec <= ? AND EXISTS (SELECT 1 FROM branch b JOIN project p ON p.id = b.project"
	        " WHERE b.id = snapshot_schedule.branch AND b.delete_usec IS NULL AND b.is_purged = 0"
	        " AND p.delete_usec IS NULL AND p.is_purged = 0) ORDER BY next_usec LIMIT 1",
	        now_usec, ret, err);
}
