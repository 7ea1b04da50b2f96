/* Instance role: the roles of an instance in the words of the older API, by their names in Postgres; and the names of its databases. */
#pragma once

#include "control_plane/call.h"

bool instance_role_list(struct call *call);
bool instance_role_get(struct call *call);
/* These answer when Postgres has done it. */
bool instance_role_create(struct call *call);
bool instance_role_delete(struct call *call);
/* What the pickers of the databricks CLI ask for. */
bool instance_database_list(struct call *call);
