/*
 * Wakefulness: keeps idle processors from sleeping while sessions have much to say (base/idle_states.h, docs/decisions/0020). Between a query and its
 * answer four processes are woken one after the other; where a sleeping processor is slow to wake, that is most of what a query takes.
 *
 * Threads: the loop's.
 */
#pragma once

#include <uv.h>

#include "base/base.h"

struct wakefulness;

/* From so many bursts of bytes per second on, either way, of all sessions together. */
struct wakefulness *wakefulness_open(uv_loop_t *loop, int64_t bursts_per_sec);
void wakefulness_close(struct wakefulness *wakefulness); /* frees itself from the loop */

/* A session has moved bytes. */
void wakefulness_note(struct wakefulness *wakefulness);
bool wakefulness_is_held(const struct wakefulness *wakefulness);
