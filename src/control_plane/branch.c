#include "control_plane/branch.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "control_plane/branch_archive.h"
#include "control_plane/endpoint.h"
#include "control_plane/moment_fields.h"
#include "control_plane/quota.h"
#include "control_plane/resource_json.h"
#include "control_plane/resource_name.h"
#include "control_plane/snapshot.h"

/* What may expire and what may be protected (4.2, 4.3). `old` is the row as it was, NULL for a new branch. */
static bool check_state_rules(struct call *call, const struct project_row *project,
        const struct branch_row *branch, const struct branch_row *old)
{
	struct error err;
	struct metadata *md = call->services->md;
	if (branch->expire_usec != 0) {
		int64_t children = 0;
		if (old && branch_row_count_children(md, branch->id, &children, &err) != STATUS_OK)
			return call_fail(call, &err);
		const char *why = strcmp(branch->uid, project->default_branch_uid) == 0 ? "the default branch"
		                  : branch->is_protected                                ? "a protected branch"
		                  : branch_is_root(branch)                              ? "a root branch"
		                  : children > 0 ? "a branch that has children"
		                                 : NULL;
		if (why)
			return api_fail(&call->error, API_BAD_REQUEST, "%s cannot have an expiration", why);
	}
	if (branch->is_protected && !(old && old->is_protected)) {
		int64_t count = 0, limit = call->services->dd->settings.protected_branches_per_project;
		if (branch_row_count_protected(md, project->id, &count, &err) != STATUS_OK)
			return call_fail(call, &err);
		if (count >= limit) /* not QUOTA_EXCEEDED: 4.3 */
			return api_fail(&call->error, API_BAD_REQUEST,
			        "the project has reached its limit of %lld protected branches; end the "
			        "protection of another, or raise the setting protected_branches_per_project",
			        (long long)limit);
	}
	return true;
}

static bool find_source(struct call *call, const struct project_row *project,
        const struct branch_fields *fields, struct branch_row *ret)
{
	struct error err;
	if (!fields->source_branch.is_set) {
		if (branch_row_find_uid(call->services->md, project->default_branch_uid, ret, &err) !=
		        STATUS_OK)
			return call_fail(call, &err);
		if (ret->delete_usec != 0)
			return api_fail(&call->error, API_NOT_FOUND, "branch id not found");
	} else {
		struct resource_name name;
		if (!resource_name_parse(fields->source_branch.text, &name) || name.kind != RESOURCE_BRANCH ||
		        strcmp(name.project_id, project->project_id) != 0)
			return api_fail(&call->error, API_INVALID_PARAMETER,
			        "Field 'spec.source_branch' must be the full name of a branch of project "
			        "'%s'.",
			        project->project_id);
		if (!call_find_branch(call, project, name.branch_id, ret))
			return false;
	}
	if (ret->expire_usec != 0)
		return api_fail(&call->error, API_BAD_REQUEST,
		        "branch '%s' has an expiration, so it cannot have children; remove the expiration "
		        "first",
		        ret->branch_id);
	return true;
}

/* Ends a mutation that needs nobody else, in one transaction. */
static bool commit_done(struct call *call, enum operation_kind kind, const struct project_row *project,
        const struct branch_row *branch)
{
	struct error err;
	struct metadata *md = call->services->md;
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	CLEANUP(free_text) char *name = branch_name(project, branch);
	struct operation_target target = { .resource = name, .project = project->id, .branch = branch->id };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        branch_row_update(md, branch, &err) != STATUS_OK ||
	        operation_begin(md, kind, call->caller.login, &target, call->now_usec, &operation, &err) !=
	                STATUS_OK)
		return call_fail(call, &err);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	CLEANUP(free_text) char *json = json_write(doc, branch_to_json(doc, project, branch));
	yyjson_mut_doc_free(doc);
	if (operation_succeed(md, &operation, json, call->now_usec, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer_operation(call, &operation);
}

static bool apply_update(struct call *call, const struct project_row *project, struct branch_row *branch,
        const struct branch_fields *fields, const struct update_mask *mask)
{
	struct branch_row old = *branch;
	if (!branch_fields_update(
	            branch, fields, mask, &call->services->dd->settings, call->now_usec, &call->error) ||
	        !check_state_rules(call, project, branch, &old))
		return false;
	branch->update_usec = call->now_usec;
	branch_archive_end(branch, call->now_usec);
	return commit_done(call, OPERATION_BRANCH_UPDATE, project, branch);
}

bool branch_check_quota(struct call *call, const struct project_row *project)
{
	struct error err;
	int64_t count = 0;
	if (branch_row_count(call->services->md, project->id, &count, &err) != STATUS_OK)
		return call_fail(call, &err);
	return quota_check(call, "branches_per_project", "the project", "branches", count) &&
	       branch_archive_check_quota(call, project);
}

/* A branch of a snapshot has no parent either. */
static bool check_root_quota(
        struct call *call, const struct project_row *project, const struct branch_row *branch)
{
	struct error err;
	int64_t count = 0;
	if (branch->source != 0)
		return true;
	if (branch_row_count_roots(call->services->md, project->id, &count, &err) != STATUS_OK)
		return call_fail(call, &err);
	return quota_check(call, "root_branches_per_project", "the project",
	        "branches without a parent (the first one, and those made of snapshots)", count);
}

status branch_insert(struct call *call, struct project_row *project, const struct moment *moment,
        struct branch_row *branch, struct endpoint_row *endpoint, struct operation_row *ret,
        struct error *err)
{
	struct metadata *md = call->services->md;
	struct clone_plan plan = { .moment = *moment, .timeline = (uint32_t)project->next_timeline };
	branch->timeline = project->next_timeline;
	project->next_timeline += 2;
	memcpy(plan.volume, branch->uid, sizeof plan.volume);
	CLEANUP(free_text) char *plan_text = clone_plan_format(&plan);
	status st = project_row_update(md, project, err);
	if (st == STATUS_OK)
		st = branch_row_insert(md, branch, err);
	if (st == STATUS_OK)
		st = endpoint_insert_primary(md, branch->id, endpoint, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *name = branch_name(project, branch);
	struct operation_target target = { .resource = name,
		.project = project->id,
		.branch = branch->id,
		.source_branch = branch->source,
		.endpoint = endpoint->id,
		.snapshot = moment->snapshot_row,
		.plan = plan_text };
	return operation_begin(
	        md, OPERATION_BRANCH_CREATE, call->caller.login, &target, call->now_usec, ret, err);
}

/* The source's fields of a new row, and the moment of it. */
static bool find_origin(struct call *call, const struct project_row *project,
        const struct branch_fields *fields, struct branch_row *branch, struct moment *moment)
{
	if (fields->source_snapshot.is_set) {
		struct snapshot_row snapshot;
		if (fields->source_branch.is_set || fields->source_lsn.is_set || fields->source_time.is_set)
			return api_fail(&call->error, API_INVALID_PARAMETER,
			        "Field 'spec.source_snapshot' excludes source_branch, source_branch_lsn and "
			        "source_branch_time.");
		if (!snapshot_find_by_name(call, project, fields->source_snapshot.text, &snapshot))
			return false;
		*moment = (struct moment){ .kind = MOMENT_SNAPSHOT, .snapshot_row = snapshot.id };
		memcpy(moment->snapshot, snapshot.uid, sizeof moment->snapshot);
		memcpy(branch->source_snapshot, snapshot.snapshot_id, sizeof branch->source_snapshot);
		branch->revision = snapshot.revision;
		return true;
	}
	struct branch_row source;
	if (!find_source(call, project, fields, &source) ||
	        !moment_read("spec.", &fields->source_lsn, &fields->source_time, moment, &call->error) ||
	        !moment_check(call, project, &source, moment))
		return false;
	branch->source = source.id;
	branch->revision = source.revision;
	memcpy(branch->source_branch_id, source.branch_id, sizeof branch->source_branch_id);
	return true;
}

bool branch_prepare(struct call *call, const struct project_row *project, const char *branch_id,
        const struct branch_fields *fields, struct branch_row *ret, struct moment *ret_moment)
{
	struct branch_row branch = { .project = project->id,
		.create_usec = call->now_usec,
		.update_usec = call->now_usec,
		.state_change_usec = call->now_usec };
	(void)snprintf(branch.branch_id, sizeof branch.branch_id, "%s", branch_id);
	resource_uid_make("br", branch.uid);
	struct update_mask everything = { .present = UINT64_MAX };
	*ret_moment = (struct moment){ 0 };
	if (!find_origin(call, project, fields, &branch, ret_moment) ||
	        !branch_fields_update(&branch, fields, &everything, &call->services->dd->settings,
	                call->now_usec, &call->error) ||
	        !check_state_rules(call, project, &branch, NULL) || !branch_check_quota(call, project) ||
	        !check_root_quota(call, project, &branch) || !quota_check_new_compute(call, project))
		return false;
	*ret = branch;
	return true;
}

static bool create_new(struct call *call, struct project_row *project, const char *branch_id,
        const struct branch_fields *fields)
{
	struct moment moment;
	struct branch_row branch;
	if (!branch_prepare(call, project, branch_id, fields, &branch, &moment))
		return false;

	struct error err;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	endpoint_begin_primary(project, call->now_usec, &endpoint);
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK ||
	        branch_insert(call, project, &moment, &branch, &endpoint, &operation, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer_operation(call, &operation);
}

bool branch_create(struct call *call)
{
	const char *branch_id;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_fields fields;
	struct branch_row existing;
	yyjson_val *spec;
	bool replaces;
	if (!call_read_id(call, "branch_id", &branch_id) ||
	        !call_find_project(call, call->parameters[0], &project) || !call_read_body(call) ||
	        !field_object(call->root, "", "spec", &spec, &call->error) ||
	        !branch_fields_read(spec, &fields, &call->error) ||
	        !query_switch(call->request, "replace_existing", &replaces, &call->error))
		return false;
	if (!branch_fields_has_expiration(&fields))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'spec.expiration' is required: one of ttl, expire_time or no_expiry must be "
		        "set");

	struct error err;
	status st = branch_row_find(call->services->md, project.id, branch_id, &existing, &err);
	if (st == STATUS_NOT_FOUND)
		return create_new(call, &project, branch_id, &fields);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	if (!replaces || existing.delete_usec != 0)
		return api_fail(&call->error, API_EXISTS, "branch with such id already exists");
	struct update_mask mutable_parts = { .present = BRANCH_PROTECTED | BRANCH_EXPIRATION };
	return apply_update(call, &project, &existing, &fields, &mutable_parts);
}

bool branch_list(struct call *call)
{
	struct page page;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	if (!call_find_project(call, call->parameters[0], &project))
		return false;
	CLEANUP(free_text) char *list_name = xasprintf("branches of %lld", (long long)project.id);
	if (!page_read(call->request, list_name, true, PAGE_SIZE_MAX, &page, &call->error))
		return false;
	struct error err;
	CLEANUP(statement_done) struct statement st = { 0 };
	if (branch_row_list(call->services->md, project.id, page.after_id, page.with_deleted, page.size + 1,
	            &st, &err) != STATUS_OK)
		return call_fail(call, &err);
	struct call_list list;
	call_list_begin(call, "branches", &list);
	for (;;) {
		struct branch_row branch;
		status code = branch_row_next(&st, &branch, &err);
		if (code == STATUS_NOT_FOUND ||
		        (code == STATUS_OK && !call_list_has_room(&list, &page, branch.id)))
			return call_list_answer(call, &list, &page, list_name);
		if (code != STATUS_OK)
			return call_fail(call, &err);
		yyjson_mut_arr_append(list.items, branch_to_json(call->out, &project, &branch));
	}
}

bool branch_get(struct call *call)
{
	struct error err;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	if (!call_find_project(call, call->parameters[0], &project))
		return false;
	/* A soft-deleted branch is still shown, with its delete_time (1.10). */
	if (branch_row_find(call->services->md, project.id, call->parameters[1], &branch, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer(call, branch_to_json(call->out, &project, &branch));
}

bool branch_update(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct branch_fields fields;
	struct update_mask mask;
	yyjson_val *spec;
	return call_find_project(call, call->parameters[0], &project) &&
	       call_find_branch(call, &project, call->parameters[1], &branch) && call_read_body(call) &&
	       branch_mask_parse(http_request_query(call->request, "update_mask"), &mask, &call->error) &&
	       field_object(call->root, "", "spec", &spec, &call->error) &&
	       branch_fields_read(spec, &fields, &call->error) &&
	       apply_update(call, &project, &branch, &fields, &mask);
}

status branch_delete_row(struct metadata *md, const struct project_row *project, struct branch_row *branch,
        bool is_purge, int64_t retention_sec, const char *actor, int64_t now_usec, struct operation_row *ret,
        struct error *err)
{
	branch->update_usec = now_usec;
	if (branch->delete_usec == 0) {
		branch->delete_usec = branch->state_change_usec = now_usec;
		branch->purge_usec = now_usec + retention_sec * USEC_PER_SEC;
	}
	branch->is_purged = is_purge;
	status st = branch_row_update(md, branch, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *name = branch_name(project, branch);
	struct operation_target target = { .resource = name, .project = project->id, .branch = branch->id };
	return operation_begin(md, is_purge ? OPERATION_BRANCH_PURGE : OPERATION_BRANCH_DELETE, actor,
	        &target, now_usec, ret, err);
}

/* allow_missing: nothing to delete is a success as well. */
static bool answer_missing(struct call *call, const struct project_row *project, const char *branch_id)
{
	struct error err;
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	struct metadata *md = call->services->md;
	CLEANUP(free_text)
	char *name = xasprintf("projects/%s/branches/%.63s", project->project_id, branch_id);
	struct operation_target target = { .resource = name, .project = project->id };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        operation_begin(md, OPERATION_BRANCH_DELETE, call->caller.login, &target, call->now_usec,
	                &operation, &err) != STATUS_OK ||
	        operation_succeed(md, &operation, NULL, call->now_usec, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer_operation(call, &operation);
}

bool branch_check_may_delete(
        struct call *call, const struct project_row *project, const struct branch_row *branch)
{
	struct error err;
	if (branch->is_protected)
		return api_fail(&call->error, API_BAD_REQUEST, "cannot delete protected branch");
	if (branch_is_root(branch)) {
		CLEANUP(free_text) char *name = branch_name(project, branch);
		(void)api_fail(&call->error, API_BAD_REQUEST,
		        "Cannot delete root branch '%s'. Root branches cannot be deleted independently.",
		        name);
		call->error.is_managed_by_parent = true;
		return false;
	}
	if (strcmp(branch->uid, project->default_branch_uid) == 0)
		return api_fail(&call->error, API_BAD_REQUEST,
		        "cannot delete the default branch; make another branch the default first");
	int64_t children = 0;
	if (branch_row_count_children(call->services->md, branch->id, &children, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (children > 0)
		return api_fail(&call->error, API_BAD_REQUEST,
		        "cannot delete a branch that has children; delete them first");
	return true;
}

bool branch_delete(struct call *call)
{
	struct error err;
	bool is_purge, allows_missing;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct metadata *md = call->services->md;
	if (!query_switch(call->request, "purge", &is_purge, &call->error) ||
	        !query_switch(call->request, "allow_missing", &allows_missing, &call->error) ||
	        !call_find_project(call, call->parameters[0], &project))
		return false;
	status st = branch_row_find(md, project.id, call->parameters[1], &branch, &err);
	if (st == STATUS_OK && branch.delete_usec != 0 && !is_purge)
		st = STATUS_NOT_FOUND;
	if (st == STATUS_NOT_FOUND && allows_missing && resource_id_is_valid(call->parameters[1]))
		return answer_missing(call, &project, call->parameters[1]);
	if (st == STATUS_NOT_FOUND)
		return api_fail(&call->error, API_NOT_FOUND, "branch id not found");
	if (st != STATUS_OK)
		return call_fail(call, &err);
	if (branch.delete_usec == 0 && !branch_check_may_delete(call, &project, &branch))
		return false;

	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        branch_delete_row(md, &project, &branch, is_purge,
	                call->services->dd->settings.deleted_retention_sec, call->caller.login,
	                call->now_usec, &operation, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer_operation(call, &operation);
}

/* What may have happened to the parent since the branch was deleted. */
static bool check_parent(struct call *call, const struct branch_row *branch)
{
	struct error err;
	struct branch_row parent;
	if (branch->source == 0)
		return true;
	status st = branch_row_get(call->services->md, branch->source, &parent, &err);
	if (st == STATUS_NOT_FOUND || (st == STATUS_OK && parent.is_purged))
		return true; /* it stands on its own: it has layers of its own references, not of the parent's */
	if (st != STATUS_OK)
		return call_fail(call, &err);
	if (parent.delete_usec != 0)
		return api_fail(&call->error, API_BAD_REQUEST,
		        "the parent of branch '%s', '%s', is deleted; undelete that first", branch->branch_id,
		        parent.branch_id);
	if (parent.expire_usec != 0)
		return api_fail(&call->error, API_BAD_REQUEST,
		        "branch '%s' has an expiration, so it cannot have children; remove the expiration "
		        "first",
		        parent.branch_id);
	return true;
}

bool branch_undelete(struct call *call)
{
	struct error err;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	if (!call_read_body(call) || !call_find_project(call, call->parameters[0], &project))
		return false;
	if (branch_row_find(call->services->md, project.id, call->parameters[1], &branch, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (branch.delete_usec == 0)
		return api_fail(
		        &call->error, API_INVALID_STATE, "branch '%s' is not deleted", branch.branch_id);
	struct branch_row old = branch;
	old.is_protected = false; /* not while it was deleted: another may have become it */
	branch.delete_usec = branch.purge_usec = 0;
	branch.update_usec = branch.state_change_usec = call->now_usec;
	branch_archive_end(&branch, call->now_usec);
	if (branch.expire_usec != 0 && branch.expire_usec <= call->now_usec)
		branch.expire_usec = 0; /* or it would be gone again at once */
	if (!check_parent(call, &branch) || !check_state_rules(call, &project, &branch, &old) ||
	        !check_root_quota(call, &project, &branch) || !branch_archive_check_quota(call, &project))
		return false;
	return commit_done(call, OPERATION_BRANCH_UNDELETE, &project, &branch);
}
