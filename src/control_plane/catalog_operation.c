#include "control_plane/catalog_operation.h"

static status insert(struct metadata *md, const struct catalog_addition *addition, struct error *err)
{
	if (addition->role)
		return role_row_insert(md, addition->role, err);
	return addition->database ? database_row_insert(md, addition->database, err) : STATUS_OK;
}

bool catalog_operation_begin(struct call *call, enum operation_kind kind, const char *collection,
        const struct project_row *project, const struct branch_row *branch, const struct catalog_plan *plan,
        const struct catalog_addition *addition, struct operation_row *ret)
{
	struct error err;
	struct metadata *md = call->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	CLEANUP(free_text) char *plan_text = catalog_plan_format(plan);
	CLEANUP(free_text)
	char *name = xasprintf("projects/%s/branches/%s/%s/%s", project->project_id, branch->branch_id,
	        collection, plan->id);
	struct operation_target target = {
		.resource = name, .project = project->id, .branch = branch->id, .plan = plan_text
	};
	if (transaction_begin(md, &tx, &err) != STATUS_OK || insert(md, addition, &err) != STATUS_OK ||
	        operation_begin(md, kind, call->caller.login, &target, call->now_usec, ret, &err) !=
	                STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return true;
}
