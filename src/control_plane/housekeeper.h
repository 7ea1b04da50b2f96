/*
 * Housekeeper: goes over all volumes every few minutes, and soon after something changed: retention (restore points are thinned, WAL and layers
 * that nothing needs any more are removed), and then their space is measured and kept in the metadata. Between these rounds the volumes of
 * computes that write are measured, and only that: about every ten seconds, or less often when it takes long.
 * Threads: the loop's; the work is done in one worker thread, one volume after the other.
 */
#pragma once

#include "control_plane/services.h"

struct housekeeper;

/* services->housekeeper is set to it; services is borrowed until housekeeper_close(). */
struct housekeeper *housekeeper_create(struct services *services);
/* Something may have to be cleaned or measured: a round begins soon. Cheap. NULL is fine (tests). */
void housekeeper_look(struct housekeeper *housekeeper);
/* A compute has another state, or its volume another size. Cheap. NULL is fine (tests). */
void housekeeper_note(struct housekeeper *housekeeper, const struct fleet_member *member);
/* No round begins any more; one that runs ends with the volume it is at. Frees itself from the loop. */
void housekeeper_close(struct housekeeper *housekeeper);
