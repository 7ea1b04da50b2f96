#include "control_plane/endpoint.h"

#include <stdio.h>
#include <stdlib.h>

#include "control_plane/branch_archive.h"
#include "control_plane/endpoint_address.h"
#include "control_plane/endpoint_fields.h"
#include "control_plane/resource_json.h"
#include "control_plane/resource_name.h"

void endpoint_begin_primary(const struct project_row *project, int64_t now_usec, struct endpoint_row *ret)
{
	*ret = (struct endpoint_row){
		.endpoint_id = "primary",
		.create_usec = now_usec,
		.update_usec = now_usec,
		.min_cu = project->min_cu,
		.max_cu = project->max_cu,
		.suspend_usec = project->suspend_usec,
		.pg_settings = xstrdup(project->pg_settings),
	};
}

status endpoint_insert_primary(
        struct metadata *md, int64_t branch, struct endpoint_row *endpoint, struct error *err)
{
	endpoint->branch = branch;
	resource_uid_make("ep", endpoint->uid);
	status st = endpoint_address_allocate(md, endpoint->address, err);
	return st == STATUS_OK ? endpoint_row_insert(md, endpoint, err) : st;
}

static bool read_fields(struct call *call, struct endpoint_fields *ret)
{
	yyjson_val *spec;
	return field_object(call->root, "", "spec", &spec, &call->error) &&
	       endpoint_fields_read(spec, &call->services->dd->settings, ret, &call->error);
}

status endpoint_update_row(struct metadata *md, const struct project_row *project,
        const struct branch_row *branch, const struct endpoint_row *endpoint, const char *old_settings,
        const char *actor, int64_t now_usec, struct operation_row *ret, struct error *err)
{
	CLEANUP(free_text) char *name = endpoint_name(project, branch, endpoint);
	struct operation_target target = { .resource = name,
		.project = project->id,
		.branch = branch->id,
		.endpoint = endpoint->id,
		.undo = old_settings };
	/* A revision of its own, so that the compute's answer to this spec cannot be mistaken for one to an older spec. */
	struct branch_row revised = *branch;
	revised.revision++;
	branch_archive_end(&revised, now_usec);
	status st = endpoint_row_update(md, endpoint, err);
	if (st == STATUS_OK)
		st = branch_row_update(md, &revised, err);
	return st == STATUS_OK
	               ? operation_begin(md, OPERATION_ENDPOINT_UPDATE, actor, &target, now_usec, ret, err)
	               : st;
}

/* Writes the desired state; the reconciler tells the compute. */
static bool apply_update(struct call *call, const struct project_row *project,
        const struct branch_row *branch, struct endpoint_row *endpoint, const struct endpoint_fields *fields,
        const struct update_mask *mask)
{
	if (fields->type.is_set && endpoint_fields_are_read_only(fields) != endpoint->is_read_only)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'endpoint.spec.endpoint_type' cannot be changed.");
	CLEANUP(free_text) char *old_settings = xstrdup(endpoint->pg_settings);
	if (!endpoint_fields_update(
	            endpoint, fields, mask, project, &call->services->dd->settings, "spec", &call->error))
		return false;
	bool has_new_settings = strcmp(endpoint->pg_settings, old_settings) != 0;
	endpoint->update_usec = call->now_usec;

	struct error err;
	struct metadata *md = call->services->md;
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        endpoint_update_row(md, project, branch, endpoint, has_new_settings ? old_settings : NULL,
	                call->caller.login, call->now_usec, &operation, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer_operation(call, &operation);
}

bool endpoint_create(struct call *call)
{
	const char *endpoint_id;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(endpoint_row_done) struct endpoint_row existing = { 0 };
	CLEANUP(endpoint_fields_done) struct endpoint_fields fields = { 0 };
	struct branch_row branch;
	bool replaces;
	if (!call_read_id(call, "endpoint_id", &endpoint_id) ||
	        !call_find_project(call, call->parameters[0], &project) ||
	        !call_find_branch(call, &project, call->parameters[1], &branch) || !call_read_body(call) ||
	        !read_fields(call, &fields) ||
	        !query_switch(call->request, "replace_existing", &replaces, &call->error))
		return false;
	if (!fields.type.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'endpoint.spec.endpoint_type' is required, expected non-default value (not "
		        "\"\")!");

	struct error err;
	status st = endpoint_row_find(call->services->md, branch.id, endpoint_id, &existing, &err);
	if (st == STATUS_OK && !replaces)
		return api_fail(&call->error, API_EXISTS, "endpoint with such id already exists");
	if (st == STATUS_OK) {
		struct update_mask everything = { .present = UINT64_MAX };
		return apply_update(call, &project, &branch, &existing, &fields, &everything);
	}
	if (st != STATUS_NOT_FOUND)
		return call_fail(call, &err);
	if (endpoint_fields_are_read_only(&fields))
		return api_fail(
		        &call->error, API_NOT_IMPLEMENTED, "read-only endpoints are not available yet");
	return api_fail(&call->error, API_BAD_REQUEST,
	        "branch '%s' has its read-write endpoint already; a branch has exactly one",
	        branch.branch_id);
}

bool endpoint_list(struct call *call)
{
	struct page page;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	if (!call_find_project(call, call->parameters[0], &project) ||
	        !call_find_branch(call, &project, call->parameters[1], &branch))
		return false;
	CLEANUP(free_text) char *list_name = xasprintf("endpoints of %lld", (long long)branch.id);
	if (!page_read(call->request, list_name, false, PAGE_SIZE_MAX, &page, &call->error))
		return false;
	struct error err;
	CLEANUP(statement_done) struct statement st = { 0 };
	if (endpoint_row_list(call->services->md, branch.id, page.after_id, page.size + 1, &st, &err) !=
	        STATUS_OK)
		return call_fail(call, &err);
	struct call_list list;
	call_list_begin(call, "endpoints", &list);
	for (;;) {
		CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
		status code = endpoint_row_next(&st, &endpoint, &err);
		if (code == STATUS_NOT_FOUND ||
		        (code == STATUS_OK && !call_list_has_room(&list, &page, endpoint.id)))
			return call_list_answer(call, &list, &page, list_name);
		if (code != STATUS_OK)
			return call_fail(call, &err);
		yyjson_mut_arr_append(list.items,
		        endpoint_to_json(call->services, call->out, &project, &branch, &endpoint));
	}
}

/* The chain of parents of an endpoint call, and the endpoint. */
static bool find_all(struct call *call, struct project_row *project, struct branch_row *branch,
        struct endpoint_row *endpoint)
{
	return call_find_project(call, call->parameters[0], project) &&
	       call_find_branch(call, project, call->parameters[1], branch) &&
	       call_find_endpoint(call, branch, call->parameters[2], endpoint);
}

bool endpoint_get(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	struct branch_row branch;
	return find_all(call, &project, &branch, &endpoint) &&
	       call_answer(call, endpoint_to_json(call->services, call->out, &project, &branch, &endpoint));
}

bool endpoint_update(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	CLEANUP(endpoint_fields_done) struct endpoint_fields fields = { 0 };
	struct branch_row branch;
	struct update_mask mask;
	return find_all(call, &project, &branch, &endpoint) && call_read_body(call) &&
	       endpoint_mask_parse(http_request_query(call->request, "update_mask"), &mask, &call->error) &&
	       read_fields(call, &fields) && apply_update(call, &project, &branch, &endpoint, &fields, &mask);
}

bool endpoint_delete(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	struct branch_row branch;
	if (!find_all(call, &project, &branch, &endpoint))
		return false;
	/* There are only read-write endpoints so far, and those go with their branch. */
	CLEANUP(free_text) char *name = endpoint_name(&project, &branch, &endpoint);
	(void)api_fail(&call->error, API_BAD_REQUEST,
	        "Cannot delete read-write endpoint '%s'. Read-write endpoints cannot be deleted.", name);
	call->error.is_managed_by_parent = true;
	return false;
}
