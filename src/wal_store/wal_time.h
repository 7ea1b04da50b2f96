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
 * The end of the last whole record that ends at or before range->end_lsn, which may be in the middle of a record: what recovery of WAL cut off
 * there replays to (range->start_lsn when there is none). And the moment of that position: the timestamp of the last commit or abort in the
 * range, the later one when the last few are not in order; 0 when no transaction ended in it.
 */
MUST_CHECK status wal_time_last_record(const char *bin_dir, const char *archive_path,
        const struct wal_range *range, uint64_t *ret_lsn, int64_t *ret_time_usec, struct error *err);
