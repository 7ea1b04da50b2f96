/*
 * Template: the cluster new projects are copied from: initdb'ed once per Postgres version of a data directory, with the
 * bootstrap superuser cloud_admin, the role databricks_superuser, the database databricks_postgres, and shut down cleanly.
 */
#pragma once

#include "base/base.h"
#include "compute/installation.h"
#include "data_directory/data_directory.h"

/* Makes it unless it is there (atomic: .new, then rename). Blocks a second or two; for a worker thread. Caller frees. */
MUST_CHECK status template_prepare(const struct data_directory *dd, const struct installation *installation,
        char **ret_path, struct error *err);
