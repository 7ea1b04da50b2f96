/*
 * Database tokens: short-lived JSON Web Tokens (RFC 7519), RS256 only, signed by the key of the data
 * directory. They are the Postgres password of an identity for one endpoint, or for the few that were asked for together.
 *
 * The algorithm comes from the key, never from the token's header (RFC 8725 section 3.1). Tokens are checked
 * at login only: an open session outlives its token. Threads: a key may be used by several threads once
 * loaded.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"

#define TOKEN_MAX_BYTES     4096
#define TOKEN_LOGIN_MAX     256
#define TOKEN_ENDPOINT_MAX  64
#define TOKEN_ENDPOINTS_MAX 20 /* with the longest names and logins a token stays below its limit */

struct token_key;

/* Creates a 2048-bit RSA key (PEM, mode 0600, durable) at path; STATUS_EXISTS when a file is there. */
MUST_CHECK status token_key_create(const char *path, struct error *err);
MUST_CHECK status token_key_load(const char *path, struct token_key **ret, struct error *err);
struct token_key *token_key_free(struct token_key *key);
static inline void token_key_freep(struct token_key **key)
{
	*key = token_key_free(*key);
}

/* The public half, as a JSON Web Key Set (RFC 7517). Caller frees. */
MUST_CHECK status token_key_set(const struct token_key *key, char **ret, struct error *err);

struct token_claims {
	char login[TOKEN_LOGIN_MAX + 1]; /* "sub": the Postgres login name, e.g. "alice@example.com" */
	/* "endpoint": uids like "ep-calm-lake-1a2b3c4d"; one is a string in the token, more are a list (as "aud" in RFC 7519, 4.1.3). */
	char endpoints[TOKEN_ENDPOINTS_MAX][TOKEN_ENDPOINT_MAX + 1];
	size_t endpoint_count;
	int64_t issued_usec, expires_usec; /* "iat", "exp": wall clock, whole seconds in the token */
};

bool token_claims_name(const struct token_claims *claims, const char *endpoint_uid);

/* Appends the compact form header.payload.signature ("iss":"tarn", a random "jti"). */
MUST_CHECK status token_mint(const struct token_key *key, const struct token_claims *claims,
        struct buffer *out, struct error *err);

/*
 * Checks form, algorithm, signature, issuer and expiry against now_usec. STATUS_DENIED with a message that
 * says which (never the token itself). The caller compares login and endpoint with what the connection asks
 * for.
 */
MUST_CHECK status token_verify(const struct token_key *key, struct slice token, int64_t now_usec,
        struct token_claims *ret, struct error *err);
