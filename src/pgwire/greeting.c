#include "pgwire/greeting.h"

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

static enum greeting_state after_authentication(struct greeting *g, struct wire_cursor *cursor)
{
	uint32_t code = wire_read_be32(cursor);
	bool is_ok = !wire_is_broken(cursor) && wire_is_at_end(cursor) && code == AUTHENTICATION_OK;
	return is_ok && g->state == GREETING_WAITING ? GREETING_SETTING_UP : GREETING_UNEXPECTED;
}

static enum greeting_state after_key(struct greeting *g, struct wire_cursor *cursor)
{
	struct cancel_key key = { .pid = wire_read_be32(cursor), .secret = wire_read_be32(cursor) };
	if (wire_is_broken(cursor) || !wire_is_at_end(cursor))
		return GREETING_UNEXPECTED; /* longer secrets come only with protocol 3.2, which we never ask
		                               for */
	g->has_key = true;
	g->key = key;
	return g->state;
}

/* A whole message is in hand; its payload may be longer than what was kept. */
static enum greeting_state after_message(struct greeting *g, bool is_whole)
{
	struct slice payload = { g->kept, g->kept_len };
	struct wire_cursor cursor = wire_cursor_on(payload);
	switch (g->head[0]) {
	case MESSAGE_AUTHENTICATION:
		return is_whole ? after_authentication(g, &cursor) : GREETING_UNEXPECTED;
	case MESSAGE_ERROR:
		if (!message_error_sqlstate(payload, g->sqlstate))
			g->sqlstate[0] = '\0';
		return GREETING_REFUSED;
	case MESSAGE_NOTICE:
		return g->state;
	case MESSAGE_PARAMETER_STATUS:
		return g->state == GREETING_SETTING_UP ? g->state : GREETING_UNEXPECTED;
	case MESSAGE_BACKEND_KEY:
		return g->state == GREETING_SETTING_UP && is_whole ? after_key(g, &cursor)
		                                                   : GREETING_UNEXPECTED;
	case MESSAGE_READY:
		return g->state == GREETING_SETTING_UP ? GREETING_READY : GREETING_UNEXPECTED;
	default:
		return GREETING_UNEXPECTED;
	}
}

static bool is_known(uint8_t type)
{
	return memchr("RKENSZ", type, 6) != NULL;
}

size_t greeting_feed(struct greeting *g, struct slice bytes)
{
	size_t at = 0;
	while (at < bytes.len && !greeting_is_over(g)) {
		if (g->head_len < MESSAGE_HEADER_LEN) {
			g->head[g->head_len++] = bytes.data[at++];
			if (!is_known(g->head[0])) {
				g->state = GREETING_UNEXPECTED;
				break;
			}
			if (g->head_len < MESSAGE_HEADER_LEN)
				continue;
			struct message_header header;
			if (!message_header_parse(g->head, &header)) {
				g->state = GREETING_UNEXPECTED;
				break;
			}
			g->payload_left = header.payload_len;
			g->kept_len = 0;
		} else {
			size_t keep = smaller(
			        smaller(GREETING_KEPT_MAX - g->kept_len, g->payload_left), bytes.len - at);
			memcpy(g->kept + g->kept_len, bytes.data + at, keep);
			g->kept_len = (uint8_t)(g->kept_len + keep);
			size_t pass = smaller(g->payload_left, bytes.len - at);
			g->payload_left -= (uint32_t)pass;
			at += pass;
		}
		if (g->payload_left == 0) {
			struct message_header header;
			bool is_valid = message_header_parse(g->head, &header);
			g->state = after_message(g, is_valid && header.payload_len == g->kept_len);
			g->head_len = 0;
		}
	}
	return at;
}
