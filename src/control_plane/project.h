/* Project: the REST calls on projects (rest-api.md 3.1). */
#pragma once

#include "control_plane/call.h"

bool project_create(struct call *call);
bool project_list(struct call *call);
bool project_get(struct call *call);
bool project_update(struct call *call);
bool project_delete(struct call *call);
bool project_undelete(struct call *call);

/* Inside a transaction: a soft-deleted project whose time is over goes for good. For the reaper. */
MUST_CHECK status project_purge_due(
        struct metadata *md, struct project_row *project, int64_t now_usec, struct error *err);
