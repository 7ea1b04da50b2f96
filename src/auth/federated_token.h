/*
 * Federated token: a JSON Web Token of an outside issuer that somebody shows instead of a secret of ours (RFC 7519, 7523, 8693; OpenID Connect Core).
 * Reading takes it apart, proving finds who signed it, checking finds what it says and whether that is what we trust.
 *
 * Invariants
 *   F1  only what federated_token_check() gives out may be believed, and it gives nothing out that was not proven with a key of the issuer. Before,
 *       the issuer and the key's id are hints about where to look for that key.
 *   F2  the algorithm is one of web_key.h; which key may be used for it is said by the key (K2 there). Keys and addresses that a token carries itself
 *       ("jwk", "jku", "x5u", "x5c") are not looked at.
 *   F3  no message has a part of the token in it. Messages go to whoever sent it, so they say nothing of what is trusted before the signature was good.
 *   F4  issuer and subject are compared byte by byte.
 */
#pragma once

#include "auth/compact_token.h"
#include "auth/web_key.h"
#include "base/base.h"

#define FEDERATED_TOKEN_MAX     (16u << 10)
#define FEDERATED_ISSUER_MAX    512
#define FEDERATED_SUBJECT_MAX   256
#define FEDERATED_CLAIM_MAX     64 /* of a claim's name */
#define FEDERATED_LEEWAY_SEC    60 /* by how much the issuer's clock may differ from ours */
#define FEDERATED_SUBJECT_CLAIM "sub"

struct federated_token {
	struct compact_token parts; /* borrowed from the text */
	enum web_key_algorithm algorithm;
	bool has_key_id, is_proven;
	char key_id[WEB_KEY_ID_MAX + 1];
	char issuer[FEDERATED_ISSUER_MAX + 1]; /* F1: a hint until it is proven */
	yyjson_doc *claims;
};

/* `text` must stay until federated_token_done(). STATUS_INVALID: it is no token that could be accepted by anybody. */
MUST_CHECK status federated_token_read(struct slice text, struct federated_token *ret, struct error *err);
void federated_token_done(struct federated_token *token); /* for CLEANUP */

/* NULL when the token names none; for web_key_set_find(). */
static inline const char *federated_token_key_id(const struct federated_token *token)
{
	return token->has_key_id ? token->key_id : NULL;
}

/* Was it signed with one of these? STATUS_NOT_FOUND: with none that they have the id of; STATUS_CONFLICT, STATUS_DENIED. */
MUST_CHECK status federated_token_prove(
        struct federated_token *token, const struct web_key_set *keys, struct error *err);

/* What is trusted. All texts are borrowed. */
struct federated_terms {
	const char *issuer;
	const char *const *audiences; /* at least one; the token must be for one of them */
	size_t audience_count;
	const char *subject_claim; /* the claim that has the subject */
	const char *subject;       /* that it must have; NULL: any */
};

struct federated_claims {
	char subject[FEDERATED_SUBJECT_MAX + 1]; /* UTF-8 without control characters */
	int64_t expires_usec;
};

/* Of a token that was proven. STATUS_DENIED with what does not fit. */
MUST_CHECK status federated_token_check(const struct federated_token *token,
        const struct federated_terms *terms, int64_t now_usec, struct federated_claims *ret,
        struct error *err);
