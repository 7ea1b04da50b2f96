/*
 * Permission: /api/2.0/permissions/database-projects/{id or uid} (rest-api.md 6.4): who may do what with a project. database-instances/{name} is the
 * same by the name that the older API has for it.
 *
 * What is stored is what was granted. That the owner and the group "admins" have CAN_MANAGE follows from what they are: it is shown as inherited,
 * cannot be lowered, and is all that is left after a PUT of nothing. Nobody can take CAN_MANAGE from himself.
 */
#pragma once

#include "control_plane/call.h"

bool permission_get(struct call *call);
bool permission_put(struct call *call);   /* replaces what was granted */
bool permission_patch(struct call *call); /* adds to it */
bool permission_levels(struct call *call);
