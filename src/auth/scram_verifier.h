/*
 * SCRAM verifier: what Postgres keeps of a password (rolpassword; RFC 5803 in the form of src/common/scram-common.c):
 *
 *   SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>      salt and keys in base64
 *
 * Made here, so that no password is part of a statement that a server may log. Threads: any.
 */
#pragma once

#include "base/base.h"

#define SCRAM_VERIFIER_MAX       255
#define SCRAM_ITERATIONS         4096      /* Postgres' default */
#define SCRAM_ITERATIONS_MAX     INT32_MAX /* as scram_iterations */
#define SCRAM_SALT_BYTES         16        /* of those that we make */
#define SCRAM_SALT_MAX           64
#define SCRAM_KEY_BYTES          32
#define GENERATED_PASSWORD_CHARS 24 /* letters and digits: 142 random bits */

void password_generate(char out[GENERATED_PASSWORD_CHARS + 1]);
/* The password is ASCII here and below (no SASLprep is done). */
MUST_CHECK status scram_verifier_make(
        const char *password, char out[SCRAM_VERIFIER_MAX + 1], struct error *err);
/* What such a text says. */
struct scram_verifier {
	int iterations;
	size_t salt_len;
	uint8_t salt[SCRAM_SALT_MAX];
	uint8_t stored_key[SCRAM_KEY_BYTES], server_key[SCRAM_KEY_BYTES];
};
/* False for what is no SCRAM verifier, an md5 one too, or is not in the one form that Postgres writes. */
MUST_CHECK bool scram_verifier_parse(const char *text, struct scram_verifier *ret);
bool scram_verifier_equal(const struct scram_verifier *a, const struct scram_verifier *b);
void scram_verifier_format(const struct scram_verifier *verifier, char out[SCRAM_VERIFIER_MAX + 1]);
/* The keys of a password for the salt and iterations that are in *verifier. */
MUST_CHECK status scram_verifier_derive(
        const char *password, struct scram_verifier *verifier, struct error *err);
/*
 * One that no password fits, always the same for `name`: what a role that cannot log in is asked with, so that it looks like any other
 * (Postgres' mock authentication). `secret` keeps others from computing it.
 */
void scram_verifier_mock(struct slice secret, const char *name, char out[SCRAM_VERIFIER_MAX + 1]);

/* Is it the verifier of that password? False also for what is no SCRAM verifier. */
bool scram_verifier_matches(const char *verifier, const char *password);
