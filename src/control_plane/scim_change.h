/*
 * SCIM change: what a body of POST, PUT or PATCH (RFC 7644 section 3.5) asks of an identity, read and checked before anything is touched.
 * Attributes that we do not keep (entitlements, roles, emails) are ignored, as everywhere in this API; those that would change who somebody
 * is (userName, applicationId) are refused when they differ.
 */
#pragma once

#include "control_plane/call.h"
#include "control_plane/fields.h"

enum member_verb { MEMBERS_ADD, MEMBERS_REMOVE, MEMBERS_REMOVE_ALL };

struct member_change {
	enum member_verb what;
	int64_t member; /* row id */
};

struct scim_change {
	struct text_field login; /* userName, applicationId; displayName of a group */
	struct text_field display_name;
	struct text_field external_id;
	bool clears_external_id;
	struct switch_field active;
	struct member_change *members; /* in order; of a group only */
	size_t member_count;
};

void scim_change_done(struct scim_change *change); /* for CLEANUP */

/* From the whole resource in call->root. */
bool scim_change_read(struct call *call, enum identity_kind kind, struct scim_change *ret);
/* From the operations of a PATCH in call->root. */
bool scim_change_read_patch(struct call *call, enum identity_kind kind, struct scim_change *ret);
