/*
 * Certificate cache: leaf certificates by name or address, signed on demand, kept in memory only.
 *
 * Invariants
 *   L1  at most CERTIFICATES_MAX are kept; the one that was not asked for the longest goes first. (Who may ask for any
 *       name of ours, as every client may, can make us sign, which costs less than the handshake it belongs to.)
 *   L2  a certificate is replaced CERTIFICATE_RENEW_USEC before it ends, and when the clock went back before its start.
 * Threads: the loop's.
 */
#pragma once

#include <openssl/types.h>

#include "auth/authority.h"
#include "base/base.h"
#include "base/clock.h"

#define CERTIFICATES_MAX       1024u
#define CERTIFICATE_RENEW_USEC (30ll * 86400 * USEC_PER_SEC) /* a leaf lives 90 days */

struct certificate_cache;

struct certificate_cache *certificate_cache_create(
        const struct authority *authority, size_t max);                            /* borrows */
struct certificate_cache *certificate_cache_free(struct certificate_cache *cache); /* NULL is fine */

struct certificate {
	X509 *certificate;
	EVP_PKEY *key;
};

/* For the name, or for the address when name is NULL. The cache's, valid until the next call. */
MUST_CHECK status certificate_cache_get(struct certificate_cache *cache, const char *name,
        const char *address, int64_t now_usec, struct certificate *ret, struct error *err);
size_t certificate_cache_count(const struct certificate_cache *cache);
