/* `tarn auth users|groups|service-principals …`: SCIM calls. */
#include <stdio.h>

#include "cli/auth.h"

#define SCIM "/api/2.0/preview/scim/v2/"
#define PAGE "1000"

static const struct {
	const char *collection, *attribute, *noun;
} kinds[] = {
	[AUTH_USER] = { "Users", "userName", "user" },
	[AUTH_PRINCIPAL] = { "ServicePrincipals", "applicationId", "service principal" },
	[AUTH_GROUP] = { "Groups", "displayName", "group" },
};

/* `attribute eq "value"`, quoted. */
static char *make_filter(const char *attribute, const char *value)
{
	CLEANUP(buffer_done) struct buffer out = { 0 };
	buffer_printf(&out, "%s eq \"", attribute);
	for (; *value; value++)
		buffer_printf(&out, "%s%c", *value == '"' || *value == '\\' ? "\\" : "", *value);
	buffer_append_text(&out, "\"");
	return xstrdup(out.data);
}

/* How many have it; *ret_id gets the id when it is one. */
static status look_for(struct auth_call *call, enum auth_kind kind, const char *attribute, const char *name,
        size_t *ret_count, char **ret_id, struct error *err)
{
	CLEANUP(buffer_done) struct buffer path = { 0 };
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	CLEANUP(free_text) char *filter = make_filter(attribute, name);
	buffer_printf(&path, SCIM "%s", kinds[kind].collection);
	path_append_query(&path, "filter", filter);
	status st = rest_call(call->rest, "GET", path.data, NULL, &doc, err);
	if (st != STATUS_OK)
		return st;
	yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "Resources");
	*ret_count = yyjson_arr_size(list);
	if (*ret_count == 1)
		*ret_id = xstrdup(json_text(yyjson_arr_get_first(list), "id"));
	return STATUS_OK;
}

status auth_find(
        struct auth_call *call, enum auth_kind kind, const char *name, char **ret_id, struct error *err)
{
	size_t count = 0;
	status st = look_for(call, kind, kinds[kind].attribute, name, &count, ret_id, err);
	if (st == STATUS_OK && count == 0 && kind == AUTH_PRINCIPAL)
		st = look_for(call, kind, "displayName", name, &count, ret_id, err);
	if (st != STATUS_OK || count == 1)
		return st;
	if (count > 1)
		return error_set(err, STATUS_CONFLICT, 0,
		        "%zu service principals are called \"%s\": name one by its application id", count,
		        name);
	st = error_set(err, STATUS_NOT_FOUND, 0, "there is no %s \"%s\"", kinds[kind].noun, name);
	error_hint(err, "See: tarn auth %s list.",
	        kind == AUTH_USER    ? "users"
	        : kind == AUTH_GROUP ? "groups"
	                             : "service-principals");
	return st;
}

static status list(struct auth_call *call, enum auth_kind kind, const struct auth_column *columns,
        size_t count, struct error *err)
{
	CLEANUP(buffer_done) struct buffer path = { 0 };
	CLEANUP(json_free) yyjson_doc *all = NULL;
	status st = auth_connect(call, err);
	if (st != STATUS_OK)
		return st;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *items = yyjson_mut_arr(doc);
	yyjson_mut_doc_set_root(doc, items);
	for (size_t before = SIZE_MAX; st == STATUS_OK && before != yyjson_mut_arr_size(items);) {
		CLEANUP(json_free) yyjson_doc *page = NULL;
		before = yyjson_mut_arr_size(items);
		buffer_done(&path);
		path = (struct buffer){ 0 };
		buffer_printf(
		        &path, SCIM "%s?count=" PAGE "&startIndex=%zu", kinds[kind].collection, before + 1);
		st = rest_call(call->rest, "GET", path.data, NULL, &page, err);
		yyjson_val *one;
		size_t i, n;
		yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(page), "Resources"), i, n, one)
		{
			yyjson_mut_arr_append(items, yyjson_val_mut_copy(doc, one));
		}
	}
	all = yyjson_mut_doc_imut_copy(doc, NULL);
	yyjson_mut_doc_free(doc);
	return st == STATUS_OK ? auth_print_list(call, yyjson_doc_get_root(all), columns, count, err) : st;
}

status auth_users_list(struct auth_call *call, struct error *err)
{
	static const struct auth_column columns[] = { { "USER", "userName" }, { "NAME", "displayName" },
		{ "ACTIVE", "active" }, { "GROUPS", "groups" } };
	return list(call, AUTH_USER, columns, ARRAY_LEN(columns), err);
}

status auth_principals_list(struct auth_call *call, struct error *err)
{
	static const struct auth_column columns[] = { { "APPLICATION ID", "applicationId" },
		{ "NAME", "displayName" }, { "ACTIVE", "active" }, { "GROUPS", "groups" } };
	return list(call, AUTH_PRINCIPAL, columns, ARRAY_LEN(columns), err);
}

status auth_groups_list(struct auth_call *call, struct error *err)
{
	static const struct auth_column columns[] = { { "GROUP", "displayName" }, { "MEMBERS", "members" } };
	return list(call, AUTH_GROUP, columns, ARRAY_LEN(columns), err);
}

/* POST of a body to a path below SCIM; prints what came of it. */
static status create(
        struct auth_call *call, enum auth_kind kind, const char *body, const char *member, struct error *err)
{
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	CLEANUP(free_text) char *path = xasprintf(SCIM "%s", kinds[kind].collection);
	status st = rest_call(call->rest, "POST", path, body, &doc, err);
	if (st != STATUS_OK)
		return st;
	yyjson_val *root = yyjson_doc_get_root(doc);
	return auth_print(call, root, member ? json_text(root, member) : NULL, err);
}

status auth_users_create(struct auth_call *call, struct error *err)
{
	CLEANUP(free_text)
	char *body = auth_body("userName", call->arguments[0], "displayName",
	        call->argument_count > 1 ? call->arguments[1] : NULL, NULL);
	status st = auth_connect(call, err);
	return st == STATUS_OK ? create(call, AUTH_USER, body, NULL, err) : st;
}

status auth_principals_create(struct auth_call *call, struct error *err)
{
	CLEANUP(free_text) char *body = auth_body("displayName", call->arguments[0], NULL);
	status st = auth_connect(call, err);
	return st == STATUS_OK ? create(call, AUTH_PRINCIPAL, body, "applicationId", err) : st;
}

static status find_member(struct auth_call *call, const char *name, char **ret_id, struct error *err)
{
	status st = auth_find(call, strchr(name, '@') ? AUTH_USER : AUTH_PRINCIPAL, name, ret_id, err);
	return st;
}

static status patch(
        struct auth_call *call, enum auth_kind kind, const char *id, const char *operation, struct error *err)
{
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	CLEANUP(free_text) char *path = xasprintf(SCIM "%s/%s", kinds[kind].collection, id);
	CLEANUP(free_text)
	char *body = xasprintf(
	        "{\"schemas\":[\"urn:ietf:params:scim:api:messages:2.0:PatchOp\"],\"Operations\":[%s]}",
	        operation);
	status st = rest_call(call->rest, "PATCH", path, body, &doc, err);
	return st == STATUS_OK ? auth_print(call, yyjson_doc_get_root(doc), NULL, err) : st;
}

/* ids are numbers that the server gave: they need no escaping beyond what auth_find() took them for. */
static status change_member(
        struct auth_call *call, const char *group, const char *member_id, bool is_added, struct error *err)
{
	CLEANUP(free_text) char *group_id = NULL;
	status st = auth_find(call, AUTH_GROUP, group, &group_id, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text)
	char *operation = xasprintf("{\"op\":\"%s\",\"path\":\"members\",\"value\":[{\"value\":\"%s\"}]}",
	        is_added ? "add" : "remove", member_id);
	return patch(call, AUTH_GROUP, group_id, operation, err);
}

static status change_named_member(struct auth_call *call, bool is_added, struct error *err)
{
	CLEANUP(free_text) char *id = NULL;
	status st = auth_connect(call, err);
	if (st == STATUS_OK)
		st = find_member(call, call->arguments[1], &id, err);
	return st == STATUS_OK ? change_member(call, call->arguments[0], id, is_added, err) : st;
}

status auth_groups_add_member(struct auth_call *call, struct error *err)
{
	return change_named_member(call, true, err);
}

status auth_groups_remove_member(struct auth_call *call, struct error *err)
{
	return change_named_member(call, false, err);
}

status auth_groups_create(struct auth_call *call, struct error *err)
{
	CLEANUP(free_text) char *body = auth_body("displayName", call->arguments[0], NULL);
	CLEANUP(free_text) char *id = NULL;
	const char *member = option_value(call->options, "member");
	status st = auth_connect(call, err);
	if (st == STATUS_OK && member)
		st = find_member(call, member, &id, err);
	if (st != STATUS_OK)
		return st;
	if (id) {
		free_text(&body);
		CLEANUP(free_text) char *name = auth_body("displayName", call->arguments[0], NULL);
		name[strlen(name) - 1] = '\0';
		body = xasprintf("%s,\"members\":[{\"value\":\"%s\"}]}", name, id);
	}
	return create(call, AUTH_GROUP, body, NULL, err);
}

static status set_admin(struct auth_call *call, enum auth_kind kind, struct error *err)
{
	CLEANUP(free_text) char *id = NULL;
	status st = auth_connect(call, err);
	if (st == STATUS_OK)
		st = auth_find(call, kind, call->arguments[0], &id, err);
	return st == STATUS_OK ? change_member(call, "admins", id, !option_is_on(call->options, "off"), err)
	                       : st;
}

status auth_users_set_admin(struct auth_call *call, struct error *err)
{
	return set_admin(call, AUTH_USER, err);
}

status auth_principals_set_admin(struct auth_call *call, struct error *err)
{
	return set_admin(call, AUTH_PRINCIPAL, err);
}

static status set_active(struct auth_call *call, bool is_active, struct error *err)
{
	CLEANUP(free_text) char *id = NULL;
	status st = auth_connect(call, err);
	if (st == STATUS_OK)
		st = auth_find(call, AUTH_USER, call->arguments[0], &id, err);
	return st == STATUS_OK
	               ? patch(call, AUTH_USER, id,
	                         is_active ? "{\"op\":\"replace\",\"path\":\"active\",\"value\":true}"
	                                   : "{\"op\":\"replace\",\"path\":\"active\",\"value\":false}",
	                         err)
	               : st;
}

status auth_users_activate(struct auth_call *call, struct error *err)
{
	return set_active(call, true, err);
}

status auth_users_deactivate(struct auth_call *call, struct error *err)
{
	return set_active(call, false, err);
}

static status remove_named(struct auth_call *call, enum auth_kind kind, struct error *err)
{
	CLEANUP(free_text) char *id = NULL;
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	status st = auth_connect(call, err);
	if (st == STATUS_OK)
		st = auth_find(call, kind, call->arguments[0], &id, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *path = xasprintf(SCIM "%s/%s", kinds[kind].collection, id);
	return rest_call(call->rest, "DELETE", path, NULL, &doc, err);
}

status auth_users_delete(struct auth_call *call, struct error *err)
{
	return remove_named(call, AUTH_USER, err);
}

status auth_principals_delete(struct auth_call *call, struct error *err)
{
	return remove_named(call, AUTH_PRINCIPAL, err);
}

status auth_groups_delete(struct auth_call *call, struct error *err)
{
	return remove_named(call, AUTH_GROUP, err);
}
