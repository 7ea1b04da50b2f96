/* Private key files: PEM, mode 0600. The two kinds of key of a data directory (token.key, authority.key)
 * share this. */
#pragma once

#include <openssl/types.h>

#include "base/base.h"

/* Writes durably; STATUS_EXISTS when a file is there. */
MUST_CHECK status private_key_write(const char *path, const EVP_PKEY *key, struct error *err);
/* STATUS_CORRUPT when the file has no private key. The caller frees *ret with EVP_PKEY_free(). */
MUST_CHECK status private_key_read(const char *path, EVP_PKEY **ret, struct error *err);

/* STATUS_INTERNAL with OpenSSL's reason behind `what`; empties OpenSSL's error queue. */
MUST_CHECK status openssl_failed(struct error *err, const char *what);
