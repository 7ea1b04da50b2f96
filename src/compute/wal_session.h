/*
 * WAL session: one admin connection, and what is asked of a running Postgres about its WAL: how far it is, what a checkpoint made
 * the beginning of recovery, and a mark behind a cut.
 *
 * Connects when first asked, and anew after a failure. Threads: any, one at a time per session; calls block.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

struct wal_session;
struct wal_session *wal_session_create(const char *socket_folder);
struct wal_session *wal_session_free(struct wal_session *session); /* NULL is fine; always returns NULL */
/* Postgres was started anew: the next call connects again. From any thread. */
void wal_session_renew(struct wal_session *session);
/* How often it connected: the server counts our sessions like others'. */
int64_t wal_session_count(const struct wal_session *session);

/* The process that makes checkpoints; 0 until the first call has connected. From any thread. */
pid_t wal_session_checkpointer(const struct wal_session *session);

struct wal_position {
	uint64_t lsn; /* everything up to here has been inserted */
	int64_t records; /* ever written, as the server's statistics know it: a little late, and 0 again after a crash */
	uint32_t timeline;
	uint32_t segment_size;
};
MUST_CHECK status wal_session_look(struct wal_session *session, struct wal_position *ret, struct error *err);

/* Flushes; everything committed before the call is before *ret_lsn, which is on disk. */
MUST_CHECK status wal_session_flush(
        struct wal_session *session, uint64_t *ret_lsn, uint32_t *ret_timeline, struct error *err);

/*
 * With `do_checkpoint` an immediate checkpoint first. Then where recovery begins, as pg_control says: a cut that is made after the call
 * has in its pg_control this position or a later one, since checkpoints only go forward; so WAL from here on is enough for it.
 */
struct wal_redo {
	uint64_t lsn;
	uint32_t timeline;
};
MUST_CHECK status wal_session_redo(
        struct wal_session *session, bool do_checkpoint, struct wal_redo *ret, struct error *err);

/* Inserts a restore point record and flushes it. Called after a cut, its LSN is where the cut is consistent (restore_point.h). */
struct wal_mark {
	uint64_t lsn; /* behind the record */
	uint64_t
	        after_lsn; /* behind everything we inserted: as long as the server is there, nothing has happened */
	uint32_t timeline, segment_size;
	bool needs_hygiene; /* at lsn there are subscriptions, or there may be prepared transactions */
	int64_t wall_usec;  /* every commit before lsn has a timestamp <= this */
};
MUST_CHECK status wal_session_mark(struct wal_session *session, struct wal_mark *ret, struct error *err);

/* How many blocks the WAL touched that this Postgres replayed when it started; 0 when it does not know. */
MUST_CHECK status wal_session_replayed_blocks(struct wal_session *session, int64_t *ret, struct error *err);

/*
 * Cancels statements of clients' transactions that have written. all_since_usec: of transactions that began before then only (wall
 * clock); 0: of all.
 */
MUST_CHECK status wal_session_cancel_writers(
        struct wal_session *session, int64_t began_before_usec, struct error *err);
