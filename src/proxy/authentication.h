/*
 * Authentication: who may log in as whom, where. Decisions only, no I/O.
 *
 * Invariants
 *   A1  nobody logs in as the bootstrap superuser "cloud_admin", or with a name that Postgres would cut short (it
 *       would then be another name than the one that was checked).
 *   A2  a token lets in its "sub", byte for byte, to its "endpoint", until it expires.
 */
#pragma once

#include "auth/token.h"
#include "base/base.h"
#include "proxy/control_link.h"
#include "proxy/refusal.h"

#define ROLE_NAME_MAX 63u /* NAMEDATALEN - 1 */

/* Before any password. False: *ret says why. */
MUST_CHECK bool authentication_accepts_user(struct slice user, struct refusal *ret);

MUST_CHECK bool authentication_accepts_token(const struct token_key *key, struct slice token,
        int64_t now_usec, struct slice user, const struct endpoint *endpoint, struct refusal *ret);
