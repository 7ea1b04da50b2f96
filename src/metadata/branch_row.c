#include "metadata/branch_row.h"

#define COLUMNS                                                                                              \
	"project, branch_id, uid, create_usec, update_usec, delete_usec, purge_usec, is_purged, "            \
	"is_protected, "                                                                                     \
	"expire_usec, is_ready, state_change_usec, source, source_branch_id, source_lsn, source_usec, "      \
	"timeline, revision, logical_size, volume_id, next_volume, origin_volume, origin_lsn, "              \
	"source_snapshot, "                                                                                  \
	"is_resetting, own_bytes, shared_bytes, history_bytes, archive_usec"
#define PARAMETERS "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
#define SELECT     "SELECT id, " COLUMNS " FROM branch "
/* A branch of a deleted project is as deleted as the project. */
/* Looked up for the few rows that are due, not listed for all projects. */
#define IN_LIVE_PROJECT                                                                                      \
	"EXISTS (SELECT 1 FROM project p WHERE p.id = project AND p.delete_usec IS NULL AND p.is_purged = "  \
	"0)"

static void bind_columns(struct statement *st, const struct branch_row *row)
{
	statement_bind_integer(st, row->project);
	statement_bind_text(st, row->branch_id);
	statement_bind_text(st, row->uid);
	statement_bind_integer(st, row->create_usec);
	statement_bind_integer(st, row->update_usec);
	statement_bind_optional(st, row->delete_usec);
	statement_bind_optional(st, row->purge_usec);
	statement_bind_integer(st, row->is_purged);
	statement_bind_integer(st, row->is_protected);
	statement_bind_optional(st, row->expire_usec);
	statement_bind_integer(st, row->is_ready);
	statement_bind_integer(st, row->state_change_usec);
	statement_bind_optional(st, row->source);
	statement_bind_text(st, row->source_branch_id[0] ? row->source_branch_id : NULL);
	statement_bind_optional(st, (int64_t)row->source_lsn);
	statement_bind_optional(st, row->source_usec);
	statement_bind_integer(st, row->timeline);
	statement_bind_integer(st, row->revision);
	statement_bind_integer(st, row->logical_size);
	statement_bind_text(st, row->volume_id);
	statement_bind_integer(st, row->next_volume);
	statement_bind_text(st, row->origin_volume[0] ? row->origin_volume : NULL);
	statement_bind_optional(st, (int64_t)row->origin_lsn);
	statement_bind_text(st, row->source_snapshot[0] ? row->source_snapshot : NULL);
	statement_bind_integer(st, row->is_resetting);
	statement_bind_integer(st, row->own_bytes);
	statement_bind_integer(st, row->shared_bytes);
	statement_bind_integer(st, row->history_bytes);
	statement_bind_optional(st, row->archive_usec);
}

status branch_row_next(struct statement *st, struct branch_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct branch_row row = { .id = statement_integer(st) };
	row.project = statement_integer(st);
	statement_text(st, row.branch_id, sizeof row.branch_id);
	statement_text(st, row.uid, sizeof row.uid);
	row.create_usec = statement_integer(st);
	row.update_usec = statement_integer(st);
	row.delete_usec = statement_integer(st);
	row.purge_usec = statement_integer(st);
	row.is_purged = statement_integer(st) != 0;
	row.is_protected = statement_integer(st) != 0;
	row.expire_usec = statement_integer(st);
	row.is_ready = statement_integer(st) != 0;
	row.state_change_usec = statement_integer(st);
	row.source = statement_integer(st);
	statement_text(st, row.source_branch_id, sizeof row.source_branch_id);
	row.source_lsn = (uint64_t)statement_integer(st);
	row.source_usec = statement_integer(st);
	row.timeline = statement_integer(st);
	row.revision = statement_integer(st);
	row.logical_size = statement_integer(st);
	statement_text(st, row.volume_id, sizeof row.volume_id);
	row.next_volume = statement_integer(st);
	statement_text(st, row.origin_volume, sizeof row.origin_volume);
	row.origin_lsn = (uint64_t)statement_integer(st);
	statement_text(st, row.source_snapshot, sizeof row.source_snapshot);
	row.is_resetting = statement_integer(st) != 0;
	row.own_bytes = statement_integer(st);
	row.shared_bytes = statement_integer(st);
	row.history_bytes = statement_integer(st);
	row.archive_usec = statement_integer(st);
	*ret = row;
	return STATUS_OK;
}

status branch_row_insert(struct metadata *md, struct branch_row *row, struct error *err)
{
	if (row->volume_id[0] == '\0')
		memcpy(row->volume_id, row->uid, sizeof row->volume_id);
	if (row->next_volume == 0)
		row->next_volume = 1;
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(
	        md, "INSERT INTO branch(" COLUMNS ") VALUES (" PARAMETERS ") RETURNING id", &st, err);
	if (code != STATUS_OK)
		return code;
	bind_columns(&st, row);
	return statement_next_integer(&st, &row->id, err);
}

status branch_row_update(struct metadata *md, const struct branch_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(
	        md, "UPDATE branch SET (" COLUMNS ") = (" PARAMETERS ") WHERE id = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	bind_columns(&st, row);
	statement_bind_integer(&st, row->id);
	return statement_run(&st, err);
}

status branch_row_remove(struct metadata *md, int64_t id, struct error *err)
{
	return statement_do(md, "DELETE FROM branch WHERE id = ?", INTEGERS(id), err);
}

status branch_row_inventory_stamp(struct metadata *md, int64_t id, int64_t *ret, struct error *err)
{
	return statement_ask(md, "SELECT inventory_stamp FROM branch WHERE id = ?", INTEGERS(id), ret, err);
}

status branch_row_note_inventory(struct metadata *md, int64_t id, int64_t stamp, struct error *err)
{
	return statement_do(
	        md, "UPDATE branch SET inventory_stamp = ? WHERE id = ?", INTEGERS(stamp, id), err);
}

static status one(struct statement *st, struct branch_row *ret, struct error *err)
{
	status code = branch_row_next(st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "branch id not found") : code;
}

status branch_row_find(struct metadata *md, int64_t project, const char *branch_id, struct branch_row *ret,
        struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code =
	        statement_open(md, SELECT "WHERE project = ? AND branch_id = ? AND is_purged = 0", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, project);
	statement_bind_text(&st, branch_id);
	return one(&st, ret, err);
}

status branch_row_get(struct metadata *md, int64_t id, struct branch_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open_for(md, SELECT "WHERE id = ?", INTEGERS(id), &st, err);
	return code == STATUS_OK ? one(&st, ret, err) : code;
}

status branch_row_find_uid(struct metadata *md, const char *uid, struct branch_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, SELECT "WHERE uid = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, uid);
	return one(&st, ret, err);
}

status branch_row_find_volume(
        struct metadata *md, const char *volume_id, struct branch_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, SELECT "WHERE volume_id = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, volume_id);
	return one(&st, ret, err);
}

status branch_row_list(struct metadata *md, int64_t project, int64_t after_id, bool with_deleted,
        int64_t limit, struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        SELECT "WHERE project = ? AND id > ? AND is_purged = 0 AND (delete_usec IS NULL OR ?)"
	               " ORDER BY id LIMIT ?",
	        INTEGERS(project, after_id, with_deleted, limit), ret, err);
}

status branch_row_list_all(struct metadata *md, int64_t project, struct statement *ret, struct error *err)
{
	return statement_open_for(md, SELECT "WHERE project = ? ORDER BY id", INTEGERS(project), ret, err);
}

status branch_row_list_descendants(struct metadata *md, int64_t id, struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        "WITH RECURSIVE below(branch, depth) AS ("
	        " SELECT id, 1 FROM branch WHERE source = ? AND is_purged = 0 AND delete_usec IS NULL"
	        " UNION ALL SELECT b.id, depth + 1 FROM branch b JOIN below ON b.source = below.branch"
	        " WHERE b.is_purged = 0 AND b.delete_usec IS NULL) " SELECT
	        "JOIN below ON below.branch = id ORDER BY depth DESC, id DESC",
	        INTEGERS(id), ret, err);
}

status branch_row_list_everywhere(struct metadata *md, struct statement *ret, struct error *err)
{
	return statement_open(md, SELECT "ORDER BY id", ret, err);
}

status branch_row_list_upkeep(struct metadata *md, struct statement *ret, struct error *err)
{
	return statement_open(md,
	        "SELECT b.id, p.id, p.uid, b.volume_id, p.history_retention_usec, b.archive_usec IS NOT NULL "
	        "FROM project p"
	        " CROSS JOIN branch b ON b.project = p.id"
	        " WHERE p.is_purged = 0 AND b.is_purged = 0 AND b.is_ready = 1 ORDER BY p.id, b.id",
	        ret, err);
}

status branch_upkeep_next(struct statement *st, struct branch_upkeep *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	ret->branch = statement_integer(st);
	ret->project = statement_integer(st);
	statement_text(st, ret->store, sizeof ret->store);
	statement_text(st, ret->volume, sizeof ret->volume);
	ret->window_usec = statement_integer(st);
	ret->is_archived = statement_integer(st) != 0;
	return STATUS_OK;
}

status branch_row_list_expired(
        struct metadata *md, int64_t now_usec, struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        SELECT "WHERE expire_usec <= ? AND delete_usec IS NULL AND is_purged = 0 AND " IN_LIVE_PROJECT
	               " ORDER BY expire_usec, id",
	        INTEGERS(now_usec), ret, err);
}

status branch_row_list_due(struct metadata *md, int64_t now_usec, struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        SELECT "WHERE purge_usec <= ? AND is_purged = 0 ORDER BY purge_usec, id", INTEGERS(now_usec),
	        ret, err);
}

status branch_row_count(struct metadata *md, int64_t project, int64_t *ret, struct error *err)
{
	return statement_ask(md, "SELECT count(*) FROM branch WHERE project = ? AND is_purged = 0",
	        INTEGERS(project), ret, err);
}

status branch_row_count_children(struct metadata *md, int64_t id, int64_t *ret, struct error *err)
{
	return statement_ask(md,
	        "SELECT count(*) FROM branch WHERE source = ? AND is_purged = 0 AND delete_usec IS NULL",
	        INTEGERS(id), ret, err);
}

status branch_row_count_protected(struct metadata *md, int64_t project, int64_t *ret, struct error *err)
{
	return statement_ask(md,
	        "SELECT count(*) FROM branch WHERE project = ? AND is_protected = 1 AND is_purged = 0"
	        " AND delete_usec IS NULL",
	        INTEGERS(project), ret, err);
}

status branch_row_count_roots(struct metadata *md, int64_t project, int64_t *ret, struct error *err)
{
	return statement_ask(md,
	        "SELECT count(*) FROM branch WHERE project = ? AND source IS NULL AND is_purged = 0"
	        " AND delete_usec IS NULL",
	        INTEGERS(project), ret, err);
}

#define UNARCHIVED                                                                                           \
	"archive_usec IS NULL AND is_purged = 0 AND delete_usec IS NULL AND NOT EXISTS (SELECT 1 FROM "      \
	"operation o WHERE o.finish_usec IS NULL AND o.branch = branch.id AND o.kind = 'BRANCH_ARCHIVE')"
#define LAST_USE                                                                                             \
	"max(state_change_usec, update_usec, coalesce((SELECT max(max(coalesce(last_active_usec, 0), "       \
	"coalesce(suspended_usec, 0))) FROM endpoint e WHERE e.branch = branch.id), 0))"

status branch_row_count_unarchived(struct metadata *md, int64_t project, int64_t *ret, struct error *err)
{
	return statement_ask(md, "SELECT count(*) FROM branch WHERE project = ? AND " UNARCHIVED,
	        INTEGERS(project), ret, err);
}

status branch_row_find_crowded(struct metadata *md, int64_t limit, int64_t after_project,
        int64_t *ret_project, int64_t *ret_excess, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open_for(md,
	        "SELECT project, count(*) - ?1 FROM branch WHERE project > ?2 AND " UNARCHIVED
	        " AND " IN_LIVE_PROJECT " GROUP BY project HAVING count(*) > ?1 ORDER BY project LIMIT 1",
	        INTEGERS(limit, after_project), &st, err);
	if (code == STATUS_OK)
		code = statement_next(&st, err);
	if (code != STATUS_OK)
		return code;
	*ret_project = statement_integer(&st);
	*ret_excess = statement_integer(&st);
	return STATUS_OK;
}

status branch_row_list_idle(
        struct metadata *md, const struct branch_idle *idle, struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        SELECT "WHERE archive_usec IS NULL AND is_ready = 1 AND is_resetting = 0 AND is_protected = 0"
	               " AND delete_usec IS NULL AND is_purged = 0 AND create_usec <= ?3 AND (?1 = 0 OR "
	               "project = ?1)"
	               " AND state_change_usec <= ?2 AND " LAST_USE " <= ?2 AND " IN_LIVE_PROJECT
	               " AND NOT EXISTS (SELECT 1 FROM project p WHERE p.id = branch.project"
	               "  AND p.default_branch_uid = branch.uid)"
	               " AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.finish_usec IS NULL AND"
	               "  (o.branch = branch.id OR o.source_branch = branch.id))"
	               " ORDER BY " LAST_USE,
	        INTEGERS(idle->project, idle->used_before_usec, idle->created_before_usec), ret, err);
}

status branch_row_note_space(
        struct metadata *md, int64_t id, const struct branch_space *space, struct error *err)
{
	return statement_do(md,
	        "UPDATE branch SET (logical_size, own_bytes, shared_bytes, history_bytes) = (?, ?, ?, ?) "
	        "WHERE id = ?",
	        INTEGERS(space->logical, space->own, space->shared, space->history, id), err);
}

status metadata_next_due(struct metadata *md, int64_t *ret_usec, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        /* The first of each index that counts: min() would go over all of them. */
	        "SELECT min(due) FROM ("
	        "SELECT * FROM (SELECT expire_usec AS due FROM branch WHERE expire_usec > 0"
	        " AND delete_usec IS NULL AND is_purged = 0 AND " IN_LIVE_PROJECT
	        " ORDER BY expire_usec LIMIT 1) UNION ALL "
	        "SELECT * FROM (SELECT expire_usec FROM snapshot WHERE expire_usec > 0"
	        " AND is_ready = 1 AND is_purged = 0 AND " IN_LIVE_PROJECT
	        " ORDER BY expire_usec LIMIT 1) UNION ALL "
	        "SELECT * FROM (SELECT next_usec FROM snapshot_schedule WHERE EXISTS (SELECT 1 FROM branch"
	        " WHERE id = snapshot_schedule.branch AND delete_usec IS NULL AND is_purged = 0 "
	        "AND " IN_LIVE_PROJECT ") ORDER BY next_usec LIMIT 1) UNION ALL "
	        "SELECT * FROM (SELECT purge_usec FROM branch WHERE purge_usec > 0 AND is_purged = 0"
	        " ORDER BY purge_usec LIMIT 1) UNION ALL "
	        "SELECT * FROM (SELECT purge_usec FROM project WHERE purge_usec > 0 AND is_purged = 0"
	        " ORDER BY purge_usec LIMIT 1))",
	        &st, err);
	if (code == STATUS_OK)
		code = statement_next(&st, err);
	if (code == STATUS_OK)
		*ret_usec = statement_integer(&st);
	return code;
}
