/*
 * OAuth authorize: GET and POST /oidc/v1/authorize, the page on which a user signs in for a program on the same machine (RFC 6749 section 4.1, PKCE). The
 * user proves who he is with a one-time sign-in code or a personal token. docs/decisions/0011 says why there are no passwords and no cookies.
 *
 * Invariants
 *   A1  nothing is redirected before the client and its redirect_uri are known to be good.
 *   A2  nothing of a request gets onto the page or into a Location unescaped.
 *   A3  there is no state between two requests but what the form carries, all of which is checked again: a forged form has no power, because it
 *       lacks the secret, and a browser sends nothing by itself.
 */
#pragma once

#include "control_plane/call.h"
#include "metadata/token_row.h"

bool oauth_authorize_page(struct call *call);
bool oauth_authorize(struct call *call);

/*
 * Who has this secret? False: call->error says why nobody (API_UNAUTHENTICATED). A sign-in code is used up by it. In the caller's transaction; sets
 * call->caller.
 */
bool oauth_sign_in(struct call *call, const char *secret, struct token_row *token);
