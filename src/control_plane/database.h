/* Databases: the read side (rest-api.md 3.4). */
#pragma once

#include "control_plane/call.h"

bool database_list(struct call *call);
bool database_get(struct call *call);
