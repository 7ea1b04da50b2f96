/*
 * Access: what a route demands of its caller, and what a caller may do with a project.
 *
 * Administrators (members of the group "admins") and the owner of a project have CAN_MANAGE; others have the highest level that was granted to them
 * or to a group they are in. A caller without any learns only that the project's name is taken.
 */
#pragma once

#include "control_plane/call.h"
#include "metadata/permission_row.h"

/* Of the caller on that project, deleted or not. False: call->error is filled. */
bool access_find_level(struct call *call, const struct project_row *project, enum permission_level *ret);
/* PERMISSION_DENIED unless the caller has that level; `what` is what it is needed for: "creating a superuser". */
bool access_require(
        struct call *call, const struct project_row *project, enum permission_level level, const char *what);
/* The same with the level that the route demands. Every call that names a project comes by here (call_find_project). */
bool access_check_project(struct call *call, const struct project_row *project);
bool access_require_admin(struct call *call, const char *what);
/* The viewer for project_row_list(): NULL for administrators. */
const struct project_viewer *access_viewer(const struct call *call, struct project_viewer *storage);
