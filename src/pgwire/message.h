/*
 * Message: Postgres protocol 3 messages as bytes, both directions. No I/O.
 *
 * Every message but the first of a connection is: type (1 byte), length (4 bytes, big endian, counts itself
 * but not the type), payload. Texts end with a NUL.
 *
 * Reading goes through a cursor that cannot pass its end: a read beyond it returns zero or an empty slice and
 * breaks the cursor for good, so a parser reads all fields in wire order and asks wire_is_broken() once.
 * Writing appends to a buffer.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"

#define MESSAGE_HEADER_LEN 5u

enum message_type {
	MESSAGE_AUTHENTICATION = 'R',
	MESSAGE_BACKEND_KEY = 'K',
	MESSAGE_ERROR = 'E',
	MESSAGE_NOTICE = 'N',
	MESSAGE_NEGOTIATE_VERSION = 'v',
	MESSAGE_PARAMETER_STATUS = 'S',
	MESSAGE_PASSWORD = 'p',
	MESSAGE_READY = 'Z',
};

#define AUTHENTICATION_OK            0u
#define AUTHENTICATION_CLEARTEXT     3u
#define AUTHENTICATION_SASL          10u
#define AUTHENTICATION_SASL_CONTINUE 11u
#define AUTHENTICATION_SASL_FINAL    12u

/* Names a running session to CancelRequest; protocol 3.0 has four bytes of each. */
struct cancel_key {
	uint32_t pid, secret;
};

struct wire_cursor {
	const uint8_t *next, *end;
	bool is_broken;
};

struct wire_cursor wire_cursor_on(struct slice bytes);
uint8_t wire_read_u8(struct wire_cursor *cursor);
uint32_t wire_read_be32(struct wire_cursor *cursor);
struct slice wire_read_bytes(struct wire_cursor *cursor, size_t len);
struct slice wire_read_text(struct wire_cursor *cursor); /* up to a NUL, which is passed but not returned */
static inline bool wire_is_broken(const struct wire_cursor *cursor)
{
	return cursor->is_broken;
}
static inline bool wire_is_at_end(const struct wire_cursor *cursor)
{
	return cursor->next == cursor->end;
}

void wire_append_be32(struct buffer *out, uint32_t value);
void wire_append_text(struct buffer *out, struct slice text); /* and a NUL; text has none inside */

struct message_header {
	uint8_t type;
	uint32_t payload_len;
};
/* head has MESSAGE_HEADER_LEN bytes. False when the length cannot be one. */
MUST_CHECK bool message_header_parse(const uint8_t *head, struct message_header *ret);

/* What a client is told. Texts may be NULL except sqlstate and message; a NUL ends them. */
struct message_error {
	const char *sqlstate, *message, *detail, *hint;
};
void message_append_fatal(
        struct buffer *out, const struct message_error *error);        /* ErrorResponse, severity FATAL */
void message_append_authentication(struct buffer *out, uint32_t code); /* Ok and Cleartext have no more */

/* AuthenticationSASL: which mechanisms may be chosen from, the preferred one first. */
void message_append_sasl(struct buffer *out, const char *const *mechanisms, size_t count);
/* code is AUTHENTICATION_SASL_CONTINUE or AUTHENTICATION_SASL_FINAL. */
void message_append_sasl_data(struct buffer *out, uint32_t code, struct slice data);

/*
 * The payload of an ErrorResponse, or the beginning of one: its SQLSTATE. False when that is not within these
 * bytes.
 */
#define SQLSTATE_LEN 5u
MUST_CHECK bool message_error_sqlstate(struct slice payload, char ret[SQLSTATE_LEN + 1]);

/* The payload of a PasswordMessage: one text and nothing else. False for anything else. */
MUST_CHECK bool message_password_parse(struct slice payload, struct slice *ret_password);

/* The payload of a SASLInitialResponse. response.data is NULL when the client sent none. */
struct sasl_choice {
	struct slice mechanism, response;
};
MUST_CHECK bool message_sasl_choice_parse(struct slice payload, struct sasl_choice *ret);
