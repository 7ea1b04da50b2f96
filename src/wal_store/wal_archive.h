/*
 * WAL archive: every WAL file of a volume, kept for its restore window: volumes/ID/archive/, hard links to the files that Postgres writes in
 * volumes/ID/wal/. A link is made as soon as a segment has its name, so the archive has the live tail too and costs no bytes; with
 * wal_recycle=off Postgres only ever unlinks a segment. archive_mode=on with an archive_command that only looks whether the
 * link is there keeps Postgres from removing one before.
 *
 * Invariants
 *   W1  a name in the archive is never overwritten (T27): a link that is there and is another file is STATUS_CORRUPT, told and not touched.
 *   W2  a file goes only when nothing in the window and no restore point can need it (wal_archive_retain()).
 *   W3  bytes of a segment in front of a flushed LSN never change any more.
 *
 * Threads: blocks on the disk; one archive at a time from one process except for reading.
 */
#pragma once

#include "base/base.h"
#include "base/system_user.h"
#include "wal_store/wal_history.h"

/* Links every segment, timeline history, .backup and .partial file of wal_path that the archive lacks; syncs the archive's folder when one was. */
MUST_CHECK status wal_archive_update(
        const char *wal_path, const char *archive_path, size_t *ret_linked, struct error *err);

/* What recovery needs: WAL [start_lsn, end_lsn) along `history` (whose last line says on which timeline end_lsn is). */
struct wal_range {
	const struct wal_history *history;
	uint64_t start_lsn, end_lsn;
	uint32_t segment_size;
};
/*
 * Puts the range into the empty folder wal_path: whole segments as links, the last one as a copy up to end_lsn with nothing (a hole) behind it, files
 * given to `user`, or when that is NULL to the owner of the archived one (links belong to Postgres already). Of a segment in which the timeline
 * changes inside the range it is the newer timeline's file. Does not sync. STATUS_NOT_FOUND names the first segment that is missing.
 */
MUST_CHECK status wal_archive_provide(const char *archive_path, const struct wal_range *range,
        const char *wal_path, const struct system_user *user, struct error *err);
/* Makes everything in a folder of WAL files durable. */
MUST_CHECK status wal_folder_sync(const char *path, struct error *err);
/* Does the archive have all of it? STATUS_NOT_FOUND names the first segment that is missing. */
MUST_CHECK status wal_archive_check(
        const char *archive_path, const struct wal_range *range, struct error *err);

/* Removes segments that end at or before keep_lsn, whatever their timeline, except those in one of the ranges [from, to) to keep. */
struct wal_span {
	uint64_t from_lsn, to_lsn;
};
MUST_CHECK status wal_archive_retain(const char *archive_path, uint32_t segment_size, uint64_t keep_lsn,
        const struct wal_span *spans, size_t span_count, size_t *ret_removed, struct error *err);

/* Disk space, each file counted once. */
struct wal_space {
	int64_t live;    /* in wal_path */
	int64_t history; /* only in the archive */
	int64_t shared;  /* in either, and linked from other volumes or snapshots too */
};
/* wal_path may be NULL: a snapshot has only its archive. */
MUST_CHECK status wal_archive_space(
        const char *wal_path, const char *archive_path, struct wal_space *ret, struct error *err);
