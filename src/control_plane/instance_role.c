#include "control_plane/instance_role.h"

#include <stdio.h>

#include "control_plane/branch_inventory.h"
#include "control_plane/instance.h"
#include "control_plane/operation_wait.h"
#include "control_plane/role.h"
#include "metadata/database_row.h"

/* The instance of the path, with roles and databases as Postgres has them. */
static bool find(struct call *call, struct instance *ret)
{
	return instance_find(call, call->parameters[0], ret) && branch_inventory_refresh(call, &ret->branch);
}

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
	if (!find(call, &instance))
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

static bool find_role(
        struct call *call, const struct instance *instance, const char *name, struct role_row *ret)
{
	struct error err;
	status st = role_row_find_name(call->services->md, instance->branch.id, name, ret, &err);
	if (st == STATUS_NOT_FOUND)
		return api_fail(&call->error, API_NOT_FOUND,
		        "role '%.200s' not found in database instance '%s'", name, instance->row.name);
	return st == STATUS_OK || call_fail(call, &err);
}

static bool answer_role(struct call *call, const struct instance *instance, const char *name)
{
	struct role_row role;
	return find_role(call, instance, name, &role) &&
	       call_answer(call, role_json(call->out, instance, &role));
}

bool instance_role_get(struct call *call)
{
	CLEANUP(instance_done) struct instance instance = { 0 };
	return find(call, &instance) && answer_role(call, &instance, call->parameters[1]);
}

/* The role in the words of today; texts are borrowed from the body. */
static bool read_role(struct call *call, struct role_fields *ret)
{
	static const char *const types[] = { "PG_ONLY", "USER", "SERVICE_PRINCIPAL", "GROUP" };
	struct text_field type, membership;
	yyjson_val *attributes;
	struct role_fields fields = { 0 };
	if (!call_read_body(call) ||
	        !field_text(call->root, "", "name", &fields.postgres_role, &call->error) ||
	        !field_text(call->root, "", "identity_type", &type, &call->error) ||
	        !field_text(call->root, "", "membership_role", &membership, &call->error) ||
	        !field_object(call->root, "", "attributes", &attributes, &call->error) ||
	        !field_switch(attributes, "attributes", "createdb", &fields.createdb, &call->error) ||
	        !field_switch(attributes, "attributes", "createrole", &fields.createrole, &call->error) ||
	        !field_switch(attributes, "attributes", "bypassrls", &fields.bypassrls, &call->error))
		return false;
	if (!fields.postgres_role.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'name' is required, expected non-default value (not \"\")!");
	size_t i = 0;
	while (type.is_set && i < ARRAY_LEN(types) && strcmp(type.text, types[i]) != 0)
		i++;
	if (i == ARRAY_LEN(types))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'identity_type' must be PG_ONLY, USER, SERVICE_PRINCIPAL or GROUP, got "
		        "'%.60s'.",
		        type.text);
	if (i > 0)
		fields.identity_type = type;
	if (membership.is_set && strcmp(membership.text, "DATABRICKS_SUPERUSER") != 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'membership_role' must be DATABRICKS_SUPERUSER, got '%.60s'.",
		        membership.text);
	fields.is_superuser_member = membership.is_set;
	*ret = fields;
	return true;
}

/* What is wrong with the name is said of the field that has it here. */
static void say_name(struct api_error *error)
{
	static const char theirs[] = "Field 'role.spec.postgres_role'", ours[] = "Field 'name'";
	const size_t cut = sizeof theirs - 1, paste = sizeof ours - 1;
	if (strncmp(error->message, theirs, cut) != 0)
		return;
	memmove(error->message + paste, error->message + cut, strlen(error->message + cut) + 1);
	memcpy(error->message, ours, paste);
}

bool instance_role_create(struct call *call)
{
	CLEANUP(instance_done) struct instance instance = { 0 };
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	struct role_fields fields;
	struct role_row role;
	if (!find(call, &instance) || !read_role(call, &fields))
		return false;
	if (operation_wait_find(call, &operation))
		return operation_wait_check(call, &operation) &&
		       answer_role(call, &instance, fields.postgres_role.text);
	if (!role_begin_create(call, &instance.project, &instance.branch, &fields, &role, &operation)) {
		say_name(&call->error);
		return false;
	}
	return operation_wait_begin(call, &operation) &&
	       answer_role(call, &instance, fields.postgres_role.text);
}

/* Nothing is to be done, or it has been done. */
static bool answer_empty(struct call *call)
{
	return call_answer(call, yyjson_mut_obj(call->out));
}

bool instance_role_delete(struct call *call)
{
	CLEANUP(instance_done) struct instance instance = { 0 };
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	struct role_row role, heir;
	bool allows_missing;
	const char *heir_name = http_request_query(call->request, "reassign_owned_to");
	bool has_heir = heir_name && *heir_name;
	if (!query_switch(call->request, "allow_missing", &allows_missing, &call->error) ||
	        !find(call, &instance))
		return false;
	if (operation_wait_find(call, &operation))
		return operation_wait_check(call, &operation) && answer_empty(call);
	if (!find_role(call, &instance, call->parameters[1], &role))
		return call->error.code == API_NOT_FOUND && allows_missing && answer_empty(call);
	if (has_heir && !find_role(call, &instance, heir_name, &heir))
		return false;
	return role_begin_delete(call, &instance.project, &instance.branch, &role, has_heir ? &heir : NULL,
	               &operation) &&
	       operation_wait_begin(call, &operation) && answer_empty(call);
}

bool instance_database_list(struct call *call)
{
	CLEANUP(instance_done) struct instance instance = { 0 };
	CLEANUP(statement_done) struct statement st = { 0 };
	struct error err;
	if (!find(call, &instance))
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
