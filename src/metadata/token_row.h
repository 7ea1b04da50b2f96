/*
 * API tokens, of which only hashes are known: the one in DIR/admin.token, those that people make for themselves, access tokens that OAuth gives
 * out, and one-time sign-in codes. A token goes with its identity, its client secret, its OAuth session and its
 * federation policy.
 */
#pragma once

#include "auth/api_token.h"
#include "base/base.h"
#include "metadata/identity_row.h"
#include "metadata/metadata.h"
#include "metadata/statement.h"

#define TOKEN_ID_LEN      32 /* hex digits; public */
#define TOKEN_COMMENT_MAX 256

enum token_kind { TOKEN_ADMIN_FILE, TOKEN_PERSONAL, TOKEN_ACCESS, TOKEN_SIGN_IN };

struct token_row {
	char id[TOKEN_ID_LEN + 1];
	char hash[API_TOKEN_HASH_LEN + 1];
	int64_t identity;
	enum token_kind kind;
	char comment[TOKEN_COMMENT_MAX + 1];
	char secret[TOKEN_ID_LEN + 1]; /* of the client secret it was got with; "": none */
	int64_t session;               /* of OAuth; 0: none */
	int64_t policy; /* the federation policy that an outside issuer was trusted by; 0: none */
	int64_t create_usec, expire_usec; /* 0: does not expire */
};

/* Makes the id. */
MUST_CHECK status token_row_insert(struct metadata *md, struct token_row *row, struct error *err);
/* The token in DIR/admin.token is now this one, and an older one stops working. */
MUST_CHECK status token_row_set_admin_file(
        struct metadata *md, int64_t identity, const char *hash, int64_t now_usec, struct error *err);
/* STATUS_NOT_FOUND. Expired ones are found, too: the caller looks. */
MUST_CHECK status token_row_find(
        struct metadata *md, const char *hash, struct token_row *ret, struct error *err);
/* Of one kind and identity, oldest first; then token_row_next(). */
MUST_CHECK status token_row_list(struct metadata *md, int64_t identity, enum token_kind kind,
        struct statement *ret, struct error *err);
/* All personal ones, oldest first. */
MUST_CHECK status token_row_list_all(struct metadata *md, struct statement *ret, struct error *err);
/* A personal one by its id. STATUS_NOT_FOUND. */
MUST_CHECK status token_row_get(
        struct metadata *md, const char *id, struct token_row *ret, struct error *err);
MUST_CHECK status token_row_next(struct statement *st, struct token_row *ret, struct error *err);
MUST_CHECK status token_row_count(
        struct metadata *md, int64_t identity, enum token_kind kind, int64_t *ret, struct error *err);
/* STATUS_NOT_FOUND unless that identity has one of that kind. */
MUST_CHECK status token_row_remove(
        struct metadata *md, int64_t identity, enum token_kind kind, const char *id, struct error *err);
/* All of one kind and identity. */
MUST_CHECK status token_row_remove_kind(
        struct metadata *md, int64_t identity, enum token_kind kind, struct error *err);
/* By its hash, whatever it is; nothing when there is none. */
MUST_CHECK status token_row_forget(struct metadata *md, const char *hash, struct error *err);
/* Those that expired before. */
MUST_CHECK status token_row_remove_expired(struct metadata *md, int64_t before_usec, struct error *err);
