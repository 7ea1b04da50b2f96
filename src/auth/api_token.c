#include "auth/api_token.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "base/random.h"

#define LETTERS 4

void secret_generate(const char *letters, char out[API_TOKEN_LEN + 1])
{
	memcpy(out, letters, LETTERS);
	random_hex(out + LETTERS, API_TOKEN_LEN - LETTERS);
}

void api_token_generate(char out[API_TOKEN_LEN + 1])
{
	secret_generate(SECRET_PERSONAL, out);
}

void api_token_hash(struct slice token, char out[API_TOKEN_HASH_LEN + 1])
{
	/* A plain digest is enough: the token has 128 random bits, so there is nothing to guess from its
	 * hash. */
	uint8_t digest[SHA256_DIGEST_LENGTH];
	(void)SHA256(token.len > 0 ? token.data : (const uint8_t *)"", token.len, digest);
	bytes_to_hex(digest, sizeof digest, out);
}

bool secrets_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.data, b.data, a.len) == 0);
}
