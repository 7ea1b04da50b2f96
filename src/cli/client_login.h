/*
 * Client login: the token of a client that has an id and a secret (OAuth client credentials, rest-api.md section 6.2) or the token of an outside issuer
 * (token exchange, RFC 8693), got from the server when it is needed, kept in memory only, and got anew shortly before it ends. What an outside issuer
 * has given is read anew each time: whoever puts it there also renews it.
 */
#pragma once

#include "cli/connection.h"
#include "cli/exchange.h"

struct client_login {
	char *token;           /* NULL: none yet */
	int64_t renew_at_usec; /* monotonic */
	char *token_url;       /* found once */
};

/* *ret is borrowed until the next call. Failures say what the server said, never the secret. */
MUST_CHECK status client_login_token(struct client_login *login, const struct connection *connection,
        struct exchange *exchange, const char **ret, struct error *err);
/* After the server refused the token before its time: the next call gets another. */
void client_login_forget(struct client_login *login);
void client_login_done(struct client_login *login);
