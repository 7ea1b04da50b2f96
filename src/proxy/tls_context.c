#include "proxy/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

static const uint8_t protocols[] = "\x0apostgresql"; /* length and name, as on the wire */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
        const unsigned char *in, unsigned in_len, void *unused)
{
	(void)ssl, (void)unused;
	/* The name of the function is historical; it is the one that OpenSSL recommends for ALPN. */
	unsigned char *chosen = NULL;
	if (SSL_select_next_proto(&chosen, out_len, protocols, sizeof protocols - 1, in, in_len) !=
	        OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

status tls_context_create(tls_choose_certificate_fn choose, SSL_CTX **ret, struct error *err)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	if (!context || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
	        SSL_CTX_set_num_tickets(context, 0) != 1) {
		SSL_CTX_free(context);
		return error_set(err, STATUS_INTERNAL, 0, "could not set TLS up: %s", tls_failure_text(0));
	}
	/* An end without close_notify is an end: the Postgres protocol has its own framing. */
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
	                                     SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_CIPHER_SERVER_PREFERENCE |
	                                     SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                                  SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	/* Else OpenSSL reads the five bytes of a record's head with a system call of their own. */
	SSL_CTX_set_read_ahead(context, 1);
	SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
	SSL_CTX_set_cert_cb(context, choose, NULL);
	*ret = context;
	return STATUS_OK;
}

void tls_context_freep(SSL_CTX **context)
{
	SSL_CTX_free(*context);
	*context = NULL;
}

bool tls_has_alpn(const SSL *ssl)
{
	const unsigned char *name = NULL;
	unsigned len = 0;
	SSL_get0_alpn_selected(ssl, &name, &len);
	return len == sizeof protocols - 2 && memcmp(name, protocols + 1, len) == 0;
}

const char *tls_failure_text(int sys_errno)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());
	if (text)
		return text;
	return sys_errno ? strerror(sys_errno) : "unknown failure";
}
