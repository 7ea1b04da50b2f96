#include "control_plane/access.h"

bool access_find_level(struct call *call, const struct project_row *project, enum permission_level *ret)
{
	const struct identity_row *caller = &call->caller;
	if (caller->is_admin || strcmp(caller->login, project->owner) == 0) {
		*ret = PERMISSION_CAN_MANAGE;
		return true;
	}
	struct error err;
	return permission_row_level(call->services->md, project->id, caller->id, ret, &err) == STATUS_OK ||
	       call_fail(call, &err);
}

bool access_require(
        struct call *call, const struct project_row *project, enum permission_level level, const char *what)
{
	enum permission_level has;
	if (!access_find_level(call, project, &has))
		return false;
	if (has >= level)
		return true;
	return api_fail(&call->error, API_DENIED,
	        "%s%s needs %s on project '%s', and you have %s; its owner or an administrator can grant it",
	        what ? what : "this", what ? "" : " call", permission_level_text(level), project->project_id,
	        has == PERMISSION_NONE ? "no permission" : permission_level_text(has));
}

bool access_check_project(struct call *call, const struct project_row *project)
{
	return access_require(call, project, call->level, NULL);
}

bool access_require_admin(struct call *call, const char *what)
{
	return call->caller.is_admin ||
	       api_fail(&call->error, API_DENIED, "%s is for administrators, the members of the group '%s'",
	               what, GROUP_ADMINS);
}

const struct project_viewer *access_viewer(const struct call *call, struct project_viewer *storage)
{
	*storage = (struct project_viewer){ .identity = call->caller.id, .login = call->caller.login };
	return call->caller.is_admin ? NULL : storage;
}
