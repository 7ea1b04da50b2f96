/*
 * API tokens: bearer secrets of the REST API. Only a SHA-256 of each is stored; comparing is constant-time.
 */
#pragma once

#include "base/base.h"

#define API_TOKEN_LEN      36 /* "dapi" and 32 hex digits (128 random bits) */
#define API_TOKEN_HASH_LEN 64 /* hex digits */

void api_token_generate(char out[API_TOKEN_LEN + 1]);
void api_token_hash(struct slice token, char out[API_TOKEN_HASH_LEN + 1]);
bool secrets_equal(struct slice a, struct slice b); /* time depends on the lengths only */
