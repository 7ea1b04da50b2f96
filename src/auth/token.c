/*
 * Form of a token: BASE64URL(header) "." BASE64URL(payload) "." BASE64URL(signature), at most
 * TOKEN_MAX_BYTES.
 *
 *   header     {"alg":"RS256","typ":"JWT"}   "alg" must be exactly this; "crit" is refused (RFC 7515
 * section 4.1.11) payload    {"iss":"tarn","sub":LOGIN,"endpoint":UID or [UID, …],"iat":SECONDS,"exp":SECONDS,
 * "jti":32 hex digits} signature  RSASSA-PKCS1-v1_5 with SHA-256 over the text before the second dot
 *
 * Nothing of the payload is looked at before the signature is known to be ours.
 */
#include "auth/token.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <yyjson.h>

#include "auth/base64url.h"
#include "auth/compact_token.h"
#include "auth/private_key.h"
#include "base/clock.h"
#include "base/random.h"

#define RSA_BITS        2048
#define SIGNATURE_MAX   1024 /* RSA keys up to 8192 bits */
#define TOKEN_ISSUER    "tarn"
#define TOKEN_ID_DIGITS 32

static const char header_json[] = "{\"alg\":\"RS256\",\"typ\":\"JWT\"}";

struct token_key {
	EVP_PKEY *pair;
};

static void digest_free(EVP_MD_CTX **ctx)
{
	EVP_MD_CTX_free(*ctx);
	*ctx = NULL;
}

status token_key_create(const char *path, struct error *err)
{
	EVP_PKEY *pair = EVP_RSA_gen(RSA_BITS);
	if (!pair)
		return openssl_failed(err, "make an RSA key");
	status st = private_key_write(path, pair, err);
	EVP_PKEY_free(pair);
	return st;
}

status token_key_load(const char *path, struct token_key **ret, struct error *err)
{
	EVP_PKEY *pair = NULL;
	status st = private_key_read(path, &pair, err);
	if (st != STATUS_OK)
		return st;
	if (!EVP_PKEY_is_a(pair, "RSA") || EVP_PKEY_get_bits(pair) < RSA_BITS ||
	        EVP_PKEY_get_size(pair) > SIGNATURE_MAX) {
		EVP_PKEY_free(pair);
		return error_set(err, STATUS_CORRUPT, 0, "key file \"%s\" has no RSA key of %d to %d bits",
		        path, RSA_BITS, SIGNATURE_MAX * 8);
	}
	struct token_key *key = xcalloc(1, sizeof *key);
	key->pair = pair;
	*ret = key;
	return STATUS_OK;
}

struct token_key *token_key_free(struct token_key *key)
{
	if (key) {
		EVP_PKEY_free(key->pair);
		free(key);
	}
	return NULL;
}

/* A member whose value is a big number, base64url of its bytes (RFC 7518 section 6.3.1). */
static bool add_number(const struct token_key *key, const char *parameter, yyjson_mut_doc *doc,
        yyjson_mut_val *jwk, const char *name)
{
	BIGNUM *number = NULL;
	uint8_t bytes[SIGNATURE_MAX];
	CLEANUP(buffer_done) struct buffer text = { 0 };
	if (EVP_PKEY_get_bn_param(key->pair, parameter, &number) != 1)
		return false;
	int len = BN_num_bytes(number) <= SIGNATURE_MAX ? BN_bn2bin(number, bytes) : 0;
	BN_free(number);
	base64url_encode((struct slice){ .data = bytes, .len = (size_t)len }, &text);
	return len > 0 && yyjson_mut_obj_add_strcpy(doc, jwk, name, text.data);
}

status token_key_set(const struct token_key *key, char **ret, struct error *err)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_val *jwk = yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, root, "keys"));
	yyjson_mut_obj_add_str(doc, jwk, "kty", "RSA");
	yyjson_mut_obj_add_str(doc, jwk, "use", "sig");
	yyjson_mut_obj_add_str(doc, jwk, "alg", "RS256");
	bool is_complete = add_number(key, OSSL_PKEY_PARAM_RSA_N, doc, jwk, "n") &&
	                   add_number(key, OSSL_PKEY_PARAM_RSA_E, doc, jwk, "e");
	char *text = is_complete ? yyjson_mut_write(doc, 0, NULL) : NULL;
	yyjson_mut_doc_free(doc);
	if (!text)
		return openssl_failed(err, "write the public key");
	*ret = text;
	return STATUS_OK;
}

/* A login becomes a Postgres role name and part of log lines: no control characters, whatever the bytes above
 * them. */
static bool login_is_valid(struct slice login)
{
	if (login.len == 0 || login.len > TOKEN_LOGIN_MAX)
		return false;
	for (size_t i = 0; i < login.len; i++)
		if (login.data[i] < 0x20 || login.data[i] == 0x7f)
			return false;
	return true;
}

static bool endpoint_is_valid(struct slice endpoint)
{
	if (endpoint.len == 0 || endpoint.len > TOKEN_ENDPOINT_MAX)
		return false;
	for (size_t i = 0; i < endpoint.len; i++) {
		uint8_t c = endpoint.data[i];
		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
			return false;
	}
	return true;
}

static bool seconds_are_valid(int64_t issued, int64_t expires)
{
	return issued >= 0 && expires > issued && expires <= COMPACT_TOKEN_SECONDS_MAX;
}

static bool add_endpoints(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct token_claims *claims)
{
	if (claims->endpoint_count == 1)
		return yyjson_mut_obj_add_str(doc, root, "endpoint", claims->endpoints[0]);
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "endpoint");
	bool complete = list != NULL;
	for (size_t i = 0; complete && i < claims->endpoint_count; i++)
		complete = yyjson_mut_arr_add_str(doc, list, claims->endpoints[i]);
	return complete;
}

static status payload_write(const struct token_claims *claims, char **ret, struct error *err)
{
	int64_t issued = claims->issued_usec / USEC_PER_SEC, expires = claims->expires_usec / USEC_PER_SEC;
	if (!login_is_valid(slice_from_text(claims->login)))
		return error_set(
		        err, STATUS_INVALID, 0, "login name is empty, too long or has control characters");
	if (claims->endpoint_count == 0 || claims->endpoint_count > TOKEN_ENDPOINTS_MAX)
		return error_set(err, STATUS_INVALID, 0, "a token is for 1 to %d endpoints, not for %zu",
		        TOKEN_ENDPOINTS_MAX, claims->endpoint_count);
	for (size_t i = 0; i < claims->endpoint_count; i++)
		if (!endpoint_is_valid(slice_from_text(claims->endpoints[i])))
			return error_set(err, STATUS_INVALID, 0, "endpoint uid is not valid");
	if (!seconds_are_valid(issued, expires))
		return error_set(err, STATUS_INVALID, 0, "token would expire before it is issued");
	char id[TOKEN_ID_DIGITS + 1];
	random_hex(id, TOKEN_ID_DIGITS);

	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	bool complete = yyjson_mut_obj_add_str(doc, root, "iss", TOKEN_ISSUER) &&
	                yyjson_mut_obj_add_str(doc, root, "sub", claims->login) &&
	                add_endpoints(doc, root, claims) &&
	                yyjson_mut_obj_add_sint(doc, root, "iat", issued) &&
	                yyjson_mut_obj_add_sint(doc, root, "exp", expires) &&
	                yyjson_mut_obj_add_str(doc, root, "jti", id);
	char *text = complete ? yyjson_mut_write(doc, 0, NULL) : NULL;
	yyjson_mut_doc_free(doc);
	if (!text) /* yyjson refuses to write invalid UTF-8 */
		return error_set(err, STATUS_INVALID, 0, "login name is not valid UTF-8");
	*ret = text;
	return STATUS_OK;
}

status token_mint(
        const struct token_key *key, const struct token_claims *claims, struct buffer *out, struct error *err)
{
	CLEANUP(free_text) char *payload = NULL;
	status st = payload_write(claims, &payload, err);
	if (st != STATUS_OK)
		return st;

	CLEANUP(buffer_done) struct buffer text = { 0 };
	base64url_encode(slice_from_text(header_json), &text);
	buffer_append_text(&text, ".");
	base64url_encode(slice_from_text(payload), &text);

	uint8_t signature[SIGNATURE_MAX];
	size_t signature_len = sizeof signature;
	CLEANUP(digest_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (!ctx || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key->pair) != 1 ||
	        EVP_DigestSign(ctx, signature, &signature_len, (const uint8_t *)text.data, text.len) != 1)
		return openssl_failed(err, "sign a token");
	buffer_append_text(&text, ".");
	base64url_encode((struct slice){ .data = signature, .len = signature_len }, &text);
	if (text.len > TOKEN_MAX_BYTES)
		return error_set(
		        err, STATUS_LIMIT, 0, "token would be longer than %d bytes", TOKEN_MAX_BYTES);
	buffer_append(out, text.data, text.len);
	return STATUS_OK;
}

static status malformed(struct error *err)
{
	return error_set(err, STATUS_DENIED, 0, "token is malformed");
}

static status check_header(struct slice encoded, struct error *err)
{
	CLEANUP(compact_token_object_free) yyjson_doc *doc = compact_token_object(encoded);
	if (!doc)
		return malformed(err);
	yyjson_val *root = yyjson_doc_get_root(doc);
	if (!yyjson_equals_str(yyjson_obj_get(root, "alg"), "RS256"))
		return error_set(err, STATUS_DENIED, 0, "token is not signed with RS256");
	if (yyjson_obj_get(root, "crit"))
		return error_set(err, STATUS_DENIED, 0, "token demands an extension that is not known here");
	return STATUS_OK;
}

static status check_signature(
        const struct token_key *key, struct slice signed_text, struct slice encoded, struct error *err)
{
	CLEANUP(buffer_done) struct buffer signature = { 0 };
	if (encoded.len == 0 || !base64url_decode(encoded, &signature))
		return malformed(err);
	CLEANUP(digest_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (!ctx || EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key->pair) != 1)
		return openssl_failed(err, "check a token");
	int verdict = EVP_DigestVerify(
	        ctx, (const uint8_t *)signature.data, signature.len, signed_text.data, signed_text.len);
	ERR_clear_error();
	if (verdict != 1)
		return error_set(err, STATUS_DENIED, 0, "token has no valid signature of this Tarn");
	return STATUS_OK;
}

static bool take_endpoints(yyjson_val *value, struct token_claims *claims)
{
	bool is_list = yyjson_is_arr(value);
	size_t count = is_list ? yyjson_arr_size(value) : 1;
	if (count == 0 || count > TOKEN_ENDPOINTS_MAX)
		return false;
	for (size_t i = 0; i < count; i++)
		if (!compact_token_text(is_list ? yyjson_arr_get(value, i) : value, endpoint_is_valid,
		            claims->endpoints[i]))
			return false;
	claims->endpoint_count = count;
	return true;
}

static bool take_seconds(yyjson_val *object, const char *name, int64_t *ret)
{
	yyjson_val *value = yyjson_obj_get(object, name);
	if (!yyjson_is_uint(value) || yyjson_get_uint(value) > (uint64_t)COMPACT_TOKEN_SECONDS_MAX)
		return false;
	*ret = (int64_t)yyjson_get_uint(value);
	return true;
}

static status read_claims(struct slice encoded, struct token_claims *ret, struct error *err)
{
	CLEANUP(compact_token_object_free) yyjson_doc *doc = compact_token_object(encoded);
	if (!doc)
		return malformed(err);
	yyjson_val *root = yyjson_doc_get_root(doc);
	struct token_claims claims = { 0 };
	int64_t issued, expires;
	if (!yyjson_equals_str(yyjson_obj_get(root, "iss"), TOKEN_ISSUER))
		return error_set(err, STATUS_DENIED, 0, "token has another issuer");
	if (!compact_token_text(yyjson_obj_get(root, "sub"), login_is_valid, claims.login))
		return error_set(err, STATUS_DENIED, 0, "token names no valid user (\"sub\")");
	if (!take_endpoints(yyjson_obj_get(root, "endpoint"), &claims))
		return error_set(err, STATUS_DENIED, 0, "token names no valid endpoint (\"endpoint\")");
	if (!take_seconds(root, "iat", &issued) || !take_seconds(root, "exp", &expires) ||
	        !seconds_are_valid(issued, expires))
		return error_set(err, STATUS_DENIED, 0, "token has no valid times (\"iat\", \"exp\")");
	claims.issued_usec = issued * USEC_PER_SEC;
	claims.expires_usec = expires * USEC_PER_SEC;
	*ret = claims;
	return STATUS_OK;
}

status token_verify(const struct token_key *key, struct slice token, int64_t now_usec,
        struct token_claims *ret, struct error *err)
{
	if (token.len > TOKEN_MAX_BYTES)
		return error_set(err, STATUS_DENIED, 0, "token is longer than %d bytes", TOKEN_MAX_BYTES);
	struct compact_token parts;
	if (!compact_token_split(token, &parts))
		return malformed(err);

	struct token_claims claims;
	status st = check_header(parts.header, err);
	if (st == STATUS_OK)
		st = check_signature(key, parts.signed_text, parts.signature, err);
	if (st == STATUS_OK)
		st = read_claims(parts.payload, &claims, err);
	if (st != STATUS_OK)
		return st;
	if (claims.expires_usec <= now_usec) {
		char when[CLOCK_TEXT_MAX];
		clock_format_timestamp(claims.expires_usec, when);
		return error_set(err, STATUS_DENIED, 0, "token expired at %s", when);
	}
	*ret = claims;
	return STATUS_OK;
}

bool token_claims_name(const struct token_claims *claims, const char *endpoint_uid)
{
	for (size_t i = 0; i < claims->endpoint_count; i++)
		if (strcmp(claims->endpoints[i], endpoint_uid) == 0)
			return true;
	return false;
}
