/*
 * SCIM: users, service principals and groups, /api/2.0/preview/scim/v2/{Users,ServicePrincipals,Groups}, as far as the `databricks` CLI, the SDKs
 * and Terraform use it (RFC 7643, 7644). Everybody may read; administrators change.
 *
 * Nobody can lock himself out: not the caller, nor the administrator of settings.admin_login, can be deleted, deactivated or taken from the group
 * "admins". The groups "admins" and "users" are always there.
 */
#pragma once

#include "control_plane/call.h"

/* The collection in the path says which kind. */
bool scim_list(struct call *call);
bool scim_create(struct call *call);
bool scim_get(struct call *call);
bool scim_put(struct call *call);
bool scim_patch(struct call *call);
bool scim_delete(struct call *call);

/* The identity of the id in the path; NOT_FOUND unless it is of that kind. */
bool scim_find(struct call *call, enum identity_kind kind, const char *id, struct identity_row *ret);
