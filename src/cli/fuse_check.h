/* FUSE check: can this user mount the file system of a volume here? Found out by mounting one, for a moment. */
#pragma once

#include "cli/finding.h"

void check_fuse(struct findings *findings);
