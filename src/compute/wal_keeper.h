/*
 * WAL keeper: watches a volume's wal/ while its Postgres runs, and brings the archive up to date as soon as a file has got its name
 * there (wal_store/wal_archive.h). What fails is tried again until it works.
 *
 * Threads: the loop's, but for wal_keeper_update(), which blocks and may be called from any; updates come one after the other.
 */
#pragma once

#include <uv.h>

#include "base/base.h"

struct wal_keeper;

/* After each update that the watch made: what failed, NULL for nothing. */
typedef void (*wal_keeper_fn)(void *owner, const struct error *err);

MUST_CHECK status wal_keeper_open(uv_loop_t *loop, const char *wal_path, const char *archive_path,
        wal_keeper_fn on_update, void *owner, struct wal_keeper **ret, struct error *err);
MUST_CHECK status wal_keeper_update(struct wal_keeper *keeper, struct error *err);
/* Tries now, and again until it works; the watch's callback tells. */
void wal_keeper_nudge(struct wal_keeper *keeper);
/* No callback after this, and no update by the watch; it frees itself from the loop. NULL is fine; always returns NULL. */
struct wal_keeper *wal_keeper_close(struct wal_keeper *keeper);
