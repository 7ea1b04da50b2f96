#include "control_plane/compute_instance.h"

#include "control_plane/resource_json.h"

struct rows {
	struct project_row project;
	struct branch_row branch;
	struct endpoint_row endpoint;
};

static void rows_done(struct rows *rows)
{
	project_row_done(&rows->project);
	endpoint_row_done(&rows->endpoint);
}

static bool find_endpoint(struct call *call, struct rows *ret)
{
	return call_find_project(call, call->parameters[0], &ret->project) &&
	       call_find_branch(call, &ret->project, call->parameters[1], &ret->branch) &&
	       call_find_endpoint(call, &ret->branch, call->parameters[2], &ret->endpoint);
}

static yyjson_mut_val *to_json(struct call *call, const struct rows *rows)
{
	return compute_instance_to_json(
	        call->services, call->out, &rows->project, &rows->branch, &rows->endpoint);
}

bool compute_instance_list(struct call *call)
{
	struct page page;
	CLEANUP(rows_done) struct rows rows = { 0 };
	if (!find_endpoint(call, &rows))
		return false;
	CLEANUP(free_text)
	char *list_name = xasprintf("compute instances of %lld", (long long)rows.endpoint.id);
	if (!page_read(call->request, list_name, false, PAGE_SIZE_MAX, &page, &call->error))
		return false;
	struct call_list list;
	call_list_begin(call, "compute_instances", &list);
	if (page.after_id < rows.endpoint.id && call_list_has_room(&list, &page, rows.endpoint.id))
		yyjson_mut_arr_append(list.items, to_json(call, &rows));
	return call_list_answer(call, &list, &page, list_name);
}

bool compute_instance_get(struct call *call)
{
	CLEANUP(rows_done) struct rows rows = { 0 };
	if (!find_endpoint(call, &rows))
		return false;
	char id[RESOURCE_ID_MAX + 1];
	compute_instance_id(&rows.endpoint, id);
	if (strcmp(id, call->parameters[3]) != 0)
		return api_fail(&call->error, API_NOT_FOUND, "compute instance id not found");
	return call_answer(call, to_json(call, &rows));
}
