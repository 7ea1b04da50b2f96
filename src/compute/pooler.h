/*
 * Pooler: the PgBouncer beside a compute's Postgres, and who may use it.
 *
 *             first question            its socket answers
 *   STOPPED ──────────────▶ STARTING ───────────────────────▶ RUNNING
 *      ▲                        │ ends, takes too long            │ pooler_stop(), ends, does not answer
 *      └─── its process is gone ┴──────────── ENDING ◀────────────┘
 *
 * Started when the first client asks for it, so that a wake costs what it does without; it serves one run of Postgres and ends with it.
 *
 * Invariants
 *   P1  the process cannot outlive us (leashed_process.h, SIGKILL), nor the Postgres it was started for.
 *   P2  a name is let in only as the role that Postgres has under it now, which may log in. When the name means another role later, or none, its
 *       clients and their connections to Postgres are ended: at the next question, and at the next look, POOLER_LOOK_MS later at most.
 *   P3  every question is answered once, perhaps within the call; with an error when there is no Postgres.
 *   P4  a connection to Postgres that was idle at one look and is gone at the next is no activity of anybody (pooler_seen.ended).
 *
 * Threads: the loop's, which must be the process's main thread; what blocks is done by jobs, one at a time.
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

#include "base/base.h"
#include "base/system_user.h"
#include "compute/pooler_sight.h"

#define POOLER_LOOK_MS   5000
#define POOLER_START_MS  10000 /* for its socket to answer */
#define POOLER_ROLES_MAX 1000  /* in one question */

#define POOLER_LOG "pooler.log" /* in computes/UID */

struct pooler;

struct pooler_options {
	const char *folder;                 /* computes/UID */
	const char *postgres_socket_folder; /* copied, both */
	struct system_user postgres_user;
	const struct system_user *user; /* copied; NULL: Postgres was started without trusting one */
	int64_t clients_max, wait_sec;
	void (*on_change)(void *owner); /* what pooler_seen() tells is another */
	void (*on_closed)(void *owner); /* after pooler_close(): it is no more */
	void *owner;
};

/* Of the Postgres that runs. */
struct pooler_postgres {
	int major, connections; /* pooler_connections() */
};

struct pooler_seen {
	pid_t pid;                   /* 0: it does not run */
	int connections;             /* that a database's pools may have */
	struct pooler_counts counts; /* of the last look; the totals grow for as long as the compute runs */
	int64_t ended; /* connections to Postgres that a look had seen and a later one did not; grows */
	int64_t clients_ended; /* with the pooler, as many as the look before had seen; grows */
};

struct pooler *pooler_create(uv_loop_t *loop, const struct pooler_options *options);
/* Postgres is ready / is going or gone, which is told at the latest when it is gone. */
void pooler_begin(struct pooler *pooler, const struct pooler_postgres *postgres);
void pooler_stop(struct pooler *pooler);

/* One of those that were asked for. err NULL: it may use the pooler; else STATUS_DENIED in Postgres' words. */
struct pooler_verdict {
	const char *role;
	const struct error *err;
};
/* err: nobody can use it, of which STATUS_UNAVAILABLE passes; then there are no verdicts. Valid during the call. */
typedef void (*pooler_answer_fn)(void *owner, uint64_t ticket, const char *socket_folder,
        const struct pooler_verdict *verdicts, size_t count, const struct error *err);
/* Names are copied; at most POOLER_ROLES_MAX. */
void pooler_ask(struct pooler *pooler, const char *const *roles, size_t count, uint64_t ticket,
        pooler_answer_fn on_answer, void *owner);

/* A look that begins after the call; on_looked comes from the loop, whatever becomes of it. False: it does not run, and nothing comes. */
typedef void (*pooler_looked_fn)(void *owner);
MUST_CHECK bool pooler_look(struct pooler *pooler, pooler_looked_fn on_looked, void *owner);

const struct pooler_seen *pooler_seen(const struct pooler *pooler);
/* Sessions of ours that Postgres has counted since pooler_begin(). */
int64_t pooler_sessions(const struct pooler *pooler);

/* Ends what runs, answers what waits, frees itself. Nothing but on_closed, and answers, after this. */
void pooler_close(struct pooler *pooler);
