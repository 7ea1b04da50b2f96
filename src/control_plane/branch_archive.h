/*
 * Branch archive: branches that nobody has used for long become ARCHIVED, and come back by being used (docs/decisions/0012-archived-branches.md).
 *
 * Who may be archived: a branch that is ready, not the default one of its project, not protected, whose compute sleeps, and that no operation is
 * open about. Who is: those that are older and idle for longer than the settings say; and, in a project with more unarchived branches
 * than its limit, the longest idle ones until the rest fit.
 */
#pragma once

#include "control_plane/call.h"

/*
 * Records the archiving of branches that are due, a few at a time; the reconciler does it. *ret_has_more: there are others, to be
 * recorded when these are done. For the reaper.
 */
MUST_CHECK status branch_archive_due(
        const struct services *services, int64_t now_usec, bool *ret_has_more, struct error *err);

/*
 * A branch that could not be archived since it was last used: tried again after one minute, then two, four, up to a day. It keeps nobody else from
 * being archived.
 */
struct archive_failures {
	int64_t count;     /* 0: none */
	int64_t next_usec; /* when it is tried again */
	char reason[192];  /* of the last one */
};
MUST_CHECK status branch_archive_failures(struct metadata *md, const struct branch_row *branch,
        struct archive_failures *ret, struct error *err);

/* The branch is in use again: READY, in the row only, for a change that is being made anyway. */
static inline void branch_archive_end(struct branch_row *branch, int64_t now_usec)
{
	if (branch->archive_usec != 0)
		branch->state_change_usec = now_usec;
	branch->archive_usec = 0;
}
/* The same in the metadata, in a transaction of its own; nothing to do unless it is archived. */
MUST_CHECK status branch_archive_leave(
        struct metadata *md, struct branch_row *branch, int64_t now_usec, struct error *err);

/* May there be one more unarchived branch in the project? Yes also when others can be archived for it. */
bool branch_archive_check_quota(struct call *call, const struct project_row *project);
