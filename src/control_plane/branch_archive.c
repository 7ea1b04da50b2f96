#include "control_plane/branch_archive.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "control_plane/operation.h"
#include "control_plane/quota.h"
#include "control_plane/resource_json.h"

#define ACTOR     "system"
#define AT_ONCE   4 /* archiving reads and writes disks that others wait for */
#define UNLIMITED INT64_MAX

#define RETRY_MIN_USEC (60 * USEC_PER_SEC)
#define RETRY_MAX_USEC (24 * 3600 * USEC_PER_SEC)

static bool is_asleep(const struct services *services, int64_t branch, struct endpoint_row *ret_endpoint)
{
	struct error ignored;
	if (endpoint_row_find_writer(services->md, branch, ret_endpoint, &ignored) != STATUS_OK)
		return false;
	const struct fleet_member *member = fleet_look(services->fleet, ret_endpoint->uid);
	return member && member->state == FLEET_ASLEEP;
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t retry_pause(int64_t failures)
{
	int64_t pause = RETRY_MIN_USEC;
	for (int64_t i = 1; i < failures && pause < RETRY_MAX_USEC; i++)
		pause *= 2;
	return pause < RETRY_MAX_USEC ? pause : RETRY_MAX_USEC;
}

static void read_reason(const char *json, char *out, size_t size)
{
	yyjson_doc *doc = json ? yyjson_read(json, strlen(json), 0) : NULL;
	const char *message = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "message"));
	(void)snprintf(out, size, "%s", message ? message : "");
	utf8_clean(out); /* the cut may be inside a character */
	yyjson_doc_free(doc);
}

status branch_archive_failures(
        struct metadata *md, const struct branch_row *branch, struct archive_failures *ret, struct error *err)
{
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	struct operation_failures failures = { 0 };
	*ret = (struct archive_failures){ 0 };
	status st = endpoint_row_find_writer(md, branch->id, &endpoint, err);
	if (st == STATUS_NOT_FOUND)
		return STATUS_OK;
	int64_t since = later(later(branch->state_change_usec, branch->update_usec),
	        later(endpoint.started_usec, endpoint.suspended_usec));
	if (st == STATUS_OK)
		st = operation_row_failures(md, operation_kind_name(OPERATION_BRANCH_ARCHIVE), endpoint.id,
		        since, &failures, err);
	if (st == STATUS_OK && failures.count > 0) {
		ret->count = failures.count;
		ret->next_usec = failures.last_usec + retry_pause(failures.count);
		read_reason(failures.error, ret->reason, sizeof ret->reason);
	}
	free(failures.error);
	return st;
}

static bool is_due(const struct services *services, const struct branch_row *branch, int64_t now_usec)
{
	struct archive_failures failures;
	struct error ignored;
	return branch_archive_failures(services->md, branch, &failures, &ignored) == STATUS_OK &&
	       now_usec >= failures.next_usec;
}

static status record(const struct services *services, const struct branch_row *branch,
        const struct endpoint_row *endpoint, int64_t now_usec, struct error *err)
{
	struct metadata *md = services->md;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = project_row_get(md, branch->project, &project, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *name = branch_name(&project, branch);
	struct operation_target target = {
		.resource = name, .project = project.id, .branch = branch->id, .endpoint = endpoint->id
	};
	st = operation_begin(md, OPERATION_BRANCH_ARCHIVE, ACTOR, &target, now_usec, &operation, err);
	if (st == STATUS_OK)
		st = transaction_commit(&tx, err);
	if (st == STATUS_OK)
		log_info(ACTOR ": %s %s, operation %s begun", operation.kind, operation.resource,
		        operation.id);
	return st;
}

/* The longest idle ones first, at most `wanted`, as long as there is room. Each is looked for anew: recording changes what the query sees. */
static status archive(const struct services *services, const struct branch_idle *idle, int64_t wanted,
        int64_t now_usec, int64_t *room, struct error *err)
{
	struct branch_row branches[AT_ONCE];
	size_t count = 0;
	{
		CLEANUP(statement_done) struct statement st = { 0 };
		status code = branch_row_list_idle(services->md, idle, &st, err);
		while (code == STATUS_OK && count < AT_ONCE && (int64_t)count < wanted) {
			CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
			code = branch_row_next(&st, &branches[count], err);
			if (code == STATUS_OK && is_asleep(services, branches[count].id, &endpoint) &&
			        is_due(services, &branches[count], now_usec))
				count++;
		}
		if (code != STATUS_OK && code != STATUS_NOT_FOUND)
			return code;
	}
	for (size_t i = 0; i<count && * room> 0; i++) {
		CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
		if (!is_asleep(services, branches[i].id, &endpoint))
			continue;
		status code = record(services, &branches[i], &endpoint, now_usec, err);
		if (code != STATUS_OK)
			return code;
		(*room)--;
	}
	return STATUS_OK;
}

status branch_archive_due(
        const struct services *services, int64_t now_usec, bool *ret_has_more, struct error *err)
{
	const struct settings *settings = &services->dd->settings;
	int64_t open = 0;
	*ret_has_more = false;
	status code = operation_row_count_open(services->md, "BRANCH_ARCHIVE", &open, err);
	int64_t room = AT_ONCE - open;
	if (code != STATUS_OK || room <= 0) {
		*ret_has_more = code == STATUS_OK;
		return code;
	}
	struct branch_idle idle = { .used_before_usec = now_usec - settings->archive_idle_sec * USEC_PER_SEC,
		.created_before_usec = now_usec - settings->archive_age_sec * USEC_PER_SEC };
	code = archive(services, &idle, AT_ONCE, now_usec, &room, err);
	while (code == STATUS_OK && room > 0) {
		int64_t project = 0, excess = 0, before = room;
		code = branch_row_find_crowded(services->md, settings->unarchived_branches_per_project,
		        idle.project, &project, &excess, err);
		if (code != STATUS_OK)
			break;
		idle = (struct branch_idle){
			.project = project, .used_before_usec = UNLIMITED, .created_before_usec = UNLIMITED
		};
		code = archive(services, &idle, excess, now_usec, &room, err);
		*ret_has_more = *ret_has_more || before - room == AT_ONCE;
	}
	*ret_has_more = *ret_has_more || room == 0;
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

status branch_archive_leave(
        struct metadata *md, struct branch_row *branch, int64_t now_usec, struct error *err)
{
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (branch->archive_usec == 0)
		return STATUS_OK;
	branch_archive_end(branch, now_usec);
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = branch_row_update(md, branch, err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

bool branch_archive_check_quota(struct call *call, const struct project_row *project)
{
	struct error err;
	struct metadata *md = call->services->md;
	int64_t count = 0, limit = call->services->dd->settings.unarchived_branches_per_project;
	if (branch_row_count_unarchived(md, project->id, &count, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (count < limit)
		return true;
	struct branch_idle idle = {
		.project = project->id, .used_before_usec = UNLIMITED, .created_before_usec = UNLIMITED
	};
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = branch_row_list_idle(md, &idle, &st, &err);
	while (code == STATUS_OK && count >= limit) {
		struct branch_row branch;
		CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
		code = branch_row_next(&st, &branch, &err);
		if (code == STATUS_OK && is_asleep(call->services, branch.id, &endpoint))
			count--;
	}
	if (code != STATUS_OK && code != STATUS_NOT_FOUND)
		return call_fail(call, &err);
	return quota_check(call, "unarchived_branches_per_project", "the project",
	        "unarchived branches (those whose compute sleeps make room by themselves, protected ones and "
	        "the default one excepted)",
	        count);
}
