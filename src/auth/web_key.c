#include "auth/web_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <yyjson.h>

#include "auth/base64url.h"
#include "auth/private_key.h"
#include "base/buffer.h"

#define RSA_BITS_MIN          2048
#define RSA_BITS_MAX          8192
#define RSA_EXPONENT_MAX      8 /* bytes: checking a signature takes time that grows with it */
#define P256_BYTES            32
#define P256_SIGNATURE_BYTES  64
#define P256_DER_MAX          80
#define ED25519_BYTES         32
#define POINT_IS_UNCOMPRESSED 4

/* In the order of the enum. `type` is the OpenSSL name of the keys it is for. */
static const struct {
	const char *name, *type;
} algorithms[] = {
	[WEB_KEY_RS256] = { "RS256", "RSA" },
	[WEB_KEY_PS256] = { "PS256", "RSA" },
	[WEB_KEY_ES256] = { "ES256", "EC" },
	[WEB_KEY_EDDSA] = { "EdDSA", "ED25519" },
};

struct web_key {
	EVP_PKEY *key;
	bool has_id, has_algorithm;
	char id[WEB_KEY_ID_MAX + 1];
	enum web_key_algorithm algorithm; /* the only one, when it has one (K2) */
};

struct web_key_set {
	size_t count;
	struct web_key keys[WEB_KEYS_MAX];
};

bool web_key_algorithm_find(struct slice name, enum web_key_algorithm *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(algorithms); i++) {
		if (slice_equals_text(name, algorithms[i].name)) {
			*ret = (enum web_key_algorithm)i;
			return true;
		}
	}
	return false;
}

static struct slice text_slice(yyjson_val *value)
{
	return (struct slice){ .data = (const uint8_t *)yyjson_get_str(value), .len = yyjson_get_len(value) };
}

/* ---- Keys from their numbers ---- */

/* Bytes in base64url. */
static bool take_bytes(yyjson_val *jwk, const char *name, struct buffer *out)
{
	yyjson_val *value = yyjson_obj_get(jwk, name);
	return yyjson_is_str(value) && yyjson_get_len(value) > 0 && base64url_decode(text_slice(value), out);
}

static EVP_PKEY *make_key(const char *type, OSSL_PARAM_BLD *build)
{
	EVP_PKEY *key = NULL;
	OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(build);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	if (!parameters || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
	        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(parameters);
	return key;
}

static EVP_PKEY *read_rsa(yyjson_val *jwk)
{
	CLEANUP(buffer_done) struct buffer modulus = { 0 }, exponent = { 0 };
	if (!take_bytes(jwk, "n", &modulus) || !take_bytes(jwk, "e", &exponent) ||
	        modulus.len > RSA_BITS_MAX / 8 + 1 || exponent.len > RSA_EXPONENT_MAX)
		return NULL;
	EVP_PKEY *key = NULL;
	BIGNUM *n = BN_bin2bn((const uint8_t *)modulus.data, (int)modulus.len, NULL);
	BIGNUM *e = BN_bin2bn((const uint8_t *)exponent.data, (int)exponent.len, NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	bool is_sound = n && e && BN_num_bits(n) >= RSA_BITS_MIN && BN_num_bits(n) <= RSA_BITS_MAX &&
	                BN_is_odd(n) && BN_is_odd(e) && !BN_is_one(e);
	if (is_sound && build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
	        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		key = make_key("RSA", build);
	OSSL_PARAM_BLD_free(build);
	BN_free(n);
	BN_free(e);
	return key;
}

/* That the point is on the curve is checked by OpenSSL when the key is made, and once more in full. */
static bool point_is_good(EVP_PKEY *key)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	bool is_good = ctx && EVP_PKEY_public_check(ctx) == 1;
	EVP_PKEY_CTX_free(ctx);
	return is_good;
}

static EVP_PKEY *read_p256(yyjson_val *jwk)
{
	CLEANUP(buffer_done) struct buffer point = { 0 }, y = { 0 };
	const char head = POINT_IS_UNCOMPRESSED;
	if (!yyjson_equals_str(yyjson_obj_get(jwk, "crv"), "P-256"))
		return NULL;
	buffer_append(&point, &head, 1);
	if (!take_bytes(jwk, "x", &point) || point.len != 1 + P256_BYTES || !take_bytes(jwk, "y", &y) ||
	        y.len != P256_BYTES)
		return NULL;
	buffer_append(&point, y.data, y.len);
	EVP_PKEY *key = NULL;
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	if (build &&
	        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
	        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point.data, point.len) == 1)
		key = make_key("EC", build);
	OSSL_PARAM_BLD_free(build);
	if (key && !point_is_good(key)) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	return key;
}

static EVP_PKEY *read_ed25519(yyjson_val *jwk)
{
	CLEANUP(buffer_done) struct buffer point = { 0 };
	if (!yyjson_equals_str(yyjson_obj_get(jwk, "crv"), "Ed25519") || !take_bytes(jwk, "x", &point) ||
	        point.len != ED25519_BYTES)
		return NULL;
	return EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, (const uint8_t *)point.data, point.len);
}

/* ---- Key sets ---- */

static bool is_for_signatures(yyjson_val *jwk)
{
	yyjson_val *use = yyjson_obj_get(jwk, "use"), *operations = yyjson_obj_get(jwk, "key_ops"), *one;
	yyjson_arr_iter iter = yyjson_arr_iter_with(operations);
	if (use && !yyjson_equals_str(use, "sig"))
		return false;
	while ((one = yyjson_arr_iter_next(&iter)))
		if (yyjson_equals_str(one, "verify"))
			return true;
	return !operations;
}

/* What it is called, and what it is for. */
static bool read_names(yyjson_val *jwk, struct web_key *key)
{
	yyjson_val *id = yyjson_obj_get(jwk, "kid"), *algorithm = yyjson_obj_get(jwk, "alg");
	if (id) {
		size_t len = yyjson_get_len(id);
		if (!yyjson_is_str(id) || len == 0 || len > WEB_KEY_ID_MAX ||
		        memchr(yyjson_get_str(id), 0, len))
			return false;
		memcpy(key->id, yyjson_get_str(id), len + 1);
		key->has_id = true;
	}
	if (algorithm) {
		if (!yyjson_is_str(algorithm) ||
		        !web_key_algorithm_find(text_slice(algorithm), &key->algorithm))
			return false;
		key->has_algorithm = true;
	}
	return true;
}

static bool read_key(yyjson_val *jwk, struct web_key *ret)
{
	static const struct {
		const char *type;
		EVP_PKEY *(*read)(yyjson_val *jwk);
	} types[] = { { "RSA", read_rsa }, { "EC", read_p256 }, { "OKP", read_ed25519 } };
	struct web_key key = { 0 };
	if (!is_for_signatures(jwk) || !read_names(jwk, &key))
		return false;
	yyjson_val *type = yyjson_obj_get(jwk, "kty");
	for (size_t i = 0; i < ARRAY_LEN(types) && !key.key; i++)
		if (yyjson_equals_str(type, types[i].type))
			key.key = types[i].read(jwk);
	ERR_clear_error();
	if (!key.key)
		return false;
	if (key.has_algorithm && !EVP_PKEY_is_a(key.key, algorithms[key.algorithm].type)) {
		EVP_PKEY_free(key.key);
		return false;
	}
	*ret = key;
	return true;
}

/* K4: the private half of a pair, or a secret key. */
static bool is_secret(yyjson_val *jwk)
{
	return yyjson_obj_get(jwk, "d") || yyjson_obj_get(jwk, "k");
}

static status read_keys(yyjson_val *list, struct web_key_set *set, struct error *err)
{
	yyjson_val *jwk;
	yyjson_arr_iter iter = yyjson_arr_iter_with(list);
	if (yyjson_arr_size(list) > WEB_KEYS_MAX)
		return error_set(err, STATUS_LIMIT, 0, "the key set has more than %d keys", WEB_KEYS_MAX);
	while ((jwk = yyjson_arr_iter_next(&iter))) {
		if (is_secret(jwk))
			return error_set(err, STATUS_INVALID, 0,
			        "the key set has a private key in it; it must have nothing but public keys");
		if (read_key(jwk, &set->keys[set->count]))
			set->count++;
	}
	if (set->count == 0)
		return error_set(err, STATUS_INVALID, 0,
		        "the key set has no key that can be used: RSA of %d to %d bits, P-256 or Ed25519, "
		        "for signatures",
		        RSA_BITS_MIN, RSA_BITS_MAX);
	return STATUS_OK;
}

status web_key_set_parse(struct slice text, struct web_key_set **ret, struct error *err)
{
	if (text.len > WEB_KEY_SET_MAX)
		return error_set(
		        err, STATUS_LIMIT, 0, "the key set is longer than %u bytes", WEB_KEY_SET_MAX);
	yyjson_doc *doc = text.len > 0 ? yyjson_read((const char *)text.data, text.len, 0) : NULL;
	yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "keys");
	CLEANUP(web_key_set_freep) struct web_key_set *set = xcalloc(1, sizeof *set);
	status st = yyjson_is_arr(list) ? read_keys(list, set, err)
	                                : error_set(err, STATUS_INVALID, 0,
	                                          "the key set is no JSON object with a list \"keys\"");
	yyjson_doc_free(doc);
	if (st == STATUS_OK)
		*ret = TAKE_PTR(set);
	return st;
}

struct web_key_set *web_key_set_free(struct web_key_set *set)
{
	for (size_t i = 0; set && i < set->count; i++)
		EVP_PKEY_free(set->keys[i].key);
	free(set);
	return NULL;
}

size_t web_key_set_count(const struct web_key_set *set)
{
	return set->count;
}

static bool key_fits(const struct web_key *key, const char *id, enum web_key_algorithm algorithm)
{
	if (id && !(key->has_id && strcmp(key->id, id) == 0))
		return false;
	if (key->has_algorithm)
		return key->algorithm == algorithm;
	return EVP_PKEY_is_a(key->key, algorithms[algorithm].type);
}

status web_key_set_find(const struct web_key_set *set, const char *id, enum web_key_algorithm algorithm,
        const struct web_key **ret, struct error *err)
{
	const struct web_key *found = NULL;
	for (size_t i = 0; i < set->count; i++) {
		if (!key_fits(&set->keys[i], id, algorithm))
			continue;
		if (found)
			return error_set(err, STATUS_CONFLICT, 0,
			        id ? "the issuer has several keys of the id (\"kid\") that the token names"
			           : "the token does not name its key (\"kid\"), and the issuer has several");
		found = &set->keys[i];
	}
	if (!found)
		return error_set(err, STATUS_NOT_FOUND, 0, "the issuer has no %s key %s",
		        algorithms[algorithm].name, id ? "of the id (\"kid\") that the token names" : "");
	*ret = found;
	return STATUS_OK;
}

/* ---- Signatures ---- */

/* r and s, 32 bytes each (RFC 7518 section 3.4), in the form that OpenSSL takes. 0: they are none. */
static size_t p256_to_der(struct slice signature, uint8_t der[P256_DER_MAX])
{
	if (signature.len != P256_SIGNATURE_BYTES)
		return 0;
	ECDSA_SIG *pair = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(signature.data, P256_BYTES, NULL);
	BIGNUM *s = BN_bin2bn(signature.data + P256_BYTES, P256_BYTES, NULL);
	int len = 0;
	if (pair && r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
		r = s = NULL; /* the pair's now */
		len = i2d_ECDSA_SIG(pair, NULL);
		uint8_t *out = der;
		len = len > 0 && len <= P256_DER_MAX ? i2d_ECDSA_SIG(pair, &out) : 0;
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(pair);
	return len > 0 ? (size_t)len : 0;
}

/* STATUS_OK when OpenSSL could be asked; *ret is what it said. */
static status ask(const struct web_key *key, enum web_key_algorithm algorithm, struct slice signed_text,
        struct slice signature, bool *ret, struct error *err)
{
	EVP_PKEY_CTX *settings = NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const EVP_MD *digest = algorithm == WEB_KEY_EDDSA ? NULL : EVP_sha256();
	bool is_ready = ctx && EVP_DigestVerifyInit(ctx, &settings, digest, NULL, key->key) == 1;
	if (is_ready && algorithm == WEB_KEY_PS256)
		is_ready = EVP_PKEY_CTX_set_rsa_padding(settings, RSA_PKCS1_PSS_PADDING) == 1 &&
		           EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, RSA_PSS_SALTLEN_DIGEST) == 1 &&
		           EVP_PKEY_CTX_set_rsa_mgf1_md(settings, EVP_sha256()) == 1;
	if (is_ready)
		*ret = EVP_DigestVerify(
		               ctx, signature.data, signature.len, signed_text.data, signed_text.len) == 1;
	EVP_MD_CTX_free(ctx);
	if (!is_ready)
		return openssl_failed(err, "check a signature");
	ERR_clear_error();
	return STATUS_OK;
}

status web_key_verify(const struct web_key *key, enum web_key_algorithm algorithm, struct slice signed_text,
        struct slice signature, struct error *err)
{
	uint8_t der[P256_DER_MAX];
	bool is_good = false;
	if (algorithm == WEB_KEY_ES256)
		signature = (struct slice){ .data = der, .len = p256_to_der(signature, der) };
	status st =
	        signature.len > 0 ? ask(key, algorithm, signed_text, signature, &is_good, err) : STATUS_OK;
	if (st == STATUS_OK && !is_good)
		return error_set(err, STATUS_DENIED, 0, "the signature is not by the issuer's key");
	return st;
}
