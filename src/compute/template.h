/*
 * Template: what new projects stand on: a cluster initdb'ed once per Postgres version of a data directory, with data checksums, the
 * bootstrap superuser cloud_admin, the role databricks_superuser and the database databricks_postgres, shut down cleanly, and imported into a
 * store of its own as one sealed layer (volume_import_template()). The plain cluster is only there while it is made.
 */
#pragma once

#include "base/base.h"
#include "compute/installation.h"
#include "data_directory/data_directory.h"
#include "page_store/store.h"

/*
 * Makes it unless it is there; the store's name goes to ret_store. What a crash left half-made is made anew. Blocks a second or two; for a
 * worker thread.
 */
MUST_CHECK status template_prepare(const struct data_directory *dd, const struct installation *installation,
        char ret_store[STORE_ID_MAX + 1], struct error *err);
