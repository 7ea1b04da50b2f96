/*
 * Condition: waiting on a pthread condition until a moment of the monotonic clock, which no change of the wall clock can move.
 *
 * Threads: any, as pthread_cond_*().
 */
#pragma once

#include <pthread.h>
#include <time.h>

#include "base/base.h"

/* For pthread_cond_timedwait() with condition_deadline(). To be destroyed with pthread_cond_destroy(). */
void condition_init(pthread_cond_t *condition);
/* So many microseconds from now. */
struct timespec condition_deadline(int64_t usec);
