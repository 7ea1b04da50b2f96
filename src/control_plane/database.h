/* Databases (rest-api.md 3.4): real in Postgres on the branch; children inherit them with their ids. */
#pragma once

#include "control_plane/call.h"

bool database_list(struct call *call);
bool database_get(struct call *call);
bool database_create(struct call *call);
bool database_update(struct call *call);
bool database_delete(struct call *call);
