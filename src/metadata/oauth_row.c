#include "metadata/oauth_row.h"

#include "metadata/statement.h"

#define CODE_COLUMNS                                                                                         \
	"hash, identity, client, redirect_uri, challenge, sign_in_token, is_offline, session, expire_usec"
#define SESSION_COLUMNS "identity, client, sign_in_token, create_usec, expire_usec"

/* One statement whose only parameter is a hash. */
static status open_hash(
        struct metadata *md, const char *sql, const char *hash, struct statement *ret, struct error *err)
{
	status code = statement_open(md, sql, ret, err);
	if (code == STATUS_OK)
		statement_bind_text(ret, hash);
	return code;
}

static status run_hash(struct metadata *md, const char *sql, const char *hash, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = open_hash(md, sql, hash, &st, err);
	return code == STATUS_OK ? statement_run(&st, err) : code;
}

static status found(status code, const char *noun, struct error *err)
{
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "there is no such %s", noun) : code;
}

status authorization_code_row_insert(
        struct metadata *md, const struct authorization_code_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO authorization_code(" CODE_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", &st,
	        err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, row->hash);
	statement_bind_integer(&st, row->identity);
	statement_bind_text(&st, row->client);
	statement_bind_text(&st, row->redirect_uri);
	statement_bind_text(&st, row->challenge);
	statement_bind_text(&st, row->sign_in_token[0] ? row->sign_in_token : NULL);
	statement_bind_integer(&st, row->is_offline);
	statement_bind_optional(&st, row->session);
	statement_bind_integer(&st, row->expire_usec);
	return statement_run(&st, err);
}

status authorization_code_row_find(
        struct metadata *md, const char *hash, struct authorization_code_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = open_hash(
	        md, "SELECT " CODE_COLUMNS " FROM authorization_code WHERE hash = ?", hash, &st, err);
	if (code == STATUS_OK)
		code = statement_next(&st, err);
	if (code != STATUS_OK)
		return found(code, "code", err);
	struct authorization_code_row row = { 0 };
	statement_text(&st, row.hash, sizeof row.hash);
	row.identity = statement_integer(&st);
	statement_text(&st, row.client, sizeof row.client);
	statement_text(&st, row.redirect_uri, sizeof row.redirect_uri);
	statement_text(&st, row.challenge, sizeof row.challenge);
	statement_text(&st, row.sign_in_token, sizeof row.sign_in_token);
	row.is_offline = statement_integer(&st) != 0;
	row.session = statement_integer(&st);
	row.expire_usec = statement_integer(&st);
	*ret = row;
	return STATUS_OK;
}

status authorization_code_row_set_session(
        struct metadata *md, const char *hash, int64_t session, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code =
	        statement_open(md, "UPDATE authorization_code SET session = ? WHERE hash = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, session);
	statement_bind_text(&st, hash);
	return statement_run(&st, err);
}

status authorization_code_row_remove(struct metadata *md, const char *hash, struct error *err)
{
	return run_hash(md, "DELETE FROM authorization_code WHERE hash = ?", hash, err);
}

status oauth_session_row_insert(struct metadata *md, struct oauth_session_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO oauth_session(" SESSION_COLUMNS ") VALUES (?, ?, ?, ?, ?) RETURNING id", &st,
	        err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, row->identity);
	statement_bind_text(&st, row->client);
	statement_bind_text(&st, row->sign_in_token[0] ? row->sign_in_token : NULL);
	statement_bind_integer(&st, row->create_usec);
	statement_bind_integer(&st, row->expire_usec);
	return statement_next_integer(&st, &row->id, err);
}

status oauth_session_row_get(
        struct metadata *md, int64_t id, struct oauth_session_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open_for(
	        md, "SELECT id, " SESSION_COLUMNS " FROM oauth_session WHERE id = ?", INTEGERS(id), &st, err);
	if (code == STATUS_OK)
		code = statement_next(&st, err);
	if (code != STATUS_OK)
		return found(code, "session", err);
	struct oauth_session_row row = { .id = statement_integer(&st) };
	row.identity = statement_integer(&st);
	statement_text(&st, row.client, sizeof row.client);
	statement_text(&st, row.sign_in_token, sizeof row.sign_in_token);
	row.create_usec = statement_integer(&st);
	row.expire_usec = statement_integer(&st);
	*ret = row;
	return STATUS_OK;
}

status oauth_session_row_remove(struct metadata *md, int64_t id, struct error *err)
{
	return statement_do(md, "DELETE FROM oauth_session WHERE id = ?", INTEGERS(id), err);
}

status refresh_token_row_insert(struct metadata *md, const struct refresh_token_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = open_hash(md, "INSERT INTO refresh_token(hash, session, expire_usec) VALUES (?, ?, ?)",
	        row->hash, &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_integer(&st, row->session);
	statement_bind_integer(&st, row->expire_usec);
	return statement_run(&st, err);
}

status refresh_token_row_find(
        struct metadata *md, const char *hash, struct refresh_token_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code =
	        open_hash(md, "SELECT hash, session, is_used, expire_usec FROM refresh_token WHERE hash = ?",
	                hash, &st, err);
	if (code == STATUS_OK)
		code = statement_next(&st, err);
	if (code != STATUS_OK)
		return found(code, "refresh token", err);
	struct refresh_token_row row = { 0 };
	statement_text(&st, row.hash, sizeof row.hash);
	row.session = statement_integer(&st);
	row.is_used = statement_integer(&st) != 0;
	row.expire_usec = statement_integer(&st);
	*ret = row;
	return STATUS_OK;
}

status refresh_token_row_set_used(struct metadata *md, const char *hash, struct error *err)
{
	return run_hash(md, "UPDATE refresh_token SET is_used = 1 WHERE hash = ?", hash, err);
}

status oauth_rows_remove_expired(struct metadata *md, int64_t before_usec, struct error *err)
{
	static const char *const deletions[] = {
		"DELETE FROM authorization_code WHERE expire_usec <= ?",
		"DELETE FROM refresh_token WHERE expire_usec <= ?",
		"DELETE FROM oauth_session WHERE expire_usec <= ?",
	};
	status code = STATUS_OK;
	for (size_t i = 0; i < ARRAY_LEN(deletions) && code == STATUS_OK; i++)
		code = statement_do(md, deletions[i], INTEGERS(before_usec), err);
	return code;
}
