/* Lineage: the volumes whose history a branch has, from metadata (see origin.h). */
#pragma once

#include "base/base.h"
#include "control_plane/origin.h"
#include "metadata/branch_row.h"

/* A volume that no branch has any more ends it. */
MUST_CHECK status lineage_of_branch(
        struct metadata *md, const struct branch_row *branch, struct lineage *ret, struct error *err);
