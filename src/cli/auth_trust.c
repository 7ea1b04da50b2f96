/* `tarn auth trust …`: which outside issuers are trusted (federation policies). */
#include <stdio.h>

#include "auth/web_key.h"
#include "base/file.h"
#include "cli/auth.h"

/* The policies of the account, or those of the service principal that --for names. */
static status find_path(struct auth_call *call, struct buffer *path, struct error *err)
{
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	CLEANUP(free_text) char *principal = NULL;
	const char *name = option_value(call->options, "for");
	status st = rest_call(call->rest, "GET", "/.well-known/databricks-config", NULL, &doc, err);
	if (st == STATUS_OK && name)
		st = auth_find(call, AUTH_PRINCIPAL, name, &principal, err);
	if (st != STATUS_OK)
		return st;
	const char *account = json_text(yyjson_doc_get_root(doc), "account_id");
	if (*account == '\0')
		return error_set(
		        err, STATUS_UNSUPPORTED, 0, "%s knows no federation policies", call->connection.url);
	buffer_append_text(path, "/api/2.0/accounts/");
	path_append_name(path, account);
	if (principal)
		buffer_printf(path, "/servicePrincipals/%s", principal);
	buffer_append_text(path, "/federationPolicies");
	return STATUS_OK;
}

status auth_trust_list(struct auth_call *call, struct error *err)
{
	static const struct auth_column columns[] = { { "POLICY", "policy_id" },
		{ "ISSUER", "oidc_policy.issuer" }, { "AUDIENCES", "oidc_policy.audiences" },
		{ "SUBJECT", "oidc_policy.subject" }, { "CLAIM", "oidc_policy.subject_claim" },
		{ "DESCRIPTION", "description" } };
	CLEANUP(buffer_done) struct buffer path = { 0 };
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	status st = auth_connect(call, err);
	if (st == STATUS_OK)
		st = find_path(call, &path, err);
	if (st == STATUS_OK)
		st = rest_call(call->rest, "GET", path.data, NULL, &doc, err);
	return st == STATUS_OK ? auth_print_list(call, yyjson_obj_get(yyjson_doc_get_root(doc), "policies"),
	                                 columns, ARRAY_LEN(columns), err)
	                       : st;
}

/* Texts between commas. */
static void add_audiences(yyjson_mut_doc *doc, yyjson_mut_val *part, const char *text)
{
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, part, "audiences");
	for (const char *pos = text; *pos;) {
		size_t len = strcspn(pos, ",");
		if (len > 0)
			yyjson_mut_arr_add_strncpy(doc, list, pos, len);
		pos += len + (pos[len] == ',');
	}
}

static status make_body(const struct auth_call *call, char **ret, struct error *err)
{
	static const char *const flags[][2] = { { "subject", "subject" }, { "claim", "subject_claim" },
		{ "keys-url", "jwks_uri" } };
	CLEANUP(buffer_done) struct buffer keys = { 0 };
	const char *file = option_value(call->options, "keys-file"),
	           *audience = option_value(call->options, "audience"),
	           *comment = option_value(call->options, "comment");
	if (file) {
		status st = file_read(file, WEB_KEY_SET_MAX, &keys, err);
		if (st != STATUS_OK)
			return st;
	}
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	if (comment)
		yyjson_mut_obj_add_str(doc, root, "description", comment);
	yyjson_mut_val *part = yyjson_mut_obj_add_obj(doc, root, "oidc_policy");
	yyjson_mut_obj_add_str(doc, part, "issuer", call->arguments[0]);
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (option_value(call->options, flags[i][0]))
			yyjson_mut_obj_add_str(
			        doc, part, flags[i][1], option_value(call->options, flags[i][0]));
	if (audience)
		add_audiences(doc, part, audience);
	if (file)
		yyjson_mut_obj_add_strn(doc, part, "jwks_json", keys.data ? keys.data : "", keys.len);
	char *text = yyjson_mut_write(doc, 0, NULL);
	yyjson_mut_doc_free(doc);
	if (!text)
		return error_set(err, STATUS_INVALID, 0, "what was given is not all UTF-8");
	*ret = text;
	return STATUS_OK;
}

status auth_trust_add(struct auth_call *call, struct error *err)
{
	CLEANUP(buffer_done) struct buffer path = { 0 };
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	CLEANUP(free_text) char *body = NULL;
	const char *name = option_value(call->options, "name");
	if (option_value(call->options, "for") && !option_value(call->options, "subject"))
		return error_set(err, STATUS_INVALID, 0,
		        "flag \"--for\" needs \"--subject\": what the issuer calls the service principal");
	status st = make_body(call, &body, err);
	if (st == STATUS_OK)
		st = auth_connect(call, err);
	if (st == STATUS_OK)
		st = find_path(call, &path, err);
	if (st != STATUS_OK)
		return st;
	if (name)
		path_append_query(&path, "policy_id", name);
	st = rest_call(call->rest, "POST", path.data, body, &doc, err);
	if (st != STATUS_OK)
		return st;
	yyjson_val *root = yyjson_doc_get_root(doc);
	return auth_print(call, root, json_text(root, "policy_id"), err);
}

status auth_trust_remove(struct auth_call *call, struct error *err)
{
	CLEANUP(buffer_done) struct buffer path = { 0 };
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	status st = auth_connect(call, err);
	if (st == STATUS_OK)
		st = find_path(call, &path, err);
	if (st != STATUS_OK)
		return st;
	buffer_append_text(&path, "/");
	path_append_name(&path, call->arguments[0]);
	return rest_call(call->rest, "DELETE", path.data, NULL, &doc, err);
}
