#include "control_plane/permission.h"

#include <stdlib.h>

#include "base/log.h"
#include "control_plane/access.h"
#include "control_plane/fields.h"
#include "control_plane/instance.h"

#define ENTRIES_MAX 1000

struct entry {
	struct identity_row identity;
	enum permission_level level;
};
struct entries {
	struct entry *list;
	size_t count;
};

static void entries_done(struct entries *entries)
{
	free(entries->list);
}

static const struct {
	const char *key;
	enum identity_kind kind;
} principals[] = {
	{ "user_name", IDENTITY_USER },
	{ "group_name", IDENTITY_GROUP },
	{ "service_principal_name", IDENTITY_SERVICE_PRINCIPAL },
};

/* "database-projects", or "database-instances" of the older API: as the path has it, and as answers call it. */
static const char *object_type(const struct call *call)
{
	return call->request->segments[3];
}

static bool is_of_instance(const struct call *call)
{
	return strcmp(object_type(call), "database-instances") == 0;
}

/* A child is a branch: who may use it may use its project, so that is where it is said. */
static bool find_project_of_instance(struct call *call, bool is_change, struct project_row *ret)
{
	CLEANUP(instance_done) struct instance instance = { 0 };
	if (!instance_find(call, call->parameters[0], &instance))
		return false;
	if (is_change && instance_is_child(&instance))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "database instance '%s' has the permissions of the project it is a branch of, '%s'; "
		        "change "
		        "them there",
		        instance.row.name, instance.project.project_id);
	*ret = instance.project;
	instance.project = (struct project_row){ 0 };
	return true;
}

/* By uid first: a uid cannot be chosen, so nobody can put his project in the place of another by naming it so. */
static bool find_project(struct call *call, bool is_change, struct project_row *ret)
{
	if (is_of_instance(call))
		return find_project_of_instance(call, is_change, ret);
	struct error err;
	CLEANUP(project_row_done) struct project_row by_uid = { 0 };
	const char *text = call->parameters[0];
	status st = project_row_find_uid(call->services->md, text, &by_uid, &err);
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		return call_fail(call, &err);
	return call_find_project(call, st == STATUS_OK ? by_uid.project_id : text, ret);
}

/* ---- What a request grants ---- */

static bool read_principal(struct call *call, yyjson_val *item, const char *path, struct entry *ret)
{
	const char *key = NULL, *name = NULL;
	enum identity_kind kind = IDENTITY_USER;
	for (size_t i = 0; i < ARRAY_LEN(principals); i++) {
		struct text_field field;
		if (!field_text(item, path, principals[i].key, &field, &call->error))
			return false;
		if (!field.is_set)
			continue;
		if (key)
			return api_fail(&call->error, API_INVALID_PARAMETER,
			        "Fields '%s.%s' and '%s.%s' exclude each other: an entry is for one "
			        "identity.",
			        path, key, path, principals[i].key);
		key = principals[i].key;
		name = field.text;
		kind = principals[i].kind;
	}
	if (!key)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s' must have one of user_name, group_name and service_principal_name.",
		        path);
	struct error err;
	status st = identity_row_find(call->services->md, kind, name, &ret->identity, &err);
	if (st == STATUS_NOT_FOUND)
		return api_fail(
		        &call->error, API_INVALID_PARAMETER, "Field '%s.%s': %s.", path, key, err.message);
	return st == STATUS_OK || call_fail(call, &err);
}

static bool read_entry(struct call *call, yyjson_val *item, const struct project_row *project,
        const char *path, struct entry *ret)
{
	struct text_field level;
	if (!yyjson_is_obj(item))
		return api_fail(&call->error, API_INVALID_PARAMETER, "Field '%s' must be an object.", path);
	if (!field_text(item, path, "permission_level", &level, &call->error))
		return false;
	if (!level.is_set || !permission_level_parse(level.text, &ret->level))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s.permission_level' must be CAN_USE or CAN_MANAGE%s%.100s%s.", path,
		        level.is_set ? ", got '" : "", level.is_set ? level.text : "",
		        level.is_set ? "'" : "");
	if (!read_principal(call, item, path, ret))
		return false;
	bool is_owner = strcmp(ret->identity.login, project->owner) == 0;
	bool is_admins =
	        ret->identity.kind == IDENTITY_GROUP && strcmp(ret->identity.login, GROUP_ADMINS) == 0;
	if ((is_owner || is_admins) && ret->level != PERMISSION_CAN_MANAGE)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s.permission_level': %s always has CAN_MANAGE.", path,
		        is_owner ? "the owner of a project" : "the group 'admins'");
	return true;
}

static bool read_entries(struct call *call, const struct project_row *project, struct entries *ret)
{
	yyjson_val *array, *item;
	if (!call_read_body(call) ||
	        !field_array(call->root, "", "access_control_list", &array, &call->error))
		return false;
	size_t count = yyjson_arr_size(array);
	if (count > ENTRIES_MAX)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'access_control_list' has more than %d entries; grant to groups instead.",
		        ENTRIES_MAX);
	ret->list = xcalloc(count > 0 ? count : 1, sizeof *ret->list);
	yyjson_arr_iter iter = yyjson_arr_iter_with(array);
	while ((item = yyjson_arr_iter_next(&iter))) {
		CLEANUP(free_text) char *path = xasprintf("access_control_list[%zu]", iter.idx - 1);
		struct entry *entry = &ret->list[ret->count];
		if (!read_entry(call, item, project, path, entry))
			return false;
		for (size_t i = 0; i < ret->count; i++) {
			if (ret->list[i].identity.id == entry->identity.id &&
			        ret->list[i].level != entry->level)
				return api_fail(&call->error, API_INVALID_PARAMETER,
				        "Field '%s': '%s' has another permission_level earlier in the list.",
				        path, entry->identity.login);
		}
		ret->count++;
	}
	return true;
}

/* ---- Answers ---- */

/* What answers call the object. Caller frees. */
static char *object_id(const struct call *call, const struct project_row *project)
{
	return xasprintf("/%s/%s", object_type(call),
	        is_of_instance(call) ? call->parameters[0] : project->project_id);
}

static void add_entry(struct call *call, yyjson_mut_val *list, const struct identity_row *identity,
        enum permission_level level, bool is_inherited, const struct project_row *project)
{
	yyjson_mut_doc *doc = call->out;
	yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);
	for (size_t i = 0; i < ARRAY_LEN(principals); i++)
		if (principals[i].kind == identity->kind)
			yyjson_mut_obj_add_strcpy(doc, item, principals[i].key, identity->login);
	yyjson_mut_obj_add_strcpy(doc, item, "display_name", identity->display_name);
	yyjson_mut_val *all = yyjson_mut_obj_add_arr(doc, item, "all_permissions");
	yyjson_mut_val *permission = yyjson_mut_arr_add_obj(doc, all);
	yyjson_mut_obj_add_str(doc, permission, "permission_level", permission_level_text(level));
	yyjson_mut_obj_add_bool(doc, permission, "inherited", is_inherited);
	if (is_inherited) {
		yyjson_mut_val *from = yyjson_mut_obj_add_arr(doc, permission, "inherited_from_object");
		bool is_admins = identity->kind == IDENTITY_GROUP;
		CLEANUP(free_text)
		char *object = is_admins ? xasprintf("/%s/", object_type(call)) : object_id(call, project);
		yyjson_mut_arr_add_strcpy(doc, from, object);
	}
}

static status add_granted(struct call *call, yyjson_mut_val *list, const struct project_row *project,
        bool *ret_has_owner, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = permission_row_list(call->services->md, project->id, &st, err);
	while (code == STATUS_OK) {
		struct permission_row row;
		code = permission_row_next(&st, &row, err);
		if (code != STATUS_OK)
			break;
		add_entry(call, list, &row.identity, row.level, false, project);
		*ret_has_owner = *ret_has_owner || strcmp(row.identity.login, project->owner) == 0;
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

static bool answer(struct call *call, const struct project_row *project)
{
	struct metadata *md = call->services->md;
	yyjson_mut_doc *doc = call->out;
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	CLEANUP(free_text) char *id = object_id(call, project);
	yyjson_mut_obj_add_strcpy(doc, root, "object_id", id);
	yyjson_mut_obj_add_strcpy(doc, root, "object_type", object_type(call));
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "access_control_list");
	struct error err;
	struct identity_row owner, admins;
	bool has_owner = false;
	if (add_granted(call, list, project, &has_owner, &err) != STATUS_OK)
		return call_fail(call, &err);
	/* An owner who is no longer there owns nothing: the administrators are left. */
	status st =
	        has_owner ? STATUS_NOT_FOUND : identity_row_find_exactly(md, project->owner, &owner, &err);
	if (st == STATUS_OK)
		add_entry(call, list, &owner, PERMISSION_CAN_MANAGE, true, project);
	else if (st != STATUS_NOT_FOUND)
		return call_fail(call, &err);
	if (identity_row_find(md, IDENTITY_GROUP, GROUP_ADMINS, &admins, &err) != STATUS_OK)
		return call_fail(call, &err);
	add_entry(call, list, &admins, PERMISSION_CAN_MANAGE, true, project);
	return call_answer(call, root);
}

bool permission_get(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	return find_project(call, false, &project) && answer(call, &project);
}

static status store(struct call *call, const struct project_row *project, const struct entries *entries,
        bool is_replacing, struct error *err)
{
	struct metadata *md = call->services->md;
	status st = is_replacing ? permission_row_remove_all(md, project->id, err) : STATUS_OK;
	for (size_t i = 0; i < entries->count && st == STATUS_OK; i++) {
		const struct entry *entry = &entries->list[i];
		if (entry->identity.kind != IDENTITY_GROUP ||
		        strcmp(entry->identity.login, GROUP_ADMINS) != 0)
			st = permission_row_set(md, project->id, entry->identity.id, entry->level, err);
	}
	return st;
}

static bool change(struct call *call, bool is_replacing)
{
	struct error err;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(entries_done) struct entries entries = { 0 };
	if (!find_project(call, true, &project) || !read_entries(call, &project, &entries))
		return false;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK ||
	        store(call, &project, &entries, is_replacing, &err) != STATUS_OK)
		return call_fail(call, &err);
	enum permission_level own;
	if (!access_find_level(call, &project, &own))
		return false;
	if (own != PERMISSION_CAN_MANAGE)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'access_control_list' would take CAN_MANAGE on project '%s' from you, '%s': "
		        "put yourself on the list, or let its owner or an administrator do it.",
		        project.project_id, call->caller.login);
	if (transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_info("%s: PERMISSIONS projects/%s, %zu %s, trace %s", call->caller.login, project.project_id,
	        entries.count, is_replacing ? "set" : "added", call->request->trace_id);
	return answer(call, &project);
}

bool permission_put(struct call *call)
{
	return change(call, true);
}

bool permission_patch(struct call *call)
{
	return change(call, false);
}

bool permission_levels(struct call *call)
{
	static const struct {
		enum permission_level level;
		const char *description;
	} levels[] = {
		{ PERMISSION_CAN_USE,
		        "Can see the project, connect to its databases, and create databases and roles" },
		{ PERMISSION_CAN_MANAGE, "Can do everything with the project, and say who else can" },
	};
	CLEANUP(project_row_done) struct project_row project = { 0 };
	if (!find_project(call, false, &project))
		return false;
	yyjson_mut_doc *doc = call->out;
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "permission_levels");
	for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
		yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);
		yyjson_mut_obj_add_str(doc, item, "permission_level", permission_level_text(levels[i].level));
		yyjson_mut_obj_add_str(doc, item, "description", levels[i].description);
	}
	return call_answer(call, root);
}
