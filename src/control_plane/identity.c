#include "control_plane/identity.h"

#include <stdio.h>
#include <strings.h>

#include "auth/api_token.h"
#include "base/file.h"
#include "control_plane/scim_json.h"
#include "metadata/token_row.h"

#define BEARER_MAX 4096

/* Of a token that is known: 401 when it is not, or no longer. */
static status find_caller(struct call *call, const char *hash, const char **ret_refusal, struct error *err)
{
	struct metadata *md = call->services->md;
	struct token_row token;
	struct identity_row caller;
	status st = token_row_find(md, hash, &token, err);
	if (st == STATUS_OK)
		st = identity_row_get(md, token.identity, &caller, err);
	if (st != STATUS_OK)
		return st;
	if (token.kind == TOKEN_SIGN_IN)
		*ret_refusal = "a sign-in code is no token: sign in with it (`tarn auth login`)";
	else if (token.expire_usec != 0 && token.expire_usec <= call->now_usec)
		*ret_refusal = "the token has expired";
	else if (!caller.is_active)
		*ret_refusal = "the identity that the token belongs to has been deactivated";
	else
		call->caller = caller;
	return STATUS_OK;
}

bool identity_authenticate(struct call *call)
{
	const char *header = call->request->authorization;
	http_response_add_header(call->response, "WWW-Authenticate", "Bearer");
	if (!header || strncasecmp(header, "Bearer ", 7) != 0)
		return api_fail(&call->error, API_UNAUTHENTICATED,
		        "no credential was sent: expected the header 'Authorization: Bearer <token>'");
	const char *token = header + 7 + strspn(header + 7, " ");
	char hash[API_TOKEN_HASH_LEN + 1];
	struct error err;
	status st = STATUS_NOT_FOUND;
	const char *refusal = NULL;
	if (*token && strlen(token) <= BEARER_MAX) {
		api_token_hash(slice_from_text(token), hash);
		st = find_caller(call, hash, &refusal, &err);
	}
	if (st == STATUS_NOT_FOUND)
		refusal = "the token is not valid; `tarn env` prints one that is";
	else if (st != STATUS_OK)
		return call_fail(call, &err);
	if (refusal)
		return api_fail(&call->error, API_UNAUTHENTICATED, "%s", refusal);
	http_response_clear_headers(call->response); /* nothing to challenge */
	return true;
}

bool identity_me(struct call *call)
{
	struct error err;
	yyjson_mut_val *root = scim_me_to_json(call->services->md, call->out, &call->caller, &err);
	if (!root)
		return call_fail(call, &err);
	/* Terraform takes the workspace id from this header. */
	http_response_add_header(
	        call->response, "X-Databricks-Org-Id", call->services->dd->settings.workspace_id);
	return call_answer(call, root);
}

status identity_take_over_admin(
        struct metadata *md, const struct data_directory *dd, int64_t now_usec, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "admin.token");
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = file_read(path, BEARER_MAX, &text, err);
	if (st != STATUS_OK)
		return st;
	size_t len = text.data ? strcspn(text.data, " \r\n") : 0;
	if (len == 0)
		return error_set(err, STATUS_CORRUPT, 0, "token file \"%s\" is empty", path);
	char hash[API_TOKEN_HASH_LEN + 1];
	api_token_hash((struct slice){ .data = (const uint8_t *)text.data, .len = len }, hash);
	int64_t identity = 0;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = identity_row_ensure_admin(md, dd->settings.admin_login, now_usec, &identity, err);
	if (st == STATUS_OK)
		st = token_row_set_admin_file(md, identity, hash, now_usec, err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}
