#include "auth/private_key.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/file.h"

#define KEY_FILE_MAX 65536

status openssl_failed(struct error *err, const char *what)
{
	unsigned long number = ERR_get_error();
	const char *reason = number ? ERR_reason_error_string(number) : NULL;
	ERR_clear_error();
	return error_set(err, STATUS_INTERNAL, 0, "could not %s: %s", what,
	        reason ? reason : "OpenSSL gave no reason");
}

status private_key_write(const char *path, const EVP_PKEY *key, struct error *err)
{
	if (file_exists(path))
		return error_set(err, STATUS_EXISTS, 0, "key file \"%s\" exists", path);
	BIO *bio = BIO_new(BIO_s_secmem()); /* cleared when freed */
	if (!bio || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
		BIO_free(bio);
		return openssl_failed(err, "encode a private key");
	}
	char *text = NULL;
	long len = BIO_get_mem_data(bio, &text);
	struct slice content = { .data = (const uint8_t *)text, .len = (size_t)len };
	status st = file_replace_durably(path, content, 0600, err);
	BIO_free(bio);
	return st;
}

/* Without this OpenSSL asks on the terminal for the pass phrase of an encrypted key. */
static int no_pass_phrase(char *buf, int size, int is_writing, void *arg)
{
	(void)buf, (void)size, (void)is_writing, (void)arg;
	return -1;
}

status private_key_read(const char *path, EVP_PKEY **ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = file_read(path, KEY_FILE_MAX, &text, err);
	if (st != STATUS_OK)
		return st;
	BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_pass_phrase, NULL) : NULL;
	BIO_free(bio);
	OPENSSL_cleanse(text.data, text.len);
	ERR_clear_error();
	if (!key)
		return error_set(
		        err, STATUS_CORRUPT, 0, "file \"%s\" has no readable private key (PEM)", path);
	*ret = key;
	return STATUS_OK;
}
