/*
 * WAL history: which timeline each part of a volume's WAL is on, as Postgres' timeline history files have it (access/transam/timeline.c):
 * lines "timeline <tab> LSN where it was left <tab> reason". The last timeline has no line: it is the file's own.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"

#define WAL_HISTORY_MAX_BYTES (1u << 20)

struct wal_history {
	struct wal_history_line {
		uint32_t timeline;
		uint64_t end_lsn;
	} * lines; /* ascending */
	size_t count;
	uint32_t timeline; /* the last one */
};

void wal_history_done(struct wal_history *history); /* for CLEANUP */
MUST_CHECK status wal_history_parse(
        struct slice text, uint32_t timeline, struct wal_history *ret, struct error *err);
/* Of a folder that has TIMELINE.history; timeline 1 needs none. STATUS_NOT_FOUND. */
MUST_CHECK status wal_history_read(
        const char *folder, uint32_t timeline, struct wal_history *ret, struct error *err);
/* `parent` cut off at end_lsn, and a new timeline behind it. LSN lines at or behind end_lsn are left out. */
void wal_history_branch(
        const struct wal_history *parent, uint64_t end_lsn, uint32_t timeline, struct wal_history *ret);
void wal_history_format(const struct wal_history *history, const char *reason, struct buffer *out);
uint32_t wal_history_timeline_at(const struct wal_history *history, uint64_t lsn); /* of the byte at lsn */
