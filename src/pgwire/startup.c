#include "pgwire/startup.h"

#define CODE_CANCEL (1234u << 16 | 5678u)
#define CODE_TLS    (1234u << 16 | 5679u)
#define CODE_GSS    (1234u << 16 | 5680u)
#define MAJOR       3u
#define VERSION_3_0 (MAJOR << 16)

#define NEGOTIATED_PREFIX "_pq_."
#define ENDPOINT_OPTION   "endpoint="

static bool starts_with(struct slice text, const char *prefix)
{
	size_t len = strlen(prefix);
	return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

static status refuse_version(uint32_t code, struct error *err)
{
	return error_set(err, STATUS_UNSUPPORTED, 0,
	        "unsupported frontend protocol %u.%u: server supports 3.0 to 3.0", (unsigned)(code >> 16),
	        (unsigned)(code & 0xffff));
}

status startup_refuse_request(enum startup_kind kind, struct error *err)
{
	return refuse_version(kind == STARTUP_TLS_REQUEST ? CODE_TLS : CODE_GSS, err);
}

status startup_head_parse(const uint8_t *head, struct startup_head *ret, struct error *err)
{
	struct wire_cursor cursor = wire_cursor_on((struct slice){ head, STARTUP_HEAD_LEN });
	uint32_t len = wire_read_be32(&cursor), code = wire_read_be32(&cursor);
	struct startup_head found = { .packet_len = len };

	if (len < STARTUP_HEAD_LEN || len > STARTUP_MAX_BYTES)
		return error_set(err, STATUS_INVALID, 0, "invalid length of startup packet");
	switch (code) {
	case CODE_TLS:
	case CODE_GSS:
		if (len != STARTUP_HEAD_LEN)
			return error_set(
			        err, STATUS_INVALID, 0, "invalid length of encryption request packet");
		found.kind = code == CODE_TLS ? STARTUP_TLS_REQUEST : STARTUP_GSS_REQUEST;
		break;
	case CODE_CANCEL:
		if (len <= STARTUP_HEAD_LEN + 4 || len > STARTUP_HEAD_LEN + 4 + CANCEL_KEY_MAX)
			return error_set(err, STATUS_INVALID, 0, "invalid length of cancel request packet");
		found.kind = STARTUP_CANCEL_REQUEST;
		break;
	default:
		if (code >> 16 != MAJOR)
			return refuse_version(code, err);
		found.kind = STARTUP_SESSION;
	}
	*ret = found;
	return STATUS_OK;
}

/*
 * The words of an options text as Postgres splits them (pg_split_opts): at white space, where a backslash
 * takes the next byte as it is. A word is returned with the bytes it had, so that joining words by a space
 * splits the same.
 */
static bool is_space(uint8_t byte)
{
	return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static bool option_word_next(struct slice options, size_t *at, struct slice *ret)
{
	size_t i = *at;
	while (i < options.len && is_space(options.data[i]))
		i++;
	size_t start = i;
	while (i < options.len && !is_space(options.data[i]))
		i += options.data[i] == '\\' && i + 1 < options.len ? 2 : 1;
	*at = i;
	*ret = (struct slice){ options.data + start, i - start };
	return i > start;
}

/* Is this word of the options ours? A word behind "-c" is Postgres' own, whatever it says. */
static bool is_endpoint_word(struct slice word, struct slice before)
{
	return starts_with(word, ENDPOINT_OPTION) && !slice_equals_text(before, "-c");
}

static status find_endpoint(struct slice options, struct slice *ret, struct error *err)
{
	struct slice word, before = { 0 }, found = { 0 };
	if (!options.data)
		options = slice_from_text("");
	for (size_t at = 0; option_word_next(options, &at, &word); before = word) {
		if (!is_endpoint_word(word, before))
			continue;
		if (found.data)
			return error_set(err, STATUS_INVALID, 0, "options name more than one endpoint");
		size_t skip = strlen(ENDPOINT_OPTION);
		found = (struct slice){ word.data + skip, word.len - skip };
	}
	*ret = found;
	return STATUS_OK;
}

static void append_options(struct buffer *out, struct slice options)
{
	struct slice word, before = { 0 };
	bool is_first = true;
	for (size_t at = 0; option_word_next(options, &at, &word); before = word) {
		if (is_endpoint_word(word, before))
			continue;
		if (!is_first)
			buffer_append(out, " ", 1);
		buffer_append(out, word.data, word.len);
		is_first = false;
	}
}

status startup_parse(struct slice packet, struct startup_message *ret, struct error *err)
{
	struct wire_cursor cursor = wire_cursor_on(packet);
	struct startup_message found = { 0 };
	uint32_t len = wire_read_be32(&cursor), code = wire_read_be32(&cursor);
	if (wire_is_broken(&cursor) || len != packet.len || code >> 16 != MAJOR)
		return error_set(err, STATUS_INVALID, 0, "invalid startup packet");
	found.minor_version = code & 0xffff;

	struct {
		const char *name;
		struct slice *value;
	} known[] = { { "user", &found.user }, { "database", &found.database }, { "options", &found.options },
		{ "replication", &found.replication } };

	const uint8_t *first = cursor.next;
	for (;;) {
		const uint8_t *name_at = cursor.next;
		struct slice name = wire_read_text(&cursor);
		if (wire_is_broken(&cursor) || name.len == 0) {
			found.parameters = (struct slice){ first, (size_t)(name_at - first) };
			break;
		}
		struct slice value = wire_read_text(&cursor);
		if (starts_with(name, NEGOTIATED_PREFIX))
			found.negotiated_options++;
		for (size_t i = 0; i < ARRAY_LEN(known); i++) {
			if (!slice_equals_text(name, known[i].name))
				continue;
			if (known[i].value->data) /* S2 */
				return error_set(err, STATUS_INVALID, 0,
				        "startup packet has parameter \"%s\" more than once", known[i].name);
			*known[i].value = value;
		}
	}
	if (wire_is_broken(&cursor) || !wire_is_at_end(&cursor))
		return error_set(err, STATUS_INVALID, 0,
		        "invalid startup packet layout: expected terminator as last byte");
	if (found.user.len == 0)
		return error_set(
		        err, STATUS_DENIED, 0, "no PostgreSQL user name specified in startup packet");
	status st = find_endpoint(found.options, &found.endpoint, err);
	if (st != STATUS_OK)
		return st;
	*ret = found;
	return STATUS_OK;
}

struct slice startup_parameter(const struct startup_message *message, const char *name)
{
	struct slice found = { 0 };
	struct wire_cursor cursor = wire_cursor_on(message->parameters);
	while (!wire_is_at_end(&cursor)) {
		struct slice key = wire_read_text(&cursor), value = wire_read_text(&cursor);
		if (slice_equals_text(key, name))
			found = value;
	}
	return found;
}

void startup_append_negotiation(struct buffer *out, const struct startup_message *message)
{
	CLEANUP(buffer_done) struct buffer payload = { 0 };
	/* The documentation says "newest minor version"; servers send, and libpq checks, the whole version.
	 */
	wire_append_be32(&payload, VERSION_3_0);
	wire_append_be32(&payload, message->negotiated_options);
	struct wire_cursor cursor = wire_cursor_on(message->parameters);
	while (!wire_is_at_end(&cursor)) {
		struct slice name = wire_read_text(&cursor);
		(void)wire_read_text(&cursor);
		if (starts_with(name, NEGOTIATED_PREFIX))
			wire_append_text(&payload, name);
	}
	buffer_append(out, "v", 1);
	wire_append_be32(out, (uint32_t)payload.len + 4);
	buffer_append(out, payload.data, payload.len);
}

void startup_append_forward(struct buffer *out, const struct startup_message *message)
{
	CLEANUP(buffer_done) struct buffer rest = { 0 };
	struct wire_cursor cursor = wire_cursor_on(message->parameters);
	while (!wire_is_at_end(&cursor)) {
		struct slice name = wire_read_text(&cursor), value = wire_read_text(&cursor);
		if (starts_with(name, NEGOTIATED_PREFIX))
			continue;
		wire_append_text(&rest, name);
		if (message->endpoint.data && slice_equals_text(name, "options")) {
			append_options(&rest, value);
			buffer_append(&rest, "", 1);
		} else {
			wire_append_text(&rest, value);
		}
	}
	buffer_append(&rest, "", 1);
	wire_append_be32(out, (uint32_t)rest.len + STARTUP_HEAD_LEN);
	wire_append_be32(out, VERSION_3_0);
	buffer_append(out, rest.data, rest.len);
}

bool cancel_request_parse(struct slice packet, struct cancel_key *ret)
{
	struct wire_cursor cursor = wire_cursor_on(packet);
	uint32_t len = wire_read_be32(&cursor), code = wire_read_be32(&cursor);
	struct cancel_key key = { .pid = wire_read_be32(&cursor), .secret = wire_read_be32(&cursor) };
	if (wire_is_broken(&cursor) || !wire_is_at_end(&cursor) || len != packet.len || code != CODE_CANCEL)
		return false;
	*ret = key;
	return true;
}

void cancel_request_append(struct buffer *out, struct cancel_key key)
{
	wire_append_be32(out, STARTUP_HEAD_LEN + 8);
	wire_append_be32(out, CODE_CANCEL);
	wire_append_be32(out, key.pid);
	wire_append_be32(out, key.secret);
}
