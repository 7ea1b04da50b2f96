/* Roles (rest-api.md 3.5, 13): real in Postgres on the branch; children inherit them with their ids. */
#pragma once

#include "control_plane/call.h"
#include "control_plane/role_fields.h"
#include "metadata/role_row.h"

bool role_list(struct call *call);
bool role_get(struct call *call);
bool role_create(struct call *call);
bool role_update(struct call *call);
bool role_delete(struct call *call);
bool role_reveal_password(struct call *call);

/*
 * For those who answer otherwise (instance_role.c): what role_create() and role_delete() do once the branch and its rows are known. The operation
 * is recorded and still to be noted (call_note_operation). heir may be NULL.
 */
bool role_begin_create(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const struct role_fields *fields, struct role_row *ret, struct operation_row *ret_operation);
bool role_begin_delete(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const struct role_row *role, const struct role_row *heir, struct operation_row *ret);

/* A new password for a role that logs in with one: sets verifier and sealed_password. */
MUST_CHECK status role_renew_password(const struct services *services, const struct project_row *project,
        struct role_row *role, struct error *err);
/* What seals the passwords of a project's roles: the same in all its branches. Caller frees. */
char *role_seal_context(const struct project_row *project);

/* By a full name of the same branch, out of a request's `field`. False: call->error is filled, 404 `role not found; role_id:"x"`. */
bool role_find_by_name(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const char *field, const char *name, struct role_row *ret);
