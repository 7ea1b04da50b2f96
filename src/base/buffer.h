/*
 * Buffer: bytes that grow at the end. Zero-initialised is empty and valid. Text put in it stays NUL-terminated
 * (the NUL is not counted), so buffer.data is a C string whenever no NUL was appended.
 */
#pragma once

#include "base/base.h"

struct buffer {
	char *data; /* NULL only while nothing was ever appended */
	size_t len;
	size_t capacity;
};

void buffer_append(struct buffer *buf, const void *bytes, size_t len);
void buffer_append_text(struct buffer *buf, const char *text);
PRINTF_LIKE(2) void buffer_printf(struct buffer *buf, const char *fmt, ...);
void buffer_consume(struct buffer *buf, size_t len);  /* drops the first len bytes */
void buffer_reserve(struct buffer *buf, size_t more); /* room for `more` bytes behind len */
void buffer_done(struct buffer *buf);                 /* frees; for CLEANUP */

static inline struct slice buffer_slice(const struct buffer *buf)
{
	return (struct slice){ .data = (const uint8_t *)buf->data, .len = buf->len };
}
