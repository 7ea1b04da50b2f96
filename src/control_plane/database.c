#include "control_plane/database.h"

#include "control_plane/resource_json.h"

bool database_list(struct call *call)
{
	struct page page;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	if (!call_find_project(call, call->parameters[0], &project) ||
	        !call_find_branch(call, &project, call->parameters[1], &branch))
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
	struct error err;
	if (!call_find_project(call, call->parameters[0], &project) ||
	        !call_find_branch(call, &project, call->parameters[1], &branch))
		return false;
	if (database_row_find(call->services->md, branch.id, call->parameters[2], &database, &err) !=
	        STATUS_OK)
		return call_fail(call, &err);
	return call_answer(call, database_to_json(call->out, &project, &branch, &database));
}
