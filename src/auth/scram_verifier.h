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
#define SCRAM_ITERATIONS         4096 /* Postgres' default */
#define GENERATED_PASSWORD_CHARS 24   /* letters and digits: 142 random bits */

void password_generate(char out[GENERATED_PASSWORD_CHARS + 1]);
/* The password is ASCII (no SASLprep is done). */
MUST_CHECK status scram_verifier_make(
        const char *password, char out[SCRAM_VERIFIER_MAX + 1], struct error *err);
/* Is it the verifier of that password? False also for what is no SCRAM verifier. */
bool scram_verifier_matches(const char *verifier, const char *password);
