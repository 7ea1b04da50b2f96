/*
 * Idle states: while there are many requests, processors without work poll instead of sleeping.
 *
 * A request from one process to another wakes the other, and its answer wakes the first. Where a sleeping processor is slow to wake (most virtual
 * machines: tens of microseconds, several times what the request itself takes) that is most of the time that a small request takes. The kernel has
 * an interface for such programs: as long as /dev/cpu_dma_latency is held open with 0 in it, idle processors poll
 * (Documentation/power/pm_qos_interface.rst). It costs power, and time of the host, so it is held only under load, and
 * ends with the process. It needs root; without it all is the same, but slower.
 *
 * Threads: any.
 */
#pragma once

#include "base/base.h"

#define IDLE_STATES_BATCH 256u

struct idle_states;

/* requests_per_sec, at least 1: from so many on processors are kept awake; more than a processor could serve means never. */
struct idle_states *idle_states_new(int64_t requests_per_sec);
struct idle_states *idle_states_free(struct idle_states *states); /* NULL is fine; always returns NULL */

/* Somebody waits for what begins now, a wake: as if there had been many requests. */
void idle_states_begin(struct idle_states *states, int64_t now_usec);
/* IDLE_STATES_BATCH requests more have come. `now_usec`: clock_monotonic_usec(). */
void idle_states_note(struct idle_states *states, int64_t now_usec);
/* Lets go when there was little to do for half a second; to be called now and then. */
void idle_states_look(struct idle_states *states, int64_t now_usec);
bool idle_states_are_held(struct idle_states *states);
/* Is there much to do, whether or not processors can be kept awake for it? */
bool idle_states_are_wanted(struct idle_states *states, int64_t now_usec);
