/*
 * Origin: the moment of a volume's history that a clone or a snapshot is taken from, and the store's side of taking it. This is all that the
 * control plane asks of restore points and archived WAL.
 *
 * A volume's history begins where it was cloned; what is older is the history of the volume it was cloned from, so a moment is looked
 * for along a *lineage*: the volume itself, then its origin up to the LSN where it left, and so on.
 *
 * Invariants
 *   O1  the restore point that is chosen has end_lsn <= the moment; between the two there is only WAL, all of which is in the archive.
 *   O2  choosing leads to nothing that can be lost: when retention has taken the point before it was cloned, it is chosen again.
 *   O3  a moment in time is the position in front of the first commit that is later (exact also when commits share a second).
 *   O4  the time that is told of an LSN is that of the last transaction that ended before it; of the head: when it was taken; of a time: that time.
 *
 * Threads: any; everything blocks on the disk, and pg_waldump may run for seconds. origin_window() reads two small files only.
 */
#pragma once

#include "base/base.h"
#include "control_plane/clone_plan.h"
#include "control_plane/fleet_report.h"
#include "data_directory/data_directory.h"

#define ORIGIN_LINEAGE_MAX 64

struct lineage {
	struct lineage_volume {
		char id[RESOURCE_ID_MAX + 1];
		uint64_t fork_lsn; /* where it was cloned from the next one; 0: it was not */
	} volumes[ORIGIN_LINEAGE_MAX];
	size_t count;
};

struct origin_request {
	char store[RESOURCE_ID_MAX + 1];
	struct lineage lineage; /* [0]: the volume; none for a snapshot */
	struct moment moment;
	/*
	 * Where the volume ends now. A restore point (number != 0) is the head itself; otherwise WAL up to `lsn` is in the archive. Not
	 * for a snapshot.
	 */
	struct fleet_point end;
	int64_t window_usec; /* how far back one may go; 0: as far as there is history */
	char bin_dir[256];   /* has pg_waldump */
};

/* What was taken, effective values. */
struct origin_result {
	uint64_t lsn;                     /* the end of the last whole record */
	int64_t time_usec;                /* O4 */
	char volume[RESOURCE_ID_MAX + 1]; /* whose history it is in; empty: a snapshot's */
	int64_t logical_bytes;
};

/*
 * Where a sleeping volume ends. STATUS_CONFLICT: it was not shut down cleanly, or something was written since: only a start can
 * tell. The volume may be woken meanwhile: then the end is one of a moment ago.
 */
MUST_CHECK status origin_find_end(const struct data_directory *dd, const char *store, const char *volume_id,
        struct fleet_point *ret, struct error *err);

/*
 * A clone of that moment, or a snapshot `uid` of it, in place of what an earlier attempt has left. STATUS_INVALID: the moment is in the future or
 * outside the restore window; the message names the limit.
 */
MUST_CHECK status origin_clone(const struct data_directory *dd, const struct origin_request *request,
        const char *volume_id, uint32_t timeline, struct origin_result *ret, struct error *err);
MUST_CHECK status origin_keep(const struct data_directory *dd, const struct origin_request *request,
        const char *uid, struct origin_result *ret, struct error *err);
/* A snapshot's files; a missing one is fine. */
MUST_CHECK status origin_forget(
        const struct data_directory *dd, const char *store, const char *uid, struct error *err);

/* What can be restored. STATUS_NOT_FOUND: nothing yet. */
struct origin_window {
	uint64_t earliest_lsn;
	int64_t earliest_usec;
	uint64_t latest_lsn; /* at least; WAL is written on */
	int64_t latest_usec;
};
MUST_CHECK status origin_window(const struct data_directory *dd, const char *store,
        const struct lineage *lineage, int64_t window_usec, struct origin_window *ret, struct error *err);
/* STATUS_INVALID, with the limit, when it is certain that the moment is not there; OK when only trying can tell. */
MUST_CHECK status origin_check(
        const struct origin_window *window, const struct moment *moment, int64_t now_usec, struct error *err);
