/*
 * Lifecycle: the state machine of one compute, from its spec to its end.
 *
 *                    up, clean, reconciled          suspend asked, or inactive
 *   STARTING ─────────────────────────────▶ READY ────────────────────────────▶ SUSPENDING ──▶ STOPPED
 *    ▲  │  ▲                                  │                                      ▲
 *    │  │  └─── Postgres or its mount died ───┘                                      │
 *    │  ├──────────────────────────── suspend asked ─────────────────────────────────┘
 *    │  └──▶ FAILED (it cannot start, or dies again and again)
 *    └── a clone's first, quiet start is followed by an ordinary one
 *
 * What holds
 *   C1  READY means: Postgres accepts writes, on its own timeline, with the roles and databases of the spec. A clone
 *       has in addition all records up to where it was made (volume.h, V7).
 *   C2  at most one Postgres runs on the volume, none without this process (postgres_process.h), and none without the page file
 *       system that it was started on (storage.h).
 *   C3  a suspension is a clean shutdown; only one that takes too long is cut short, and then the next start recovers.
 *   C4  STOPPED and FAILED are final and durable in last_exit.json before anybody is told.
 *   C5  an ordinary start runs no SQL and syncs nothing.
 *   C6  after an unclean end Postgres starts only on what is durable (storage.h, A3).
 *
 * Threads: the loop's, which must be the process's main thread; SQL and look-ups run as jobs.
 */
#pragma once

#include <uv.h>

#include "base/base.h"
#include "data_directory/data_directory.h"

struct lifecycle;

/* Tells when it is over; the lifecycle frees itself after it. */
typedef void (*lifecycle_end_fn)(void *owner, bool has_failed);
typedef void (*lifecycle_ready_fn)(void *owner); /* each time it gets READY */

struct lifecycle_options {
	const struct data_directory *dd; /* borrowed */
	const char *endpoint_uid;
	int64_t begun_usec; /* monotonic: when the process started, for the timing */
	lifecycle_ready_fn on_ready;
	lifecycle_end_fn on_end;
	void *owner;
};

/* Starts; what goes wrong from here on, the state tells. An error means: nobody can be told. */
MUST_CHECK status lifecycle_start(
        uv_loop_t *loop, const struct lifecycle_options *options, struct lifecycle **ret, struct error *err);
/* As the message of the same name, with reason "requested". */
void lifecycle_suspend(struct lifecycle *lc);
