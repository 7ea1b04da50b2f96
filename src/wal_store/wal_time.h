/*
 * WAL time: the position in WAL that a moment in time is. Postgres' own pg_waldump reads the commit and abort records, so that every version's format is
 * read by the program that belongs to it.
 */
#pragma once

#include "base/base.h"
#include "wal_store/wal_archive.h"

/*
 * The start of the first commit, abort or prepared-commit record in [range->start_lsn, range->end_lsn) whose timestamp is later than time_usec, as
 * recovery_target_time would stop; range->end_lsn when there is none. start_lsn is the beginning of a record.
 */
MUST_CHECK status wal_time_find(const char *bin_dir, const char *archive_path, const struct wal_range *range,
        int64_t time_usec, uint64_t *ret_lsn, struct error *err);
/*
 * The end of the last whole record that ends at or before `lsn`, which may be in the middle of a record: what recovery of WAL cut off at lsn
 * replays to. For showing the effective LSN of a branch.
 */
MUST_CHECK status wal_time_last_record(const char *bin_dir, const char *archive_path,
        const struct wal_range *range, uint64_t *ret_lsn, struct error *err);
