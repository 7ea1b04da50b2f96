#include "metadata/identity_row.h"

#include "metadata/statement.h"

status identity_row_ensure_admin(
        struct metadata *md, const char *login, int64_t now_usec, int64_t *ret_id, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO identity(login, kind, display_name, is_admin, create_usec)"
	        " VALUES (?1, 'USER', ?1, 1, ?2) ON CONFLICT (login) DO UPDATE SET is_admin = 1 RETURNING id",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, login);
	statement_bind_integer(&st, now_usec);
	code = statement_next(&st, err);
	if (code == STATUS_OK)
		*ret_id = statement_integer(&st);
	return code;
}

status identity_row_set_token(struct metadata *md, int64_t identity, const char *source,
        const char *token_hash, int64_t now_usec, struct error *err)
{
	CLEANUP(statement_done) struct statement remove = { 0 };
	status code =
	        statement_open(md, "DELETE FROM api_token WHERE source = ? AND hash <> ?", &remove, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&remove, source);
	statement_bind_text(&remove, token_hash);
	code = statement_run(&remove, err);
	if (code != STATUS_OK)
		return code;

	CLEANUP(statement_done) struct statement st = { 0 };
	code = statement_open(md,
	        "INSERT INTO api_token(hash, identity, source, create_usec) VALUES (?, ?, ?, ?)"
	        " ON CONFLICT (hash) DO UPDATE SET identity = excluded.identity",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, token_hash);
	statement_bind_integer(&st, identity);
	statement_bind_text(&st, source);
	statement_bind_integer(&st, now_usec);
	return statement_run(&st, err);
}

status identity_row_find_token(
        struct metadata *md, const char *token_hash, struct identity_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "SELECT i.id, i.login, i.kind = 'SERVICE_PRINCIPAL', i.display_name, i.is_admin"
	        " FROM api_token t JOIN identity i ON i.id = t.identity WHERE t.hash = ?",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, token_hash);
	code = statement_next(&st, err);
	if (code == STATUS_NOT_FOUND)
		return error_set(err, code, 0, "no identity has this token");
	if (code != STATUS_OK)
		return code;
	struct identity_row row = { .id = statement_integer(&st) };
	statement_text(&st, row.login, sizeof row.login);
	row.is_service_principal = statement_integer(&st) != 0;
	statement_text(&st, row.display_name, sizeof row.display_name);
	row.is_admin = statement_integer(&st) != 0;
	*ret = row;
	return STATUS_OK;
}
