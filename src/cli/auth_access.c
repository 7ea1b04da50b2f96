/* `tarn auth ip-access-lists …`: from which addresses one may come. */
#include <stdio.h>
#include <strings.h>

#include "cli/auth.h"

#define LISTS   "/api/2.0/ip-access-lists"
#define CONF    "/api/2.0/workspace-conf"
#define SETTING "enableIpAccessLists"

status auth_access_list(struct auth_call *call, struct error *err)
{
	static const struct auth_column columns[] = { { "LIST", "list_id" }, { "LABEL", "label" },
		{ "TYPE", "list_type" }, { "ENABLED", "enabled" }, { "ADDRESSES", "ip_addresses" } };
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	CLEANUP(json_free) yyjson_doc *conf = NULL;
	status st = auth_connect(call, err);
	if (st == STATUS_OK)
		st = rest_call(call->rest, "GET", LISTS, NULL, &doc, err);
	if (st == STATUS_OK)
		st = rest_call(call->rest, "GET", CONF "?keys=" SETTING, NULL, &conf, err);
	if (st == STATUS_OK)
		st = auth_print_list(call, yyjson_obj_get(yyjson_doc_get_root(doc), "ip_access_lists"),
		        columns, ARRAY_LEN(columns), err);
	bool is_enforced = conf && strcmp(json_text(yyjson_doc_get_root(conf), SETTING), "true") == 0;
	if (st == STATUS_OK && call->form == OUTPUT_TEXT && !is_enforced)
		(void)puts("\nThey do not count yet: tarn auth ip-access-lists enforce");
	return st;
}

static status find_type(const char *word, const char **ret, struct error *err)
{
	static const char *const types[] = { "ALLOW", "BLOCK" };
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (strcasecmp(word, types[i]) == 0) {
			*ret = types[i];
			return STATUS_OK;
		}
	}
	return error_set(err, STATUS_INVALID, 0, "a list is of type allow or block, not \"%s\"", word);
}

status auth_access_create(struct auth_call *call, struct error *err)
{
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	const char *type = NULL;
	status st = find_type(call->arguments[1], &type, err);
	if (st == STATUS_OK)
		st = auth_connect(call, err);
	if (st != STATUS_OK)
		return st;
	yyjson_mut_doc *body = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(body);
	yyjson_mut_doc_set_root(body, root);
	yyjson_mut_obj_add_str(body, root, "label", call->arguments[0]);
	yyjson_mut_obj_add_str(body, root, "list_type", type);
	yyjson_mut_val *addresses = yyjson_mut_obj_add_arr(body, root, "ip_addresses");
	for (size_t i = 2; i < call->argument_count; i++)
		yyjson_mut_arr_add_str(body, addresses, call->arguments[i]);
	CLEANUP(free_text) char *text = yyjson_mut_write(body, YYJSON_WRITE_ALLOW_INVALID_UNICODE, NULL);
	yyjson_mut_doc_free(body);
	st = rest_call(call->rest, "POST", LISTS, text, &doc, err);
	if (st != STATUS_OK)
		return st;
	yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "ip_access_list");
	return auth_print(call, list, json_text(list, "list_id"), err);
}

static void list_path(const struct auth_call *call, struct buffer *path)
{
	buffer_append_text(path, LISTS "/");
	path_append_name(path, call->arguments[0]);
}

status auth_access_set_enabled(struct auth_call *call, struct error *err)
{
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	CLEANUP(buffer_done) struct buffer path = { 0 };
	bool is_off = option_is_on(call->options, "off");
	status st = auth_connect(call, err);
	if (st != STATUS_OK)
		return st;
	list_path(call, &path);
	return rest_call(call->rest, "PATCH", path.data,
	        is_off ? "{\"enabled\":false}" : "{\"enabled\":true}", &doc, err);
}

status auth_access_delete(struct auth_call *call, struct error *err)
{
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	CLEANUP(buffer_done) struct buffer path = { 0 };
	status st = auth_connect(call, err);
	if (st != STATUS_OK)
		return st;
	list_path(call, &path);
	return rest_call(call->rest, "DELETE", path.data, NULL, &doc, err);
}

status auth_access_enforce(struct auth_call *call, struct error *err)
{
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	bool is_off = option_is_on(call->options, "off");
	status st = auth_connect(call, err);
	if (st != STATUS_OK)
		return st;
	return rest_call(call->rest, "PATCH", CONF,
	        is_off ? "{\"" SETTING "\":\"false\"}" : "{\"" SETTING "\":\"true\"}", &doc, err);
}
