#include "auth/scram_verifier.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "auth/private_key.h"
#include "base/number.h"
#include "base/random.h"

#define PREFIX "SCRAM-SHA-256$"

void password_generate(char out[GENERATED_PASSWORD_CHARS + 1])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	static const size_t count = sizeof letters - 1;
	for (size_t i = 0; i < GENERATED_PASSWORD_CHARS;) {
		uint8_t byte;
		random_bytes(&byte, 1);
		if (byte < 256 / count * count) /* every letter as likely as any other */
			out[i++] = letters[byte % count];
	}
	out[GENERATED_PASSWORD_CHARS] = '\0';
}

static bool hmac(const uint8_t key[SHA256_DIGEST_LENGTH], const char *text, uint8_t out[SHA256_DIGEST_LENGTH])
{
	unsigned len = 0;
	return HMAC(EVP_sha256(), key, SHA256_DIGEST_LENGTH, (const uint8_t *)text, strlen(text), out,
	               &len) != NULL;
}

status scram_verifier_derive(const char *password, struct scram_verifier *ret, struct error *err)
{
	uint8_t salted[SHA256_DIGEST_LENGTH], client_key[SHA256_DIGEST_LENGTH];
	bool is_made = PKCS5_PBKDF2_HMAC(password, (int)strlen(password), ret->salt, (int)ret->salt_len,
	                       ret->iterations, EVP_sha256(), sizeof salted, salted) == 1 &&
	               hmac(salted, "Client Key", client_key) &&
	               hmac(salted, "Server Key", ret->server_key) &&
	               SHA256(client_key, sizeof client_key, ret->stored_key);
	OPENSSL_cleanse(salted, sizeof salted);
	OPENSSL_cleanse(client_key, sizeof client_key);
	return is_made ? STATUS_OK : openssl_failed(err, "make a SCRAM verifier");
}

void scram_verifier_format(const struct scram_verifier *verifier, char out[SCRAM_VERIFIER_MAX + 1])
{
	char salt[4 * (SCRAM_SALT_MAX / 3 + 1) + 1], stored[48], server[48];
	(void)EVP_EncodeBlock((uint8_t *)salt, verifier->salt, (int)verifier->salt_len);
	(void)EVP_EncodeBlock((uint8_t *)stored, verifier->stored_key, SCRAM_KEY_BYTES);
	(void)EVP_EncodeBlock((uint8_t *)server, verifier->server_key, SCRAM_KEY_BYTES);
	(void)snprintf(out, SCRAM_VERIFIER_MAX + 1, PREFIX "%d:%s$%s:%s", verifier->iterations, salt, stored,
	        server);
}

status scram_verifier_make(const char *password, char out[SCRAM_VERIFIER_MAX + 1], struct error *err)
{
	struct scram_verifier verifier = { .iterations = SCRAM_ITERATIONS, .salt_len = SCRAM_SALT_BYTES };
	random_bytes(verifier.salt, SCRAM_SALT_BYTES);
	status st = scram_verifier_derive(password, &verifier, err);
	if (st == STATUS_OK)
		scram_verifier_format(&verifier, out);
	return st;
}

/* The bytes of a base64 text; false when they are none, or more than max. */
static bool decode(const char *text, size_t len, uint8_t *out, size_t max, size_t *ret_len)
{
	uint8_t bytes[SCRAM_SALT_MAX + 4];
	if (len == 0 || len % 4 != 0 || len / 4 * 3 > sizeof bytes)
		return false;
	int count = EVP_DecodeBlock(bytes, (const uint8_t *)text, (int)len);
	if (count < 0)
		return false;
	size_t padding = text[len - 1] != '=' ? 0 : text[len - 2] != '=' ? 1 : 2;
	*ret_len = (size_t)count - padding;
	if (*ret_len > max)
		return false;
	memcpy(out, bytes, *ret_len);
	return true;
}

bool scram_verifier_parse(const char *text, struct scram_verifier *ret)
{
	struct scram_verifier found = { 0 };
	size_t stored_len, server_len;
	int64_t iterations;
	if (strlen(text) > SCRAM_VERIFIER_MAX || strncmp(text, PREFIX, strlen(PREFIX)) != 0)
		return false;
	const char *count = text + strlen(PREFIX), *salt = strchr(count, ':');
	const char *stored = salt ? strchr(salt, '$') : NULL, *server = stored ? strchr(stored, ':') : NULL;
	if (!server ||
	        !number_parse((struct slice){ (const uint8_t *)count, (size_t)(salt - count) }, 1,
	                SCRAM_ITERATIONS_MAX, &iterations) ||
	        !decode(salt + 1, (size_t)(stored - salt - 1), found.salt, SCRAM_SALT_MAX, &found.salt_len) ||
	        !decode(stored + 1, (size_t)(server - stored - 1), found.stored_key, SCRAM_KEY_BYTES,
	                &stored_len) ||
	        !decode(server + 1, strlen(server + 1), found.server_key, SCRAM_KEY_BYTES, &server_len) ||
	        stored_len != SCRAM_KEY_BYTES || server_len != SCRAM_KEY_BYTES)
		return false;
	found.iterations = (int)iterations;
	char again[SCRAM_VERIFIER_MAX + 1];
	scram_verifier_format(&found, again);
	if (strcmp(again, text) != 0)
		return false; /* what EVP_DecodeBlock lets pass: white space, bits in the padding */
	*ret = found;
	return true;
}

bool scram_verifier_equal(const struct scram_verifier *a, const struct scram_verifier *b)
{
	return a->iterations == b->iterations && a->salt_len == b->salt_len &&
	       memcmp(a->salt, b->salt, a->salt_len) == 0 &&
	       CRYPTO_memcmp(a->stored_key, b->stored_key, SCRAM_KEY_BYTES) == 0 &&
	       CRYPTO_memcmp(a->server_key, b->server_key, SCRAM_KEY_BYTES) == 0;
}

void scram_verifier_mock(struct slice secret, const char *name, char out[SCRAM_VERIFIER_MAX + 1])
{
	struct scram_verifier mock = { .iterations = SCRAM_ITERATIONS, .salt_len = SCRAM_SALT_BYTES };
	static const char *const purposes[] = { "mock salt", "mock stored key", "mock server key" };
	uint8_t *const outputs[] = { mock.salt, mock.stored_key, mock.server_key };
	for (size_t i = 0; i < ARRAY_LEN(outputs); i++) {
		uint8_t digest[SHA256_DIGEST_LENGTH];
		unsigned len = 0;
		CLEANUP(free_text) char *text = xasprintf("%s\n%s", purposes[i], name);
		if (!HMAC(EVP_sha256(), secret.data, (int)secret.len, (const uint8_t *)text, strlen(text),
		            digest, &len))
			random_bytes(digest, sizeof digest); /* never nothing that could be guessed */
		memcpy(outputs[i], digest, i == 0 ? SCRAM_SALT_BYTES : SCRAM_KEY_BYTES);
	}
	scram_verifier_format(&mock, out);
}

bool scram_verifier_matches(const char *verifier, const char *password)
{
	struct scram_verifier known, again;
	struct error ignored;
	if (!scram_verifier_parse(verifier, &known))
		return false;
	again = known;
	return scram_verifier_derive(password, &again, &ignored) == STATUS_OK &&
	       CRYPTO_memcmp(again.stored_key, known.stored_key, SCRAM_KEY_BYTES) == 0 &&
	       CRYPTO_memcmp(again.server_key, known.server_key, SCRAM_KEY_BYTES) == 0;
}
