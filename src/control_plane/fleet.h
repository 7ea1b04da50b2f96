/*
 * Fleet: the computes of this machine as control sees them. Starts a supervisor per endpoint when asked, watches it,
 * starts it anew when it died without saying "stopped", adopts those that a dead control left running.
 *
 * States of one endpoint here (what the supervisor says is its own affair, see docs/architecture.md):
 *
 *            open                 ready                suspend/inactive
 *   ASLEEP ────────▶ STARTING ─────────────▶ RUNNING ──────────────────▶ STOPPING ──▶ ASLEEP
 *      ▲                │ ▲                      │                            │
 *      └── failed ──────┘ └──── died (restart, with back-off) ◀───────────────┘ an open came meanwhile
 *
 * Invariants
 *   F1  at most one supervisor process per endpoint (it holds supervisor.lock; the fleet checks before it starts one).
 *   F2  every callback given to fleet_open/fleet_suspend is called exactly once, from the loop, never from inside the call.
 *   F3  a crash of a supervisor that was RUNNING restarts it; three failures to get ready in a row answer the waiting
 *       opens with the reason, and the next open tries again.
 *   F4  an open during STOPPING waits for the end of it and starts again: it never fails because of the suspension.
 * Threads: the loop's.
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

#include "base/base.h"
#include "data_directory/data_directory.h"

enum fleet_state { FLEET_ASLEEP, FLEET_STARTING, FLEET_RUNNING, FLEET_STOPPING };
const char *fleet_state_name(enum fleet_state state); /* "asleep", … */

struct fleet_member {
	const char *uid; /* endpoint uid; valid while the member is registered */
	enum fleet_state state;
	int64_t since_usec;       /* wall clock of the last state change */
	int64_t last_active_usec; /* 0: unknown */
	pid_t pid, postgres_pid;  /* 0: none */
};

struct fleet_events {
	/* Writes computes/UID/spec.json (the folder exists) just before a start; an error fails the start. */
	status (*write_spec)(void *owner, const char *uid, struct error *err);
	/* After every change of state or last_active; `member` is the fleet's. */
	void (*on_change)(void *owner, const struct fleet_member *member);
};

/* err is NULL on success. */
typedef void (*fleet_done_fn)(void *arg, const char *uid, const struct error *err);

struct fleet;
MUST_CHECK status fleet_create(uv_loop_t *loop, const struct data_directory *dd, const char *binary_path,
        const struct fleet_events *events, void *owner, struct fleet **ret, struct error *err);

/*
 * Makes an endpoint known. A supervisor that runs is adopted; one that is gone without a "stopped" in last_exit.json is
 * started again when was_running says it should be up. Creates computes/UID and its socket folder if missing.
 */
MUST_CHECK status fleet_register(struct fleet *fleet, const char *uid, bool was_running, struct error *err);
/* For a deleted endpoint, once asleep: removes computes/UID. STATUS_CONFLICT unless asleep. */
MUST_CHECK status fleet_forget(struct fleet *fleet, const char *uid, struct error *err);

const struct fleet_member *fleet_look(const struct fleet *fleet, const char *uid); /* NULL: unknown */
void fleet_each(const struct fleet *fleet, void (*fn)(void *arg, const struct fleet_member *), void *arg);
char *fleet_socket_dir(const struct fleet *fleet, const char *uid); /* caller frees */

void fleet_open(struct fleet *fleet, const char *uid, fleet_done_fn done, void *arg);
/* Clean shutdown; done at once (from the loop) when asleep. */
void fleet_suspend(struct fleet *fleet, const char *uid, fleet_done_fn done, void *arg);
/* Writes the spec again and tells a running supervisor; done when it has applied it (or at once when asleep). */
void fleet_apply(struct fleet *fleet, const char *uid, fleet_done_fn done, void *arg);

/* Suspends all, refuses opens from now on; done(arg, NULL, NULL) when all are asleep. */
void fleet_shut_down(struct fleet *fleet, fleet_done_fn done, void *arg);
/* Lets go: computes run on, nothing is watched any more. Frees. For control's own exit. */
void fleet_abandon(struct fleet *fleet);
