/*
 * OAuth client: who asks the token endpoint. Service principals are confidential clients: their application id and a secret, in a Basic header or in
 * the form. `databricks-cli` is a public one, without a secret, that signs users in with PKCE and is sent back to this machine only.
 */
#pragma once

#include "control_plane/call.h"
#include "http/form.h"
#include "metadata/client_secret_row.h"
#include "metadata/oauth_row.h"

#define OAUTH_PUBLIC_CLIENT "databricks-cli"

struct oauth_client {
	char id[OAUTH_CLIENT_MAX + 1];
	bool is_confidential;
	struct identity_row principal; /* of a confidential one */
	char secret[TOKEN_ID_LEN + 1]; /* the id of the secret it came with */
};

/*
 * Reads and proves who the client is. False: the response is an OAuth error (or call->error is filled, *ret_is_answered false) and nothing more is
 * to be done.
 */
bool oauth_client_identify(
        struct call *call, const struct http_form *form, struct oauth_client *ret, bool *ret_is_answered);
/* http://localhost:PORT or http://127.0.0.1:PORT, with or without a slash behind it. */
bool oauth_redirect_is_valid(const char *uri);

/* {"error":…,"error_description":…} with that status. Always true: the call is answered. */
PRINTF_LIKE(4)
bool oauth_answer_error(struct call *call, int http_status, const char *error, const char *fmt, ...);
/* 500 server_error; the cause is logged. Always true. */
bool oauth_answer_failure(struct call *call, const struct error *err);
