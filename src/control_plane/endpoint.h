/* Endpoint: the REST calls on endpoints (rest-api.md 3.3), and the primary endpoint that every branch is made with. */
#pragma once

#include "control_plane/call.h"

bool endpoint_create(struct call *call);
bool endpoint_list(struct call *call);
bool endpoint_get(struct call *call);
bool endpoint_update(struct call *call);
bool endpoint_delete(struct call *call);

/* A READ_WRITE endpoint "primary" with the project's default settings; not stored yet. */
void endpoint_begin_primary(const struct project_row *project, int64_t now_usec, struct endpoint_row *ret);
/*
 * Inside a transaction: writes what an endpoint shall be, and the operation that tells its compute. old_settings: what pg_settings were,
 * NULL when they have not changed.
 */
MUST_CHECK status endpoint_update_row(struct metadata *md, const struct project_row *project,
        const struct branch_row *branch, const struct endpoint_row *endpoint, const char *old_settings,
        const char *actor, int64_t now_usec, struct operation_row *ret, struct error *err);
/* In the caller's transaction: gives it a uid and an address of its own, and stores it. */
MUST_CHECK status endpoint_insert_primary(
        struct metadata *md, int64_t branch, struct endpoint_row *endpoint, struct error *err);
