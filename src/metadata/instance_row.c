#include "metadata/instance_row.h"

#include <stdlib.h>

/* Every branch that is an instance; `production` has what its project has. */
#define SELECT                                                                                               \
	"SELECT b.id, p.project_id, b.delete_usec IS NOT NULL OR p.delete_usec IS NOT NULL,"                 \
	" i.id IS NOT NULL, coalesce(i.name, p.project_id), coalesce(i.uid, p.uid),"                         \
	" coalesce(i.creator, p.owner), i.parent_lsn, i.parent_usec,"                                        \
	" iif(b.source IS NULL, p.custom_tags, i.custom_tags),"                                              \
	" iif(b.source IS NULL, p.budget_policy_id, i.usage_policy_id) "
#define STORED                                                                                               \
	SELECT "FROM instance i JOIN branch b ON b.id = i.branch JOIN project p ON p.id = b.project "        \
	       "WHERE b.is_purged = 0 AND p.is_purged = 0 "
#define ANY                                                                                                  \
	SELECT "FROM branch b JOIN project p ON p.id = b.project LEFT JOIN instance i ON i.branch = b.id "   \
	       "WHERE b.is_purged = 0 AND p.is_purged = 0 "                                                  \
	       "AND (i.id IS NOT NULL OR b.branch_id = 'production') "
#define LIVE "AND b.delete_usec IS NULL AND p.delete_usec IS NULL "

void instance_row_done(struct instance_row *row)
{
	free(row->custom_tags);
	free(row->usage_policy_id);
	*row = (struct instance_row){ 0 };
}

status instance_row_next(struct statement *st, struct instance_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct instance_row row = { .branch = statement_integer(st) };
	statement_text(st, row.project_id, sizeof row.project_id);
	row.is_deleted = statement_integer(st) != 0;
	row.is_stored = statement_integer(st) != 0;
	statement_text(st, row.name, sizeof row.name);
	statement_text(st, row.uid, sizeof row.uid);
	statement_text(st, row.creator, sizeof row.creator);
	row.parent_lsn = (uint64_t)statement_integer(st);
	row.parent_usec = statement_integer(st);
	row.custom_tags = statement_text_copy(st);
	row.usage_policy_id = statement_text_copy(st);
	*ret = row;
	return STATUS_OK;
}

status instance_row_insert(struct metadata *md, const struct instance_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO instance(branch, name, uid, creator, parent_lsn, parent_usec, custom_tags,"
	        " usage_policy_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, row->branch);
	statement_bind_text(&st, row->name);
	statement_bind_text(&st, row->uid);
	statement_bind_text(&st, row->creator);
	statement_bind_optional(&st, (int64_t)row->parent_lsn);
	statement_bind_optional(&st, row->parent_usec);
	statement_bind_text(&st, row->custom_tags);
	statement_bind_text(&st, row->usage_policy_id);
	return statement_run(&st, err);
}

status instance_row_update(struct metadata *md, const struct instance_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(
	        md, "UPDATE instance SET (custom_tags, usage_policy_id) = (?, ?) WHERE branch = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, row->custom_tags);
	statement_bind_text(&st, row->usage_policy_id);
	statement_bind_integer(&st, row->branch);
	return statement_run(&st, err);
}

static status one(struct statement *st, struct instance_row *ret, struct error *err)
{
	status code = instance_row_next(st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "database instance not found") : code;
}

static status find_by_text(
        struct metadata *md, const char *sql, const char *text, struct instance_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, sql, &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, text);
	return one(&st, ret, err);
}

status instance_row_find(struct metadata *md, const char *name, struct instance_row *ret, struct error *err)
{
	status code = find_by_text(md, STORED "AND i.name = ?", name, ret, err);
	if (code == STATUS_NOT_FOUND)
		code = find_by_text(
		        md, ANY "AND p.project_id = lower(?) AND b.branch_id = 'production'", name, ret, err);
	return code;
}

status instance_row_find_uid(
        struct metadata *md, const char *uid, struct instance_row *ret, struct error *err)
{
	status code = find_by_text(md, STORED "AND i.uid = ?", uid, ret, err);
	if (code == STATUS_NOT_FOUND)
		code = find_by_text(md, ANY "AND p.uid = ? AND b.branch_id = 'production'", uid, ret, err);
	return code;
}

status instance_row_find_branch(
        struct metadata *md, int64_t branch, struct instance_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open_for(md, ANY "AND b.id = ?", INTEGERS(branch), &st, err);
	return code == STATUS_OK ? one(&st, ret, err) : code;
}

status instance_row_list(struct metadata *md, const struct project_viewer *viewer, int64_t after_id,
        int64_t limit, struct statement *ret, struct error *err)
{
	if (!viewer)
		return statement_open_for(md, ANY LIVE "AND b.id > ? ORDER BY b.id LIMIT ?",
		        INTEGERS(after_id, limit), ret, err);
	status code = statement_open_for(md,
	        ANY LIVE
	        "AND b.id > ?1 AND (p.owner = ?4 OR p.id IN (SELECT project FROM permission"
	        " WHERE identity = ?3 OR identity IN (SELECT group_id FROM membership WHERE member = "
	        "?3))) ORDER BY b.id LIMIT ?2",
	        INTEGERS(after_id, limit, viewer->identity), ret, err);
	if (code == STATUS_OK)
		statement_bind_text(ret, viewer->login);
	return code;
}

status instance_row_list_children(
        struct metadata *md, int64_t branch, struct statement *ret, struct error *err)
{
	return statement_open_for(
	        md, STORED LIVE "AND b.source = ? ORDER BY b.id", INTEGERS(branch), ret, err);
}
