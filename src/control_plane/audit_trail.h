/*
 * Audit trail: the files in DIR/audit that hold one line of JSON per audited event (docs/formats/audit.md), appended to, never changed.
 *
 * Invariants
 *   A1  a line that was appended has been written to its file when audit_trail_append() returns, or, while the disk refuses, waits in memory
 *       (BACKLOG_MAX) to be written in its order as soon as it can be. Lines beyond that are counted, and the next line that is written says
 *       how many are missing. Nothing waits for the disk to have room, and nothing is refused because of it.
 *   A2  within about a second what was written is synced, by a worker thread: a crash of control loses nothing, a power failure that second.
 *   A3  a file ends when it has reached its size; the oldest files go when all are older than the retention, or when all together
 *       take too much. The newest one stays whatever happens.
 *   A4  a line that a crash has torn is ended by the next start, so that all others can be read.
 * Threads: the loop's.
 */
#pragma once

#include <uv.h>

#include "base/base.h"
#include "data_directory/data_directory.h"

struct audit_trail;

struct audit_trail_numbers {
	uint64_t lines;    /* written since the start */
	uint64_t lost;     /* that could neither be written nor kept */
	int64_t bytes;     /* of all files */
	char trouble[256]; /* why nothing can be written; empty: it can */
};

/* `dd` is borrowed until audit_trail_close(). */
MUST_CHECK status audit_trail_open(
        uv_loop_t *loop, const struct data_directory *dd, struct audit_trail **ret, struct error *err);
/* One line, without its end; it must be JSON without line ends. NULL is fine (tests): then it goes nowhere. */
void audit_trail_append(struct audit_trail *trail, struct slice line);
void audit_trail_look(const struct audit_trail *trail, struct audit_trail_numbers *ret);
/* Syncs; frees itself from the loop. NULL is fine. */
void audit_trail_close(struct audit_trail *trail);
