/* Permissions: what an identity may do with a project, as it was granted. What follows from owning it or from being an administrator is not here. */
#pragma once

#include "base/base.h"
#include "metadata/identity_row.h"
#include "metadata/metadata.h"
#include "metadata/statement.h"

/* In ascending order: who has one level has those below, too. */
enum permission_level { PERMISSION_NONE, PERMISSION_CAN_USE, PERMISSION_CAN_MANAGE };

const char *permission_level_text(enum permission_level level); /* "CAN_USE" */
/* False when the text is no level. */
bool permission_level_parse(const char *text, enum permission_level *ret);

struct permission_row {
	struct identity_row identity;
	enum permission_level level;
};

/* Replaces what the identity had; not NONE. */
MUST_CHECK status permission_row_set(struct metadata *md, int64_t project, int64_t identity,
        enum permission_level level, struct error *err);
MUST_CHECK status permission_row_remove_all(struct metadata *md, int64_t project, struct error *err);
/* In creation order of the identities; then permission_row_next(). */
MUST_CHECK status permission_row_list(
        struct metadata *md, int64_t project, struct statement *ret, struct error *err);
MUST_CHECK status permission_row_next(struct statement *st, struct permission_row *ret, struct error *err);
/* The highest level that the identity has by itself or through a group. */
MUST_CHECK status permission_row_level(struct metadata *md, int64_t project, int64_t identity,
        enum permission_level *ret, struct error *err);
