/*
 * Operation: the record of one mutation (rest-api.md 1.7). Written in the same transaction as the desired state, open
 * until the reconciler has carried it out; then it has a response or an error for ever.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "metadata/metadata.h"
#include "metadata/operation_row.h"

enum operation_kind {
	OPERATION_PROJECT_CREATE,
	OPERATION_PROJECT_UPDATE,
	OPERATION_PROJECT_DELETE, /* soft */
	OPERATION_PROJECT_PURGE,
	OPERATION_PROJECT_UNDELETE,
	OPERATION_BRANCH_CREATE,
	OPERATION_BRANCH_UPDATE,
	OPERATION_BRANCH_DELETE, /* soft */
	OPERATION_BRANCH_PURGE,
	OPERATION_BRANCH_UNDELETE,
	OPERATION_BRANCH_RESET,
	OPERATION_BRANCH_RESTORE,
	OPERATION_BRANCH_ARCHIVE,
	OPERATION_SNAPSHOT_CREATE,
	OPERATION_SNAPSHOT_DELETE,
	OPERATION_SCHEDULE_UPDATE,
	OPERATION_ENDPOINT_UPDATE,
	OPERATION_ROLE_CREATE,
	OPERATION_ROLE_UPDATE,
	OPERATION_ROLE_DELETE,
	OPERATION_DATABASE_CREATE,
	OPERATION_DATABASE_UPDATE,
	OPERATION_DATABASE_DELETE,
	OPERATION_KINDS,
};

const char *operation_kind_name(enum operation_kind kind);
MUST_CHECK bool operation_kind_parse(const char *name, enum operation_kind *ret);

struct operation_target {
	const char *resource;                                       /* "projects/p/branches/b" */
	int64_t project, branch, source_branch, endpoint, snapshot; /* row ids; 0: none */
	const char *undo, *plan;                                    /* see struct operation_row */
};

#define OPERATION_RETENTION_DAYS 30

/* Inside the caller's transaction. An open operation; the reconciler finds it after the commit. */
MUST_CHECK status operation_begin(struct metadata *md, enum operation_kind kind, const char *actor,
        const struct operation_target *target, int64_t now_usec, struct operation_row *ret,
        struct error *err);
/* Inside the caller's transaction: ends it. response_json NULL is Empty. */
MUST_CHECK status operation_succeed(struct metadata *md, struct operation_row *row, const char *response_json,
        int64_t now_usec, struct error *err);
MUST_CHECK status operation_fail(struct metadata *md, struct operation_row *row, const struct error *failure,
        int64_t now_usec, struct error *err);

/*
 * Must `later` wait for `earlier`? Work on one branch goes in order; clones of one source may go side by side; what is
 * done to a whole project goes alone in it.
 */
bool operation_must_wait(const struct operation_row *later, const struct operation_row *earlier);

yyjson_mut_val *operation_to_json(yyjson_mut_doc *doc, const struct operation_row *row);
