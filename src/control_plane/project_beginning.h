/*
 * Project beginning: the role and the database that a new project has in Postgres (rest-api.md 3.1). By default the role is the caller's own, a
 * member of databricks_superuser, and the database is databricks_postgres; initial_role_spec and initial_database_spec say something else.
 */
#pragma once

#include "control_plane/call.h"
#include "metadata/database_row.h"
#include "metadata/role_row.h"

#define FIRST_DATABASE_NAME "databricks_postgres"

struct project_beginning {
	struct role_row role;
	struct database_row database; /* the role owns it */
};

/* From the call's body, for a project with that uid (which seals a generated password). False: call->error is filled. */
bool project_beginning_read(
        struct call *call, const struct project_row *project, struct project_beginning *ret);
/* Inside a transaction. */
MUST_CHECK status project_beginning_insert(
        struct metadata *md, int64_t branch, const struct project_beginning *beginning, struct error *err);
