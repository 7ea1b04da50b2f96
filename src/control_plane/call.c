#include "control_plane/call.h"

#include "base/log.h"
#include "control_plane/access.h"
#include "control_plane/metrics.h"
#include "control_plane/reaper.h"
#include "control_plane/reconciler.h"
#include "control_plane/resource_name.h"

bool call_fail(struct call *call, const struct error *err)
{
	return api_fail_status(&call->error, err);
}

bool call_read_body(struct call *call)
{
	const struct buffer *body = &call->request->body;
	if (body->len == 0)
		return true;
	yyjson_read_err err;
	call->body = yyjson_read_opts(body->data, body->len, YYJSON_READ_NOFLAG, NULL, &err);
	if (!call->body)
		return api_fail(&call->error, API_MALFORMED,
		        "the request body is not valid JSON: %s at byte %zu", err.msg, err.pos);
	call->root = yyjson_doc_get_root(call->body);
	if (!yyjson_is_obj(call->root))
		return api_fail(&call->error, API_MALFORMED, "the request body must be a JSON object");
	return true;
}

bool call_read_id(struct call *call, const char *parameter, const char **ret)
{
	const char *id = http_request_query(call->request, parameter);
	if (!id || !*id)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s' is required, expected non-default value (not \"\")!", parameter);
	if (!resource_id_is_valid(id))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field %s must match pattern " RESOURCE_ID_PATTERN ", got '%.200s'.", parameter, id);
	*ret = id;
	return true;
}

bool call_find_any_project(struct call *call, const char *project_id, struct project_row *ret)
{
	struct error err;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	if (project_row_find(call->services->md, project_id, &project, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (!access_check_project(call, &project))
		return false;
	*ret = project;
	project = (struct project_row){ 0 };
	return true;
}

bool call_find_project(struct call *call, const char *project_id, struct project_row *ret)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	if (!call_find_any_project(call, project_id, &project))
		return false;
	if (project.delete_usec != 0)
		return api_fail(&call->error, API_NOT_FOUND, "project id not found");
	*ret = project;
	project = (struct project_row){ 0 };
	return true;
}

bool call_find_branch(
        struct call *call, const struct project_row *project, const char *branch_id, struct branch_row *ret)
{
	struct error err;
	struct branch_row branch;
	status st = branch_row_find(call->services->md, project->id, branch_id, &branch, &err);
	if (st == STATUS_NOT_FOUND || (st == STATUS_OK && branch.delete_usec != 0))
		return api_fail(&call->error, API_NOT_FOUND, "branch id not found");
	if (st != STATUS_OK)
		return call_fail(call, &err);
	*ret = branch;
	return true;
}

bool call_find_endpoint(
        struct call *call, const struct branch_row *branch, const char *endpoint_id, struct endpoint_row *ret)
{
	struct error err;
	status st = endpoint_row_find(call->services->md, branch->id, endpoint_id, ret, &err);
	if (st == STATUS_NOT_FOUND)
		return api_fail(&call->error, API_NOT_FOUND, "endpoint id not found");
	return st == STATUS_OK || call_fail(call, &err);
}

bool call_answer(struct call *call, yyjson_mut_val *value)
{
	yyjson_mut_doc_set_root(call->out, value);
	size_t len = 0;
	char *text = yyjson_mut_write(call->out, YYJSON_WRITE_NOFLAG, &len);
	if (!text)
		return api_fail(&call->error, API_INTERNAL, "could not write the answer");
	http_response_set_json(call->response, 200, text, len);
	return true;
}

void call_note_operation(struct call *call, const struct operation_row *operation)
{
	log_info("%s: %s %s, operation %s %s, trace %s", call->caller.login, operation->kind,
	        operation->resource, operation->id, operation->finish_usec ? "done" : "begun",
	        call->request->trace_id);
	call->operation = xasprintf("%s/operations/%s", operation->resource, operation->id);
	if (operation->finish_usec != 0)
		metrics_note_operation(call->services->metrics, operation->kind, operation->error != NULL,
		        operation->finish_usec - operation->create_usec);
	reconciler_kick(call->services->reconciler);
	reaper_look(call->services->reaper);
}

bool call_answer_operation(struct call *call, struct operation_row *operation)
{
	call_note_operation(call, operation);
	return call_answer(call, operation_to_json(call->out, operation));
}

void call_list_begin(struct call *call, const char *collection, struct call_list *list)
{
	*list = (struct call_list){ .root = yyjson_mut_obj(call->out) };
	list->items = yyjson_mut_obj_add_arr(call->out, list->root, collection);
}

bool call_list_has_room(struct call_list *list, const struct page *page, int64_t id)
{
	if (list->count == page->size) {
		list->has_more = true;
		return false;
	}
	list->count++;
	list->last_id = id;
	return true;
}

bool call_list_answer(
        struct call *call, struct call_list *list, const struct page *page, const char *list_name)
{
	if (list->has_more) {
		char token[PAGE_TOKEN_LEN + 1];
		page_token_make(list_name, page->with_deleted, list->last_id, token);
		yyjson_mut_obj_add_strcpy(call->out, list->root, "next_page_token", token);
	}
	return call_answer(call, list->root);
}
