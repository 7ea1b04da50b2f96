#include "proxy/session_line.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/utf8.h"

#define REASON_MAX 640u

static void add_quoted(struct buffer *out, const char *name, const char *text, size_t max)
{
	CLEANUP(free_text) char *copy = xstrndup(text ? text : "", strnlen(text ? text : "", max));
	utf8_clean(copy); /* the cut may be inside a character */
	buffer_printf(out, " %s=\"", name);
	for (const char *c = copy; *c; c++) {
		if (*c == '"' || *c == '\\')
			buffer_append(out, "\\", 1);
		buffer_append(out, (unsigned char)*c < 0x20 || *c == 0x7f ? "?" : c, 1);
	}
	buffer_append(out, "\"", 1);
}

/* A word of ours. */
static const char *word(const char *text)
{
	return text ? text : "-";
}

void session_line_write(struct buffer *out, const struct session_line *line)
{
	buffer_printf(out, "session ended: endpoint=%s", word(line->endpoint));
	add_quoted(out, "user", line->user, SESSION_TEXT_MAX);
	add_quoted(out, "database", line->database, SESSION_TEXT_MAX);
	add_quoted(out, "application", line->application, SESSION_TEXT_MAX);
	buffer_printf(out, " client=%s tls=%s login=%s seconds=%.3f", word(line->client), word(line->tls),
	        word(line->login), line->seconds);
	if (line->login_seconds >= 0)
		buffer_printf(out, " login_seconds=%.3f", line->login_seconds);
	else
		buffer_append_text(out, " login_seconds=-");
	buffer_printf(out, " wake=%s received=%" PRIu64 " sent=%" PRIu64 " refused=%s",
	        line->was_wake ? "yes" : "no", line->received, line->sent, word(line->refused));
	add_quoted(out, "reason", line->reason, REASON_MAX);
}
