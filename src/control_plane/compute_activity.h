/*
 * Compute activity: what the fleet reports about computes, kept in metadata so that a new control knows which should run and when
 * each was last used. Written a moment later and many at once: a wake must not wait for it, and losing the last second of
 * it in a crash loses nothing (the supervisor's lock and last_exit.json tell the rest).
 */
#pragma once

#include "control_plane/services.h"

struct compute_activity;

struct compute_activity *compute_activity_create(const struct services *services);
void compute_activity_note(struct compute_activity *activity, const struct fleet_member *member);
/* Writes what is pending; frees itself from the loop. */
void compute_activity_close(struct compute_activity *activity);
