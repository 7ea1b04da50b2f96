/* Unserved: routes of the contract that are not available yet; their parents are checked as for all others. */
#pragma once

#include "control_plane/call.h"

/* The project, branch and endpoint or database in the path must exist, from left to right. */
bool unserved_check_parents(struct call *call, size_t parameter_count);
bool unserved_list(struct call *call, const char *collection);
