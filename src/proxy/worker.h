/*
 * Worker: everything of the proxy that lives on one event loop: listeners, sessions and what they share. Nothing here
 * is global, so that there can be one per thread later; what they would have to share then is the cancel table.
 */
#pragma once

#include <uv.h>

#include "auth/authority.h"
#include "auth/token.h"
#include "base/base.h"
#include "data_directory/data_directory.h"

struct worker;

/* Borrows all. There are two descriptors for each of session_max. */
MUST_CHECK status worker_create(uv_loop_t *loop, const struct data_directory *dd,
        const struct authority *authority, const struct token_key *token_key, size_t session_max,
        struct worker **ret, struct error *err);
/* When it fails, some port may be open already: worker_stop() closes it. */
MUST_CHECK status worker_listen(struct worker *worker, struct error *err);
/* SIGHUP: looks at the files of an own certificate, whether they have changed or not (is_forced) or only if they have. */
void worker_look_at_certificate(struct worker *worker, bool is_forced);
/* Stops listening and lets sessions come to rest (client_session_drain()). */
void worker_drain(struct worker *worker, void (*on_drained)(void *owner), void *owner);
/* Stops listening and ends all sessions. The loop then runs out of handles; worker_free() after that. NULL is fine. */
void worker_stop(struct worker *worker);
struct worker *worker_free(struct worker *worker);
