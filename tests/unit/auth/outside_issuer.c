#include "outside_issuer.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/base64url.h"

#define REQUIRE(condition)                                                                                   \
	do {                                                                                                 \
		if (!(condition))                                                                            \
			abort();                                                                             \
	} while (0)

static const char *const names[] = { "RS256", "PS256", "ES256", "EdDSA" };

struct outside_key {
	EVP_PKEY *pair;
	enum web_key_algorithm algorithm;
	char *id;
};

struct outside_key *outside_key_make(enum web_key_algorithm algorithm, const char *id)
{
	struct outside_key *key = xcalloc(1, sizeof *key);
	key->algorithm = algorithm;
	key->id = id ? xstrdup(id) : NULL;
	if (algorithm == WEB_KEY_ES256)
		key->pair = EVP_EC_gen("P-256");
	else if (algorithm == WEB_KEY_EDDSA)
		key->pair = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else
		key->pair = EVP_RSA_gen(2048);
	REQUIRE(key->pair);
	return key;
}

struct outside_key *outside_key_free(struct outside_key *key)
{
	if (key) {
		EVP_PKEY_free(key->pair);
		free(key->id);
		free(key);
	}
	return NULL;
}

static void append_encoded(struct buffer *out, const char *name, const uint8_t *bytes, size_t len)
{
	buffer_printf(out, ",\"%s\":\"", name);
	base64url_encode((struct slice){ bytes, len }, out);
	buffer_append_text(out, "\"");
}

static void append_number(
        struct buffer *out, const struct outside_key *key, const char *parameter, const char *name, int width)
{
	uint8_t bytes[1024];
	BIGNUM *number = NULL;
	REQUIRE(EVP_PKEY_get_bn_param(key->pair, parameter, &number) == 1);
	int len = width ? BN_bn2binpad(number, bytes, width) : BN_bn2bin(number, bytes);
	BN_free(number);
	REQUIRE(len > 0);
	append_encoded(out, name, bytes, (size_t)len);
}

char *outside_key_json(const struct outside_key *key, const char *more)
{
	struct buffer out = { 0 };
	buffer_printf(&out, "{%s", more);
	if (key->id)
		buffer_printf(&out, "\"kid\":\"%s\",", key->id);
	if (key->algorithm == WEB_KEY_ES256) {
		buffer_append_text(&out, "\"kty\":\"EC\",\"crv\":\"P-256\"");
		append_number(&out, key, OSSL_PKEY_PARAM_EC_PUB_X, "x", 32);
		append_number(&out, key, OSSL_PKEY_PARAM_EC_PUB_Y, "y", 32);
	} else if (key->algorithm == WEB_KEY_EDDSA) {
		uint8_t point[32];
		size_t len = sizeof point;
		REQUIRE(EVP_PKEY_get_raw_public_key(key->pair, point, &len) == 1);
		buffer_append_text(&out, "\"kty\":\"OKP\",\"crv\":\"Ed25519\"");
		append_encoded(&out, "x", point, len);
	} else {
		buffer_append_text(&out, "\"kty\":\"RSA\"");
		append_number(&out, key, OSSL_PKEY_PARAM_RSA_N, "n", 0);
		append_number(&out, key, OSSL_PKEY_PARAM_RSA_E, "e", 0);
	}
	buffer_append_text(&out, "}");
	return out.data;
}

char *outside_key_set(const struct outside_key *a, const struct outside_key *b)
{
	CLEANUP(free_text) char *first = a ? outside_key_json(a, "") : xstrdup("");
	CLEANUP(free_text) char *second = b ? outside_key_json(b, "") : xstrdup("");
	return xasprintf("{\"keys\":[%s%s%s]}", first, a && b ? "," : "", second);
}

/* r and s instead of DER (RFC 7518 section 3.4). */
static size_t unpack_p256(uint8_t *signature, size_t len)
{
	const uint8_t *pos = signature;
	ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &pos, (long)len);
	REQUIRE(pair);
	uint8_t raw[64];
	REQUIRE(BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, 32) == 32);
	REQUIRE(BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + 32, 32) == 32);
	ECDSA_SIG_free(pair);
	memcpy(signature, raw, sizeof raw);
	return sizeof raw;
}

char *outside_token_with(const struct outside_key *key, const char *header, const char *payload)
{
	struct buffer out = { 0 };
	uint8_t signature[1024];
	size_t len = sizeof signature;
	EVP_PKEY_CTX *settings = NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	base64url_encode(slice_from_text(header), &out);
	buffer_append_text(&out, ".");
	base64url_encode(slice_from_text(payload), &out);
	REQUIRE(EVP_DigestSignInit(ctx, &settings, key->algorithm == WEB_KEY_EDDSA ? NULL : EVP_sha256(),
	                NULL, key->pair) == 1);
	if (key->algorithm == WEB_KEY_PS256)
		REQUIRE(EVP_PKEY_CTX_set_rsa_padding(settings, RSA_PKCS1_PSS_PADDING) == 1 &&
		        EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, RSA_PSS_SALTLEN_DIGEST) == 1);
	REQUIRE(EVP_DigestSign(ctx, signature, &len, (const uint8_t *)out.data, out.len) == 1);
	EVP_MD_CTX_free(ctx);
	if (key->algorithm == WEB_KEY_ES256)
		len = unpack_p256(signature, len);
	buffer_append_text(&out, ".");
	base64url_encode((struct slice){ signature, len }, &out);
	return out.data;
}

char *outside_token(const struct outside_key *key, const char *payload)
{
	CLEANUP(free_text)
	char *header = key->id ? xasprintf("{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"%s\"}",
	                                 names[key->algorithm], key->id)
	                       : xasprintf("{\"alg\":\"%s\"}", names[key->algorithm]);
	return outside_token_with(key, header, payload);
}
