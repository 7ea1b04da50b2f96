#include "control_plane/snapshot_schedule.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "control_plane/cadence.h"
#include "control_plane/fields.h"
#include "control_plane/resource_json.h"
#include "control_plane/snapshot.h"
#include "control_plane/update_mask.h"
#include "metadata/snapshot_schedule_row.h"

#define ACTOR        "system"
#define NAME_TRIES   100
#define MASK_CADENCE 1

static const struct update_path paths[] = {
	{ .path = "schedule", .fields = MASK_CADENCE },
	{ .path = "*", .fields = MASK_CADENCE, .is_all = true },
};
/* Without a mask what the body has is meant. */
static const struct update_mask present = { .present = MASK_CADENCE };

static status load(struct metadata *md, int64_t branch, struct cadence_list *ret, struct error *err)
{
	CLEANUP(snapshot_schedule_row_done) struct snapshot_schedule_row row = { 0 };
	struct api_error problem = { 0 };
	*ret = (struct cadence_list){ 0 };
	status st = snapshot_schedule_row_find(md, branch, &row, err);
	if (st != STATUS_OK)
		return st == STATUS_NOT_FOUND ? STATUS_OK : st;
	yyjson_doc *doc = yyjson_read(row.cadences, strlen(row.cadences), 0);
	bool is_good = doc && cadence_list_read(yyjson_doc_get_root(doc), ret, &problem);
	yyjson_doc_free(doc);
	return is_good ? STATUS_OK
	               : error_set(err, STATUS_CORRUPT, 0, "the stored schedule of branch row %lld: %.300s",
	                         (long long)branch, doc ? problem.message : "not JSON");
}

static char *schedule_name(const struct project_row *project, const struct branch_row *branch)
{
	return xasprintf("projects/%s/branches/%s/snapshot-schedule", project->project_id, branch->branch_id);
}

static yyjson_mut_val *to_json(yyjson_mut_doc *doc, const char *name, const struct cadence_list *list)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_strcpy(doc, root, "name", name);
	if (list->count > 0)
		yyjson_mut_obj_add_val(doc, root, "schedule", cadence_list_to_json(doc, list));
	return root;
}

bool snapshot_schedule_get(struct call *call)
{
	struct error err;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct cadence_list list;
	if (!call_find_project(call, call->parameters[0], &project) ||
	        !call_find_branch(call, &project, call->parameters[1], &branch))
		return false;
	if (load(call->services->md, branch.id, &list, &err) != STATUS_OK)
		return call_fail(call, &err);
	CLEANUP(free_text) char *name = schedule_name(&project, &branch);
	return call_answer(call, to_json(call->out, name, &list));
}

/* In the caller's transaction. An unchanged list does not lose what it is about to do. */
static status put(struct metadata *md, int64_t branch, const struct cadence_list *list, int64_t now_usec,
        struct error *err)
{
	CLEANUP(snapshot_schedule_row_done) struct snapshot_schedule_row old = { 0 };
	if (list->count == 0)
		return snapshot_schedule_row_remove(md, branch, err);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	CLEANUP(free_text) char *json = json_write(doc, cadence_list_to_json(doc, list));
	yyjson_mut_doc_free(doc);
	status st = snapshot_schedule_row_find(md, branch, &old, err);
	if (st == STATUS_OK && strcmp(old.cadences, json) == 0)
		return STATUS_OK;
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		return st;
	struct snapshot_schedule_row row = { .branch = branch,
		.cadences = json,
		.considered_usec = now_usec,
		.next_usec = cadence_list_next(list, now_usec) };
	return snapshot_schedule_row_put(md, &row, err);
}

static bool record(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const struct cadence_list *list)
{
	struct error err;
	struct metadata *md = call->services->md;
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	CLEANUP(free_text) char *name = schedule_name(project, branch);
	struct operation_target target = { .resource = name, .project = project->id, .branch = branch->id };
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	CLEANUP(free_text) char *json = json_write(doc, to_json(doc, name, list));
	yyjson_mut_doc_free(doc);
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        put(md, branch->id, list, call->now_usec, &err) != STATUS_OK ||
	        operation_begin(md, OPERATION_SCHEDULE_UPDATE, call->caller.login, &target, call->now_usec,
	                &operation, &err) != STATUS_OK ||
	        operation_succeed(md, &operation, json, call->now_usec, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return call_answer_operation(call, &operation);
}

bool snapshot_schedule_update(struct call *call)
{
	struct error err;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	struct update_mask mask = present;
	struct cadence_list wanted, list;
	yyjson_val *values;
	const char *mask_text = http_request_query(call->request, "update_mask");
	if (!call_find_project(call, call->parameters[0], &project) ||
	        !call_find_branch(call, &project, call->parameters[1], &branch) || !call_read_body(call) ||
	        (mask_text && *mask_text &&
	                !update_mask_parse(mask_text, paths, ARRAY_LEN(paths), &mask, &call->error)) ||
	        !field_array(call->root, "", "schedule", &values, &call->error) ||
	        !cadence_list_read(values, &wanted, &call->error))
		return false;
	if (load(call->services->md, branch.id, &list, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (update_mask_has(&mask, MASK_CADENCE, values != NULL))
		list = wanted;
	return record(call, &project, &branch, &list);
}

/* "production-20261130-0300": what it is of, and when it was made. */
static status choose_name(struct metadata *md, const struct branch_row *branch, int64_t now_usec,
        char out[RESOURCE_ID_MAX + 1], struct error *err)
{
	struct snapshot_row taken;
	time_t seconds = (time_t)(now_usec / USEC_PER_SEC);
	struct tm at = { 0 };
	(void)gmtime_r(&seconds, &at);
	status st = STATUS_OK;
	for (int i = 1; i <= NAME_TRIES && st == STATUS_OK; i++) {
		char suffix[32] = "", number[16] = "";
		(void)strftime(suffix, sizeof suffix, "-%Y%m%d-%H%M", &at);
		if (i > 1)
			(void)snprintf(number, sizeof number, "-%d", i);
		size_t room = RESOURCE_ID_MAX - strlen(suffix) - strlen(number);
		(void)snprintf(
		        out, RESOURCE_ID_MAX + 1, "%.*s%s%s", (int)room, branch->branch_id, suffix, number);
		st = snapshot_row_find(md, branch->project, out, &taken, err);
	}
	if (st == STATUS_NOT_FOUND)
		return STATUS_OK;
	return st == STATUS_OK ? error_set(err, STATUS_LIMIT, 0, "no free id for a snapshot of branch \"%s\"",
	                                 branch->branch_id)
	                       : st;
}

/* In the caller's transaction. */
static status make_snapshot(struct metadata *md, const struct snapshot_schedule_row *row,
        int64_t retention_usec, int64_t now_usec, struct error *err)
{
	struct branch_row branch;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	struct snapshot_row snapshot = { .create_usec = now_usec,
		.source = row->branch,
		.expire_usec = now_usec + retention_usec,
		.is_scheduled = true };
	struct moment head = { .kind = MOMENT_HEAD };
	status st = branch_row_get(md, row->branch, &branch, err);
	if (st == STATUS_OK)
		st = project_row_get(md, branch.project, &project, err);
	if (st == STATUS_OK)
		st = choose_name(md, &branch, now_usec, snapshot.snapshot_id, err);
	if (st != STATUS_OK)
		return st;
	snapshot.project = project.id;
	snapshot.revision = branch.revision;
	memcpy(snapshot.source_branch_id, branch.branch_id, sizeof snapshot.source_branch_id);
	random_uuid(snapshot.uid);
	st = snapshot_begin(md, &project, &snapshot, &head, ACTOR, now_usec, &operation, err);
	if (st == STATUS_OK)
		log_info(ACTOR ": %s %s, operation %s begun", operation.kind, operation.resource,
		        operation.id);
	return st;
}

static status fire_one(
        struct metadata *md, struct snapshot_schedule_row *row, int64_t now_usec, struct error *err)
{
	struct cadence_list list;
	status st = load(md, row->branch, &list, err);
	if (st == STATUS_CORRUPT) { /* one that nobody can read must not keep the others from being made */
		log_error("%s; it is not looked at any more", err->message);
		return snapshot_schedule_row_remove(md, row->branch, err);
	}
	if (st != STATUS_OK)
		return st;
	int64_t retention = cadence_list_fired(&list, row->considered_usec, now_usec);
	if (retention > 0)
		st = make_snapshot(md, row, retention, now_usec, err);
	row->considered_usec = now_usec;
	row->next_usec = cadence_list_next(&list, now_usec);
	return st == STATUS_OK ? snapshot_schedule_row_put(md, row, err) : st;
}

status snapshot_schedule_fire(struct metadata *md, int64_t now_usec, struct error *err)
{
	for (;;) {
		CLEANUP(snapshot_schedule_row_done) struct snapshot_schedule_row row = { 0 };
		CLEANUP(transaction_end) struct transaction tx = { 0 };
		status st = transaction_begin(md, &tx, err);
		if (st == STATUS_OK)
			st = snapshot_schedule_row_find_due(md, now_usec, &row, err);
		if (st == STATUS_NOT_FOUND)
			return STATUS_OK;
		if (st == STATUS_OK)
			st = fire_one(md, &row, now_usec, err);
		if (st == STATUS_OK)
			st = transaction_commit(&tx, err);
		if (st != STATUS_OK)
			return st;
	}
}
