/*
 * Session line: the one line of log that a session leaves behind (docs/operations.md, "Log of connections"). What came from outside is in
 * quotes, with '"' and '\' escaped, so that no name can look like another field; the log itself takes control characters out.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"

#define SESSION_TEXT_MAX 63u /* bytes of each text of the client's, as Postgres itself keeps of names */

struct session_line {
	const char *endpoint; /* uid; NULL: not known */
	/* The client's; NULL: it did not say. */
	const char *user, *database, *application;
	const char *client; /* address and port */
	const char *tls;    /* "TLSv1.3"; NULL: none */
	const char *login;  /* "token", "password"; NULL: it did not come to that */
	double seconds;
	double login_seconds; /* until the greeting; negative: it did not come to that */
	bool was_wake;        /* the compute had to be started */
	uint64_t received, sent;
	const char *refused; /* why it was not let in; NULL: it was, or it asked for nothing */
	const char *reason;  /* of the end, in words */
};

void session_line_write(struct buffer *out, const struct session_line *line);
