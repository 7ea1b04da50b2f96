/*
 * IP access lists: /api/2.0/ip-access-lists, as the Databricks workspace API has them, for administrators. What they mean: ip_access.h.
 */
#pragma once

#include "control_plane/call.h"

bool ip_access_list_create(struct call *call);
bool ip_access_list_list(struct call *call);
bool ip_access_list_get(struct call *call);
bool ip_access_list_replace(struct call *call); /* PUT */
bool ip_access_list_update(struct call *call);  /* PATCH */
bool ip_access_list_delete(struct call *call);
