/*
 * Base64url without padding (RFC 4648 section 5, as RFC 7515 uses it). Decoding is strict: one byte string
 * has one text. That matters for tokens, where two texts of one signature would let a revoked or logged text
 * come back.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"

void base64url_encode(struct slice bytes, struct buffer *out); /* appends */
/* Appends; false (and out unchanged) for padding, other characters, an impossible length, or unused bits that
 * are set. */
MUST_CHECK bool base64url_decode(struct slice text, struct buffer *out);
