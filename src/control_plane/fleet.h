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
 *       A supervisor that says "failed" is not tried again before the next open: it knew why.
 *   F4  an open during STOPPING waits for the end of it and starts again: it never fails because of the suspension.
 *   F5  nothing is started, written or reported from inside a call: that comes from the loop's next turn.
 * Threads: the loop's. Every function may be called from every callback of the fleet.
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

#include "base/base.h"
#include "control_plane/fleet_report.h"
#include "data_directory/data_directory.h"

/* Endpoint uids become folder names: letters, digits, '-' and '_', at most this many. */
#define FLEET_UID_MAX 63

/* Bytes of a role's name. */
#define FLEET_ROLE_MAX 63

/* Starts in a row that may end before "ready"; then whoever waits is told why. */
#define FLEET_START_ATTEMPTS 3

enum fleet_state { FLEET_ASLEEP, FLEET_STARTING, FLEET_RUNNING, FLEET_STOPPING };
const char *fleet_state_name(enum fleet_state state); /* "asleep", … */

struct fleet_member {
	const char *uid; /* endpoint uid; valid while the member is registered */
	enum fleet_state state;
	int64_t since_usec;         /* wall clock of the last state change */
	bool has_changed;           /* its state, since it was registered; else since_usec is when that was */
	int64_t last_active_usec;   /* 0: unknown */
	pid_t pid, postgres_pid;    /* 0: none */
	struct fleet_timing timing; /* of the last start; all 0 when not known */
	struct fleet_storage storage; /* as last told; stays when it sleeps */
	struct fleet_pooler pooler;   /* while it runs; all 0 when nobody has used it */
};

struct fleet_events {
	/*
	 * Writes computes/UID/spec.json (the folder exists) just before a start; an error fails the start and answers the
	 * opens that wait for it. This is the place to refuse for an endpoint that has been disabled or deleted meanwhile.
	 */
	status (*write_spec)(void *owner, const char *uid, struct error *err);
	/* After every change of state, last_active, Postgres' process id or the size of the storage; `member` is the fleet's. Always from the loop. */
	void (*on_change)(void *owner, const struct fleet_member *member);
	/* A start has ended: the compute accepts writes, or it was given up. May be NULL. */
	void (*on_start)(void *owner, const struct fleet_member *member, bool has_failed);
};

/* err is NULL on success. */
typedef void (*fleet_done_fn)(void *arg, const char *uid, const struct error *err);

/* point is NULL on failure, err on success. */
typedef void (*fleet_point_fn)(
        void *arg, const char *uid, const struct fleet_point *point, const struct error *err);

struct fleet;
/* `dd`, `events` and `owner` are borrowed until fleet_abandon() and its callbacks are through. */
MUST_CHECK status fleet_create(uv_loop_t *loop, const struct data_directory *dd, const char *binary_path,
        const struct fleet_events *events, void *owner, struct fleet **ret, struct error *err);

/*
 * Makes an endpoint known. A supervisor that runs is adopted; one that is gone without a "stopped" in last_exit.json is
 * started again when was_running says it should be up. Creates computes/UID and its socket folder if missing.
 * An endpoint that is known already stays as it is.
 */
MUST_CHECK status fleet_register(struct fleet *fleet, const char *uid, bool was_running, struct error *err);
/*
 * For a deleted endpoint, once asleep: removes computes/UID. STATUS_CONFLICT unless asleep, STATUS_NOT_FOUND when unknown.
 * An open that waits for a new start after the suspension is answered with STATUS_NOT_FOUND.
 */
MUST_CHECK status fleet_forget(struct fleet *fleet, const char *uid, struct error *err);

const struct fleet_member *fleet_look(const struct fleet *fleet, const char *uid); /* NULL: unknown */
/* In the order of the uids. fn may not register or forget. */
void fleet_each(const struct fleet *fleet, void (*fn)(void *arg, const struct fleet_member *), void *arg);
/* Of all computes, since control was started: clients that were ended because their pooler was. */
int64_t fleet_pooler_clients_ended(const struct fleet *fleet);
char *fleet_socket_dir(const struct fleet *fleet, const char *uid); /* caller frees */
char *fleet_pooler_dir(const struct fleet *fleet, const char *uid); /* the same */

/* done(NULL) when the compute accepts writes. */
void fleet_open(struct fleet *fleet, const char *uid, fleet_done_fn done, void *arg);
/* Clean shutdown; done at once (from the loop) when asleep. Done too when the supervisor dies of it: it sleeps then. */
void fleet_suspend(struct fleet *fleet, const char *uid, fleet_done_fn done, void *arg);
/*
 * Writes the spec again and tells a running supervisor; done when it has applied the spec's revision, with its reason when
 * it could not. At once when asleep: every start writes the spec anew and reconciles what the volume has not seen.
 */
void fleet_apply(struct fleet *fleet, const char *uid, fleet_done_fn done, void *arg);
/*
 * A restore point of a compute at its head, now; and its WAL flushed and archived up to now, without a restore point. While it starts
 * they wait for its end; it is not started for them: STATUS_CONFLICT when it is asleep, or falls asleep before the answer. The
 * supervisor is asked again when the connection to it was lost.
 */
void fleet_point(struct fleet *fleet, const char *uid, fleet_point_fn done, void *arg);
void fleet_flush(struct fleet *fleet, const char *uid, fleet_point_fn done, void *arg);

/*
 * A compute that runs lets the role use its pooler, and starts that if it does not run. Waits while the compute starts; it is not started for it:
 * STATUS_CONFLICT when it is asleep, or falls asleep before the answer. STATUS_DENIED: there is no such role, or it may not log in;
 * STATUS_UNSUPPORTED: there is no pooler on this machine; STATUS_UNAVAILABLE: may work in a moment.
 */
void fleet_pool(struct fleet *fleet, const char *uid, const char *role, fleet_done_fn done, void *arg);

/* Suspends all, refuses opens from now on; done(arg, NULL, NULL) when all are asleep. */
void fleet_shut_down(struct fleet *fleet, fleet_done_fn done, void *arg);
bool fleet_is_shutting_down(const struct fleet *fleet);
/*
 * Lets go: computes run on, nothing is watched any more. For control's own exit. The callbacks that still wait come with
 * STATUS_UNAVAILABLE from the loop, which frees the fleet in its next turns: run it until it is empty.
 */
void fleet_abandon(struct fleet *fleet);

/* How long a supervisor may be silent before that counts as a failure; 30 s unless set (tests do). */
void fleet_set_patience(struct fleet *fleet, int64_t milliseconds);
