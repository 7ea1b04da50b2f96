/*
 * Greeting: what a server says between the start-up packet and its first ReadyForQuery, watched in passing.
 * No I/O: bytes are fed in any portions; nothing is kept but a message header and the few fields that matter.
 *
 *             AuthenticationOk        ReadyForQuery
 *   WAITING ───────────────────▶ SETTING_UP ────────▶ READY
 *      │                             │
 *      ├──── ErrorResponse ──────────┴──────────────▶ REFUSED       sqlstate is known, or empty
 *      └──── anything else, bad length, other auth ─▶ UNEXPECTED
 *
 * READY, REFUSED and UNEXPECTED are last: more bytes change nothing.
 */
#pragma once

#include "base/base.h"
#include "pgwire/message.h"

enum greeting_state {
	GREETING_WAITING,
	GREETING_SETTING_UP,
	GREETING_READY,
	GREETING_REFUSED,
	GREETING_UNEXPECTED,
};

#define GREETING_KEPT_MAX                                                                                    \
	96u /* an ErrorResponse has its SQLSTATE within these bytes (severity is a short word) */

/* Zero-initialised is a valid beginning. */
struct greeting {
	enum greeting_state state;
	bool has_key;
	struct cancel_key key; /* valid when has_key */
	char sqlstate[SQLSTATE_LEN + 1];
	uint32_t payload_left; /* of the message in hand, behind what is kept */
	uint8_t head_len, kept_len;
	uint8_t head[MESSAGE_HEADER_LEN];
	uint8_t kept[GREETING_KEPT_MAX]; /* the first bytes of the payload */
};

/* Feeds bytes; returns how many belong to the greeting: less than bytes.len only behind READY or UNEXPECTED.
 */
size_t greeting_feed(struct greeting *greeting, struct slice bytes);
static inline bool greeting_is_over(const struct greeting *greeting)
{
	return greeting->state >= GREETING_READY;
}
