/* WAL file: names in pg_wal, as Postgres' access/xlog_internal.h has them. */
#pragma once

#include "base/base.h"

#define WAL_FILE_NAME_MAX 32

/* "000000020000000100000045": timeline, and the segment's number in two halves. */
void wal_segment_name(
        uint32_t timeline, uint64_t segment, uint32_t segment_size, char out[WAL_FILE_NAME_MAX]);
/* "00000002.history" */
void wal_history_name(uint32_t timeline, char out[WAL_FILE_NAME_MAX]);
/* Does the name, of whatever kind, belong to this timeline? */
bool wal_file_is_of_timeline(const char *name, uint32_t timeline);
