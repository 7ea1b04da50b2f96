/*
 * Clone plan: what an operation that makes a volume (or a snapshot) has decided beforehand, so that it is the same after a crash: the volume's
 * name, its timeline, the moment it is taken from. Kept as JSON in the operation's row.
 */
#pragma once

#include "base/base.h"
#include "metadata/project_row.h"

/* A moment of a branch's history. */
enum moment_kind { MOMENT_HEAD, MOMENT_LSN, MOMENT_TIME, MOMENT_SNAPSHOT };
struct moment {
	enum moment_kind kind;
	uint64_t lsn;                       /* LSN */
	int64_t time_usec;                  /* TIME */
	char snapshot[RESOURCE_ID_MAX + 1]; /* SNAPSHOT: its uid */
	int64_t snapshot_row;               /* and its row */
};

struct clone_plan {
	struct moment moment;
	char volume[RESOURCE_ID_MAX + 1]; /* to be made; empty: none (a snapshot) */
	uint32_t timeline;                /* reserved for it; even */
	/* For a reset or restore. */
	char old_volume[RESOURCE_ID_MAX + 1];  /* what it takes the place of */
	char kept_branch[RESOURCE_ID_MAX + 1]; /* restore: id of the branch that gets the old volume */
	bool was_running;                      /* the endpoint, before it was suspended for the exchange */
};

char *clone_plan_format(const struct clone_plan *plan); /* caller frees */
/* STATUS_CORRUPT for anything that clone_plan_format() cannot have written; text may be NULL. */
MUST_CHECK status clone_plan_parse(const char *text, struct clone_plan *ret, struct error *err);
