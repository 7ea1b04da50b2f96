/* Branch fields: what a BranchSpec may carry and the rules of expiration (rest-api.md 3.2, 4.2). */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "control_plane/fields.h"
#include "control_plane/update_mask.h"
#include "data_directory/data_directory.h"
#include "metadata/branch_row.h"

enum branch_field {
	BRANCH_PROTECTED = 1 << 0,
	BRANCH_EXPIRATION = 1 << 1,
};

struct branch_fields {
	struct text_field source_branch, source_lsn, source_snapshot;
	struct time_field source_time;
	struct switch_field is_protected;
	/* At most one of them is set. */
	struct time_field ttl, expire_time;
	bool no_expiry;
};

/* spec may be NULL. Texts are borrowed from its document. */
bool branch_fields_read(yyjson_val *spec, struct branch_fields *ret, struct api_error *error);
bool branch_mask_parse(const char *text, struct update_mask *ret, struct api_error *error);

static inline bool branch_fields_has_expiration(const struct branch_fields *fields)
{
	return fields->ttl.is_set || fields->expire_time.is_set || fields->no_expiry;
}

/* Changes protection and expiration; branch->create_usec must be set. The state rules (4.3) are the caller's. */
bool branch_fields_update(struct branch_row *branch, const struct branch_fields *fields,
        const struct update_mask *mask, const struct settings *limits, int64_t now_usec,
        struct api_error *error);
