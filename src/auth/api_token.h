/*
 * API tokens: bearer secrets of the REST API, and the other secrets of the same form. Only a SHA-256 of each is stored; comparing is constant-time.
 */
#pragma once

#include "base/base.h"

#define API_TOKEN_LEN      36 /* "dapi" and 32 hex digits (128 random bits) */
#define API_TOKEN_HASH_LEN 64 /* hex digits */

/* The kinds of secrets that we give out; four letters, so that a leaked one is recognised for what it is. */
#define SECRET_PERSONAL      "dapi" /* token that a person made */
#define SECRET_ACCESS        "doat" /* OAuth access token */
#define SECRET_REFRESH       "dort" /* OAuth refresh token */
#define SECRET_AUTHORIZATION "doac" /* OAuth authorization code */
#define SECRET_CLIENT        "dose" /* secret of a service principal */
#define SECRET_SIGN_IN       "dosi" /* one-time sign-in code */

/* Four letters and 128 random bits: only letters and digits, which no client escapes in its own way. */
void secret_generate(const char *letters, char out[API_TOKEN_LEN + 1]);
void api_token_generate(char out[API_TOKEN_LEN + 1]);
void api_token_hash(struct slice token, char out[API_TOKEN_HASH_LEN + 1]);
bool secrets_equal(struct slice a, struct slice b); /* time depends on the lengths only */
