/* Operation: waits for a long-running operation of the API (rest-api.md section 1.7). */
#pragma once

#include "cli/rest.h"

/*
 * Polls until `operation` (the answer of a POST, PATCH or DELETE; taken) is done; *ret is the finished operation, to
 * be freed. A failed operation is an error, "operation failed: [CODE] message". timeout_usec 0: for ever.
 * Survives a restart of the server. Shows progress on stderr: a line that changes if that is a terminal, else a line every ten seconds.
 *
 * Ctrl-C ends the waiting, not the operation: the name to look at it by is printed, and the process ends as by SIGINT.
 */
MUST_CHECK status operation_wait(struct rest *rest, yyjson_doc *operation, int64_t timeout_usec,
        const char *title, yyjson_doc **ret, struct error *err);
/* GET of an operation by its name. */
MUST_CHECK status operation_get(struct rest *rest, const char *name, yyjson_doc **ret, struct error *err);
