#include "pgwire/message.h"

#include <assert.h>

/* Postgres' own limit of an untyped message is 10,000 and of a typed one 1 GB - 1 (pqcomm.c,
 * PQ_LARGE_MESSAGE_LIMIT). */
#define PAYLOAD_MAX 0x3fffffffu

struct wire_cursor wire_cursor_on(struct slice bytes)
{
	return (struct wire_cursor){ .next = bytes.data, .end = bytes.data + bytes.len };
}

struct slice wire_read_bytes(struct wire_cursor *cursor, size_t len)
{
	if (cursor->is_broken || len > (size_t)(cursor->end - cursor->next)) {
		cursor->is_broken = true;
		return (struct slice){ .data = cursor->end, .len = 0 };
	}
	struct slice bytes = { .data = cursor->next, .len = len };
	cursor->next += len;
	return bytes;
}

uint8_t wire_read_u8(struct wire_cursor *cursor)
{
	struct slice bytes = wire_read_bytes(cursor, 1);
	return bytes.len == 1 ? bytes.data[0] : 0;
}

static uint32_t be32_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint32_t wire_read_be32(struct wire_cursor *cursor)
{
	struct slice bytes = wire_read_bytes(cursor, 4);
	return bytes.len == 4 ? be32_at(bytes.data) : 0;
}

struct slice wire_read_text(struct wire_cursor *cursor)
{
	size_t left = cursor->is_broken ? 0 : (size_t)(cursor->end - cursor->next);
	const uint8_t *nul = left > 0 ? memchr(cursor->next, 0, left) : NULL;
	if (!nul) {
		cursor->is_broken = true;
		return (struct slice){ .data = cursor->end, .len = 0 };
	}
	struct slice text = { .data = cursor->next, .len = (size_t)(nul - cursor->next) };
	cursor->next = nul + 1;
	return text;
}

void wire_append_be32(struct buffer *out, uint32_t value)
{
	uint8_t bytes[4] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
		(uint8_t)value };
	buffer_append(out, bytes, sizeof bytes);
}

void wire_append_text(struct buffer *out, struct slice text)
{
	assert(text.len == 0 || !memchr(text.data, 0, text.len));
	buffer_append(out, text.data, text.len);
	buffer_append(out, "", 1);
}

bool message_header_parse(const uint8_t *head, struct message_header *ret)
{
	uint32_t len = be32_at(head + 1);
	if (len < 4 || len - 4 > PAYLOAD_MAX)
		return false;
	*ret = (struct message_header){ .type = head[0], .payload_len = len - 4 };
	return true;
}

static void append_field(struct buffer *out, char type, const char *text)
{
	if (!text || !text[0])
		return;
	buffer_append(out, &type, 1);
	wire_append_text(out, slice_from_text(text));
}

void message_append_fatal(struct buffer *out, const struct message_error *error)
{
	CLEANUP(buffer_done) struct buffer payload = { 0 };
	append_field(&payload, 'S', "FATAL");
	append_field(&payload, 'V', "FATAL"); /* the same, never localized: since 9.6 */
	append_field(&payload, 'C', error->sqlstate);
	append_field(&payload, 'M', error->message);
	append_field(&payload, 'D', error->detail);
	append_field(&payload, 'H', error->hint);
	buffer_append(&payload, "", 1);
	buffer_append(out, "E", 1);
	wire_append_be32(out, (uint32_t)payload.len + 4);
	buffer_append(out, payload.data, payload.len);
}

void message_append_authentication(struct buffer *out, uint32_t code)
{
	buffer_append(out, "R", 1);
	wire_append_be32(out, 8);
	wire_append_be32(out, code);
}

void message_append_sasl(struct buffer *out, const char *const *mechanisms, size_t count)
{
	CLEANUP(buffer_done) struct buffer list = { 0 };
	for (size_t i = 0; i < count; i++)
		wire_append_text(&list, slice_from_text(mechanisms[i]));
	buffer_append(&list, "", 1);
	message_append_sasl_data(out, AUTHENTICATION_SASL, buffer_slice(&list));
}

void message_append_sasl_data(struct buffer *out, uint32_t code, struct slice data)
{
	buffer_append(out, "R", 1);
	wire_append_be32(out, (uint32_t)data.len + 8);
	wire_append_be32(out, code);
	buffer_append(out, data.data, data.len);
}

bool message_error_sqlstate(struct slice payload, char ret[SQLSTATE_LEN + 1])
{
	struct wire_cursor cursor = wire_cursor_on(payload);
	for (;;) {
		uint8_t type = wire_read_u8(&cursor);
		struct slice text = wire_read_text(&cursor);
		if (type == 0 || wire_is_broken(&cursor))
			return false;
		if (type == 'C' && text.len == SQLSTATE_LEN) {
			memcpy(ret, text.data, SQLSTATE_LEN);
			ret[SQLSTATE_LEN] = '\0';
			return true;
		}
	}
}

bool message_password_parse(struct slice payload, struct slice *ret_password)
{
	struct wire_cursor cursor = wire_cursor_on(payload);
	struct slice password = wire_read_text(&cursor);
	if (wire_is_broken(&cursor) || !wire_is_at_end(&cursor))
		return false;
	*ret_password = password;
	return true;
}

bool message_sasl_choice_parse(struct slice payload, struct sasl_choice *ret)
{
	struct wire_cursor cursor = wire_cursor_on(payload);
	struct sasl_choice choice = { .mechanism = wire_read_text(&cursor) };
	uint32_t len = wire_read_be32(&cursor);
	if (len != UINT32_MAX) /* -1: none */
		choice.response = wire_read_bytes(&cursor, len);
	if (wire_is_broken(&cursor) || !wire_is_at_end(&cursor))
		return false;
	*ret = choice;
	return true;
}
