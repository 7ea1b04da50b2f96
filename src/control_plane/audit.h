/*
 * Audit: which events are audited, and how their records look (docs/formats/audit.md). Calls come from one place, api_handle(), so that no
 * route can be forgotten: every call that is no GET, and every call that was refused because of who made it. GETs that reveal nothing secret
 * are not audited. The second kind of record is how an operation ended.
 */
#pragma once

#include "control_plane/audit_trail.h"
#include "control_plane/call.h"
#include "metadata/operation_row.h"

/* After it was answered. `error_code` is NULL when it succeeded. */
void audit_call(const struct call *call, int http_status, const char *error_code);
/* The reconciler has ended it; before the transaction's result is told to anybody. */
void audit_operation(
        const struct services *services, const struct operation_row *operation, const char *error_code);
