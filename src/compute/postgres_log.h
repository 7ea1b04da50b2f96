/* Postgres log: computes/UID/postgres.log, kept small, and asked why a start failed. */
#pragma once

#include <sys/types.h>

#include "base/base.h"

#define POSTGRES_LOG_MAX_BYTES (16 << 20)

/* When larger than the maximum, it becomes postgres.log.1 and starts anew. Only while no Postgres writes to it. */
MUST_CHECK status postgres_log_rotate(const char *path, struct error *err);
/* The same while Postgres writes: copied, then cut to nothing. Lines written in between are lost. */
MUST_CHECK status postgres_log_bound(const char *path, struct error *err);

off_t postgres_log_size(const char *path); /* 0 when there is none */

/*
 * Why did the start whose first byte in the log is `since` fail? One line of printable text: the fatal message, and what Postgres
 * said before it when that is where the cause is (a bad setting). False when the log does not tell.
 */
bool postgres_log_reason(const char *path, off_t since, char *out, size_t size);
/* The same on text, for tests. */
bool postgres_log_find_reason(struct slice text, char *out, size_t size);

/* What the recovery of the start whose first byte in the log is `since` replayed, by Postgres' own account. False when there was none. */
struct postgres_redo {
	uint64_t start_lsn, end_lsn;
	int64_t elapsed_usec;
};
bool postgres_log_redo(const char *path, off_t since, struct postgres_redo *ret);
bool postgres_log_find_redo(struct slice text, struct postgres_redo *ret);
