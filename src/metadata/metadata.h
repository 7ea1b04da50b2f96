/*
 * Metadata: metadata.db, the one record of what exists and what shall be done. SQLite in WAL mode,
 * synchronous=FULL: a committed transaction survives power loss.
 *
 * Invariants
 *   M1  every change happens inside a transaction; what a crash leaves is the state before or after one,
 * never between. M2  the schema version is PRAGMA user_version; opening migrates step by step, each step one
 * transaction. A file of a newer version is refused, untouched. M3  row ids are never used twice
 * (AUTOINCREMENT), so an operation may name a row that is gone. Threads: one, the loop's. Calls block on the
 * disk for milliseconds.
 */
#pragma once

#include "base/base.h"

struct metadata;

/* Opens or creates (0600). STATUS_CORRUPT when it is no database, STATUS_UNSUPPORTED when a newer Tarn wrote it. */
MUST_CHECK status metadata_open(const char *path, struct metadata **ret, struct error *err);
struct metadata *metadata_close(struct metadata *md); /* NULL is fine; always returns NULL */
static inline void metadata_closep(struct metadata **md)
{
	*md = metadata_close(*md);
}

/*
 * struct transaction is for CLEANUP(transaction_end): what was not committed is rolled back at the end of the
 * scope.
 *
 *   CLEANUP(transaction_end) struct transaction tx = { 0 };
 *   if (transaction_begin(md, &tx, err) != STATUS_OK) …
 *   … changes …
 *   return transaction_commit(&tx, err);
 */
struct transaction {
	struct metadata *md; /* NULL: none is open */
};
MUST_CHECK status transaction_begin(struct metadata *md, struct transaction *tx, struct error *err);
MUST_CHECK status transaction_commit(struct transaction *tx, struct error *err);
void transaction_end(struct transaction *tx);

/*
 * For who keeps in memory what is in the metadata: told when a transaction has ended, and which way, from transaction_commit() or transaction_end(). One
 * watcher; fn NULL: none. It begins no transaction.
 */
typedef void (*metadata_ended_fn)(void *owner, bool is_committed);
void metadata_watch(struct metadata *md, metadata_ended_fn fn, void *owner);

/* What has been done so far, for tests and benchmarks. */
struct metadata_numbers {
	uint64_t opened;          /* statements */
	uint64_t prepared;        /* of those: that were not there from before */
	uint64_t full_scan_steps; /* rows that were visited because no index led to what was wanted */
};
void metadata_look(const struct metadata *md, struct metadata_numbers *ret);

/* A named number that only grows: returns the value and stores value + 1. First value: `first`. */
MUST_CHECK status metadata_next_number(
        struct metadata *md, const char *name, int64_t first, int64_t *ret, struct error *err);
