/*
 * Instance rows: what the older instances API calls a database instance is a branch: `production` of every project, and
 * every branch that was made through that API. A stored row gives a branch a name of its own; without one an instance is
 * called as its project. Names are compared without regard to case.
 */
#pragma once

#include "base/base.h"
#include "base/random.h"
#include "metadata/metadata.h"
#include "metadata/project_row.h"
#include "metadata/statement.h"

struct instance_row {
	int64_t branch;
	char project_id[RESOURCE_ID_MAX + 1];
	bool is_deleted; /* softly: it or its project */
	bool is_stored;  /* false: the rest is the project's */
	char name[RESOURCE_ID_MAX + 1];
	char uid[UUID_TEXT_LEN + 1];
	char creator[LOGIN_MAX + 1];
	/* Of a child: the moment of the parent that was asked for, 0 when it was not; and what other instances have in their project. */
	uint64_t parent_lsn;
	int64_t parent_usec;
	char *custom_tags;     /* JSON array of {"key","value"} */
	char *usage_policy_id; /* NULL: not set */
};

void instance_row_done(struct instance_row *row); /* for CLEANUP */

/* branch, name, uid, creator and what follows them. */
MUST_CHECK status instance_row_insert(struct metadata *md, const struct instance_row *row, struct error *err);
/* Of a stored one: custom_tags and usage_policy_id. */
MUST_CHECK status instance_row_update(struct metadata *md, const struct instance_row *row, struct error *err);

/* Deleted ones too, purged ones not. */
MUST_CHECK status instance_row_find(
        struct metadata *md, const char *name, struct instance_row *ret, struct error *err);
MUST_CHECK status instance_row_find_uid(
        struct metadata *md, const char *uid, struct instance_row *ret, struct error *err);
MUST_CHECK status instance_row_find_branch(
        struct metadata *md, int64_t branch, struct instance_row *ret, struct error *err);

/*
 * Live ones, in the order of their branches, behind branch after_id; then instance_row_next() until STATUS_NOT_FOUND. viewer NULL: sees all,
 * else those of the projects that it sees.
 */
MUST_CHECK status instance_row_list(struct metadata *md, const struct project_viewer *viewer,
        int64_t after_id, int64_t limit, struct statement *ret, struct error *err);
/* Live ones made of that branch. */
MUST_CHECK status instance_row_list_children(
        struct metadata *md, int64_t branch, struct statement *ret, struct error *err);
MUST_CHECK status instance_row_next(struct statement *st, struct instance_row *ret, struct error *err);
