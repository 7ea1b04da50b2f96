#include "auth/scram_verifier.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "auth/private_key.h"
#include "base/number.h"
#include "base/random.h"

#define PREFIX     "SCRAM-SHA-256$"
#define SALT_BYTES 16
#define SALT_MAX   64

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

static status make(const char *password, const uint8_t *salt, size_t salt_len, int iterations,
        char out[SCRAM_VERIFIER_MAX + 1], struct error *err)
{
	uint8_t salted[SHA256_DIGEST_LENGTH], client_key[SHA256_DIGEST_LENGTH], stored[SHA256_DIGEST_LENGTH],
	        server[SHA256_DIGEST_LENGTH];
	char salt_text[4 * (SALT_MAX / 3 + 1) + 1], stored_text[48], server_text[48];
	bool is_made = PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, (int)salt_len, iterations,
	                       EVP_sha256(), sizeof salted, salted) == 1 &&
	               hmac(salted, "Client Key", client_key) && hmac(salted, "Server Key", server) &&
	               SHA256(client_key, sizeof client_key, stored);
	OPENSSL_cleanse(salted, sizeof salted);
	OPENSSL_cleanse(client_key, sizeof client_key);
	if (!is_made)
		return openssl_failed(err, "make a SCRAM verifier");
	(void)EVP_EncodeBlock((uint8_t *)salt_text, salt, (int)salt_len);
	(void)EVP_EncodeBlock((uint8_t *)stored_text, stored, sizeof stored);
	(void)EVP_EncodeBlock((uint8_t *)server_text, server, sizeof server);
	(void)snprintf(out, SCRAM_VERIFIER_MAX + 1, PREFIX "%d:%s$%s:%s", iterations, salt_text, stored_text,
	        server_text);
	return STATUS_OK;
}

status scram_verifier_make(const char *password, char out[SCRAM_VERIFIER_MAX + 1], struct error *err)
{
	uint8_t salt[SALT_BYTES];
	random_bytes(salt, sizeof salt);
	return make(password, salt, sizeof salt, SCRAM_ITERATIONS, out, err);
}

bool scram_verifier_matches(const char *verifier, const char *password)
{
	char again[SCRAM_VERIFIER_MAX + 1];
	struct error ignored;
	uint8_t salt[SALT_MAX + 4];
	if (strlen(verifier) > SCRAM_VERIFIER_MAX || strncmp(verifier, PREFIX, strlen(PREFIX)) != 0)
		return false;
	const char *count = verifier + strlen(PREFIX), *colon = strchr(count, ':');
	const char *end = colon ? strchr(colon, '$') : NULL;
	int64_t iterations;
	if (!end || end - colon - 1 > 4 * (SALT_MAX / 3) || (end - colon - 1) % 4 != 0 || end == colon + 1 ||
	        !number_parse((struct slice){ (const uint8_t *)count, (size_t)(colon - count) }, 1, 10000000,
	                &iterations))
		return false;
	int salt_len = EVP_DecodeBlock(salt, (const uint8_t *)colon + 1, (int)(end - colon - 1));
	for (const char *c = end - 1; salt_len > 0 && c > colon && *c == '='; c--)
		salt_len--;
	if (salt_len <= 0 ||
	        make(password, salt, (size_t)salt_len, (int)iterations, again, &ignored) != STATUS_OK)
		return false;
	return strlen(again) == strlen(verifier) && CRYPTO_memcmp(again, verifier, strlen(again)) == 0;
}
