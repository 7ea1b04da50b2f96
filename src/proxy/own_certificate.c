#include "proxy/own_certificate.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/private_key.h"
#include "base/buffer.h"
#include "base/file.h"

#define CERTIFICATE_FILE_MAX (1u << 20)

/* By what one sees that a file is another one. */
struct stamp {
	struct timespec changed;
	ino_t number;
	off_t size;
};

struct pair {
	X509 *leaf;
	STACK_OF(X509) * chain; /* what follows it in its file */
	EVP_PKEY *key;
};

struct own_certificate {
	char *certificate_path, *key_path;
	struct stamp certificate_stamp, key_stamp; /* when they were looked at last */
	struct pair pair;
};

static void pair_done(struct pair *pair)
{
	X509_free(pair->leaf);
	sk_X509_pop_free(pair->chain, X509_free);
	EVP_PKEY_free(pair->key);
	*pair = (struct pair){ 0 };
}

static void bio_free(BIO **bio)
{
	BIO_free(*bio);
	*bio = NULL;
}

/* A file that cannot be looked at has no stamp: reading it tells why. */
static struct stamp stamp_of(const char *path)
{
	struct stat info;
	if (stat(path, &info) < 0)
		return (struct stamp){ 0 };
	return (struct stamp){ .changed = info.st_mtim, .number = info.st_ino, .size = info.st_size };
}

static bool stamps_equal(const struct stamp *a, const struct stamp *b)
{
	return a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec &&
	       a->number == b->number && a->size == b->size;
}

static status read_certificates(const char *path, struct pair *pair, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = file_read(path, CERTIFICATE_FILE_MAX, &text, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(bio_free) BIO *bio = BIO_new_mem_buf(text.data ? text.data : "", (int)text.len);
	pair->leaf = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	pair->chain = sk_X509_new_null();
	if (!pair->leaf || !pair->chain) {
		ERR_clear_error();
		return error_set(err, STATUS_CORRUPT, 0, "file \"%s\" has no certificate (PEM)", path);
	}
	X509 *next;
	while ((next = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		if (sk_X509_push(pair->chain, next) <= 0)
			X509_free(next);
	/* Behind the last one there is nothing that begins like one; anything else is a file that was cut. */
	bool is_at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	ERR_clear_error();
	if (!is_at_end)
		return error_set(err, STATUS_CORRUPT, 0,
		        "file \"%s\" has a certificate that cannot be read, behind %d good ones", path,
		        1 + sk_X509_num(pair->chain));
	return STATUS_OK;
}

/* Whom Postgres lets read its key (be-secure-common.c). */
static status check_key_file(const char *path, struct error *err)
{
	struct stat info;
	if (stat(path, &info) < 0)
		return error_set(
		        err, STATUS_NOT_FOUND, errno, "could not look at private key file \"%s\"", path);
	status st = STATUS_OK;
	if (!S_ISREG(info.st_mode))
		st = error_set(err, STATUS_INVALID, 0, "private key file \"%s\" is not a regular file", path);
	else if (info.st_uid != geteuid() && info.st_uid != 0)
		st = error_set(err, STATUS_DENIED, 0,
		        "private key file \"%s\" must belong to the user who runs tarn, or to root", path);
	else if (info.st_mode & (info.st_uid == geteuid() ? 0077 : 0037))
		st = error_set(
		        err, STATUS_DENIED, 0, "private key file \"%s\" has group or world access", path);
	if (st == STATUS_DENIED)
		error_hint(err,
		        "It must have mode 0600 or less if it belongs to the user who runs tarn, 0640 or "
		        "less if it belongs to root.");
	return st;
}

static status read_pair(
        const char *certificate_path, const char *key_path, struct pair *pair, struct error *err)
{
	status st = read_certificates(certificate_path, pair, err);
	if (st == STATUS_OK)
		st = check_key_file(key_path, err);
	if (st == STATUS_OK) {
		st = private_key_read(key_path, &pair->key, err);
		if (st == STATUS_CORRUPT)
			error_hint(err, "It must be a key in PEM without a pass phrase.");
	}
	if (st == STATUS_OK && X509_check_private_key(pair->leaf, pair->key) != 1) {
		ERR_clear_error();
		st = error_set(err, STATUS_CONFLICT, 0,
		        "the key in \"%s\" does not belong to the first certificate in \"%s\"", key_path,
		        certificate_path);
	}
	return st;
}

status own_certificate_look(struct own_certificate *own, bool is_forced, bool *ret_is_new, struct error *err)
{
	struct stamp certificate = stamp_of(own->certificate_path), key = stamp_of(own->key_path);
	*ret_is_new = false;
	if (!is_forced && stamps_equal(&certificate, &own->certificate_stamp) &&
	        stamps_equal(&key, &own->key_stamp))
		return STATUS_OK;
	/* Before they are read: what is written while they are read is another change. */
	own->certificate_stamp = certificate;
	own->key_stamp = key;
	CLEANUP(pair_done) struct pair fresh = { 0 };
	status st = read_pair(own->certificate_path, own->key_path, &fresh, err);
	if (st != STATUS_OK)
		return st;
	struct pair old = own->pair;
	own->pair = fresh;
	fresh = old;
	*ret_is_new = true;
	return STATUS_OK;
}

status own_certificate_load(
        const char *certificate_path, const char *key_path, struct own_certificate **ret, struct error *err)
{
	struct own_certificate *own = xcalloc(1, sizeof *own);
	own->certificate_path = xstrdup(certificate_path);
	own->key_path = xstrdup(key_path);
	bool is_new;
	status st = own_certificate_look(own, true, &is_new, err);
	if (st != STATUS_OK) {
		own_certificate_free(own);
		return st;
	}
	*ret = own;
	return STATUS_OK;
}

struct own_certificate *own_certificate_free(struct own_certificate *own)
{
	if (!own)
		return NULL;
	pair_done(&own->pair);
	free(own->certificate_path);
	free(own->key_path);
	free(own);
	return NULL;
}

bool own_certificate_covers(const struct own_certificate *own, const char *host)
{
	return X509_check_host(own->pair.leaf, host, 0, 0, NULL) == 1;
}

int own_certificate_days_left(const struct own_certificate *own)
{
	int days = 0, seconds = 0;
	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(own->pair.leaf)) != 1)
		return -1;
	return days > 0 || seconds > 0 ? days : days - 1;
}

bool own_certificate_use(const struct own_certificate *own, SSL *ssl)
{
	return SSL_use_cert_and_key(ssl, own->pair.leaf, own->pair.key, own->pair.chain, 1) == 1;
}
