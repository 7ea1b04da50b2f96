#include "control_plane/snapshot.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/random.h"
#include "control_plane/clone_plan.h"
#include "control_plane/moment_fields.h"
#include "control_plane/quota.h"
#include "control_plane/resource_json.h"
#include "control_plane/resource_name.h"

/* Everything a create request asks for. */
struct snapshot_request {
	const char *snapshot_id;
	struct text_field source_branch, lsn;
	struct time_field time, ttl, expire_time;
	struct switch_field no_expiry;
};

static bool read_request(struct call *call, struct snapshot_request *ret)
{
	struct api_error *error = &call->error;
	yyjson_val *spec;
	if (!field_object(call->root, "", "spec", &spec, error) ||
	        !field_text(spec, "spec", "source_branch", &ret->source_branch, error) ||
	        !field_text(spec, "spec", "source_branch_lsn", &ret->lsn, error) ||
	        !field_timestamp(spec, "spec", "source_branch_time", &ret->time, error) ||
	        !field_duration(spec, "spec", "ttl", &ret->ttl, error) ||
	        !field_timestamp(spec, "spec", "expire_time", &ret->expire_time, error) ||
	        !field_switch(spec, "spec", "no_expiry", &ret->no_expiry, error))
		return false;
	if (!ret->source_branch.is_set)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.source_branch' is required, expected non-default value (not \"\")!");
	if (ret->no_expiry.is_set && !ret->no_expiry.value)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.no_expiry' must be true when it is given.");
	if (ret->ttl.is_set + ret->expire_time.is_set + ret->no_expiry.is_set > 1)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.expiration': only one of ttl, expire_time or no_expiry may be set.");
	return true;
}

static bool resolve_expiration(struct call *call, const struct snapshot_request *request, int64_t *ret)
{
	int64_t expire = request->expire_time.is_set ? request->expire_time.usec : 0;
	if (request->ttl.is_set && (request->ttl.usec <= 0 || __builtin_add_overflow(call->now_usec,
	                                                              request->ttl.usec, &expire)))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'spec.ttl' must be above 0s and not too long.");
	if (request->expire_time.is_set && expire <= call->now_usec)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'spec.expire_time' gives a time in the past.");
	*ret = expire;
	return true;
}

static bool find_source(
        struct call *call, const struct project_row *project, const char *text, struct branch_row *ret)
{
	struct resource_name name;
	if (!resource_name_parse(text, &name) || name.kind != RESOURCE_BRANCH ||
	        strcmp(name.project_id, project->project_id) != 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'spec.source_branch' must be the full name of a branch of project '%s'.",
		        project->project_id);
	return call_find_branch(call, project, name.branch_id, ret);
}

static bool check_new_name(struct call *call, const struct project_row *project, const char *snapshot_id)
{
	struct error err;
	struct snapshot_row existing;
	int64_t count = 0;
	status st = snapshot_row_find(call->services->md, project->id, snapshot_id, &existing, &err);
	if (st == STATUS_OK)
		return api_fail(&call->error, API_EXISTS, "snapshot with such id already exists");
	if (st == STATUS_NOT_FOUND)
		st = snapshot_row_count_manual(call->services->md, project->id, &count, &err);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	return quota_check(call, "snapshots_per_project", "the project",
	        "snapshots (scheduled ones are not counted)", count);
}

status snapshot_begin(struct metadata *md, const struct project_row *project, struct snapshot_row *snapshot,
        const struct moment *moment, const char *actor, int64_t now_usec, struct operation_row *ret,
        struct error *err)
{
	struct clone_plan plan = { .moment = *moment };
	CLEANUP(free_text) char *name = snapshot_name(project, snapshot);
	CLEANUP(free_text) char *plan_text = clone_plan_format(&plan);
	status st = snapshot_row_insert(md, snapshot, err);
	if (st != STATUS_OK)
		return st;
	struct operation_target target = { .resource = name,
		.project = project->id,
		.source_branch = snapshot->source,
		.snapshot = snapshot->id,
		.plan = plan_text };
	return operation_begin(md, OPERATION_SNAPSHOT_CREATE, actor, &target, now_usec, ret, err);
}

static bool record(struct call *call, const struct project_row *project, struct snapshot_row *snapshot,
        const struct moment *moment)
{
	struct error err;
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK ||
	        snapshot_begin(call->services->md, project, snapshot, moment, call->caller.login,
	                call->now_usec, &operation, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer_operation(call, &operation);
}

bool snapshot_post(struct call *call)
{
	struct snapshot_request request = { 0 };
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row source;
	struct moment moment;
	int64_t expire_usec = 0;
	if (!call_read_id(call, "snapshot_id", &request.snapshot_id) ||
	        !call_find_project(call, call->parameters[0], &project) || !call_read_body(call) ||
	        !read_request(call, &request) || !resolve_expiration(call, &request, &expire_usec) ||
	        !moment_read("spec.", &request.lsn, &request.time, &moment, &call->error) ||
	        !find_source(call, &project, request.source_branch.text, &source) ||
	        !check_new_name(call, &project, request.snapshot_id) ||
	        !moment_check(call, &project, &source, &moment))
		return false;
	struct snapshot_row snapshot = { .project = project.id,
		.create_usec = call->now_usec,
		.source = source.id,
		.expire_usec = expire_usec,
		.revision = source.revision };
	(void)snprintf(snapshot.snapshot_id, sizeof snapshot.snapshot_id, "%s", request.snapshot_id);
	memcpy(snapshot.source_branch_id, source.branch_id, sizeof snapshot.source_branch_id);
	random_uuid(snapshot.uid);
	return record(call, &project, &snapshot, &moment);
}

bool snapshot_list_all(struct call *call)
{
	struct page page;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	if (!call_find_project(call, call->parameters[0], &project))
		return false;
	CLEANUP(free_text) char *list_name = xasprintf("snapshots of %lld", (long long)project.id);
	if (!page_read(call->request, list_name, false, PAGE_SIZE_MAX, &page, &call->error))
		return false;
	struct error err;
	CLEANUP(statement_done) struct statement st = { 0 };
	if (snapshot_row_list(call->services->md, project.id, page.after_id, page.size + 1, &st, &err) !=
	        STATUS_OK)
		return call_fail(call, &err);
	struct call_list list;
	call_list_begin(call, "snapshots", &list);
	for (;;) {
		struct snapshot_row snapshot;
		status code = snapshot_row_next(&st, &snapshot, &err);
		if (code == STATUS_NOT_FOUND ||
		        (code == STATUS_OK && !call_list_has_room(&list, &page, snapshot.id)))
			return call_list_answer(call, &list, &page, list_name);
		if (code != STATUS_OK)
			return call_fail(call, &err);
		yyjson_mut_arr_append(list.items, snapshot_to_json(call->out, &project, &snapshot));
	}
}

static bool find_snapshot(struct call *call, struct project_row *project, struct snapshot_row *ret)
{
	struct error err;
	if (!call_find_project(call, call->parameters[0], project))
		return false;
	return snapshot_row_find(call->services->md, project->id, call->parameters[1], ret, &err) ==
	               STATUS_OK ||
	       call_fail(call, &err);
}

bool snapshot_get(struct call *call)
{
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct snapshot_row snapshot;
	return find_snapshot(call, &project, &snapshot) &&
	       call_answer(call, snapshot_to_json(call->out, &project, &snapshot));
}

bool snapshot_find_by_name(
        struct call *call, const struct project_row *project, const char *text, struct snapshot_row *ret)
{
	struct error err;
	struct resource_name name;
	if (!resource_name_parse(text, &name) || name.kind != RESOURCE_SNAPSHOT ||
	        strcmp(name.project_id, project->project_id) != 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'spec.source_snapshot' must be the full name of a snapshot of project '%s'.",
		        project->project_id);
	return snapshot_row_find(call->services->md, project->id, name.leaf_id, ret, &err) == STATUS_OK ||
	       call_fail(call, &err);
}

status snapshot_delete_row(struct metadata *md, const struct project_row *project,
        struct snapshot_row *snapshot, const char *actor, int64_t now_usec, struct operation_row *ret,
        struct error *err)
{
	snapshot->is_purged = true;
	status st = snapshot_row_update(md, snapshot, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *name = snapshot_name(project, snapshot);
	struct operation_target target = {
		.resource = name, .project = project->id, .snapshot = snapshot->id
	};
	return operation_begin(md, OPERATION_SNAPSHOT_DELETE, actor, &target, now_usec, ret, err);
}

bool snapshot_delete(struct call *call)
{
	struct error err;
	struct metadata *md = call->services->md;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct snapshot_row snapshot;
	if (!find_snapshot(call, &project, &snapshot))
		return false;
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        snapshot_delete_row(md, &project, &snapshot, call->caller.login, call->now_usec, &operation,
	                &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer_operation(call, &operation);
}
