#include "control_plane/quota.h"

#include <assert.h>

#include "control_plane/reconciler.h"

bool quota_check(
        struct call *call, const char *setting, const char *holder, const char *things, int64_t count)
{
	struct settings copy = call->services->dd->settings; /* shallow: only to look at */
	const int64_t *limit = settings_find_limit(&copy, slice_from_text(setting));
	assert(limit);
	if (count < *limit)
		return true;
	return api_fail(&call->error, API_QUOTA,
	        "%s has reached its limit of %lld %s; delete some, or raise the setting %s", holder,
	        (long long)*limit, things, setting);
}

struct awake {
	const struct services *services;
	const struct project_row *project; /* NULL: count all of the machine */
	const char *but_uid;               /* NULL: none */
	int64_t count;
};

/* A compute whose rows cannot be read is not counted: a limit is no reason to keep a database shut. */
static void count_awake(void *arg, const struct fleet_member *member)
{
	struct awake *awake = arg;
	struct error ignored;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	struct branch_row branch;
	if (member->state == FLEET_ASLEEP || (awake->but_uid && strcmp(member->uid, awake->but_uid) == 0))
		return;
	if (awake->project &&
	        (endpoint_row_find_uid(awake->services->md, member->uid, &endpoint, &ignored) != STATUS_OK ||
	                branch_row_get(awake->services->md, endpoint.branch, &branch, &ignored) !=
	                        STATUS_OK ||
	                branch.project != awake->project->id ||
	                strcmp(branch.uid, awake->project->default_branch_uid) == 0))
		return;
	awake->count++;
}

/* Most of the time so few run at all that nobody has to ask whose they are. */
static bool has_room(const struct services *services, const struct project_row *project, const char *uid)
{
	int64_t limit = services->dd->settings.active_computes_per_project;
	struct awake awake = { .services = services, .but_uid = uid };
	fleet_each(services->fleet, count_awake, &awake);
	if (awake.count < limit)
		return true;
	awake.project = project;
	awake.count = 0;
	fleet_each(services->fleet, count_awake, &awake);
	return awake.count < limit;
}

status quota_check_compute(const struct services *services, const struct project_row *project,
        const struct branch_row *branch, const char *uid, struct error *err)
{
	if (strcmp(branch->uid, project->default_branch_uid) == 0 ||
	        reconciler_needs(services->reconciler, uid) || has_room(services, project, uid))
		return STATUS_OK;
	return error_set(err, STATUS_LIMIT, 0,
	        "project \"%s\" has reached its limit of %lld computes that run at the same time; suspend "
	        "some, or raise the setting active_computes_per_project",
	        project->project_id, (long long)services->dd->settings.active_computes_per_project);
}

bool quota_check_new_compute(struct call *call, const struct project_row *project)
{
	if (has_room(call->services, project, NULL))
		return true;
	return api_fail(&call->error, API_QUOTA,
	        "the project has reached its limit of %lld computes that run at the same time; suspend some, "
	        "or raise the setting active_computes_per_project",
	        (long long)call->services->dd->settings.active_computes_per_project);
}
