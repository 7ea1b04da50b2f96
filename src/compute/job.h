/*
 * Job: one blocking piece of work of the supervisor on libuv's thread pool. Its inputs are not touched by the loop until
 * on_done; on_done comes once, from the loop.
 */
#pragma once

#include <uv.h>

#include "base/base.h"

struct job;
typedef status (*job_work_fn)(void *input, struct error *err); /* in a thread of the pool */
/* Takes input back; err is NULL on success. */
typedef void (*job_done_fn)(void *owner, void *input, const struct error *err);

void job_start(uv_loop_t *loop, job_work_fn work, void *input, job_done_fn on_done, void *owner);
