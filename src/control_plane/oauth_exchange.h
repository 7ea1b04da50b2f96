/*
 * Token exchange: POST /oidc/v1/token with a token of an outside issuer instead of a secret (RFC 8693, and the SDKs' env-oidc, file-oidc, github-oidc).
 *
 * With client_id, the application id of a service principal, the policies of that principal decide; without, those of the account, and the token
 * says who it is: a user's name or an application id.
 *
 * Invariants
 *   E1  what is given out is an access token like all others, of an identity that is there and active; at most an hour long, and not longer than the
 *       token that was shown. It goes with its policy and its identity, and there is no refresh token.
 *   E2  until a policy's key has proven the token, all refusals sound alike: nobody learns which clients or policies there are. That an issuer
 *       is trusted shows only when its keys cannot be had (503).
 *   E3  no part of the token is logged or sent back; what failed counts as a failed login.
 */
#pragma once

#include "control_plane/call.h"
#include "http/form.h"

#define OAUTH_EXCHANGE_GRANT "urn:ietf:params:oauth:grant-type:token-exchange"

bool oauth_exchange(struct call *call, const struct http_form *form);
