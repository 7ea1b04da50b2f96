/*
 * Web keys: the public keys that an outside issuer signs its tokens with, read from a JSON Web Key Set (RFC 7517, RFC 7518 section 6, RFC 8037).
 *
 * Invariants
 *   K1  only signature algorithms with a public key exist here: there is no "none", and no secret shared with anybody.
 *   K2  a key is used for the algorithms of its own type, and when it names one, for that only (RFC 8725 section 3.1).
 *   K3  which key is meant is never guessed: exactly one must fit.
 *   K4  a set with a private or secret key in it is refused: whoever can read it could sign.
 * Ownership: a set owns its keys. Threads: a set does not change once read and may be used by several.
 */
#pragma once

#include "base/base.h"

#define WEB_KEY_SET_MAX (128u << 10) /* bytes of its text */
#define WEB_KEYS_MAX    64
#define WEB_KEY_ID_MAX  256

enum web_key_algorithm {
	WEB_KEY_RS256, /* RSA PKCS #1 v1.5, SHA-256 */
	WEB_KEY_PS256, /* RSA PSS, SHA-256 */
	WEB_KEY_ES256, /* ECDSA with P-256, SHA-256 */
	WEB_KEY_EDDSA, /* Ed25519 */
};

#define WEB_KEY_ALGORITHMS "RS256, PS256, ES256 or EdDSA" /* for messages */

/* By the name that a token's "alg" has (K1). */
MUST_CHECK bool web_key_algorithm_find(struct slice name, enum web_key_algorithm *ret);

struct web_key;
struct web_key_set;

/*
 * Keys that are of no use here (for encryption, of another type or size, incomplete) are skipped, as RFC 7517 section 5 demands. STATUS_INVALID when
 * it is no key set, K4 does not hold, or no key is left; STATUS_LIMIT.
 */
MUST_CHECK status web_key_set_parse(struct slice text, struct web_key_set **ret, struct error *err);
struct web_key_set *web_key_set_free(struct web_key_set *set); /* NULL is fine; always NULL */
static inline void web_key_set_freep(struct web_key_set **set)
{
	*set = web_key_set_free(*set);
}
size_t web_key_set_count(const struct web_key_set *set);

/* The key of that id for that algorithm; `id` NULL: the token names none. STATUS_NOT_FOUND, STATUS_CONFLICT when several fit. */
MUST_CHECK status web_key_set_find(const struct web_key_set *set, const char *id,
        enum web_key_algorithm algorithm, const struct web_key **ret, struct error *err);

/* STATUS_DENIED: the signature is not the key's. The key must be one that was found for the algorithm. */
MUST_CHECK status web_key_verify(const struct web_key *key, enum web_key_algorithm algorithm,
        struct slice signed_text, struct slice signature, struct error *err);
