/*
 * Sign-in: a user proves who he is to a Tarn, and a program gets an access token for it. With a browser: authorization code with PKCE, back to a port of
 * this machine. Without: a sign-in code or personal token, sent as it is.
 */
#pragma once

#include "base/base.h"
#include "cli/exchange.h"

/* Prints the address to open, and waits. *ret is the access token; the caller frees. */
MUST_CHECK status sign_in_with_browser(
        struct exchange *exchange, const char *host, char **ret, struct error *err);
MUST_CHECK status sign_in_with_secret(
        struct exchange *exchange, const char *host, const char *secret, char **ret, struct error *err);
