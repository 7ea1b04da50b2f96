/* WAL file: names in pg_wal, as Postgres' access/xlog_internal.h has them. */
#pragma once

#include "base/base.h"

#define WAL_FILE_NAME_MAX 48

/* "000000020000000100000045": timeline, and the segment's number in two halves. */
void wal_segment_name(
        uint32_t timeline, uint64_t segment, uint32_t segment_size, char out[WAL_FILE_NAME_MAX]);
/* "00000002.history" */
void wal_history_name(uint32_t timeline, char out[WAL_FILE_NAME_MAX]);
/* Does the name, of whatever kind, belong to this timeline? */
bool wal_file_is_of_timeline(const char *name, uint32_t timeline);

enum wal_file_kind {
	WAL_FILE_FOREIGN, /* none of ours: a folder, a segment that is being made, … */
	WAL_FILE_SEGMENT,
	WAL_FILE_PARTIAL, /* SEGMENT.partial: the last one of a timeline that was left */
	WAL_FILE_BACKUP,  /* SEGMENT.OFFSET.backup */
	WAL_FILE_HISTORY,
};
/* The number of the segment that it is or belongs to, whatever the timeline, goes to *ret_segment; 0 for histories. */
enum wal_file_kind wal_file_parse(const char *name, uint32_t segment_size, uint64_t *ret_segment);
