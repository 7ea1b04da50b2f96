/*
 * Authority: the certificate authority of one data directory. Signs a leaf per endpoint on demand, so that
 * `sslmode=verify-full` works with the file that `tarn env` names in PGSSLROOTCERT.
 *
 * Keys are ECDSA P-256. The CA lives ten years, a leaf 90 days; leaves are kept in memory by their users
 * only.
 */
#pragma once

#include <openssl/types.h>

#include "base/base.h"

struct authority;

/* Creates key (0600) and certificate (0644), PEM, durable; STATUS_EXISTS when either is there. */
MUST_CHECK status authority_create(const char *key_path, const char *certificate_path, struct error *err);
MUST_CHECK status authority_load(
        const char *key_path, const char *certificate_path, struct authority **ret, struct error *err);
struct authority *authority_free(struct authority *authority);
static inline void authority_freep(struct authority **authority)
{
	*authority = authority_free(*authority);
}

/*
 * A server certificate for a DNS name and/or an IP address in text form (either may be NULL, not both; both
 * become subjectAltName entries, the CN is the name or else the address). A loopback address is "localhost", too:
 * node-postgres gives TLS no name when it connects to an address, and Node then looks for that one. The caller frees
 * both with OpenSSL.
 */
MUST_CHECK status authority_issue(const struct authority *authority, const char *dns_name,
        const char *address, X509 **ret_certificate, EVP_PKEY **ret_key, struct error *err);
