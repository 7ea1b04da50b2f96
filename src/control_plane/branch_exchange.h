/*
 * Branch exchange: the REST calls that give a branch another content under its name and connection string. Ours, no client has them:
 *
 *   POST …/branches/{b}/reset           {}                        the parent's head
 *   POST …/branches/{b}/restore         {"source_branch_lsn"} or {"source_branch_time"}, and optionally
 *                                       "preserve_under_branch_id": its own past; what it was becomes a branch of that
 *                                       id (else "<id>-before-restore-<n>"), which the response names in "kept_branch"
 *   GET  …/branches/{b}/restore-window  the earliest and latest moment that can be had
 */
#pragma once

#include "control_plane/call.h"

bool branch_reset(struct call *call);
bool branch_restore(struct call *call);
bool branch_restore_window(struct call *call);
