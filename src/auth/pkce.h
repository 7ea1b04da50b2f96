/* PKCE (RFC 7636), S256 only: who asks for a code keeps a verifier and shows its hash; who brings the code must have the verifier. */
#pragma once

#include "base/base.h"

#define PKCE_CHALLENGE_LEN 43 /* base64url of 32 bytes */
#define PKCE_VERIFIER_MIN  43
#define PKCE_VERIFIER_MAX  128

bool pkce_challenge_is_valid(const char *challenge);
void pkce_challenge_make(const char *verifier, char out[PKCE_CHALLENGE_LEN + 1]);
/* Also whether the verifier is one at all. Takes the same time for every wrong one of its length. */
bool pkce_verify(const char *challenge, const char *verifier);
