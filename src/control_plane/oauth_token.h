/*
 * OAuth tokens: POST /oidc/v1/token (RFC 6749 sections 4.1.3, 4.4, 6, and RFC 8693 in oauth_exchange.h) and POST /oidc/v1/revoke (RFC 7009).
 *
 * Invariants
 *   O1  access tokens are opaque, live an hour, and are looked up at every call: revoked means refused by the next call.
 *   O2  a refresh token is exchanged once. Seeing one again means that two have it, so its session ends, with all its tokens. The same for an
 *       authorization code.
 *   O3  a session ends with its identity, with the personal token that it was signed in with, and after SESSION_LIFE at the latest.
 */
#pragma once

#include "control_plane/call.h"

#define OAUTH_SIGN_IN_GRANT                                                                                  \
	"urn:tarn:oauth:grant-type:sign-in" /* an extension grant (RFC 6749 section 4.5) */

bool oauth_token(struct call *call);
bool oauth_revoke(struct call *call);

/* Scopes that we have, divided by spaces; *ret_is_offline: a refresh token is wanted. NULL means "all-apis". */
bool oauth_scope_is_known(const char *scope, bool *ret_is_offline);
