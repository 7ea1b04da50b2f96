#include "base/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buffer_reserve(struct buffer *buf, size_t more)
{
	size_t need = buf->len + more + 1;
	if (need <= buf->capacity)
		return;
	size_t capacity = buf->capacity ? buf->capacity : 64;
	while (capacity < need)
		capacity *= 2;
	buf->data = xrealloc(buf->data, capacity);
	buf->capacity = capacity;
	buf->data[buf->len] = '\0';
}

void buffer_append(struct buffer *buf, const void *bytes, size_t len)
{
	buffer_reserve(buf, len);
	if (len)
		memcpy(buf->data + buf->len, bytes, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

void buffer_append_text(struct buffer *buf, const char *text)
{
	buffer_append(buf, text, strlen(text));
}

void buffer_printf(struct buffer *buf, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	int len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	assert(len >= 0);
	buffer_reserve(buf, (size_t)len);
	va_start(args, fmt);
	(void)vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, args);
	va_end(args);
	buf->len += (size_t)len;
}

void buffer_consume(struct buffer *buf, size_t len)
{
	assert(len <= buf->len);
	if (len == 0)
		return;
	memmove(buf->data, buf->data + len, buf->len - len + 1);
	buf->len -= len;
}

void buffer_done(struct buffer *buf)
{
	free(buf->data);
	*buf = (struct buffer){ 0 };
}
