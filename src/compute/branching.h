/*
 * Branching: a consistent clone of a *running* parent, by the low-level backup interface (pg_backup_start/stop), with a
 * temporary replication slot that keeps the WAL meanwhile. Rules 1, 3, 4 and 8 of the design; traps T2-T6, T14-T18.
 */
#pragma once

#include "base/base.h"
#include "data_directory/data_directory.h"

struct branching_result {
	uint64_t lsn;      /* everything the parent committed before the call is at or below this */
	int64_t wall_usec; /* time of that position */
};

/*
 * Clones volume parent_id, which runs with its socket in parent_socket_dir, to the new volume id, and reserves `timeline`
 * (even, unique in the project) for it. On failure nothing is left. STATUS_EXISTS: the clone is there and complete.
 * Blocks for as long as copying takes; for a worker thread.
 */
MUST_CHECK status branching_clone(const struct data_directory *dd, const char *parent_id,
        const char *parent_socket_dir, const char *id, uint32_t timeline, struct branching_result *ret,
        struct error *err);
