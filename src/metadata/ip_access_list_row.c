#include "metadata/ip_access_list_row.h"

#include <stdlib.h>

#define CONTENT "label, is_block, is_enabled, addresses, update_usec, updated_by"
#define SELECT  "SELECT id, list_id, create_usec, created_by, " CONTENT " FROM ip_access_list"

void ip_access_list_row_done(struct ip_access_list_row *row)
{
	free(row->label);
	free(row->addresses);
	*row = (struct ip_access_list_row){ 0 };
}

/* In the order of CONTENT. */
static void bind_content(struct statement *st, const struct ip_access_list_row *row)
{
	statement_bind_text(st, row->label);
	statement_bind_integer(st, row->is_block);
	statement_bind_integer(st, row->is_enabled);
	statement_bind_text(st, row->addresses);
	statement_bind_integer(st, row->update_usec);
	statement_bind_integer(st, row->updated_by);
}

status ip_access_list_row_insert(struct metadata *md, struct ip_access_list_row *row, struct error *err)
{
	random_uuid(row->list_id);
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO ip_access_list(list_id, create_usec, created_by, " CONTENT ")"
	        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, row->list_id);
	statement_bind_integer(&st, row->create_usec);
	statement_bind_integer(&st, row->created_by);
	bind_content(&st, row);
	return statement_next_integer(&st, &row->id, err);
}

status ip_access_list_row_update(struct metadata *md, const struct ip_access_list_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(
	        md, "UPDATE ip_access_list SET (" CONTENT ") = (?, ?, ?, ?, ?, ?) WHERE id = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	bind_content(&st, row);
	statement_bind_integer(&st, row->id);
	return statement_run(&st, err);
}

status ip_access_list_row_find(
        struct metadata *md, const char *list_id, struct ip_access_list_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, SELECT " WHERE list_id = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, list_id);
	code = ip_access_list_row_next(&st, ret, err);
	if (code == STATUS_NOT_FOUND)
		return error_set(err, code, 0, "there is no IP access list \"%s\"", list_id);
	return code;
}

status ip_access_list_row_remove(struct metadata *md, int64_t id, struct error *err)
{
	return statement_do(md, "DELETE FROM ip_access_list WHERE id = ?", INTEGERS(id), err);
}

status ip_access_list_row_list(struct metadata *md, struct statement *ret, struct error *err)
{
	return statement_open(md, SELECT " ORDER BY id", ret, err);
}

status ip_access_list_row_next(struct statement *st, struct ip_access_list_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct ip_access_list_row row = { .id = statement_integer(st) };
	statement_text(st, row.list_id, sizeof row.list_id);
	row.create_usec = statement_integer(st);
	row.created_by = statement_integer(st);
	row.label = statement_text_copy(st);
	row.is_block = statement_integer(st) != 0;
	row.is_enabled = statement_integer(st) != 0;
	row.addresses = statement_text_copy(st);
	row.update_usec = statement_integer(st);
	row.updated_by = statement_integer(st);
	*ret = row;
	return STATUS_OK;
}
