/*
 * WAL tail: the end of a volume's WAL after a clean shutdown: where it is, whether anything happened since a position, and giving back
 * the disk space of its zeros.
 *
 * Threads: any; blocks on the disk and, for wal_tail_is_idle(), on a program.
 */
#pragma once

#include "base/base.h"

/* Where the WAL is that pg_control's last checkpoint stands in. */
struct wal_tail {
	const char *folder; /* the archive, which has the segments that Postgres has removed, too */
	uint32_t timeline, segment_size;
};

/* The end of the record that begins at lsn (a shutdown checkpoint: the end of WAL). STATUS_CORRUPT when there is no record. */
MUST_CHECK status wal_tail_record_end(
        const struct wal_tail *tail, uint64_t lsn, uint64_t *ret_end, struct error *err);

/*
 * Is there nothing in [from_lsn, to_lsn) but what a server that nobody uses writes: checkpoints, switches of segments, lists of running
 * transactions, restore points? False also when that cannot be told cheaply.
 */
MUST_CHECK bool wal_tail_is_idle(
        const struct wal_tail *tail, const char *bin_dir, uint64_t from_lsn, uint64_t to_lsn);

/*
 * Punches out the zeros at the end of the segments around end_lsn: a switch, a shutdown and a preallocated segment leave up to 16 MiB each.
 * What can be read stays the same, byte by byte; the files stay, also as links in the archive. While no Postgres runs.
 */
MUST_CHECK status wal_tail_trim(const struct wal_tail *tail, uint64_t end_lsn, struct error *err);
