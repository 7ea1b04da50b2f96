#include "proxy/authentication.h"

#include <ctype.h>
#include <stdio.h>

#define BOOTSTRAP_ROLE "cloud_admin"

bool authentication_accepts_user(struct slice user, struct refusal *ret)
{
	if (user.len > ROLE_NAME_MAX) {
		refusal_user_too_long(ret);
		return false;
	}
	if (slice_equals_text(user, BOOTSTRAP_ROLE)) {
		refusal_user(ret, user);
		return false;
	}
	return true;
}

static bool looks_like_token(struct slice token)
{
	unsigned dots = 0;
	for (size_t i = 0; i < token.len; i++)
		dots += token.data[i] == '.';
	return dots == 2;
}

bool authentication_accepts_token(const struct token_key *key, struct slice token, int64_t now_usec,
        struct slice user, const struct endpoint *endpoint, struct refusal *ret)
{
	struct token_claims claims;
	struct error err = { 0 };
	char reason[sizeof err.message + 1];
	if (token.len == 0)
		(void)snprintf(reason, sizeof reason, "The password is empty.");
	else if (!looks_like_token(token))
		(void)snprintf(reason, sizeof reason, "The password is not a database token%s.",
		        endpoint->allows_passwords ? ""
		                                   : ", and native login (with a password of Postgres) is "
		                                     "switched off for the project");
	else if (token_verify(key, token, now_usec, &claims, &err) != STATUS_OK) {
		(void)snprintf(reason, sizeof reason, "%s.", err.message);
		reason[0] = (char)toupper(
		        (unsigned char)reason[0]); /* a detail is a sentence, a message is not */
	} else if (!token_claims_name(&claims, endpoint->uid))
		(void)snprintf(reason, sizeof reason, "The token is for another endpoint, \"%s\"%s.",
		        claims.endpoints[0], claims.endpoint_count > 1 ? ", and others" : "");
	else if (!slice_equals_text(user, claims.login))
		(void)snprintf(reason, sizeof reason, "The token is for another user, \"%s\".", claims.login);
	else if (endpoint->refuses_tokens)
		(void)snprintf(reason, sizeof reason,
		        "The identity has been deactivated or deleted, or its role is being deleted.");
	else
		return true;
	refusal_password(ret, user, reason, endpoint->name);
	return false;
}
