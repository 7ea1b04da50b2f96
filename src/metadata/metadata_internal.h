/* What metadata.c and statement.c share. */
#pragma once

#include <sqlite3.h>

#include "metadata/metadata.h"

struct metadata {
	sqlite3 *db;
	bool in_transaction;
};

/* Turns an SQLite result code into a status and its text; `what` completes "could not …". */
MUST_CHECK status metadata_failure(const struct metadata *md, int code, struct error *err, const char *what);
