/*
 * WAL end: how far a volume's pg_wal is written, judged from its bytes alone. With wal_recycle=off a new segment is zeros, so what is written is
 * what is not zero. The files are Postgres': nothing in them is believed beyond that, and symbolic links are not followed.
 */
#pragma once

#include "base/base.h"

/* An upper bound: no record goes beyond it. 0: nothing can be read. */
uint64_t wal_end_look(const char *wal_path, uint32_t segment_size);
/*
 * Is there anything behind that end of a record, on whatever timeline? A clone goes on in the history of its origin on one of its own. True when it
 * cannot be told.
 */
bool wal_end_goes_on(const char *wal_path, uint64_t lsn, uint32_t segment_size);
