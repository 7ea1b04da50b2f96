#include "control_plane/scim_change.h"

#include <stdlib.h>
#include <strings.h>

#include "control_plane/identity.h"
#include "control_plane/scim_filter.h"

#define OPERATIONS_MAX 1000
#define MEMBERS_MAX    100000

enum verb { VERB_ADD, VERB_REPLACE, VERB_REMOVE };

void scim_change_done(struct scim_change *change)
{
	free(change->members);
	change->members = NULL;
}

static void note_member(struct scim_change *change, enum member_verb what, int64_t member)
{
	/* Grows by doubling: at every power of two. */
	if ((change->member_count & (change->member_count - 1)) == 0)
		change->members = xrealloc(change->members,
		        (change->member_count > 0 ? change->member_count * 2 : 1) * sizeof *change->members);
	change->members[change->member_count++] = (struct member_change){ .what = what, .member = member };
}

/* ---- Members of a group ---- */

static bool note_member_id(struct call *call, const char *path, const char *id, enum member_verb what,
        struct scim_change *change)
{
	struct error err;
	struct identity_row member = { 0 };
	int64_t row_id;
	status st = STATUS_NOT_FOUND;
	if (identity_id_parse(id, &row_id))
		st = identity_row_get(call->services->md, row_id, &member, &err);
	if (st == STATUS_NOT_FOUND && what == MEMBERS_REMOVE)
		return true; /* a member that is no more */
	if (st == STATUS_NOT_FOUND)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s': there is no user or service principal with the id '%.100s'.", path, id);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	if (member.kind == IDENTITY_GROUP)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s': '%s' is a group, and a group cannot be a member of another here; add "
		        "its "
		        "members instead.",
		        path, member.login);
	if (change->member_count >= MEMBERS_MAX)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s' has more than %d members for one request.", path, MEMBERS_MAX);
	note_member(change, what, member.id);
	return true;
}

/* A list of {"value":"4002"}, or one such object. */
static bool read_members(struct call *call, const char *path, yyjson_val *value, enum member_verb what,
        struct scim_change *change)
{
	struct text_field id;
	if (yyjson_is_obj(value)) {
		if (!field_text(value, path, "value", &id, &call->error))
			return false;
		if (!id.is_set)
			return api_fail(&call->error, API_INVALID_PARAMETER,
			        "Field '%s.value' is required: the id of a member.", path);
		return note_member_id(call, path, id.text, what, change);
	}
	if (!yyjson_is_arr(value))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s' must be a list of objects like {\"value\":\"4002\"}.", path);
	yyjson_val *item;
	yyjson_arr_iter iter = yyjson_arr_iter_with(value);
	while ((item = yyjson_arr_iter_next(&iter))) {
		if (!yyjson_is_obj(item))
			return api_fail(&call->error, API_INVALID_PARAMETER,
			        "Field '%s[%zu]' must be an object like {\"value\":\"4002\"}.", path,
			        iter.idx - 1);
		if (!read_members(call, path, item, what, change))
			return false;
	}
	return true;
}

/* ---- The whole resource ---- */

/* "Given Family", when that is all there is. */
static bool read_name(struct call *call, struct text_field *display_name)
{
	yyjson_val *name;
	struct text_field given, family;
	if (!field_object(call->root, "", "name", &name, &call->error) ||
	        !field_text(name, "name", "givenName", &given, &call->error) ||
	        !field_text(name, "name", "familyName", &family, &call->error))
		return false;
	if (display_name->is_set || (!given.is_set && !family.is_set))
		return true;
	CLEANUP(free_text)
	char *whole = xasprintf("%s%s%s", given.is_set ? given.text : "",
	        given.is_set && family.is_set ? " " : "", family.is_set ? family.text : "");
	/* Lives as long as the other texts: in a document of the call. */
	yyjson_mut_val *kept = yyjson_mut_strcpy(call->out, whole);
	*display_name = (struct text_field){ .is_set = true, .text = yyjson_mut_get_str(kept) };
	return true;
}

bool scim_change_read(struct call *call, enum identity_kind kind, struct scim_change *ret)
{
	static const char *const login_keys[] = {
		[IDENTITY_USER] = "userName",
		[IDENTITY_SERVICE_PRINCIPAL] = "applicationId",
		[IDENTITY_GROUP] = "displayName",
	};
	struct api_error *error = &call->error;
	yyjson_val *root = call->root, *members = NULL;
	if (!field_text(root, "", login_keys[kind], &ret->login, error) ||
	        !field_text(root, "", "externalId", &ret->external_id, error))
		return false;
	if (kind == IDENTITY_GROUP)
		return field_array(root, "", "members", &members, error) &&
		       (!members || read_members(call, "members", members, MEMBERS_ADD, ret));
	return field_text(root, "", "displayName", &ret->display_name, error) &&
	       field_switch(root, "", "active", &ret->active, error) && read_name(call, &ret->display_name);
}

/* ---- PATCH ---- */

/* true, "true", and [{"value":"true"}], as directories send it. */
static bool read_active(struct call *call, const char *path, yyjson_val *value, struct scim_change *ret)
{
	if (yyjson_arr_size(value) == 1)
		value = yyjson_arr_get_first(value);
	if (yyjson_is_obj(value))
		value = yyjson_obj_get(value, "value");
	const char *text = yyjson_get_str(value);
	bool is_true = yyjson_is_true(value) || (text && strcasecmp(text, "true") == 0);
	bool is_false = yyjson_is_false(value) || (text && strcasecmp(text, "false") == 0);
	if (!is_true && !is_false)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s': the value of 'active' must be true or false.", path);
	ret->active = (struct switch_field){ .is_set = true, .value = is_true };
	return true;
}

static bool read_text(struct call *call, const char *path, yyjson_val *value, struct text_field *ret)
{
	if (yyjson_arr_size(value) == 1)
		value = yyjson_arr_get_first(value);
	if (yyjson_is_obj(value))
		value = yyjson_obj_get(value, "value");
	const char *text = yyjson_get_str(value);
	if (!text || !*text || strlen(text) != yyjson_get_len(value))
		return api_fail(&call->error, API_INVALID_PARAMETER, "Field '%s' must be a text.", path);
	*ret = (struct text_field){ .is_set = true, .text = text };
	return true;
}

static bool is_ignored(const char *attribute)
{
	static const char *const ignored[] = { "entitlements", "roles", "emails", "schemas", "meta", "id",
		"name", "name.givenName", "name.familyName" };
	for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
		if (strcasecmp(attribute, ignored[i]) == 0)
			return true;
	return false;
}

static bool patch_members(
        struct call *call, enum verb verb, const char *path, yyjson_val *value, struct scim_change *ret)
{
	if (verb == VERB_REPLACE || (verb == VERB_REMOVE && !value))
		note_member(ret, MEMBERS_REMOVE_ALL, 0);
	if (verb == VERB_REMOVE && !value)
		return true;
	return read_members(call, path, value, verb == VERB_REMOVE ? MEMBERS_REMOVE : MEMBERS_ADD, ret);
}

static bool patch_attribute(struct call *call, enum identity_kind kind, enum verb verb, const char *path,
        const char *attribute, yyjson_val *value, struct scim_change *ret)
{
	char member[LOGIN_MAX + 1];
	bool is_group = kind == IDENTITY_GROUP;
	if (is_group && strcasecmp(attribute, "members") == 0)
		return patch_members(call, verb, path, value, ret);
	if (is_group && verb == VERB_REMOVE && scim_member_path_parse(attribute, member))
		return note_member_id(call, path, member, MEMBERS_REMOVE, ret);
	if (is_ignored(attribute))
		return true;
	if (strcasecmp(attribute, "externalId") == 0) {
		ret->clears_external_id = verb == VERB_REMOVE;
		return verb == VERB_REMOVE || read_text(call, path, value, &ret->external_id);
	}
	if (verb == VERB_REMOVE)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s': attribute '%.100s' cannot be removed.", path, attribute);
	if (strcasecmp(attribute, "displayName") == 0)
		return read_text(call, path, value, is_group ? &ret->login : &ret->display_name);
	if (!is_group && strcasecmp(attribute, "active") == 0)
		return read_active(call, path, value, ret);
	if ((kind == IDENTITY_USER && strcasecmp(attribute, "userName") == 0) ||
	        (kind == IDENTITY_SERVICE_PRINCIPAL && strcasecmp(attribute, "applicationId") == 0))
		return read_text(call, path, value, &ret->login);
	if (!is_group && strcasecmp(attribute, "groups") == 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s': groups are changed through their members: PATCH the group.", path);
	return api_fail(&call->error, API_INVALID_PARAMETER,
	        "Field '%s': attribute '%.100s' is not known here.", path, attribute);
}

static bool patch_operation(struct call *call, enum identity_kind kind, yyjson_val *operation,
        const char *path, struct scim_change *ret)
{
	static const char *const verbs[] = {
		[VERB_ADD] = "add", [VERB_REPLACE] = "replace", [VERB_REMOVE] = "remove"
	};
	struct text_field op, attribute;
	if (!yyjson_is_obj(operation))
		return api_fail(&call->error, API_INVALID_PARAMETER, "Field '%s' must be an object.", path);
	if (!field_text(operation, path, "op", &op, &call->error) ||
	        !field_text(operation, path, "path", &attribute, &call->error))
		return false;
	size_t verb = 0;
	while (verb < ARRAY_LEN(verbs) && (!op.is_set || strcasecmp(op.text, verbs[verb]) != 0))
		verb++;
	if (verb == ARRAY_LEN(verbs))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s.op' must be add, replace or remove.", path);
	yyjson_val *value = yyjson_obj_get(operation, "value");
	if (attribute.is_set)
		return patch_attribute(call, kind, (enum verb)verb, path, attribute.text, value, ret);
	if (!yyjson_is_obj(value) || verb == VERB_REMOVE)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s' must have a path, or a value that is an object of attributes.", path);
	yyjson_val *key;
	yyjson_obj_iter iter = yyjson_obj_iter_with(value);
	while ((key = yyjson_obj_iter_next(&iter))) {
		if (!patch_attribute(call, kind, (enum verb)verb, path, yyjson_get_str(key),
		            yyjson_obj_iter_get_val(key), ret))
			return false;
	}
	return true;
}

bool scim_change_read_patch(struct call *call, enum identity_kind kind, struct scim_change *ret)
{
	yyjson_val *operations, *operation;
	if (!field_array(call->root, "", "Operations", &operations, &call->error))
		return false;
	if (!operations || yyjson_arr_size(operations) == 0 || yyjson_arr_size(operations) > OPERATIONS_MAX)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'Operations' must be a list of 1 to %d operations.", OPERATIONS_MAX);
	yyjson_arr_iter iter = yyjson_arr_iter_with(operations);
	while ((operation = yyjson_arr_iter_next(&iter))) {
		CLEANUP(free_text) char *path = xasprintf("Operations[%zu]", iter.idx - 1);
		if (!patch_operation(call, kind, operation, path, ret))
			return false;
	}
	return true;
}
