/*
 * OAuth grant: what the token endpoint gives out when somebody has proven who he is: an access token, and a refresh token for those who asked for one.
 * Inside the caller's transaction.
 */
#pragma once

#include "auth/api_token.h"
#include "control_plane/call.h"
#include "metadata/oauth_row.h"
#include "metadata/token_row.h"

#define ACCESS_LIFE_SEC 3600

struct oauth_grant {
	char access[API_TOKEN_LEN + 1];
	char refresh[API_TOKEN_LEN + 1]; /* "": none */
	int64_t life_sec;                /* of the access token */
};

/* `origin` says whose it is and what it goes with: identity, session, secret, policy. */
MUST_CHECK status oauth_grant_access(struct call *call, const struct token_row *origin, int64_t life_sec,
        struct oauth_grant *grant, struct error *err);
MUST_CHECK status oauth_grant_refresh(struct call *call, const struct oauth_session_row *session,
        struct oauth_grant *grant, struct error *err);

/* 200 with the tokens; `what` is the name of the grant, for the log. Always true. */
bool oauth_grant_answer(struct call *call, const struct oauth_grant *grant, const char *what);
/* The same to a token exchange, whose answer also says what was given out (RFC 8693 section 2.2.1). */
bool oauth_grant_answer_exchange(struct call *call, const struct oauth_grant *grant, const char *what);
