/*
 * Reaper: what happens by itself when a time comes: expired branches are deleted (softly), soft-deleted branches and
 * projects are purged, expired snapshots deleted, scheduled ones made, branches that nobody uses archived, old operations forgotten. It only records operations; the reconciler carries them out.
 * Threads: the loop's. It sleeps until the next due time, at most a minute.
 */
#pragma once

#include "control_plane/services.h"

struct reaper;

/* services->reaper is set to it; services is borrowed until reaper_close(). */
struct reaper *reaper_create(struct services *services);
/* Due times may have changed. Cheap; call after every mutation. */
void reaper_look(struct reaper *reaper);
void reaper_close(struct reaper *reaper); /* frees itself from the loop */

/* At start: purges that ended in failure, or were recorded by nobody, are recorded anew. */
MUST_CHECK status reaper_resume_purges(const struct services *services, struct error *err);
