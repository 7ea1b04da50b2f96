#include "control_plane/database.h"

#include <stdio.h>

#include "control_plane/access.h"
#include "control_plane/branch_inventory.h"
#include "control_plane/catalog_operation.h"
#include "control_plane/fields.h"
#include "control_plane/quota.h"
#include "control_plane/resource_json.h"
#include "control_plane/resource_name.h"
#include "control_plane/role.h"
#include "control_plane/update_mask.h"

enum database_field { DATABASE_NAME = 1 << 0, DATABASE_OWNER = 1 << 1 };

struct database_fields {
	struct text_field postgres_database, role;
};

/* The live branch of the call with rows that are right. */
static bool find_branch(struct call *call, struct project_row *project, struct branch_row *branch)
{
	return call_find_project(call, call->parameters[0], project) &&
	       call_find_branch(call, project, call->parameters[1], branch) &&
	       branch_inventory_refresh(call, branch);
}

static bool find_database(struct call *call, struct project_row *project, struct branch_row *branch,
        struct database_row *database)
{
	struct error err;
	return find_branch(call, project, branch) &&
	       (database_row_find(call->services->md, branch->id, call->parameters[2], database, &err) ==
	                       STATUS_OK ||
	               call_fail(call, &err));
}

bool database_list(struct call *call)
{
	struct page page;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	if (!find_branch(call, &project, &branch))
		return false;
	CLEANUP(free_text) char *list_name = xasprintf("databases of %lld", (long long)branch.id);
	if (!page_read(call->request, list_name, false, PAGE_SIZE_MAX, &page, &call->error))
		return false;
	struct error err;
	CLEANUP(statement_done) struct statement st = { 0 };
	if (database_row_list(call->services->md, branch.id, page.after_id, page.size + 1, &st, &err) !=
	        STATUS_OK)
		return call_fail(call, &err);
	struct call_list list;
	call_list_begin(call, "databases", &list);
	for (;;) {
		struct database_row database;
		status code = database_row_next(&st, &database, &err);
		if (code == STATUS_NOT_FOUND ||
		        (code == STATUS_OK && !call_list_has_room(&list, &page, database.id)))
			return call_list_answer(call, &list, &page, list_name);
		if (code != STATUS_OK)
			return call_fail(call, &err);
		yyjson_mut_arr_append(list.items, database_to_json(call->out, &project, &branch, &database));
	}
}

bool database_get(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct database_row database;
	return find_database(call, &project, &branch, &database) &&
	       call_answer(call, database_to_json(call->out, &project, &branch, &database));
}

/* ---- changes ---- */

static bool read_body(struct call *call, struct database_fields *ret)
{
	yyjson_val *spec;
	if (!call_read_body(call) || !field_object(call->root, "", "spec", &spec, &call->error) ||
	        !field_text(spec, "spec", "postgres_database", &ret->postgres_database, &call->error) ||
	        !field_text(spec, "spec", "role", &ret->role, &call->error))
		return false;
	const char *name = ret->postgres_database.text;
	if (!ret->postgres_database.is_set)
		return true;
	if (strlen(name) > POSTGRES_NAME_MAX)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'database.spec.postgres_database' must have at most %d bytes.",
		        POSTGRES_NAME_MAX);
	if (inventory_database_is_reserved(name))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'database.spec.postgres_database': the name '%s' is reserved for the system.",
		        name);
	return true;
}

static bool record(struct call *call, enum operation_kind kind, const struct project_row *project,
        const struct branch_row *branch, const struct catalog_plan *plan, struct database_row *row)
{
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	return catalog_operation_begin(call, kind, "databases", project, branch, plan,
	               &(struct catalog_addition){ .database = row }, &operation) &&
	       call_answer_operation(call, &operation);
}

static bool check_name_is_free(
        struct call *call, const struct branch_row *branch, const char *name, int64_t own_id)
{
	struct error err;
	struct database_row other;
	status st = database_row_find_name(call->services->md, branch->id, name, &other, &err);
	if (st == STATUS_OK && other.id != own_id)
		return api_fail(&call->error, API_BAD_REQUEST, "database with that name already exists");
	return st == STATUS_OK || st == STATUS_NOT_FOUND || call_fail(call, &err);
}

/* Name and owner as far as the fields have them. */
static bool change(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const struct database_fields *fields, const struct database_row *database)
{
	struct catalog_plan plan = { 0 };
	struct role_row owner;
	memcpy(plan.id, database->database_id, sizeof plan.id);
	if (fields->role.is_set) {
		if (!role_find_by_name(
		            call, project, branch, "database.spec.role", fields->role.text, &owner))
			return false;
		memcpy(plan.owner, owner.role_id, sizeof plan.owner);
	}
	if (fields->postgres_database.is_set &&
	        strcmp(fields->postgres_database.text, database->postgres_database) != 0) {
		if (!check_name_is_free(call, branch, fields->postgres_database.text, database->id))
			return false;
		(void)snprintf(plan.new_name, sizeof plan.new_name, "%s", fields->postgres_database.text);
	}
	return record(call, OPERATION_DATABASE_UPDATE, project, branch, &plan, NULL);
}

/* The id that the caller chose, or one derived from the name. *ret_exists: a database has it already, and it was asked to be replaced. */
static bool choose_id(struct call *call, const struct branch_row *branch,
        const struct database_fields *fields, bool replaces, struct database_row *database, bool *ret_exists)
{
	struct error err;
	struct database_row other;
	const char *id = http_request_query(call->request, "database_id");
	bool is_given = id && *id;
	if (is_given && !resource_id_is_valid(id))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field database_id must match pattern " RESOURCE_ID_PATTERN ", got '%.200s'.", id);
	if (!is_given && !fields->postgres_database.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'database.spec.postgres_database' is required, expected non-default value "
		        "(not "
		        "\"\")!");
	char base[RESOURCE_ID_MAX + 1];
	if (is_given)
		(void)snprintf(base, sizeof base, "%s", id);
	else
		resource_id_from_name(fields->postgres_database.text, "database", base);
	status st = STATUS_OK;
	for (int number = 1; st == STATUS_OK; number++) {
		resource_id_numbered(base, number, database->database_id);
		st = database_row_find(call->services->md, branch->id, database->database_id, &other, &err);
		if (st == STATUS_OK && is_given && replaces) {
			*database = other;
			*ret_exists = true;
			return true;
		}
		if (st == STATUS_OK && is_given)
			return api_fail(
			        &call->error, API_BAD_REQUEST, "database with that name already exists");
	}
	return st == STATUS_NOT_FOUND || call_fail(call, &err);
}

bool database_create(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct database_fields fields = { 0 };
	struct role_row owner;
	struct error err;
	bool replaces, exists = false;
	int64_t count = 0;
	struct database_row database = {
		.create_usec = call->now_usec, .update_usec = call->now_usec, .is_pending = true
	};
	if (!find_branch(call, &project, &branch) || !read_body(call, &fields) ||
	        !query_switch(call->request, "replace_existing", &replaces, &call->error) ||
	        (replaces &&
	                !access_require(call, &project, PERMISSION_CAN_MANAGE, "replacing a database")) ||
	        !choose_id(call, &branch, &fields, replaces, &database, &exists))
		return false;
	if (exists)
		return change(call, &project, &branch, &fields, &database);
	if (!fields.role.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'database.spec.role' is required, expected non-default value (not \"\")!");
	if (!fields.postgres_database.is_set)
		fields.postgres_database =
		        (struct text_field){ .is_set = true, .text = database.database_id };
	if (inventory_database_is_reserved(fields.postgres_database.text))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'database.spec.postgres_database': the name '%s' is reserved for the system.",
		        fields.postgres_database.text);
	if (!role_find_by_name(call, &project, &branch, "database.spec.role", fields.role.text, &owner) ||
	        !check_name_is_free(call, &branch, fields.postgres_database.text, 0))
		return false;
	if (database_row_count(call->services->md, branch.id, &count, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (!quota_check(call, "databases_per_branch", "the branch", "databases", count))
		return false;
	database.branch = branch.id;
	(void)snprintf(database.postgres_database, sizeof database.postgres_database, "%s",
	        fields.postgres_database.text);
	memcpy(database.role_id, owner.role_id, sizeof database.role_id);
	struct catalog_plan plan = { 0 };
	memcpy(plan.id, database.database_id, sizeof plan.id);
	return record(call, OPERATION_DATABASE_CREATE, &project, &branch, &plan, &database);
}

/* A name and an owner have no default to go back to. */
static bool check_populated(
        struct call *call, const struct update_mask *mask, const struct database_fields *fields)
{
	bool lacks_name = (mask->fields & DATABASE_NAME) && !fields->postgres_database.is_set;
	bool lacks_owner = (mask->fields & DATABASE_OWNER) && !fields->role.is_set;
	if (mask->is_all || (!lacks_name && !lacks_owner))
		return true;
	return api_fail(&call->error, API_INVALID_PARAMETER,
	        "Field 'database.spec.%s' is in update_mask and must be populated in the request body.",
	        lacks_name ? "postgres_database" : "role");
}

bool database_update(struct call *call)
{
	static const struct update_path paths[] = {
		{ .path = "spec", .fields = DATABASE_NAME | DATABASE_OWNER, .keeps_absent = true },
		{ .path = "*", .fields = DATABASE_NAME | DATABASE_OWNER, .is_all = true },
		{ .path = "spec.postgres_database", .fields = DATABASE_NAME },
		{ .path = "spec.role", .fields = DATABASE_OWNER },
	};
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct database_row database;
	struct database_fields fields = { 0 };
	struct update_mask mask;
	if (!find_database(call, &project, &branch, &database) ||
	        !update_mask_parse(http_request_query(call->request, "update_mask"), paths, ARRAY_LEN(paths),
	                &mask, &call->error) ||
	        !read_body(call, &fields) || !check_populated(call, &mask, &fields))
		return false;
	if (!update_mask_has(&mask, DATABASE_NAME, fields.postgres_database.is_set))
		fields.postgres_database = (struct text_field){ 0 };
	if (!update_mask_has(&mask, DATABASE_OWNER, fields.role.is_set))
		fields.role = (struct text_field){ 0 };
	return change(call, &project, &branch, &fields, &database);
}

bool database_delete(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct database_row database;
	struct catalog_plan plan = { 0 };
	if (!find_database(call, &project, &branch, &database))
		return false;
	memcpy(plan.id, database.database_id, sizeof plan.id);
	return record(call, OPERATION_DATABASE_DELETE, &project, &branch, &plan, NULL);
}
