#include "control_plane/branch_exchange.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"
#include "control_plane/branch.h"
#include "control_plane/branch_archive.h"
#include "control_plane/lineage.h"
#include "control_plane/moment_fields.h"
#include "control_plane/origin.h"
#include "control_plane/resource_json.h"
#include "control_plane/resource_name.h"

#define KEPT_TRIES 1000

/* In one transaction: the branch is marked, its next volume and timeline are reserved, and the operation recorded. */
static bool begin(struct call *call, enum operation_kind kind, struct project_row *project,
        struct branch_row *branch, struct clone_plan *plan)
{
	struct error err;
	struct metadata *md = call->services->md;
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	int n = snprintf(
	        plan->volume, sizeof plan->volume, "%s-%lld", branch->uid, (long long)branch->next_volume);
	if (n < 0 || (size_t)n >= sizeof plan->volume)
		return api_fail(&call->error, API_INTERNAL, "the branch's uid is too long");
	plan->timeline = (uint32_t)project->next_timeline;
	project->next_timeline += 2;
	branch->next_volume++;
	branch->is_resetting = true;
	branch_archive_end(branch, call->now_usec);
	branch->update_usec = branch->state_change_usec = call->now_usec;
	CLEANUP(free_text) char *name = branch_name(project, branch);
	CLEANUP(free_text) char *plan_text = clone_plan_format(plan);
	struct operation_target target = { .resource = name,
		.project = project->id,
		.branch = branch->id,
		.source_branch = kind == OPERATION_BRANCH_RESET ? branch->source : 0,
		.plan = plan_text };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        project_row_update(md, project, &err) != STATUS_OK ||
	        branch_row_update(md, branch, &err) != STATUS_OK ||
	        operation_begin(md, kind, call->caller.login, &target, call->now_usec, &operation, &err) !=
	                STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer_operation(call, &operation);
}

static bool check_may_reset(struct call *call, const struct branch_row *branch)
{
	struct error err;
	struct branch_row parent;
	int64_t children = 0;
	if (branch->source == 0)
		return api_fail(&call->error, API_BAD_REQUEST,
		        "branch '%s' has no parent branch that it could be reset to", branch->branch_id);
	if (branch->is_protected)
		return api_fail(&call->error, API_BAD_REQUEST, "branch '%s' is protected and cannot be reset",
		        branch->branch_id);
	status st = branch_row_get(call->services->md, branch->source, &parent, &err);
	if (st == STATUS_NOT_FOUND || (st == STATUS_OK && (parent.delete_usec != 0 || parent.is_purged)))
		return api_fail(&call->error, API_BAD_REQUEST, "the parent of branch '%s' has been deleted",
		        branch->branch_id);
	if (st == STATUS_OK)
		st = branch_row_count_children(call->services->md, branch->id, &children, &err);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	if (children > 0)
		return api_fail(&call->error, API_BAD_REQUEST,
		        "cannot reset a branch that has children; delete them first");
	return true;
}

bool branch_reset(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct clone_plan plan = { .moment = { .kind = MOMENT_HEAD } };
	return call_find_project(call, call->parameters[0], &project) &&
	       call_find_branch(call, &project, call->parameters[1], &branch) && call_read_body(call) &&
	       check_may_reset(call, &branch) &&
	       begin(call, OPERATION_BRANCH_RESET, &project, &branch, &plan);
}

/* "<branch id>-before-restore-<n>", shortened at the front when that is too long for an id. */
static void make_kept_id(const char *branch_id, long long n, char out[RESOURCE_ID_MAX + 1])
{
	char suffix[48];
	(void)snprintf(suffix, sizeof suffix, "-before-restore-%lld", n);
	size_t room = RESOURCE_ID_MAX - strlen(suffix), len = strlen(branch_id);
	if (len > room)
		len = room;
	while (len > 0 && branch_id[len - 1] == '-')
		len--;
	(void)snprintf(out, RESOURCE_ID_MAX + 1, "%.*s%s", (int)len, branch_id, suffix);
}

/* Is the id free? Another branch may still take it before the restore gets there: then that fails and changes nothing. */
static bool choose_kept(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const struct text_field *wanted, char out[RESOURCE_ID_MAX + 1])
{
	struct error err;
	struct branch_row existing;
	if (wanted->is_set && !resource_id_is_valid(wanted->text))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field preserve_under_branch_id must match pattern " RESOURCE_ID_PATTERN
		        ", got '%.200s'.",
		        wanted->text);
	status st = STATUS_OK;
	for (int i = 0; i < KEPT_TRIES && st == STATUS_OK; i++) {
		if (wanted->is_set)
			(void)snprintf(out, RESOURCE_ID_MAX + 1, "%s", wanted->text);
		else
			make_kept_id(branch->branch_id, (long long)branch->next_volume + i, out);
		st = branch_row_find(call->services->md, project->id, out, &existing, &err);
		if (st == STATUS_OK && wanted->is_set)
			return api_fail(&call->error, API_EXISTS, "branch with such id already exists");
	}
	return st == STATUS_NOT_FOUND || call_fail(call, &err);
}

bool branch_restore(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct text_field lsn, kept;
	struct time_field time;
	struct clone_plan plan = { 0 };
	struct api_error *error = &call->error;
	if (!call_find_project(call, call->parameters[0], &project) ||
	        !call_find_branch(call, &project, call->parameters[1], &branch) || !call_read_body(call) ||
	        !field_text(call->root, "", "source_branch_lsn", &lsn, error) ||
	        !field_timestamp(call->root, "", "source_branch_time", &time, error) ||
	        !field_text(call->root, "", "preserve_under_branch_id", &kept, error) ||
	        !moment_read("", &lsn, &time, &plan.moment, error))
		return false;
	if (plan.moment.kind == MOMENT_HEAD)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'source_branch_lsn' or 'source_branch_time' is required: the moment to go "
		        "back to.");
	return choose_kept(call, &project, &branch, &kept, plan.kept_branch) &&
	       branch_check_quota(call, &project) && moment_check(call, &project, &branch, &plan.moment) &&
	       begin(call, OPERATION_BRANCH_RESTORE, &project, &branch, &plan);
}

static void add_moment(struct call *call, yyjson_mut_val *root, const char *key, uint64_t lsn, int64_t usec)
{
	char text[LSN_TEXT_MAX];
	yyjson_mut_val *object = yyjson_mut_obj_add_obj(call->out, root, key);
	lsn_format(lsn, text);
	yyjson_mut_obj_add_strcpy(call->out, object, "lsn", text);
	json_add_timestamp(call->out, object, "time", usec);
}

bool branch_restore_window(struct call *call)
{
	struct error err;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct lineage lineage;
	struct origin_window window;
	if (!call_find_project(call, call->parameters[0], &project) ||
	        !call_find_branch(call, &project, call->parameters[1], &branch))
		return false;
	if (lineage_of_branch(call->services->md, &branch, &lineage, &err) != STATUS_OK)
		return call_fail(call, &err);
	status st = origin_window(
	        call->services->dd, project.uid, &lineage, project.history_retention_usec, &window, &err);
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		return call_fail(call, &err);
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	CLEANUP(free_text)
	char *name =
	        xasprintf("projects/%s/branches/%s/restore-window", project.project_id, branch.branch_id);
	yyjson_mut_obj_add_strcpy(call->out, root, "name", name);
	if (st == STATUS_OK) {
		add_moment(call, root, "earliest", window.earliest_lsn, window.earliest_usec);
		add_moment(call, root, "latest", window.latest_lsn, window.latest_usec);
	}
	return call_answer(call, root);
}
