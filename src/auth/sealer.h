/*
 * Sealer: secrets that must be shown again (a role's generated password), encrypted with the key of the data directory: AES-256-GCM, a fresh
 * nonce each time, bound to a context so that a sealed text cannot be moved to another owner. As text: base64url of nonce, ciphertext, tag.
 *
 * Threads: a sealer may be used by several once loaded.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"

#define SEALER_SECRET_MAX 128 /* bytes of a secret; its sealed text is shorter than 256 */

struct sealer;

/* Reads the key (32 bytes, mode 0600) at path, or makes it, durably, when there is none yet. */
MUST_CHECK status sealer_open(const char *path, struct sealer **ret, struct error *err);
struct sealer *sealer_free(struct sealer *sealer);
static inline void sealer_freep(struct sealer **sealer)
{
	*sealer = sealer_free(*sealer);
}

/* Appends. STATUS_LIMIT for a secret that is too long. */
MUST_CHECK status sealer_seal(const struct sealer *sealer, const char *context, struct slice secret,
        struct buffer *out, struct error *err);
/* Appends. STATUS_DENIED when it was not sealed with this key for this context, or has been changed. */
MUST_CHECK status sealer_unseal(const struct sealer *sealer, const char *context, struct slice sealed,
        struct buffer *out, struct error *err);

#define SEALER_DERIVED_BYTES 32
/* A secret of its own for `purpose`, always the same one; others that are derived, and the key, cannot be computed from it. */
void sealer_derive(const struct sealer *sealer, const char *purpose, uint8_t out[SEALER_DERIVED_BYTES]);
