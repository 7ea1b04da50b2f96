#include "control_plane/unserved.h"

#include "control_plane/instance.h"
#include "metadata/database_row.h"

static bool segment_is(const struct call *call, size_t i, const char *text)
{
	return i < call->request->segment_count && strcmp(call->request->segments[i], text) == 0;
}

bool unserved_check_parents(struct call *call, size_t parameter_count)
{
	/* /api/2.0/database/instances/{name}/… */
	if (parameter_count > 0 && segment_is(call, 2, "database") && segment_is(call, 3, "instances")) {
		CLEANUP(instance_done) struct instance instance = { 0 };
		return instance_find(call, call->parameters[0], &instance);
	}
	/* /api/2.0/postgres/projects/{p}/branches/{b}/databases/{d}/… */
	if (parameter_count < 1 || !segment_is(call, 3, "projects"))
		return true;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	if (!call_find_project(call, call->parameters[0], &project))
		return false;
	if (parameter_count < 2 || !segment_is(call, 5, "branches"))
		return true;
	if (!call_find_branch(call, &project, call->parameters[1], &branch))
		return false;
	bool has_child = call->request->segment_count > 9; /* of the leaf: the leaf is a parent then */
	if (parameter_count < 3 || !has_child)
		return true;
	if (segment_is(call, 7, "endpoints")) {
		CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
		return call_find_endpoint(call, &branch, call->parameters[2], &endpoint);
	}
	if (segment_is(call, 7, "databases")) {
		struct database_row database;
		struct error err;
		return database_row_find(call->services->md, branch.id, call->parameters[2], &database,
		               &err) == STATUS_OK ||
		       call_fail(call, &err);
	}
	return true;
}

bool unserved_list(struct call *call, const char *collection)
{
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	(void)yyjson_mut_obj_add_arr(call->out, root, collection);
	return call_answer(call, root);
}
