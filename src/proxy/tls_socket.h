/*
 * TLS socket: how OpenSSL reads and writes a client's socket. Like OpenSSL's own, but it can be told that the next record follows at once: the
 * kernel then sends the records of a large result as one segment (MSG_MORE, send(2)), which costs it, and wakes the client, a fourth as often.
 * And it never raises SIGPIPE.
 *
 * Threads: the SSL's.
 */
#pragma once

#include <openssl/types.h>

#include "base/base.h"

#define TLS_RECORD_MAX 16384u /* payload; RFC 8446 section 5.1 */

/* Borrows fd, which must be non-blocking. False: OpenSSL is out of memory. */
MUST_CHECK bool tls_socket_attach(SSL *ssl, int fd);
/* For an SSL with such a socket: of the records that are written from now on, is each followed by another one without a pause? */
void tls_socket_more_follows(SSL *ssl, bool more_follows);
