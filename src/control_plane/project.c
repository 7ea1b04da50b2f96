#include "control_plane/project.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/random.h"
#include "control_plane/access.h"
#include "control_plane/branch.h"
#include "control_plane/branch_archive.h"
#include "control_plane/endpoint.h"
#include "control_plane/housekeeper.h"
#include "control_plane/quota.h"
#include "control_plane/resource_json.h"
#include "control_plane/resource_name.h"
#include "metadata/instance_row.h"

#define FIRST_TIMELINE 2 /* even numbers are ours to give; the root branch lives on what initdb made, 1 */

void project_request_done(struct project_request *request)
{
	project_fields_done(&request->fields);
	endpoint_fields_done(&request->endpoint);
}

static bool read_create_request(struct call *call, struct project_request *request)
{
	struct api_error *error = &call->error;
	yyjson_val *spec, *initial_branch, *initial_endpoint;
	const struct settings *limits = &call->services->dd->settings;
	if (!call_read_id(call, "project_id", &request->project_id) || !call_read_body(call) ||
	        !field_object(call->root, "", "spec", &spec, error) ||
	        !project_fields_read(spec, limits, &request->fields, error) ||
	        !field_object(call->root, "", "initial_branch_spec", &initial_branch, error) ||
	        !field_switch(initial_branch, "initial_branch_spec", "is_protected", &request->is_protected,
	                error) ||
	        !field_object(call->root, "", "initial_endpoint_spec", &initial_endpoint, error) ||
	        !compute_fields_read(initial_endpoint, "initial_endpoint_spec", COMPUTE_FIELDS_INITIAL,
	                limits, &request->endpoint.compute, error))
		return false;
	request->has_endpoint = initial_endpoint != NULL;
	if (request->fields.default_branch.is_set)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.default_branch' cannot be set before the project exists.");
	return true;
}

static bool check_new_name(struct call *call, const char *project_id)
{
	struct error err;
	CLEANUP(project_row_done) struct project_row existing = { 0 };
	status st = project_row_find(call->services->md, project_id, &existing, &err);
	if (st == STATUS_OK)
		return api_fail(
		        &call->error, API_EXISTS, "project with such id already exists in the workspace");
	/* Another branch may be called so in the older instances API; a project would be an instance of that name, too. */
	CLEANUP(instance_row_done) struct instance_row instance = { 0 };
	if (st == STATUS_NOT_FOUND) {
		st = instance_row_find(call->services->md, project_id, &instance, &err);
		if (st == STATUS_OK)
			return api_fail(&call->error, API_EXISTS,
			        "project id '%s' is taken: a database instance, made of a branch of project "
			        "'%s', has that name",
			        project_id, instance.project_id);
	}
	int64_t count = 0;
	if (st == STATUS_NOT_FOUND)
		st = project_row_count(call->services->md, &count, &err);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	return quota_check(call, "projects", "the workspace", "projects", count);
}

static bool make_project_row(
        struct call *call, const struct project_request *request, struct project_row *project)
{
	*project = (struct project_row){
		.create_usec = call->now_usec,
		.update_usec = call->now_usec,
		.next_timeline = FIRST_TIMELINE,
	};
	(void)snprintf(project->project_id, sizeof project->project_id, "%s", request->project_id);
	(void)snprintf(project->owner, sizeof project->owner, "%s", call->caller.login);
	random_uuid(project->uid);
	resource_uid_make("br", project->default_branch_uid);
	project_fields_set_defaults(project);
	struct update_mask everything = { .present = UINT64_MAX };
	if (!project_fields_update(
	            project, &request->fields, &everything, &call->services->dd->settings, &call->error))
		return false;
	if (!services_find_installation(call->services, project->pg_version))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'spec.pg_version': no PostgreSQL %d is installed on this machine; `tarn "
		        "doctor` lists what is.",
		        project->pg_version);
	return true;
}

status project_insert(struct call *call, struct project_row *project, bool is_protected,
        struct endpoint_row *endpoint, const struct project_beginning *beginning, struct operation_row *ret,
        struct error *err)
{
	struct metadata *md = call->services->md;
	status st = project_row_insert(md, project, err);
	if (st != STATUS_OK)
		return st;
	struct branch_row branch = { .project = project->id,
		.branch_id = ROOT_BRANCH_ID,
		.create_usec = call->now_usec,
		.update_usec = call->now_usec,
		.state_change_usec = call->now_usec,
		.is_protected = is_protected,
		.revision = 1 };
	(void)snprintf(branch.uid, sizeof branch.uid, "%s", project->default_branch_uid);
	st = branch_row_insert(md, &branch, err);
	if (st == STATUS_OK)
		st = endpoint_insert_primary(md, branch.id, endpoint, err);
	if (st == STATUS_OK)
		st = project_beginning_insert(md, branch.id, beginning, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *name = project_name(project);
	struct operation_target target = {
		.resource = name, .project = project->id, .branch = branch.id, .endpoint = endpoint->id
	};
	return operation_begin(
	        md, OPERATION_PROJECT_CREATE, call->caller.login, &target, call->now_usec, ret, err);
}

static bool make_endpoint_row(struct call *call, const struct project_request *request,
        const struct project_row *project, struct endpoint_row *endpoint)
{
	endpoint_begin_primary(project, call->now_usec, endpoint);
	struct update_mask everything = { .present = UINT64_MAX };
	return !request->has_endpoint ||
	       endpoint_fields_update(endpoint, &request->endpoint, &everything, project,
	               &call->services->dd->settings, "initial_endpoint_spec", &call->error);
}

bool project_prepare(struct call *call, const struct project_request *request, struct project_row *project,
        struct endpoint_row *endpoint, struct project_beginning *beginning)
{
	return check_new_name(call, request->project_id) && make_project_row(call, request, project) &&
	       make_endpoint_row(call, request, project, endpoint) &&
	       project_beginning_read(call, project, beginning);
}

bool project_create(struct call *call)
{
	CLEANUP(project_request_done) struct project_request request = { 0 };
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	struct project_beginning beginning;
	if (!read_create_request(call, &request) ||
	        !project_prepare(call, &request, &project, &endpoint, &beginning))
		return false;

	struct error err;
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	bool is_protected = request.is_protected.is_set && request.is_protected.value;
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK ||
	        project_insert(call, &project, is_protected, &endpoint, &beginning, &operation, &err) !=
	                STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer_operation(call, &operation);
}

bool project_list(struct call *call)
{
	struct page page;
	if (!page_read(call->request, "projects", true, PAGE_SIZE_DEFAULT, &page, &call->error))
		return false;
	struct error err;
	CLEANUP(statement_done) struct statement st = { 0 };
	struct project_viewer viewer;
	if (project_row_list(call->services->md, access_viewer(call, &viewer), page.after_id,
	            page.with_deleted, page.size + 1, &st, &err) != STATUS_OK)
		return call_fail(call, &err);
	struct call_list list;
	call_list_begin(call, "projects", &list);
	for (;;) {
		CLEANUP(project_row_done) struct project_row project = { 0 };
		status code = project_row_next(&st, &project, &err);
		if (code == STATUS_NOT_FOUND ||
		        (code == STATUS_OK && !call_list_has_room(&list, &page, project.id)))
			return call_list_answer(call, &list, &page, "projects");
		if (code != STATUS_OK)
			return call_fail(call, &err);
		yyjson_mut_arr_append(list.items, project_to_json(call->services, call->out, &project));
	}
}

bool project_get(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	/* A soft-deleted project is still shown, with its delete_time (1.10). */
	if (!call_find_any_project(call, call->parameters[0], &project))
		return false;
	return call_answer(call, project_to_json(call->services, call->out, &project));
}

/* Ends a mutation that needs nobody else: the row is written, the operation is done in the same transaction. */
static bool commit_done(struct call *call, enum operation_kind kind, struct project_row *project)
{
	struct error err;
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	struct metadata *md = call->services->md;
	CLEANUP(free_text) char *name = project_name(project);
	struct operation_target target = { .resource = name, .project = project->id };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        project_row_update(md, project, &err) != STATUS_OK ||
	        operation_begin(md, kind, call->caller.login, &target, call->now_usec, &operation, &err) !=
	                STATUS_OK)
		return call_fail(call, &err);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	CLEANUP(free_text) char *json = json_write(doc, project_to_json(call->services, doc, project));
	yyjson_mut_doc_free(doc);
	if (operation_succeed(md, &operation, json, call->now_usec, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer_operation(call, &operation);
}

/* spec.default_branch: a live branch of this project that stays. */
static bool update_default_branch(struct call *call, struct project_row *project,
        const struct project_fields *fields, const struct update_mask *mask)
{
	if (!update_mask_has(mask, PROJECT_DEFAULT_BRANCH, fields->default_branch.is_set))
		return true;
	struct resource_name name;
	struct branch_row branch;
	CLEANUP(free_text)
	char *root = xasprintf("projects/%s/branches/%s", project->project_id, ROOT_BRANCH_ID);
	const char *text = fields->default_branch.is_set ? fields->default_branch.text : root;
	if (!resource_name_parse(text, &name) || name.kind != RESOURCE_BRANCH ||
	        strcmp(name.project_id, project->project_id) != 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'spec.default_branch' must be the full name of a branch of this project.");
	struct error err;
	if (!call_find_branch(call, project, name.branch_id, &branch))
		return false;
	if (branch_archive_leave(call->services->md, &branch, call->now_usec, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (branch.expire_usec != 0)
		return api_fail(&call->error, API_BAD_REQUEST,
		        "branch '%s' has an expiration, so it cannot be the default branch", name.branch_id);
	(void)snprintf(project->default_branch_uid, sizeof project->default_branch_uid, "%s", branch.uid);
	return true;
}

bool project_update(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(project_fields_done) struct project_fields fields = { 0 };
	struct update_mask mask;
	yyjson_val *spec;
	if (!call_find_project(call, call->parameters[0], &project) || !call_read_body(call) ||
	        !project_mask_parse(http_request_query(call->request, "update_mask"), &mask, &call->error) ||
	        !field_object(call->root, "", "spec", &spec, &call->error) ||
	        !project_fields_read(spec, &call->services->dd->settings, &fields, &call->error))
		return false;
	if (fields.pg_version.is_set && fields.pg_version.value != project.pg_version)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'spec.pg_version' cannot be changed: project '%s' has version %d.",
		        project.project_id, project.pg_version);
	if (!project_fields_update(&project, &fields, &mask, &call->services->dd->settings, &call->error) ||
	        !update_default_branch(call, &project, &fields, &mask))
		return false;
	project.update_usec = call->now_usec;
	if (!commit_done(call, OPERATION_PROJECT_UPDATE, &project))
		return false;
	housekeeper_look(call->services->housekeeper); /* the restore window may be another */
	return true;
}

bool project_check_may_delete(struct call *call, const struct project_row *project)
{
	struct error err;
	int64_t protected_count = 0;
	if (branch_row_count_protected(call->services->md, project->id, &protected_count, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (protected_count > 0)
		return api_fail(
		        &call->error, API_BAD_REQUEST, "cannot delete a project that has a protected branch");
	return true;
}

status project_delete_row(struct metadata *md, struct project_row *project, bool is_purge,
        int64_t retention_sec, const char *actor, int64_t now_usec, struct operation_row *ret,
        struct error *err)
{
	project->update_usec = now_usec;
	if (project->delete_usec == 0) {
		project->delete_usec = now_usec;
		project->purge_usec = now_usec + retention_sec * USEC_PER_SEC;
	}
	project->is_purged = is_purge;
	status st = project_row_update(md, project, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *name = project_name(project);
	struct operation_target target = { .resource = name, .project = project->id };
	return operation_begin(md, is_purge ? OPERATION_PROJECT_PURGE : OPERATION_PROJECT_DELETE, actor,
	        &target, now_usec, ret, err);
}

bool project_delete(struct call *call)
{
	struct error err;
	bool is_purge;
	if (!query_switch(call->request, "purge", &is_purge, &call->error))
		return false;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct metadata *md = call->services->md;
	if (!call_find_any_project(call, call->parameters[0], &project))
		return false;
	if (project.delete_usec != 0 && !is_purge)
		return api_fail(&call->error, API_NOT_FOUND, "project id not found");
	if (project.delete_usec == 0 && !project_check_may_delete(call, &project))
		return false;

	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        project_delete_row(md, &project, is_purge, call->services->dd->settings.deleted_retention_sec,
	                call->caller.login, call->now_usec, &operation, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer_operation(call, &operation);
}

status project_purge_due(
        struct metadata *md, struct project_row *project, int64_t now_usec, struct error *err)
{
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	return project_delete_row(md, project, true, 0, "system", now_usec, &operation, err);
}

bool project_undelete(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	if (!call_read_body(call) || !call_find_any_project(call, call->parameters[0], &project))
		return false;
	if (project.delete_usec == 0)
		return api_fail(
		        &call->error, API_INVALID_STATE, "project '%s' is not deleted", project.project_id);
	project.delete_usec = project.purge_usec = 0;
	project.update_usec = call->now_usec;
	return commit_done(call, OPERATION_PROJECT_UNDELETE, &project);
}
