/*
 * OAuth: authorization codes, and the sessions that they and refresh tokens belong to. Only hashes are known. A session goes with its identity and
 * with the personal token it was signed in with, and takes its refresh and access tokens along.
 */
#pragma once

#include "auth/api_token.h"
#include "auth/pkce.h"
#include "base/base.h"
#include "metadata/metadata.h"
#include "metadata/token_row.h"

#define OAUTH_CLIENT_MAX   64
#define OAUTH_REDIRECT_MAX 128

/* Times are wall clock. */
struct authorization_code_row {
	char hash[API_TOKEN_HASH_LEN + 1];
	int64_t identity;
	char client[OAUTH_CLIENT_MAX + 1];
	char redirect_uri[OAUTH_REDIRECT_MAX + 1];
	char challenge[PKCE_CHALLENGE_LEN + 1];
	char sign_in_token[TOKEN_ID_LEN +
	                   1]; /* id of the personal token; "": a sign-in code, or the file's */
	bool is_offline;       /* a refresh token is wanted */
	int64_t session;       /* it was exchanged for this; 0: not yet */
	int64_t expire_usec;
};

struct oauth_session_row {
	int64_t id, identity;
	char client[OAUTH_CLIENT_MAX + 1];
	char sign_in_token[TOKEN_ID_LEN + 1];
	int64_t create_usec, expire_usec;
};

struct refresh_token_row {
	char hash[API_TOKEN_HASH_LEN + 1];
	int64_t session;
	bool is_used;
	int64_t expire_usec;
};

MUST_CHECK status authorization_code_row_insert(
        struct metadata *md, const struct authorization_code_row *row, struct error *err);
/* STATUS_NOT_FOUND; also exchanged and expired ones. */
MUST_CHECK status authorization_code_row_find(
        struct metadata *md, const char *hash, struct authorization_code_row *ret, struct error *err);
MUST_CHECK status authorization_code_row_set_session(
        struct metadata *md, const char *hash, int64_t session, struct error *err);
MUST_CHECK status authorization_code_row_remove(struct metadata *md, const char *hash, struct error *err);

MUST_CHECK status oauth_session_row_insert(
        struct metadata *md, struct oauth_session_row *row, struct error *err); /* sets id */
MUST_CHECK status oauth_session_row_get(
        struct metadata *md, int64_t id, struct oauth_session_row *ret, struct error *err);
MUST_CHECK status oauth_session_row_remove(struct metadata *md, int64_t id, struct error *err);

MUST_CHECK status refresh_token_row_insert(
        struct metadata *md, const struct refresh_token_row *row, struct error *err);
/* STATUS_NOT_FOUND; also used and expired ones. */
MUST_CHECK status refresh_token_row_find(
        struct metadata *md, const char *hash, struct refresh_token_row *ret, struct error *err);
MUST_CHECK status refresh_token_row_set_used(struct metadata *md, const char *hash, struct error *err);

/* Codes, refresh tokens and sessions that ended before. */
MUST_CHECK status oauth_rows_remove_expired(struct metadata *md, int64_t before_usec, struct error *err);
