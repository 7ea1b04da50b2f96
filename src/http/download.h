/*
 * Download: a document from a server that is not ours, whose address came from outside (libcurl). Blocks, so it is for threads that may wait.
 *
 * Invariants, so that no address and no answer can make this process do anything else than read one document from the server that is named
 *   D1  https with a certificate that this system trusts, for the name in the URL; plain http with this machine only.
 *   D2  the address that a name leads to is looked at when it is connected to: never an unspecified, link-local or multicast one, and one of this
 *       machine only when the URL says so itself.
 *   D3  no redirect is followed; nothing is sent but the request: no cookies, no credentials, and to no proxy.
 *   D4  what comes is bounded, in bytes and in time, and is not unpacked.
 * Threads: any.
 */
#pragma once

#include <stdatomic.h>

#include "base/base.h"
#include "base/buffer.h"

struct download_limits {
	size_t bytes;
	long timeout_ms; /* from looking the name up to the last byte */
};

/*
 * Appends the document to `out`. Messages name the URL, and what the server or the network said. STATUS_INVALID for an URL that D1 refuses;
 * STATUS_LIMIT; STATUS_UNAVAILABLE for everything else: a status that is not 200, no answer, an address that D2 refuses. `is_stopped` may become
 * true meanwhile, which ends it within about a second (STATUS_UNAVAILABLE).
 */
MUST_CHECK status download(const char *url, const struct download_limits *limits,
        const atomic_bool *is_stopped, struct buffer *out, struct error *err);
