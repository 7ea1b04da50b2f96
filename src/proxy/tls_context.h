/*
 * TLS context: what all TLS connections of the proxy have in common.
 *
 * TLS 1.2 and 1.3. ALPN: who offers protocols must offer "postgresql", as with a stock server. No session tickets, as
 * with a stock server: libpq never resumes, and every handshake then shows the certificate. No renegotiation.
 */
#pragma once

#include <openssl/types.h>

#include "base/base.h"

/* Called within a handshake; sets certificate and key of the SSL. Returns 1, or 0 to fail the handshake. */
typedef int (*tls_choose_certificate_fn)(SSL *ssl, void *unused);

MUST_CHECK status tls_context_create(tls_choose_certificate_fn choose, SSL_CTX **ret, struct error *err);
void tls_context_freep(SSL_CTX **context);

/* Did the client agree on "postgresql" by ALPN? */
bool tls_has_alpn(const SSL *ssl);
/* Why the last call on this thread failed: OpenSSL's own words, or the system's when it has none. */
const char *tls_failure_text(int sys_errno);
