/*
 * Inventory rows: the role and database rows of a branch become what an inventory says (branch_inventory.h, I2 to I4).
 *
 * Threads: the loop's.
 */
#pragma once

#include "base/base.h"
#include "compute/inventory.h"
#include "compute/system_objects.h"
#include "metadata/metadata.h"

/* Inside the caller's transaction. */
MUST_CHECK status inventory_rows_absorb(struct metadata *md, int64_t branch,
        const struct inventory *inventory, int64_t now_usec, struct error *err);

enum inventory_identity inventory_rows_identity(const char *text); /* of "USER", as rows have it */
/* What the roles of the branch stand for, those that are being made left out: for a branch that lacks markers. The caller frees *ret. */
MUST_CHECK status inventory_rows_marks(struct metadata *md, int64_t branch, struct identity_mark **ret,
        size_t *ret_count, struct error *err);
