#include "control_plane/instance_role.h"

#include "control_plane/instance.h"
#include "metadata/database_row.h"
#include "metadata/role_row.h"

static yyjson_mut_val *role_json(
        yyjson_mut_doc *doc, const struct instance *instance, const struct role_row *role)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_strcpy(doc, root, "name", role->postgres_role);
	yyjson_mut_obj_add_strcpy(doc, root, "instance_name", instance->row.name);
	bool is_plain = strcmp(role->identity_type, "IDENTITY_TYPE_UNSPECIFIED") == 0;
	yyjson_mut_obj_add_strcpy(doc, root, "identity_type", is_plain ? "PG_ONLY" : role->identity_type);
	if (role->is_superuser_member)
		yyjson_mut_obj_add_str(doc, root, "membership_role", "DATABRICKS_SUPERUSER");
	static const char *const members[] = { "attributes", "effective_attributes" };
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		yyjson_mut_val *attributes = yyjson_mut_obj_add_obj(doc, root, members[i]);
		yyjson_mut_obj_add_bool(doc, attributes, "createdb", role->createdb);
		yyjson_mut_obj_add_bool(doc, attributes, "createrole", role->createrole);
		yyjson_mut_obj_add_bool(doc, attributes, "bypassrls", role->bypassrls);
	}
	return root;
}

bool instance_role_list(struct call *call)
{
	struct page page;
	CLEANUP(instance_done) struct instance instance = { 0 };
	if (!instance_find(call, call->parameters[0], &instance))
		return false;
	CLEANUP(free_text)
	char *list_name = xasprintf("instance roles of %lld", (long long)instance.branch.id);
	if (!page_read(call->request, list_name, false, PAGE_SIZE_MAX, &page, &call->error))
		return false;
	struct error err;
	CLEANUP(statement_done) struct statement st = { 0 };
	if (role_row_list(call->services->md, instance.branch.id, page.after_id, page.size + 1, &st, &err) !=
	        STATUS_OK)
		return call_fail(call, &err);
	struct call_list list;
	call_list_begin(call, "database_instance_roles", &list);
	for (;;) {
		struct role_row role;
		status code = role_row_next(&st, &role, &err);
		if (code == STATUS_NOT_FOUND ||
		        (code == STATUS_OK && !call_list_has_room(&list, &page, role.id)))
			return call_list_answer(call, &list, &page, list_name);
		if (code != STATUS_OK)
			return call_fail(call, &err);
		yyjson_mut_arr_append(list.items, role_json(call->out, &instance, &role));
	}
}

bool instance_role_get(struct call *call)
{
	CLEANUP(instance_done) struct instance instance = { 0 };
	struct role_row role;
	struct error err;
	if (!instance_find(call, call->parameters[0], &instance))
		return false;
	status st =
	        role_row_find_name(call->services->md, instance.branch.id, call->parameters[1], &role, &err);
	if (st == STATUS_NOT_FOUND)
		return api_fail(&call->error, API_NOT_FOUND,
		        "role '%.200s' not found in database instance '%s'", call->parameters[1],
		        instance.row.name);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	return call_answer(call, role_json(call->out, &instance, &role));
}

bool instance_database_list(struct call *call)
{
	CLEANUP(instance_done) struct instance instance = { 0 };
	CLEANUP(statement_done) struct statement st = { 0 };
	struct error err;
	if (!instance_find(call, call->parameters[0], &instance))
		return false;
	if (database_row_list(call->services->md, instance.branch.id, 0, PAGE_SIZE_MAX, &st, &err) !=
	        STATUS_OK)
		return call_fail(call, &err);
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(call->out, root, "databases");
	for (;;) {
		struct database_row database;
		status code = database_row_next(&st, &database, &err);
		if (code == STATUS_NOT_FOUND)
			return call_answer(call, root);
		if (code != STATUS_OK)
			return call_fail(call, &err);
		yyjson_mut_val *item = yyjson_mut_arr_add_obj(call->out, list);
		yyjson_mut_obj_add_strcpy(call->out, item, "name", database.postgres_database);
		yyjson_mut_obj_add_bool(call->out, item, "is_usable_by_customer", true);
	}
}
