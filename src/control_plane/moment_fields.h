/* Moment fields: source_branch_lsn and source_branch_time of a request, and whether that moment can be had (rest-api.md 4.2). */
#pragma once

#include "control_plane/call.h"
#include "control_plane/clone_plan.h"
#include "control_plane/fields.h"

/* `path` is put in front of the names in messages ("spec."). Neither given: the head. */
bool moment_read(const char *path, const struct text_field *lsn, const struct time_field *time,
        struct moment *ret, struct api_error *error);
/*
 * Refuses at once what is certainly in the future or outside the window; what only the running compute can tell is left to
 * the operation.
 */
bool moment_check(struct call *call, const struct project_row *project, const struct branch_row *branch,
        const struct moment *moment);
