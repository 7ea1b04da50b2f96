/* Schema: the SQL of every migration, oldest first. docs/formats/metadata.md describes the result. */
#pragma once

#include <stddef.h>

/* migration i takes a database from user_version i to i + 1. Never edited once released: only appended to. */
extern const char *const schema_migrations[];
extern const size_t schema_version;
