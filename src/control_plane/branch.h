/* Branch: the REST calls on branches (rest-api.md 3.2); reset and restore are in branch_exchange.h. */
#pragma once

#include "control_plane/branch_fields.h"
#include "control_plane/call.h"
#include "control_plane/clone_plan.h"

bool branch_create(struct call *call);
bool branch_list(struct call *call);
bool branch_get(struct call *call);
bool branch_update(struct call *call);
bool branch_delete(struct call *call);
bool branch_undelete(struct call *call);

/* A root cannot be deleted or reset. A branch of a snapshot has no parent, but is none. */
static inline bool branch_is_root(const struct branch_row *branch)
{
	return branch->source == 0 && branch->source_snapshot[0] == '\0';
}
/* May the project have one more? */
bool branch_check_quota(struct call *call, const struct project_row *project);

/* A new branch: checks everything that is to be checked and makes the row and its moment; touches nothing. */
bool branch_prepare(struct call *call, const struct project_row *project, const char *branch_id,
        const struct branch_fields *fields, struct branch_row *ret, struct moment *ret_moment);
/* Inside a transaction: the branch, its endpoint, the project's next timeline, and the operation that makes it. */
MUST_CHECK status branch_insert(struct call *call, struct project_row *project, const struct moment *moment,
        struct branch_row *branch, struct endpoint_row *endpoint, struct operation_row *ret,
        struct error *err);

/* Is there anything that keeps it from being deleted? */
bool branch_check_may_delete(
        struct call *call, const struct project_row *project, const struct branch_row *branch);
/*
 * Inside a transaction: marks a branch deleted (or purged) and records the operation that the reconciler carries out.
 * For the calls above and for expiry and retention ("system").
 */
MUST_CHECK status branch_delete_row(struct metadata *md, const struct project_row *project,
        struct branch_row *branch, bool is_purge, int64_t retention_sec, const char *actor, int64_t now_usec,
        struct operation_row *ret, struct error *err);
