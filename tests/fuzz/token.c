/*
 * Database tokens: a token that was not minted is never accepted, and what is accepted keeps the promises of token.h.
 * The first byte of the input says what is done with the rest.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth/base64url.h"
#include "auth/private_key.h"
#include "auth/token.h"
#include "base/clock.h"

#define NOW (1800000000ll * USEC_PER_SEC)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Made once per process; a key in the repository would look like a secret to everybody who finds it. */
static struct token_key *key;
static EVP_PKEY *pair;
static struct buffer minted;

static void prepare(void)
{
	char folder[] = "/tmp/tarn-fuzz-XXXXXX";
	struct error err;
	struct token_claims claims = {
		.login = "alice@example.com", .endpoints = { "ep-calm-lake-1a2b3c4d" }, .endpoint_count = 1
	};
	claims.issued_usec = NOW;
	claims.expires_usec = NOW + 3600 * USEC_PER_SEC;
	if (key)
		return;
	if (!mkdtemp(folder))
		abort();
	CLEANUP(free_text) char *path = xasprintf("%s/token.key", folder);
	if (token_key_create(path, &err) != STATUS_OK || token_key_load(path, &key, &err) != STATUS_OK ||
	        private_key_read(path, &pair, &err) != STATUS_OK ||
	        token_mint(key, &claims, &minted, &err) != STATUS_OK)
		abort();
	(void)unlink(path);
	(void)rmdir(folder);
}

static bool is_accepted(struct slice token, struct token_claims *claims)
{
	struct error err;
	status st = token_verify(key, token, NOW, claims, &err);
	if (st != STATUS_OK && st != STATUS_DENIED)
		abort();
	return st == STATUS_OK;
}

/* Nobody can guess a signature: whatever differs from the minted token is refused. */
static void check_foreign(struct slice token)
{
	struct token_claims claims;
	bool is_minted = token.len == minted.len && memcmp(token.data, minted.data, minted.len) == 0;
	if (is_accepted(token, &claims) != is_minted)
		abort();
}

/* Pairs of position and change, applied to the minted token. */
static void check_mutation(struct slice script)
{
	CLEANUP(buffer_done) struct buffer token = { 0 };
	buffer_append(&token, minted.data, minted.len);
	for (size_t i = 0; i + 3 <= script.len; i += 3) {
		size_t at = ((size_t)script.data[i] << 8 | script.data[i + 1]) % token.len;
		token.data[at] = (char)(token.data[at] ^ script.data[i + 2]);
	}
	check_foreign(buffer_slice(&token));
}

/* The minted token with its payload replaced. */
static void check_payload(struct slice payload)
{
	CLEANUP(buffer_done) struct buffer token = { 0 };
	const char *first = strchr(minted.data, '.'), *second = strchr(first + 1, '.');
	buffer_append(&token, minted.data, (size_t)(first - minted.data) + 1);
	base64url_encode(payload, &token);
	buffer_append_text(&token, second);
	check_foreign(buffer_slice(&token));
}

static void sign(struct buffer *token)
{
	uint8_t signature[1024];
	size_t len = sizeof signature;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (!ctx || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pair) != 1 ||
	        EVP_DigestSign(ctx, signature, &len, (const uint8_t *)token->data, token->len) != 1)
		abort();
	EVP_MD_CTX_free(ctx);
	buffer_append_text(token, ".");
	base64url_encode((struct slice){ signature, len }, token);
}

/* A payload of the fuzzer's with a good signature: the claims' own checks are all that is left. */
static void check_claims(struct slice payload)
{
	CLEANUP(buffer_done) struct buffer token = { 0 }, again = { 0 };
	struct token_claims claims, copy;
	struct error err;
	buffer_append(&token, minted.data, (size_t)(strchr(minted.data, '.') - minted.data) + 1);
	base64url_encode(payload, &token);
	sign(&token);
	if (!is_accepted(buffer_slice(&token), &claims))
		return;
	for (const char *c = claims.login; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			abort();
	if (claims.login[0] == '\0' || claims.endpoint_count == 0 || claims.expires_usec <= NOW)
		abort();
	/* What was accepted can be minted, and means the same then. */
	if (token_mint(key, &claims, &again, &err) != STATUS_OK ||
	        !is_accepted(buffer_slice(&again), &copy) || strcmp(claims.login, copy.login) != 0 ||
	        claims.endpoint_count != copy.endpoint_count || claims.issued_usec != copy.issued_usec ||
	        claims.expires_usec != copy.expires_usec)
		abort();
	for (size_t i = 0; i < claims.endpoint_count; i++)
		if (!token_claims_name(&copy, claims.endpoints[i]))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	prepare();
	if (size == 0)
		return 0;
	struct slice rest = { data + 1, size - 1 };
	switch (data[0] % 4) {
	case 0:
		check_foreign(rest);
		break;
	case 1:
		check_mutation(rest);
		break;
	case 2:
		check_payload(rest);
		break;
	default:
		check_claims(rest);
		break;
	}
	return 0;
}
