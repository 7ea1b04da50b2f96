/* PKCE: a verifier fits its own challenge and no other. The input is a verifier, a line break, and a challenge. */
#include <stdlib.h>

#include "auth/pkce.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(free_text) char *text = xstrndup(data, size);
	char *end = strchr(text, '\n');
	const char *challenge = end ? end + 1 : "";
	if (end)
		*end = '\0';
	char own[PKCE_CHALLENGE_LEN + 1];
	pkce_challenge_make(text, own);
	if (!pkce_challenge_is_valid(own))
		abort();
	bool is_verifier = strlen(text) >= PKCE_VERIFIER_MIN && strlen(text) <= PKCE_VERIFIER_MAX;
	if (pkce_verify(own, text) && !is_verifier)
		abort();
	if (pkce_verify(challenge, text) &&
	        (strcmp(challenge, own) != 0 || !pkce_challenge_is_valid(challenge)))
		abort();
	return 0;
}
