#include "metadata/token_row.h"

#include <stdio.h>

#include "base/random.h"

#define COLUMNS                                                                                              \
	"id, hash, identity, kind, comment, secret, session, federation_policy, create_usec, expire_usec"
#define SELECT "SELECT " COLUMNS " FROM api_token "

static const char *const kinds[] = {
	[TOKEN_ADMIN_FILE] = "ADMIN_FILE",
	[TOKEN_PERSONAL] = "PERSONAL",
	[TOKEN_ACCESS] = "ACCESS",
	[TOKEN_SIGN_IN] = "SIGN_IN",
};

status token_row_insert(struct metadata *md, struct token_row *row, struct error *err)
{
	random_hex(row->id, TOKEN_ID_LEN);
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(
	        md, "INSERT INTO api_token(" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, row->id);
	statement_bind_text(&st, row->hash);
	statement_bind_integer(&st, row->identity);
	statement_bind_text(&st, kinds[row->kind]);
	statement_bind_text(&st, row->comment);
	statement_bind_text(&st, row->secret[0] ? row->secret : NULL);
	statement_bind_optional(&st, row->session);
	statement_bind_optional(&st, row->policy);
	statement_bind_integer(&st, row->create_usec);
	statement_bind_optional(&st, row->expire_usec);
	return statement_run(&st, err);
}

status token_row_set_admin_file(
        struct metadata *md, int64_t identity, const char *hash, int64_t now_usec, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "DELETE FROM api_token WHERE kind = 'ADMIN_FILE' AND NOT (hash = ? AND identity = ?)", &st,
	        err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, hash);
	statement_bind_integer(&st, identity);
	code = statement_run(&st, err);
	struct token_row row = { .identity = identity, .kind = TOKEN_ADMIN_FILE, .create_usec = now_usec };
	if (code == STATUS_OK)
		code = token_row_find(md, hash, &row, err);
	if (code != STATUS_NOT_FOUND)
		return code;
	(void)snprintf(row.hash, sizeof row.hash, "%s", hash);
	return token_row_insert(md, &row, err);
}

status token_row_next(struct statement *st, struct token_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct token_row row = { 0 };
	char kind[24];
	statement_text(st, row.id, sizeof row.id);
	statement_text(st, row.hash, sizeof row.hash);
	row.identity = statement_integer(st);
	statement_text(st, kind, sizeof kind);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(kind, kinds[i]) == 0)
			row.kind = (enum token_kind)i;
	statement_text(st, row.comment, sizeof row.comment);
	statement_text(st, row.secret, sizeof row.secret);
	row.session = statement_integer(st);
	row.policy = statement_integer(st);
	row.create_usec = statement_integer(st);
	row.expire_usec = statement_integer(st);
	*ret = row;
	return STATUS_OK;
}

status token_row_find(struct metadata *md, const char *hash, struct token_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, SELECT "WHERE hash = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, hash);
	code = token_row_next(&st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "there is no such token") : code;
}

/* Binds identity, kind and, when it is not NULL, one more text. */
static status open_for(struct metadata *md, const char *sql, int64_t identity, enum token_kind kind,
        const char *id, struct statement *ret, struct error *err)
{
	status code = statement_open(md, sql, ret, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(ret, identity);
	statement_bind_text(ret, kinds[kind]);
	if (id)
		statement_bind_text(ret, id);
	return STATUS_OK;
}

status token_row_list(
        struct metadata *md, int64_t identity, enum token_kind kind, struct statement *ret, struct error *err)
{
	return open_for(md, SELECT "WHERE identity = ? AND kind = ? ORDER BY create_usec, id", identity, kind,
	        NULL, ret, err);
}

status token_row_list_all(struct metadata *md, struct statement *ret, struct error *err)
{
	return statement_open(md, SELECT "WHERE kind = 'PERSONAL' ORDER BY create_usec, id", ret, err);
}

status token_row_get(struct metadata *md, const char *id, struct token_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, SELECT "WHERE kind = 'PERSONAL' AND id = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, id);
	code = token_row_next(&st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "there is no token of that id") : code;
}

status token_row_count(
        struct metadata *md, int64_t identity, enum token_kind kind, int64_t *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = open_for(md, "SELECT count(*) FROM api_token WHERE identity = ? AND kind = ?", identity,
	        kind, NULL, &st, err);
	return code == STATUS_OK ? statement_next_integer(&st, ret, err) : code;
}

status token_row_remove(
        struct metadata *md, int64_t identity, enum token_kind kind, const char *id, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = open_for(md, "DELETE FROM api_token WHERE identity = ? AND kind = ? AND id = ?",
	        identity, kind, id, &st, err);
	if (code == STATUS_OK)
		code = statement_run(&st, err);
	if (code == STATUS_OK && metadata_changes(md) == 0)
		return error_set(err, STATUS_NOT_FOUND, 0, "there is no token of that id");
	return code;
}

status token_row_remove_kind(struct metadata *md, int64_t identity, enum token_kind kind, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = open_for(
	        md, "DELETE FROM api_token WHERE identity = ? AND kind = ?", identity, kind, NULL, &st, err);
	return code == STATUS_OK ? statement_run(&st, err) : code;
}

status token_row_forget(struct metadata *md, const char *hash, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, "DELETE FROM api_token WHERE hash = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, hash);
	return statement_run(&st, err);
}

status token_row_remove_expired(struct metadata *md, int64_t before_usec, struct error *err)
{
	return statement_do(md, "DELETE FROM api_token WHERE expire_usec <= ?", INTEGERS(before_usec), err);
}
