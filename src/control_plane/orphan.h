/*
 * Orphans: computes that no endpoint row names any more. Rows may go with their project while the fleet knows the endpoint: a branch that waits
 * for a project whose creation fails. What is in a compute's folder is made anew at every start; nothing of a user's is in it.
 */
#pragma once

#include "control_plane/services.h"

/* After rows were removed: the fleet forgets those that sleep, with their folders. */
void orphan_forget_computes(const struct services *services);
/* At the start of control, before the fleet: removes folders below computes/ that nobody names, unless a supervisor holds one. */
void orphan_sweep_computes(const struct data_directory *dd, struct metadata *md);
