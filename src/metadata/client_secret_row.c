#include "metadata/client_secret_row.h"

#include "base/random.h"

#define COLUMNS "id, hash, identity, create_usec, expire_usec"

status client_secret_row_insert(struct metadata *md, struct client_secret_row *row, struct error *err)
{
	random_hex(row->id, TOKEN_ID_LEN);
	CLEANUP(statement_done) struct statement st = { 0 };
	status code =
	        statement_open(md, "INSERT INTO client_secret(" COLUMNS ") VALUES (?, ?, ?, ?, ?)", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, row->id);
	statement_bind_text(&st, row->hash);
	statement_bind_integer(&st, row->identity);
	statement_bind_integer(&st, row->create_usec);
	statement_bind_integer(&st, row->expire_usec);
	return statement_run(&st, err);
}

status client_secret_row_list(struct metadata *md, int64_t identity, struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        "SELECT " COLUMNS " FROM client_secret WHERE identity = ? ORDER BY create_usec, id",
	        INTEGERS(identity), ret, err);
}

status client_secret_row_next(struct statement *st, struct client_secret_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct client_secret_row row = { 0 };
	statement_text(st, row.id, sizeof row.id);
	statement_text(st, row.hash, sizeof row.hash);
	row.identity = statement_integer(st);
	row.create_usec = statement_integer(st);
	row.expire_usec = statement_integer(st);
	*ret = row;
	return STATUS_OK;
}

status client_secret_row_remove(struct metadata *md, int64_t identity, const char *id, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, "DELETE FROM client_secret WHERE identity = ? AND id = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, identity);
	statement_bind_text(&st, id);
	code = statement_run(&st, err);
	if (code == STATUS_OK && metadata_changes(md) == 0)
		return error_set(err, STATUS_NOT_FOUND, 0, "there is no secret of that id");
	return code;
}
