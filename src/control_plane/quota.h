/* Quota: how many there may be of something (rest-api.md 4.4). Each limit is a setting of its own, which the refusal names. */
#pragma once

#include "control_plane/call.h"

/*
 * Is there room for one more beside `count`? Else QUOTA_EXCEEDED. holder and things are for the message: "the project",
 * "branches"; setting is the limit's name in struct settings.
 */
bool quota_check(
        struct call *call, const char *setting, const char *holder, const char *things, int64_t count);

/*
 * May the compute `uid` run too? That of the default branch always, and one that a clone is being made of. STATUS_LIMIT: as many others of the
 * project are awake as may be.
 */
MUST_CHECK status quota_check_compute(const struct services *services, const struct project_row *project,
        const struct branch_row *branch, const char *uid, struct error *err);
/* The same for a compute that is still to be made, as an answer to a call. */
bool quota_check_new_compute(struct call *call, const struct project_row *project);
