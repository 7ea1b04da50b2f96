/*
 * Cancel delivery: one CancelRequest to one compute. The server closes the connection once it has sent the signal;
 * only then is the delivery done, so that the client that waits for the end of its own connection can rely on it.
 * Threads: the loop's.
 */
#pragma once

#include <uv.h>

#include "base/base.h"
#include "pgwire/message.h"

struct cancel_delivery;
typedef void (*cancel_done_fn)(void *owner);

/* NULL when the compute cannot be reached: then there is nothing to cancel. done comes once, from the loop. */
struct cancel_delivery *cancel_delivery_start(
        uv_loop_t *loop, const char *socket_path, struct cancel_key key, cancel_done_fn done, void *owner);
void cancel_delivery_close(
        struct cancel_delivery *delivery); /* frees itself from the loop; no done after this */
