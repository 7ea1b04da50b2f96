#include "control_plane/role.h"

#include "control_plane/resource_json.h"

bool role_list(struct call *call)
{
	struct page page;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	if (!call_find_project(call, call->parameters[0], &project) ||
	        !call_find_branch(call, &project, call->parameters[1], &branch))
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
	struct error err;
	if (!call_find_project(call, call->parameters[0], &project) ||
	        !call_find_branch(call, &project, call->parameters[1], &branch))
		return false;
	if (role_row_find(call->services->md, branch.id, call->parameters[2], &role, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer(call, role_to_json(call->out, &project, &branch, &role));
}
