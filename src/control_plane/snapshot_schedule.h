/*
 * Snapshot schedule: the REST calls on a branch's schedule (rest-api.md 3.13), and the snapshots that it makes.
 *
 * Whatever fired since the schedule was looked at last becomes one snapshot, of the branch as it is now, kept as long as the most demanding cadence
 * among them says: cadences that fire together, and also firings that were missed while Tarn was down or the branch deleted: one catch-up, never
 * many. A new schedule begins with its first firing in the future.
 *
 * A branch that sleeps is not woken: the snapshot names the layers that it went to sleep with. Only one that did not go to sleep cleanly is
 * started, since nobody else can tell where it ends.
 */
#pragma once

#include "control_plane/call.h"

bool snapshot_schedule_get(struct call *call);
bool snapshot_schedule_update(struct call *call);

/* Records a snapshot for every live branch whose schedule is due; the reconciler makes them. For the reaper. */
MUST_CHECK status snapshot_schedule_fire(struct metadata *md, int64_t now_usec, struct error *err);
