/*
 * Base vocabulary: borrowed bytes, statuses, errors with a text, and locals that free themselves.
 *
 * A fallible function returns `status`, is MUST_CHECK, and takes `struct error *err` last; err may not be NULL.
 * `ret_` parameters are untouched on failure. Libraries do not log: they fill the error and their caller decides.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MUST_CHECK     __attribute__((warn_unused_result))
#define PRINTF_LIKE(f) __attribute__((format(printf, f, (f) + 1)))
#define CLEANUP(fn)    __attribute__((cleanup(fn)))
#define ARRAY_LEN(a)   (sizeof(a) / sizeof((a)[0]))

/* Borrowed bytes, never NUL-terminated. */
struct slice {
	const uint8_t *data;
	size_t len;
};

static inline struct slice slice_from_text(const char *text)
{
	return (struct slice){ .data = (const uint8_t *)text, .len = strlen(text) };
}

static inline bool slice_equals_text(struct slice s, const char *text)
{
	size_t len = strlen(text);
	return s.len == len && (len == 0 || memcmp(s.data, text, len) == 0);
}

/* A small closed set by what the caller can do about it; HTTP status and SQLSTATE are derived from it. */
typedef enum status {
	STATUS_OK,
	STATUS_INVALID,     /* bad input: the caller must change it */
	STATUS_NOT_FOUND,   /* the named thing does not exist */
	STATUS_EXISTS,      /* the name is taken */
	STATUS_DENIED,      /* known caller, not allowed */
	STATUS_CONFLICT,    /* the state of the thing forbids it now */
	STATUS_LIMIT,       /* a named maximum was reached */
	STATUS_UNSUPPORTED, /* understood, not implemented here */
	STATUS_UNAVAILABLE, /* may work when tried again */
	STATUS_CORRUPT,     /* stored bytes fail their check */
	STATUS_IO,          /* a system call failed; see sys_errno */
	STATUS_NO_SPACE,    /* disk full or quota reached */
	STATUS_NO_MEMORY,
	STATUS_INTERNAL, /* a mistake of ours */
} status;

/* One failure. The message follows the Postgres style guide: lower case, object in quotes, cause after a colon. */
struct error {
	status code;
	int sys_errno;     /* 0 when no system call is to blame */
	char message[384]; /* one line: what failed, for which object, why */
	char hint[192];    /* what to do next, a sentence; may be empty */
};

/*
 * Fills *err and returns `code`, so that failing is one expression. With sys_errno != 0, ": " and its text are
 * appended to the message, and ENOSPC and EDQUOT turn STATUS_IO into STATUS_NO_SPACE. The hint is cleared.
 */
MUST_CHECK PRINTF_LIKE(4) status
        error_set(struct error *err, status code, int sys_errno, const char *fmt, ...);
/* The same for an error that is handed on by pointer, to a callback. */
PRINTF_LIKE(4) void error_fill(struct error *err, status code, int sys_errno, const char *fmt, ...);

/* Puts text in front of the message ("could not create branch \"dev\": …"); returns err->code. */
MUST_CHECK PRINTF_LIKE(2) status error_prefix(struct error *err, const char *fmt, ...);

PRINTF_LIKE(2) void error_hint(struct error *err, const char *fmt, ...);

void close_fd(int *fd);   /* for CLEANUP: closes when >= 0, leaves -1 */
void free_text(char **p); /* for CLEANUP: frees, leaves NULL */

#define TAKE_FD(fd)                                                                                          \
	({                                                                                                   \
		int *taken_ = &(fd);                                                                         \
		int value_ = *taken_;                                                                        \
		*taken_ = -1;                                                                                \
		value_;                                                                                      \
	})

#define TAKE_PTR(ptr)                                                                                        \
	({                                                                                                   \
		__typeof__(ptr) *taken_ = &(ptr);                                                            \
		__typeof__(ptr) value_ = *taken_;                                                            \
		*taken_ = NULL;                                                                              \
		value_;                                                                                      \
	})

/* Memory exhaustion of small allocations ends the process: every role is restarted and resumes (see docs). */
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *text);
char *xstrndup(const void *bytes, size_t len);
PRINTF_LIKE(1) char *xasprintf(const char *fmt, ...);
