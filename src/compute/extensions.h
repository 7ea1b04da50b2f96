/*
 * Extensions: which ones members of databricks_superuser may create although Postgres reserves them for superusers, and
 * the scripts that pgextwlist runs around it.
 *
 * pgextwlist runs CREATE, ALTER and DROP EXTENSION of a listed extension as the bootstrap superuser, for anybody. The
 * scripts therefore check first that the session's user is a member of databricks_superuser, and afterwards grant
 * databricks_superuser what the extension keeps for superusers. Extensions that Postgres itself calls trusted are not
 * listed: there its own rule (CREATE on the database) is right.
 */
#pragma once

#include "base/base.h"
#include "data_directory/data_directory.h"

/* The value of extwlist.extensions. */
const char *extensions_allowed(bool shares_user); /* see configuration.h */

/*
 * The folder of the scripts (extwlist.custom_path), made below templates/ unless it is there. Caller frees.
 * One stat() on an ordinary start.
 */
MUST_CHECK status extensions_prepare_scripts(
        const struct data_directory *dd, char **ret_path, struct error *err);
