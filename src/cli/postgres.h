/* `tarn postgres COMMAND …`: the grammar of `databricks postgres` (rest-api.md section 9) over REST. */
#pragma once

#include "base/base.h"

/* Help for one of its commands, or for all when name is NULL. Returns the exit code. */
int postgres_help(const char *name);
