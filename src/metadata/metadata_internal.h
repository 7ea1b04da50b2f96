/* What metadata.c and statement.c share. */
#pragma once

#include <sqlite3.h>
#include <sys/queue.h>

#include "metadata/metadata.h"

/* A statement that nobody uses now, to be used again for the same text: preparing costs more than most statements do. */
struct idle_statement {
	LIST_ENTRY(idle_statement) link;
	sqlite3_stmt *handle;
};

#define IDLE_CHAINS 64

struct metadata {
	sqlite3 *db;
	bool in_transaction;
	metadata_ended_fn on_end;
	void *on_end_owner;
	LIST_HEAD(idle_statements, idle_statement) idle[IDLE_CHAINS]; /* by the hash of their text */
	struct metadata_numbers numbers;
};

void statements_forget(struct metadata *md); /* all that are idle */

/* Turns an SQLite result code into a status and its text; `what` completes "could not …". */
MUST_CHECK status metadata_failure(const struct metadata *md, int code, struct error *err, const char *what);
