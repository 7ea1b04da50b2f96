#include "control_plane/identity.h"

#include <stdio.h>
#include <strings.h>

#include "auth/api_token.h"
#include "base/file.h"

#define BEARER_MAX   4096
#define SCIM_ID_BASE 4000 /* ids are opaque numbers to clients */

bool identity_authenticate(struct call *call)
{
	const char *header = call->request->authorization;
	if (!header || strncasecmp(header, "Bearer ", 7) != 0)
		return api_fail(&call->error, API_UNAUTHENTICATED,
		        "no credential was sent: expected the header 'Authorization: Bearer <token>'");
	const char *token = header + 7 + strspn(header + 7, " ");
	char hash[API_TOKEN_HASH_LEN + 1];
	struct error err;
	status st = STATUS_NOT_FOUND;
	if (*token && strlen(token) <= BEARER_MAX) {
		api_token_hash(slice_from_text(token), hash);
		st = identity_row_find_token(call->services->md, hash, &call->caller, &err);
	}
	if (st == STATUS_NOT_FOUND)
		return api_fail(&call->error, API_UNAUTHENTICATED,
		        "the token is not valid; `tarn env` prints one that is");
	return st == STATUS_OK || call_fail(call, &err);
}

bool identity_me(struct call *call)
{
	const struct identity_row *caller = &call->caller;
	yyjson_mut_doc *doc = call->out;
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_val *schemas = yyjson_mut_obj_add_arr(doc, root, "schemas");
	yyjson_mut_arr_add_str(doc, schemas, "urn:ietf:params:scim:schemas:core:2.0:User");
	char id[24];
	(void)snprintf(id, sizeof id, "%lld", (long long)(SCIM_ID_BASE + caller->id));
	yyjson_mut_obj_add_strcpy(doc, root, "id", id);
	yyjson_mut_obj_add_strcpy(doc, root, "userName", caller->login);
	yyjson_mut_obj_add_strcpy(doc, root, "displayName", caller->display_name);
	yyjson_mut_obj_add_bool(doc, root, "active", true);
	if (!caller->is_service_principal) {
		yyjson_mut_val *email =
		        yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, root, "emails"));
		yyjson_mut_obj_add_strcpy(doc, email, "value", caller->login);
		yyjson_mut_obj_add_str(doc, email, "type", "work");
		yyjson_mut_obj_add_bool(doc, email, "primary", true);
	}
	yyjson_mut_val *groups = yyjson_mut_obj_add_arr(doc, root, "groups");
	if (caller->is_admin) {
		yyjson_mut_val *group = yyjson_mut_arr_add_obj(doc, groups);
		yyjson_mut_obj_add_str(doc, group, "display", "admins");
		yyjson_mut_obj_add_str(doc, group, "value", "10");
		yyjson_mut_obj_add_str(doc, group, "type", "direct");
		yyjson_mut_obj_add_str(doc, group, "$ref", "Groups/10");
	}
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
		st = identity_row_set_token(md, identity, "admin.token", hash, now_usec, err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}
