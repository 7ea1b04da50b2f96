/*
 * SCIM filter: `userName eq "alice@example.com"` (RFC 7644 section 3.4.2.2): one attribute, one of eq, ne, co and sw, one value in quotes.
 * What is more than that is refused, not ignored: a list that is longer than asked for gets somebody deleted.
 */
#pragma once

#include "base/base.h"
#include "control_plane/api_error.h"
#include "metadata/identity_row.h"

struct scim_filter {
	struct identity_filter rows; /* for identity_row_list(); value points into `value` */
	char value[LOGIN_MAX + 1];
};

/* text NULL or "": everything. Which attributes there are depends on the kind. */
bool scim_filter_parse(
        const char *text, enum identity_kind kind, struct scim_filter *ret, struct api_error *error);
/* `members[value eq "4002"]`, the path of a PATCH; the value is copied to out (LOGIN_MAX + 1 bytes). False when it is something else. */
bool scim_member_path_parse(const char *text, char out[LOGIN_MAX + 1]);
