/*
 * Workspace configuration: /api/2.0/workspace-conf, as the Databricks workspace API has it, for administrators. Settings are texts; the one there is
 * says whether IP access lists count (ip_access.h).
 */
#pragma once

#include "control_plane/call.h"

bool workspace_conf_get(struct call *call); /* ?keys=NAME,NAME */
bool workspace_conf_set(struct call *call);
