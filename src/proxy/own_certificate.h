/*
 * Own certificate: one that its owner brings, for hosts below the domain, in two PEM files: the certificate with those that lead to
 * its root behind it, and its key. Both are looked at again and again, so that whoever renews them only has to write them.
 *
 * Invariants
 *   O1  what is served is a certificate and the key that belongs to it; a pair that is wrong, or of which one half has been written so
 *       far, changes nothing.
 *   O2  a change that could not be taken is told once, not at each look.
 * Threads: the loop's.
 */
#pragma once

#include <openssl/types.h>

#include "base/base.h"

struct own_certificate;

/* Errors name the file and what is wrong with it; as with Postgres, a key that others may read is refused. */
MUST_CHECK status own_certificate_load(
        const char *certificate_path, const char *key_path, struct own_certificate **ret, struct error *err);
struct own_certificate *own_certificate_free(struct own_certificate *own); /* NULL is fine */

/*
 * Takes over what is in the files by now, if they have changed, or in any case when is_forced. After a failure the old ones
 * are served. *ret_is_new is set in either case.
 */
MUST_CHECK status own_certificate_look(
        struct own_certificate *own, bool is_forced, bool *ret_is_new, struct error *err);

bool own_certificate_covers(const struct own_certificate *own, const char *host);
int own_certificate_days_left(const struct own_certificate *own); /* below zero: it has ended */
/* For a handshake. */
MUST_CHECK bool own_certificate_use(const struct own_certificate *own, SSL *ssl);
