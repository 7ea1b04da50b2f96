/* Roles: the read side (rest-api.md 3.5); children see what they inherited. */
#pragma once

#include "control_plane/call.h"

bool role_list(struct call *call);
bool role_get(struct call *call);
