/* Roles (rest-api.md 3.5, 13): real in Postgres on the branch; children inherit them with their ids. */
#pragma once

#include "control_plane/call.h"
#include "metadata/role_row.h"

bool role_list(struct call *call);
bool role_get(struct call *call);
bool role_create(struct call *call);
bool role_update(struct call *call);
bool role_delete(struct call *call);
bool role_reveal_password(struct call *call);

/* A new password for a role that logs in with one: sets verifier and sealed_password. */
MUST_CHECK status role_renew_password(const struct services *services, const struct project_row *project,
        struct role_row *role, struct error *err);
/* What seals the passwords of a project's roles: the same in all its branches. Caller frees. */
char *role_seal_context(const struct project_row *project);

/* By a full name of the same branch, out of a request's `field`. False: call->error is filled, 404 `role not found; role_id:"x"`. */
bool role_find_by_name(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const char *field, const char *name, struct role_row *ret);
