#include "base/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void fill(struct error *err, status code, int sys_errno, const char *fmt, va_list args)
{
	if (code == STATUS_IO && (sys_errno == ENOSPC || sys_errno == EDQUOT))
		code = STATUS_NO_SPACE;
	*err = (struct error){ .code = code, .sys_errno = sys_errno };
	int len = vsnprintf(err->message, sizeof err->message, fmt, args);
	if (sys_errno != 0 && len >= 0 && (size_t)len < sizeof err->message)
		(void)snprintf(
		        err->message + len, sizeof err->message - (size_t)len, ": %s", strerror(sys_errno));
}

status error_set(struct error *err, status code, int sys_errno, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	fill(err, code, sys_errno, fmt, args);
	va_end(args);
	return err->code;
}

void error_fill(struct error *err, status code, int sys_errno, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	fill(err, code, sys_errno, fmt, args);
	va_end(args);
}

status error_prefix(struct error *err, const char *fmt, ...)
{
	char old[sizeof err->message];
	memcpy(old, err->message, sizeof old);
	va_list args;
	va_start(args, fmt);
	int len = vsnprintf(err->message, sizeof err->message, fmt, args);
	va_end(args);
	if (len >= 0 && (size_t)len < sizeof err->message)
		(void)snprintf(err->message + len, sizeof err->message - (size_t)len, ": %s", old);
	return err->code;
}

void error_hint(struct error *err, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(err->hint, sizeof err->hint, fmt, args);
	va_end(args);
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

void free_text(char **p)
{
	free(*p);
	*p = NULL;
}

static void *checked(void *p)
{
	if (!p) {
		static const char text[] = "out of memory\n";
		(void)!write(STDERR_FILENO, text, sizeof text - 1);
		abort();
	}
	return p;
}

void *xcalloc(size_t count, size_t size)
{
	return checked(calloc(count ? count : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t size)
{
	return checked(realloc(p, size ? size : 1));
}

char *xstrdup(const char *text)
{
	return checked(strdup(text));
}

char *xstrndup(const void *bytes, size_t len)
{
	char *copy = checked(malloc(len + 1));
	memcpy(copy, bytes, len);
	copy[len] = '\0';
	return copy;
}

char *xasprintf(const char *fmt, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, fmt);
	int len = vasprintf(&text, fmt, args);
	va_end(args);
	return checked(len < 0 ? NULL : text);
}
