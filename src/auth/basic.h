/*
 * Basic: the header `Authorization: Basic BASE64(id:secret)` (RFC 7617), as OAuth clients send it. Strict: one pair has one text, padded base64
 * without anything behind it.
 */
#pragma once

#include "base/base.h"

#define BASIC_TEXT_MAX 256 /* bytes of the id, and of the secret */

struct basic_credential {
	char id[BASIC_TEXT_MAX + 1];
	char secret[BASIC_TEXT_MAX + 1]; /* may be empty */
};

/* Is it of this scheme at all? header may be NULL. */
bool basic_is_announced(const char *header);
/* False when it is malformed, has control characters, or is too long. */
bool basic_parse(const char *header, struct basic_credential *ret);
void basic_done(struct basic_credential *credential); /* for CLEANUP: overwrites the secret */
