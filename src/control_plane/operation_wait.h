/*
 * Operation wait: the older API has no operations, so some of its calls answer only when what they have begun has ended. The request is held
 * (http/server.h) and comes again from its beginning; which operation it began is remembered here, by its trace id.
 *
 * Threads: the loop's. A crash ends the connection; the operation goes on.
 */
#pragma once

#include "control_plane/call.h"

struct operation_waits;

/* services->waits is set to it. */
struct operation_waits *operation_waits_create(struct services *services);
/* After the server is closed; NULL is fine. */
void operation_waits_close(struct operation_waits *waits);
/* For the reconciler: it has ended, successfully or not. NULL is fine. */
void operation_waits_end(struct operation_waits *waits, const char *operation_id);

/* Has this request begun an operation when it was here before? Then *ret is that, as it is now. */
bool operation_wait_find(struct call *call, struct operation_row *ret);
/* Notes the operation and holds the request until it has ended: false. True where requests cannot be held: answer at once. */
bool operation_wait_begin(struct call *call, const struct operation_row *operation);
/* Of one that has ended: false with call->error filled when it has failed. */
bool operation_wait_check(struct call *call, const struct operation_row *operation);
