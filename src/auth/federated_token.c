#include "auth/federated_token.h"

#include <assert.h>
#include <strings.h>

#include "auth/base64url.h"
#include "base/buffer.h"
#include "base/clock.h"

/* ---- Reading ---- */

/* What becomes a C string: no NUL, and nothing that could forge a line of a log. */
static bool is_plain(struct slice text, size_t max)
{
	if (text.len == 0 || text.len > max)
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] < 0x20 || text.data[i] == 0x7f)
			return false;
	return true;
}

static bool is_key_id(struct slice text)
{
	return is_plain(text, WEB_KEY_ID_MAX);
}

static bool is_issuer(struct slice text)
{
	return is_plain(text, FEDERATED_ISSUER_MAX);
}

static bool is_subject(struct slice text)
{
	return is_plain(text, FEDERATED_SUBJECT_MAX);
}

/* Other types of token are signed with the same keys and mean something else (RFC 8725 section 3.11): a logout, a proof of possession. */
static bool type_is_known(yyjson_val *type)
{
	static const char *const known[] = { "JWT", "at+jwt", "application/jwt", "application/at+jwt" };
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (yyjson_is_str(type) && strcasecmp(yyjson_get_str(type), known[i]) == 0)
			return true;
	return !type;
}

static status read_header(yyjson_val *header, struct federated_token *token, struct error *err)
{
	yyjson_val *algorithm = yyjson_obj_get(header, "alg"), *id = yyjson_obj_get(header, "kid");
	struct slice name = { .data = (const uint8_t *)yyjson_get_str(algorithm),
		.len = yyjson_get_len(algorithm) };
	if (!name.data || !web_key_algorithm_find(name, &token->algorithm))
		return error_set(err, STATUS_INVALID, 0,
		        "the token is not signed with " WEB_KEY_ALGORITHMS " (\"alg\")");
	if (!type_is_known(yyjson_obj_get(header, "typ")))
		return error_set(err, STATUS_INVALID, 0,
		        "the token is of a type (\"typ\") that is not for signing in");
	if (yyjson_obj_get(header, "crit"))
		return error_set(err, STATUS_INVALID, 0,
		        "the token demands an extension that is not known here (\"crit\")");
	token->has_key_id = id != NULL;
	if (id && !compact_token_text(id, is_key_id, token->key_id))
		return error_set(err, STATUS_INVALID, 0, "the id of the token's key (\"kid\") is none");
	return STATUS_OK;
}

static status malformed(struct error *err)
{
	return error_set(err, STATUS_INVALID, 0, "the token is no signed JSON Web Token");
}

status federated_token_read(struct slice text, struct federated_token *ret, struct error *err)
{
	CLEANUP(federated_token_done) struct federated_token token = { 0 };
	if (text.len > FEDERATED_TOKEN_MAX)
		return error_set(
		        err, STATUS_INVALID, 0, "the token is longer than %u bytes", FEDERATED_TOKEN_MAX);
	if (!compact_token_split(text, &token.parts))
		return malformed(err);
	CLEANUP(compact_token_object_free) yyjson_doc *header = compact_token_object(token.parts.header);
	token.claims = compact_token_object(token.parts.payload);
	if (!header || !token.claims)
		return malformed(err);
	status st = read_header(yyjson_doc_get_root(header), &token, err);
	if (st != STATUS_OK)
		return st;
	yyjson_val *issuer = yyjson_obj_get(yyjson_doc_get_root(token.claims), "iss");
	if (!compact_token_text(issuer, is_issuer, token.issuer))
		return error_set(err, STATUS_INVALID, 0, "the token does not say who issued it (\"iss\")");
	*ret = token;
	token.claims = NULL;
	return STATUS_OK;
}

void federated_token_done(struct federated_token *token)
{
	compact_token_object_free(&token->claims);
	*token = (struct federated_token){ 0 };
}

/* ---- Proving ---- */

status federated_token_prove(struct federated_token *token, const struct web_key_set *keys, struct error *err)
{
	CLEANUP(buffer_done) struct buffer signature = { 0 };
	const struct web_key *key = NULL;
	token->is_proven = false;
	status st = web_key_set_find(keys, federated_token_key_id(token), token->algorithm, &key, err);
	if (st != STATUS_OK)
		return st;
	if (!base64url_decode(token->parts.signature, &signature))
		return error_set(err, STATUS_DENIED, 0, "the signature of the token is none");
	st = web_key_verify(key, token->algorithm, token->parts.signed_text, buffer_slice(&signature), err);
	token->is_proven = st == STATUS_OK;
	return st;
}

/* ---- Checking ---- */

static bool equals(yyjson_val *value, const char *text)
{
	return yyjson_is_str(value) && yyjson_equals_strn(value, text, strlen(text));
}

static bool is_for(yyjson_val *audience, const struct federated_terms *terms)
{
	for (size_t i = 0; i < terms->audience_count; i++) {
		yyjson_val *one;
		yyjson_arr_iter iter = yyjson_arr_iter_with(audience);
		if (equals(audience, terms->audiences[i]))
			return true;
		while ((one = yyjson_arr_iter_next(&iter)))
			if (equals(one, terms->audiences[i]))
				return true;
	}
	return false;
}

/* A NumericDate, which may have a fraction (RFC 7519 section 2); the fraction is cut off. */
static bool take_usec(yyjson_val *value, int64_t *ret)
{
	double seconds = yyjson_is_num(value) ? yyjson_get_num(value) : -1;
	if (!(seconds >= 0 && seconds <= (double)COMPACT_TOKEN_SECONDS_MAX))
		return false;
	*ret = (int64_t)seconds * USEC_PER_SEC;
	return true;
}

static status check_times(yyjson_val *claims, int64_t now_usec, int64_t *ret_expires, struct error *err)
{
	const int64_t leeway = FEDERATED_LEEWAY_SEC * USEC_PER_SEC;
	yyjson_val *not_before = yyjson_obj_get(claims, "nbf"), *issued = yyjson_obj_get(claims, "iat");
	int64_t expires, usec;
	if (!take_usec(yyjson_obj_get(claims, "exp"), &expires))
		return error_set(err, STATUS_DENIED, 0, "the token does not say when it expires (\"exp\")");
	if (expires + leeway <= now_usec) {
		char when[CLOCK_TEXT_MAX];
		clock_format_timestamp(expires, when);
		return error_set(err, STATUS_DENIED, 0, "the token expired at %s", when);
	}
	if (not_before && (!take_usec(not_before, &usec) || usec - leeway > now_usec))
		return error_set(err, STATUS_DENIED, 0, "the token is not valid yet (\"nbf\")");
	if (issued && (!take_usec(issued, &usec) || usec - leeway > now_usec))
		return error_set(err, STATUS_DENIED, 0, "the token was issued in the future (\"iat\")");
	*ret_expires = expires;
	return STATUS_OK;
}

status federated_token_check(const struct federated_token *token, const struct federated_terms *terms,
        int64_t now_usec, struct federated_claims *ret, struct error *err)
{
	struct federated_claims result = { 0 };
	yyjson_val *claims = yyjson_doc_get_root(token->claims);
	assert(token->is_proven); /* F1 */
	if (!equals(yyjson_obj_get(claims, "iss"), terms->issuer))
		return error_set(err, STATUS_DENIED, 0, "the token has another issuer (\"iss\")");
	if (!is_for(yyjson_obj_get(claims, "aud"), terms))
		return error_set(err, STATUS_DENIED, 0,
		        "the token is for another audience (\"aud\") than the policy has");
	status st = check_times(claims, now_usec, &result.expires_usec, err);
	if (st != STATUS_OK)
		return st;
	yyjson_val *subject = yyjson_obj_get(claims, terms->subject_claim);
	if (!compact_token_text(subject, is_subject, result.subject))
		return error_set(
		        err, STATUS_DENIED, 0, "the token has no subject in the claim that the policy names");
	/* Whoever may enter any address at the issuer must not become its owner here. */
	yyjson_val *is_verified = yyjson_obj_get(claims, "email_verified");
	if (strcmp(terms->subject_claim, "email") == 0 && is_verified && !yyjson_is_true(is_verified) &&
	        !equals(is_verified, "true"))
		return error_set(err, STATUS_DENIED, 0,
		        "the issuer has not verified the e-mail address (\"email_verified\")");
	if (terms->subject && strcmp(terms->subject, result.subject) != 0)
		return error_set(err, STATUS_DENIED, 0, "the token has another subject than the policy");
	*ret = result;
	return STATUS_OK;
}
