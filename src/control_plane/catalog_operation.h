/* Catalog operation: the beginning of an operation on a role or database, with what it shall do and the row it makes. Threads: the loop's. */
#pragma once

#include "control_plane/call.h"
#include "control_plane/catalog_plan.h"
#include "metadata/branch_row.h"
#include "metadata/database_row.h"
#include "metadata/operation_row.h"

/* At most one: the row that is inserted, pending, together with the operation. */
struct catalog_addition {
	struct role_row *role;
	struct database_row *database;
};

/* `collection` is "roles" or "databases". False after having filled call->error; the caller ends *ret. */
bool catalog_operation_begin(struct call *call, enum operation_kind kind, const char *collection,
        const struct project_row *project, const struct branch_row *branch, const struct catalog_plan *plan,
        const struct catalog_addition *addition, struct operation_row *ret);
