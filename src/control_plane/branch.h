/* Branch: the REST calls on branches (rest-api.md 3.2). */
#pragma once

#include "control_plane/call.h"

bool branch_create(struct call *call);
bool branch_list(struct call *call);
bool branch_get(struct call *call);
bool branch_update(struct call *call);
bool branch_delete(struct call *call);
bool branch_undelete(struct call *call);

/*
 * Inside a transaction: marks a branch deleted (or purged) and records the operation that the reconciler carries out.
 * For the calls above and for expiry and retention ("system").
 */
MUST_CHECK status branch_delete_row(struct metadata *md, const struct project_row *project,
        struct branch_row *branch, bool is_purge, int64_t retention_sec, const char *actor, int64_t now_usec,
        struct operation_row *ret, struct error *err);
