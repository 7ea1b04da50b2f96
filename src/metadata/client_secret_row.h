/* Secrets of service principals: what a client proves itself with to get access tokens. Only hashes are known; what was got with one goes with it. */
#pragma once

#include "auth/api_token.h"
#include "base/base.h"
#include "metadata/metadata.h"
#include "metadata/statement.h"
#include "metadata/token_row.h"

struct client_secret_row {
	char id[TOKEN_ID_LEN + 1]; /* public */
	char hash[API_TOKEN_HASH_LEN + 1];
	int64_t identity;
	int64_t create_usec, expire_usec;
};

/* Makes the id. */
MUST_CHECK status client_secret_row_insert(
        struct metadata *md, struct client_secret_row *row, struct error *err);
/* Oldest first; then client_secret_row_next(). */
MUST_CHECK status client_secret_row_list(
        struct metadata *md, int64_t identity, struct statement *ret, struct error *err);
MUST_CHECK status client_secret_row_next(
        struct statement *st, struct client_secret_row *ret, struct error *err);
/* With the access tokens that were got with it. STATUS_NOT_FOUND unless that identity has it. */
MUST_CHECK status client_secret_row_remove(
        struct metadata *md, int64_t identity, const char *id, struct error *err);
