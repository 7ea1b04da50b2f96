/* Role fields: what a RoleSpec may carry and how a PATCH means it (rest-api.md 3.5, 1.4). */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "control_plane/fields.h"
#include "control_plane/update_mask.h"
#include "metadata/role_row.h"

/* Bits of an update mask. */
enum role_field {
	ROLE_FIELD_CREATEDB = 1 << 0,
	ROLE_FIELD_CREATEROLE = 1 << 1,
	ROLE_FIELD_BYPASSRLS = 1 << 2,
	ROLE_FIELD_MEMBERSHIP = 1 << 3,
};
#define ROLE_FIELD_ATTRIBUTES (ROLE_FIELD_CREATEDB | ROLE_FIELD_CREATEROLE | ROLE_FIELD_BYPASSRLS)
#define ROLE_FIELD_ALL        (ROLE_FIELD_ATTRIBUTES | ROLE_FIELD_MEMBERSHIP)

struct role_fields {
	struct text_field postgres_role;
	struct text_field identity_type; /* "USER", …; not set: a plain role */
	struct text_field auth_method;
	bool has_attributes, has_memberships;
	struct switch_field createdb, createrole, bypassrls;
	bool is_superuser_member;
};

/* spec may be NULL. Texts are borrowed from its document. */
bool role_fields_read(yyjson_val *spec, struct role_fields *ret, struct api_error *error);
/* A new role, or one that is replaced: everything that is not set is the default. The name must be there. */
bool role_fields_apply(const struct role_fields *fields, struct role_row *role, struct api_error *error);

/*
 * The mask of a PATCH together with its body: *ret gets the bits that are to be written. As the live service does, a path without its value is
 * refused, and so is a struct beside its own member; "spec" overwrites the memberships also when the body has none.
 */
bool role_mask_read(
        const char *text, const struct role_fields *fields, uint64_t *ret, struct api_error *error);
void role_fields_update(const struct role_fields *fields, uint64_t bits, struct role_row *role);
