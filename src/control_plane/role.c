#include "control_plane/role.h"

#include <openssl/crypto.h>
#include <stdio.h>

#include "auth/scram_verifier.h"
#include "base/log.h"
#include "control_plane/access.h"
#include "control_plane/branch_inventory.h"
#include "control_plane/catalog_operation.h"
#include "control_plane/quota.h"
#include "control_plane/resource_json.h"
#include "control_plane/resource_name.h"
#include "control_plane/role_fields.h"

/* The live branch of the call with rows that are right. */
static bool find_branch(struct call *call, struct project_row *project, struct branch_row *branch)
{
	return call_find_project(call, call->parameters[0], project) &&
	       call_find_branch(call, project, call->parameters[1], branch) &&
	       branch_inventory_refresh(call, branch);
}

static bool find_role(
        struct call *call, struct project_row *project, struct branch_row *branch, struct role_row *role)
{
	struct error err;
	return find_branch(call, project, branch) &&
	       (role_row_find(call->services->md, branch->id, call->parameters[2], role, &err) == STATUS_OK ||
	               call_fail(call, &err));
}

bool role_list(struct call *call)
{
	struct page page;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	if (!find_branch(call, &project, &branch))
		return false;
	CLEANUP(free_text) char *list_name = xasprintf("roles of %lld", (long long)branch.id);
	if (!page_read(call->request, list_name, false, PAGE_SIZE_MAX, &page, &call->error))
		return false;
	struct error err;
	CLEANUP(statement_done) struct statement st = { 0 };
	if (role_row_list(call->services->md, branch.id, page.after_id, page.size + 1, &st, &err) !=
	        STATUS_OK)
		return call_fail(call, &err);
	struct call_list list;
	call_list_begin(call, "roles", &list);
	for (;;) {
		struct role_row role;
		status code = role_row_next(&st, &role, &err);
		if (code == STATUS_NOT_FOUND ||
		        (code == STATUS_OK && !call_list_has_room(&list, &page, role.id)))
			return call_list_answer(call, &list, &page, list_name);
		if (code != STATUS_OK)
			return call_fail(call, &err);
		yyjson_mut_arr_append(list.items, role_to_json(call->out, &project, &branch, &role));
	}
}

bool role_get(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct role_row role;
	return find_role(call, &project, &branch, &role) &&
	       call_answer(call, role_to_json(call->out, &project, &branch, &role));
}

/* ---- passwords ---- */

char *role_seal_context(const struct project_row *project)
{
	return xasprintf("role password, project %s", project->uid);
}

status role_renew_password(const struct services *services, const struct project_row *project,
        struct role_row *role, struct error *err)
{
	char password[GENERATED_PASSWORD_CHARS + 1];
	CLEANUP(buffer_done) struct buffer sealed = { 0 };
	CLEANUP(free_text) char *context = role_seal_context(project);
	password_generate(password);
	status st = scram_verifier_make(password, role->verifier, err);
	if (st == STATUS_OK)
		st = sealer_seal(services->sealer, context, slice_from_text(password), &sealed, err);
	OPENSSL_cleanse(password, sizeof password);
	if (st == STATUS_OK)
		(void)snprintf(role->sealed_password, sizeof role->sealed_password, "%s", sealed.data);
	return st;
}

bool role_reveal_password(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(buffer_done) struct buffer password = { 0 };
	struct branch_row branch;
	struct role_row role;
	struct error err;
	if (!find_role(call, &project, &branch, &role))
		return false;
	if (strcmp(role.auth_method, "PG_PASSWORD_SCRAM_SHA_256") != 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "role '%s' does not log in with a password: its auth_method is %s", role.role_id,
		        role.auth_method);
	if (!role.sealed_password[0])
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "the password of role '%s' is not known here: it has none, or it was set by SQL. Set "
		        "another "
		        "one with ALTER ROLE ... PASSWORD.",
		        role.role_id);
	CLEANUP(free_text) char *context = role_seal_context(&project);
	if (sealer_unseal(call->services->sealer, context, slice_from_text(role.sealed_password), &password,
	            &err) != STATUS_OK)
		return call_fail(call, &err);
	log_info("%s: PASSWORD_REVEAL projects/%s/branches/%s/roles/%s, trace %s", call->caller.login,
	        project.project_id, branch.branch_id, role.role_id, call->request->trace_id);
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_obj_add_strncpy(call->out, root, "password", password.data, password.len);
	OPENSSL_cleanse(password.data, password.len);
	return call_answer(call, root);
}

/* ---- changes ---- */

/* Recorded with `plan`; row: a pending one to insert, or NULL. */
static bool begin(struct call *call, enum operation_kind kind, const struct project_row *project,
        const struct branch_row *branch, const struct catalog_plan *plan, struct role_row *row,
        struct operation_row *ret)
{
	return catalog_operation_begin(
	        call, kind, "roles", project, branch, plan, &(struct catalog_addition){ .role = row }, ret);
}

static bool record(struct call *call, enum operation_kind kind, const struct project_row *project,
        const struct branch_row *branch, const struct catalog_plan *plan)
{
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	return begin(call, kind, project, branch, plan, NULL, &operation) &&
	       call_answer_operation(call, &operation);
}

/* The id that the caller chose, or one derived from the name. *ret_exists: a role has it already, and it was asked to be replaced. */
static bool choose_id(struct call *call, const struct branch_row *branch, const struct role_fields *fields,
        bool replaces, struct role_row *role, bool *ret_exists)
{
	struct error err;
	struct role_row other;
	struct metadata *md = call->services->md;
	const char *id = http_request_query(call->request, "role_id");
	bool is_given = id && *id;
	if (is_given && !resource_id_is_valid(id) && !uuid_is_valid(id))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field role_id must match pattern " RESOURCE_ID_PATTERN ", got '%.200s'.", id);
	if (!is_given && !fields->postgres_role.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'role.spec.postgres_role' is required, expected non-default value (not "
		        "\"\")!");
	char base[RESOURCE_ID_MAX + 1];
	if (is_given)
		(void)snprintf(base, sizeof base, "%s", id);
	else
		resource_id_from_name(fields->postgres_role.text, "role", base);
	status st = STATUS_OK;
	for (int number = 1; st == STATUS_OK; number++) {
		resource_id_numbered(base, number, role->role_id);
		st = role_row_find(md, branch->id, role->role_id, &other, &err);
		if (st == STATUS_OK && is_given && replaces) {
			*role = other;
			*ret_exists = true;
			return true;
		}
		if (st == STATUS_OK && is_given)
			return api_fail(&call->error, API_BAD_REQUEST, "role with that name already exists");
	}
	return st == STATUS_NOT_FOUND || call_fail(call, &err);
}

static bool check_new(struct call *call, const struct branch_row *branch, const char *name)
{
	struct error err;
	struct role_row other;
	int64_t count = 0;
	status st = role_row_find_name(call->services->md, branch->id, name, &other, &err);
	if (st == STATUS_OK)
		return api_fail(&call->error, API_BAD_REQUEST, "role with that name already exists");
	if (st == STATUS_NOT_FOUND)
		st = role_row_count(call->services->md, branch->id, &count, &err);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	return quota_check(call, "roles_per_branch", "the branch", "roles", count);
}

/* replace_existing: everything but the name, which is what makes it this role. */
static bool replace(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const struct role_fields *fields, const struct role_row *role)
{
	struct role_row wanted = *role;
	struct role_fields given = *fields;
	if (!given.postgres_role.is_set)
		given.postgres_role = (struct text_field){ .is_set = true, .text = role->postgres_role };
	if (strcmp(given.postgres_role.text, role->postgres_role) != 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'role.spec.postgres_role' cannot be changed: role '%s' is '%s' in Postgres.",
		        role->role_id, role->postgres_role);
	if (!role_fields_apply(&given, &wanted, &call->error))
		return false;
	struct catalog_plan plan = { .fields = ROLE_FIELD_ALL,
		.createdb = wanted.createdb,
		.createrole = wanted.createrole,
		.bypassrls = wanted.bypassrls,
		.is_superuser_member = wanted.is_superuser_member,
		.must_reset = strcmp(wanted.identity_type, role->identity_type) != 0 ||
		              strcmp(wanted.auth_method, role->auth_method) != 0 };
	memcpy(plan.id, role->role_id, sizeof plan.id);
	memcpy(plan.identity_type, wanted.identity_type, sizeof plan.identity_type);
	memcpy(plan.auth_method, wanted.auth_method, sizeof plan.auth_method);
	return record(call, OPERATION_ROLE_UPDATE, project, branch, &plan);
}

static bool read_body(struct call *call, struct role_fields *ret)
{
	yyjson_val *spec;
	if (!call_read_body(call))
		return false;
	if (!call->root || yyjson_obj_size(call->root) == 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'role' is required and must contain at least one subfield with a non-default "
		        "value!");
	return field_object(call->root, "", "spec", &spec, &call->error) &&
	       role_fields_read(spec, ret, &call->error);
}

/* CAN_USE is enough to create roles, but not to become more in Postgres than one was given, nor to change what is there. */
static bool check_may_create(
        struct call *call, const struct project_row *project, const struct role_fields *fields, bool replaces)
{
	const char *what = replaces                      ? "replacing a role"
	                   : fields->is_superuser_member ? "creating a member of databricks_superuser"
	                   : fields->createrole.value    ? "creating a role with createrole"
	                   : fields->bypassrls.value     ? "creating a role with bypassrls"
	                                                 : NULL;
	return !what || access_require(call, project, PERMISSION_CAN_MANAGE, what);
}

/* A role that has its id; fields: with the name. */
static bool create_new(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const struct role_fields *fields, struct role_row *role, struct operation_row *ret)
{
	struct error err;
	role->branch = branch->id;
	role->create_usec = role->update_usec = call->now_usec;
	role->is_pending = true;
	if (!role_fields_apply(fields, role, &call->error) || !check_new(call, branch, role->postgres_role))
		return false;
	if (strcmp(role->auth_method, "PG_PASSWORD_SCRAM_SHA_256") == 0 &&
	        role_renew_password(call->services, project, role, &err) != STATUS_OK)
		return call_fail(call, &err);
	struct catalog_plan plan = { .fields = ROLE_FIELD_ALL };
	memcpy(plan.id, role->role_id, sizeof plan.id);
	return begin(call, OPERATION_ROLE_CREATE, project, branch, &plan, role, ret);
}

bool role_begin_create(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const struct role_fields *fields, struct role_row *ret, struct operation_row *ret_operation)
{
	bool exists;
	*ret = (struct role_row){ 0 };
	return check_may_create(call, project, fields, false) &&
	       choose_id(call, branch, fields, false, ret, &exists) &&
	       create_new(call, project, branch, fields, ret, ret_operation);
}

bool role_create(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	struct branch_row branch;
	struct role_fields fields;
	bool replaces, exists = false;
	struct role_row role = { 0 };
	if (!find_branch(call, &project, &branch) || !read_body(call, &fields) ||
	        !query_switch(call->request, "replace_existing", &replaces, &call->error) ||
	        !check_may_create(call, &project, &fields, replaces) ||
	        !choose_id(call, &branch, &fields, replaces, &role, &exists))
		return false;
	if (exists)
		return replace(call, &project, &branch, &fields, &role);
	if (!fields.postgres_role.is_set)
		fields.postgres_role = (struct text_field){ .is_set = true, .text = role.role_id };
	return create_new(call, &project, &branch, &fields, &role, &operation) &&
	       call_answer_operation(call, &operation);
}

bool role_update(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct role_row role;
	struct role_fields fields;
	uint64_t bits;
	if (!find_role(call, &project, &branch, &role) || !read_body(call, &fields) ||
	        !role_mask_read(
	                http_request_query(call->request, "update_mask"), &fields, &bits, &call->error))
		return false;
	struct role_row wanted = role;
	role_fields_update(&fields, bits, &wanted);
	struct catalog_plan plan = { .fields = bits,
		.createdb = wanted.createdb,
		.createrole = wanted.createrole,
		.bypassrls = wanted.bypassrls,
		.is_superuser_member = wanted.is_superuser_member };
	memcpy(plan.id, role.role_id, sizeof plan.id);
	return record(call, OPERATION_ROLE_UPDATE, &project, &branch, &plan);
}

bool role_find_by_name(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const char *field, const char *text, struct role_row *ret)
{
	struct resource_name name;
	struct error err;
	if (!resource_name_parse(text, &name) || name.kind != RESOURCE_ROLE)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s' must be a full name like projects/P/branches/B/roles/R, got '%.200s'.",
		        field, text);
	if (strcmp(name.project_id, project->project_id) != 0 ||
	        strcmp(name.branch_id, branch->branch_id) != 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s' must name a role of the same branch, got '%.200s'.", field, text);
	status st = role_row_find(call->services->md, branch->id, name.leaf_id, ret, &err);
	if (st == STATUS_NOT_FOUND)
		return api_fail(&call->error, API_NOT_FOUND, "role not found; role_id:\"%s\"", name.leaf_id);
	return st == STATUS_OK || call_fail(call, &err);
}

bool role_begin_delete(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const struct role_row *role, const struct role_row *heir, struct operation_row *ret)
{
	if (heir && heir->id == role->id)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'reassign_owned_to' must name another role than the one to be deleted.");
	struct catalog_plan plan = { 0 };
	memcpy(plan.id, role->role_id, sizeof plan.id);
	if (heir)
		memcpy(plan.owner, heir->role_id, sizeof plan.owner);
	return begin(call, OPERATION_ROLE_DELETE, project, branch, &plan, NULL, ret);
}

bool role_delete(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	struct branch_row branch;
	struct role_row role, heir = { 0 };
	const char *heir_name = http_request_query(call->request, "reassign_owned_to");
	if (!find_role(call, &project, &branch, &role))
		return false;
	bool has_heir = heir_name && *heir_name;
	if (has_heir && !role_find_by_name(call, &project, &branch, "reassign_owned_to", heir_name, &heir))
		return false;
	return role_begin_delete(call, &project, &branch, &role, has_heir ? &heir : NULL, &operation) &&
	       call_answer_operation(call, &operation);
}
