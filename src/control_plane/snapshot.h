/* Snapshot: the REST calls on snapshots (rest-api.md 3.12). */
#pragma once

#include "control_plane/call.h"
#include "control_plane/clone_plan.h"
#include "metadata/snapshot_row.h"

bool snapshot_post(struct call *call);
bool snapshot_list_all(struct call *call);
bool snapshot_get(struct call *call);
bool snapshot_delete(struct call *call);

/* By the full name that field spec.source_snapshot has, in this project. */
bool snapshot_find_by_name(
        struct call *call, const struct project_row *project, const char *name, struct snapshot_row *ret);

/* Inside a transaction: a new snapshot, whose id is set by this, and the operation that makes it. For the call above and for schedules. */
MUST_CHECK status snapshot_begin(struct metadata *md, const struct project_row *project,
        struct snapshot_row *snapshot, const struct moment *moment, const char *actor, int64_t now_usec,
        struct operation_row *ret, struct error *err);
/* Inside a transaction: frees the name and records the operation that removes the files. For the call above and for expiry ("system"). */
MUST_CHECK status snapshot_delete_row(struct metadata *md, const struct project_row *project,
        struct snapshot_row *snapshot, const char *actor, int64_t now_usec, struct operation_row *ret,
        struct error *err);
