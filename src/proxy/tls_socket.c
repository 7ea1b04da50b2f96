#include "proxy/tls_socket.h"

#include <assert.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

struct tls_socket {
	int fd;
	bool has_ended; /* the client's side */
	bool more_follows;
};

static bool is_passing(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

static int socket_write(BIO *bio, const char *bytes, int len)
{
	const struct tls_socket *socket = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	ssize_t n = send(socket->fd, bytes, (size_t)len,
	        MSG_NOSIGNAL | MSG_DONTWAIT | (socket->more_follows ? MSG_MORE : 0));
	if (is_passing(n))
		BIO_set_retry_write(bio);
	return (int)n;
}

static int socket_read(BIO *bio, char *bytes, int len)
{
	struct tls_socket *socket = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	ssize_t n = recv(socket->fd, bytes, (size_t)len, MSG_DONTWAIT);
	if (is_passing(n))
		BIO_set_retry_read(bio);
	else if (n == 0 && len > 0)
		socket->has_ended = true;
	return (int)n;
}

static long socket_control(BIO *bio, int what, long number, void *pointer)
{
	(void)number, (void)pointer;
	const struct tls_socket *socket = BIO_get_data(bio);
	switch (what) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return socket->has_ended;
	default:
		return 0;
	}
}

static int socket_destroy(BIO *bio)
{
	free(BIO_get_data(bio));
	BIO_set_data(bio, NULL);
	return 1;
}

static BIO_METHOD *method; /* constant once made */

static void method_make(void)
{
	BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "client's socket");
	if (made && BIO_meth_set_write(made, socket_write) == 1 &&
	        BIO_meth_set_read(made, socket_read) == 1 && BIO_meth_set_ctrl(made, socket_control) == 1 &&
	        BIO_meth_set_destroy(made, socket_destroy) == 1)
		method = made;
	else
		BIO_meth_free(made);
}

bool tls_socket_attach(SSL *ssl, int fd)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, method_make);
	BIO *bio = method ? BIO_new(method) : NULL;
	if (!bio)
		return false;
	struct tls_socket *socket = xcalloc(1, sizeof *socket);
	socket->fd = fd;
	BIO_set_data(bio, socket);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	return true;
}

void tls_socket_more_follows(SSL *ssl, bool more_follows)
{
	BIO *bio = SSL_get_wbio(ssl);
	assert(BIO_method_type(bio) & BIO_TYPE_SOURCE_SINK);
	((struct tls_socket *)BIO_get_data(bio))->more_follows = more_follows;
}
