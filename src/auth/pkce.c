#include "auth/pkce.h"

#include <openssl/sha.h>

#include "auth/api_token.h"
#include "auth/base64url.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool pkce_challenge_is_valid(const char *challenge)
{
	CLEANUP(buffer_done) struct buffer bytes = { 0 };
	return strlen(challenge) == PKCE_CHALLENGE_LEN &&
	       base64url_decode(slice_from_text(challenge), &bytes);
}

static bool verifier_is_valid(const char *verifier)
{
	size_t len = strlen(verifier);
	if (len < PKCE_VERIFIER_MIN || len > PKCE_VERIFIER_MAX)
		return false;
	for (; *verifier; verifier++)
		if (!strchr(digits, *verifier) && *verifier != '.' && *verifier != '~')
			return false;
	return true;
}

void pkce_challenge_make(const char *verifier, char out[PKCE_CHALLENGE_LEN + 1])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	CLEANUP(buffer_done) struct buffer text = { 0 };
	(void)SHA256((const uint8_t *)verifier, strlen(verifier), digest);
	base64url_encode((struct slice){ .data = digest, .len = sizeof digest }, &text);
	memcpy(out, text.data, PKCE_CHALLENGE_LEN + 1);
}

bool pkce_verify(const char *challenge, const char *verifier)
{
	if (!verifier_is_valid(verifier))
		return false;
	char expected[PKCE_CHALLENGE_LEN + 1];
	pkce_challenge_make(verifier, expected);
	return secrets_equal(slice_from_text(expected), slice_from_text(challenge));
}
