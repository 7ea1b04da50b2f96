/*
 * Compact token: the text form of a JSON Web Token (RFC 7515 section 3.1), taken apart: BASE64URL(header) "." BASE64URL(payload) "."
 * BASE64URL(signature). Nothing here knows whether a token is good: that is its reader's, by a key.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"

/* The year 9999, far below what would overflow when turned into microseconds. */
#define COMPACT_TOKEN_SECONDS_MAX 253402300799ll

struct compact_token {
	struct slice header, payload, signature; /* still encoded; borrowed from the token */
	struct slice signed_text;                /* header "." payload */
};

/* False unless there are three parts, none of them empty. A further dot is left in the signature, where it is no base64url digit. */
MUST_CHECK bool compact_token_split(struct slice token, struct compact_token *ret);

/*
 * The JSON object that a part holds; NULL when it holds none, or one that has a name twice, which readers understand differently (RFC 7515 section 4).
 * The caller frees it with yyjson_doc_free().
 */
yyjson_doc *compact_token_object(struct slice part);
void compact_token_object_free(yyjson_doc **doc); /* for CLEANUP */

/* Copies a string that is_valid() accepts, which sees its true length, into a C string with room for what it accepts. */
MUST_CHECK bool compact_token_text(yyjson_val *value, bool (*is_valid)(struct slice), char *out);
