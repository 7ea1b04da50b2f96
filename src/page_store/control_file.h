/*
 * Control file: Postgres' global/pg_control, of which we read a few members and change some: the system identifier of a new volume, and in
 * a clone what makes its first start an archive recovery.
 *
 * Bytes are trusted only when the format's version is one of the table below and the CRC-32C over everything
 * in front of it fits. Formats 1300 (Postgres 13 to 16), 1700 and 1800 are known; up to the checksum version
 * they have the same offsets, since 1800 puts its new member behind it:
 *
 *      0  u64  system identifier           144  u32  timeline of the minimum recovery point
 *      8  u32  format version              180  i32  max_connections
 *     16  i32  state                       184  i32  max_worker_processes
 *     32  u64  last checkpoint's record    188  i32  max_wal_senders
 *     40  u64  redo of last checkpoint
 *     48  u32  its timeline                192  i32  max_prepared_transactions
 *    136  u64  minimum recovery point      196  i32  max_locks_per_transaction
 *    172  i32  wal_level
 *    152  u64  start of a backup, 160 u64 its end, 168 u8 "its end is required": zero unless a backup is being restored
 *    252  u32  page checksum version       228  u32  WAL segment size
 *    288  u32  CRC-32C of bytes [0, 288); in format 1800 at 292, of bytes [0, 292)
 *
 * Little-endian, eight-byte aligned machines only (as the assertion in control_file.c says).
 */
#pragma once

#include "base/base.h"

#define CONTROL_FILE_BYTES 8192

enum control_state {
	CONTROL_STARTUP,
	CONTROL_SHUT_DOWN,
	CONTROL_SHUT_DOWN_IN_RECOVERY,
	CONTROL_SHUTTING_DOWN,
	CONTROL_IN_CRASH_RECOVERY,
	CONTROL_IN_ARCHIVE_RECOVERY,
	CONTROL_IN_PRODUCTION,
};

struct control_file {
	uint64_t system_identifier;
	enum control_state state;
	uint64_t checkpoint_lsn;      /* where the record of the last checkpoint begins */
	uint64_t redo_lsn;            /* of the last checkpoint */
	uint32_t checkpoint_timeline; /* timeline of the last checkpoint */
	uint64_t min_recovery_lsn;
	uint32_t min_recovery_timeline;
	uint32_t wal_segment_size;
	uint32_t checksum_version; /* 0: no page checksums */
	int32_t max_prepared_transactions;
};

/* STATUS_CORRUPT when the bytes fail their check, STATUS_UNSUPPORTED for a format that is not in the table.
 */
MUST_CHECK status control_file_parse(struct slice bytes, struct control_file *ret, struct error *err);

/*
 * Reads global/pg_control below the PGDATA `folder_fd`; never follows symbolic links. A running Postgres may
 * be writing it: a failed check is tried again a few times before it counts.
 */
MUST_CHECK status control_file_read(int folder_fd, struct control_file *ret, struct error *err);

/* The same, as bytes that passed the check. */
MUST_CHECK status control_file_read_bytes(int folder_fd, uint8_t ret[CONTROL_FILE_BYTES], struct error *err);

/* Gives a cluster, which must be shut down cleanly (STATUS_CONFLICT), a new identity. Changes the bytes in place; they are checked first. */
MUST_CHECK status control_file_set_system_identifier(
        uint8_t bytes[CONTROL_FILE_BYTES], uint64_t identifier, struct error *err);
/*
 * pg_resetwal writes "wal_level = minimal", with which no archive recovery begins. True is what this says: nothing was changed without WAL since
 * the checkpoint.
 */
MUST_CHECK status control_file_set_wal_level_logical(uint8_t bytes[CONTROL_FILE_BYTES], struct error *err);
/*
 * Makes the next start, which must find a standby.signal, an archive recovery that has to come at least to `lsn`, which is on `timeline`
 * (InitWalRecovery() in Postgres' xlogrecovery.c: archive recovery is entered at once, without crash recovery first, when
 * minRecoveryPoint is set). For an image that was cut while Postgres ran and for one that was shut down.
 */
MUST_CHECK status control_file_set_archive_recovery(
        uint8_t bytes[CONTROL_FILE_BYTES], uint64_t lsn, uint32_t timeline, struct error *err);

/* Never the same twice: seconds in the upper half, as Postgres has it, and random bits below. */
uint64_t control_file_new_system_identifier(void);
