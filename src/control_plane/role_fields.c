#include "control_plane/role_fields.h"

#include <stdio.h>

#include "compute/inventory.h"

static const char oauth[] = "LAKEBASE_OAUTH_V1", scram[] = "PG_PASSWORD_SCRAM_SHA_256",
                  no_login[] = "NO_LOGIN";

static bool is_one_of(const char *text, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(text, names[i]) == 0)
			return true;
	}
	return false;
}

static bool read_memberships(yyjson_val *spec, struct role_fields *ret, struct api_error *error)
{
	yyjson_val *list, *item;
	size_t i, max;
	if (!field_array(spec, "spec", "membership_roles", &list, error))
		return false;
	ret->has_memberships = list != NULL;
	yyjson_arr_foreach(list, i, max, item)
	{
		if (!yyjson_equals_str(item, "DATABRICKS_SUPERUSER"))
			return api_fail(error, API_INVALID_PARAMETER,
			        "Field 'role.spec.membership_roles' may contain DATABRICKS_SUPERUSER only.");
		ret->is_superuser_member = true;
	}
	return true;
}

static bool read_attributes(yyjson_val *spec, struct role_fields *ret, struct api_error *error)
{
	yyjson_val *attributes;
	if (!field_object(spec, "spec", "attributes", &attributes, error))
		return false;
	ret->has_attributes = attributes != NULL;
	return field_switch(attributes, "spec.attributes", "createdb", &ret->createdb, error) &&
	       field_switch(attributes, "spec.attributes", "createrole", &ret->createrole, error) &&
	       field_switch(attributes, "spec.attributes", "bypassrls", &ret->bypassrls, error);
}

static bool read_enums(yyjson_val *spec, struct role_fields *ret, struct api_error *error)
{
	static const char *const types[] = { "USER", "SERVICE_PRINCIPAL", "GROUP" };
	static const char *const methods[] = { oauth, scram, no_login };
	if (!field_text(spec, "spec", "identity_type", &ret->identity_type, error) ||
	        !field_text(spec, "spec", "auth_method", &ret->auth_method, error))
		return false;
	if (ret->identity_type.is_set && strcmp(ret->identity_type.text, "IDENTITY_TYPE_UNSPECIFIED") == 0)
		ret->identity_type = (struct text_field){ 0 };
	if (ret->auth_method.is_set && strcmp(ret->auth_method.text, "AUTH_METHOD_UNSPECIFIED") == 0)
		ret->auth_method = (struct text_field){ 0 };
	if (ret->identity_type.is_set && !is_one_of(ret->identity_type.text, types, ARRAY_LEN(types)))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'role.spec.identity_type' must be USER, SERVICE_PRINCIPAL or GROUP, got "
		        "'%.100s'.",
		        ret->identity_type.text);
	if (ret->auth_method.is_set && !is_one_of(ret->auth_method.text, methods, ARRAY_LEN(methods)))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'role.spec.auth_method' must be LAKEBASE_OAUTH_V1, PG_PASSWORD_SCRAM_SHA_256 "
		        "or "
		        "NO_LOGIN, got '%.100s'.",
		        ret->auth_method.text);
	return true;
}

bool role_fields_read(yyjson_val *spec, struct role_fields *ret, struct api_error *error)
{
	*ret = (struct role_fields){ 0 };
	return field_text(spec, "spec", "postgres_role", &ret->postgres_role, error) &&
	       read_enums(spec, ret, error) && read_attributes(spec, ret, error) &&
	       read_memberships(spec, ret, error);
}

static bool check_name(const char *name, struct api_error *error)
{
	if (strlen(name) > POSTGRES_NAME_MAX)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'role.spec.postgres_role' must have at most %d bytes.", POSTGRES_NAME_MAX);
	if (inventory_role_is_reserved(name))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'role.spec.postgres_role': the name '%s' is reserved for the system.", name);
	return true;
}

bool role_fields_apply(const struct role_fields *fields, struct role_row *role, struct api_error *error)
{
	const char *method = fields->auth_method.text;
	bool is_identity = fields->identity_type.is_set;
	if (!fields->auth_method.is_set)
		method = is_identity ? oauth : scram;
	if (!check_name(fields->postgres_role.text, error))
		return false;
	if (!is_identity && strcmp(method, oauth) == 0)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'role.spec.auth_method': LAKEBASE_OAUTH_V1 needs an identity; set "
		        "'identity_type' to USER, SERVICE_PRINCIPAL or GROUP.");
	(void)snprintf(role->postgres_role, sizeof role->postgres_role, "%s", fields->postgres_role.text);
	(void)snprintf(role->identity_type, sizeof role->identity_type, "%s",
	        is_identity ? fields->identity_type.text : "IDENTITY_TYPE_UNSPECIFIED");
	(void)snprintf(role->auth_method, sizeof role->auth_method, "%s", method);
	role_fields_update(fields, ROLE_FIELD_ALL, role);
	return true;
}

void role_fields_update(const struct role_fields *fields, uint64_t bits, struct role_row *role)
{
	if (bits & ROLE_FIELD_CREATEDB)
		role->createdb = fields->createdb.value;
	if (bits & ROLE_FIELD_CREATEROLE)
		role->createrole = fields->createrole.value;
	if (bits & ROLE_FIELD_BYPASSRLS)
		role->bypassrls = fields->bypassrls.value;
	if (bits & ROLE_FIELD_MEMBERSHIP)
		role->is_superuser_member = fields->is_superuser_member;
}

/* What a mask of the table below means, before the body is looked at. */
enum mask_bit {
	MASK_CREATEDB = 1 << 0,
	MASK_CREATEROLE = 1 << 1,
	MASK_BYPASSRLS = 1 << 2,
	MASK_MEMBERSHIP = 1 << 3,
	MASK_ATTRIBUTES = 1 << 4,
	MASK_SPEC = 1 << 5,
	MASK_ALL = 1 << 6,
};
#define MASK_LEAVES (MASK_CREATEDB | MASK_CREATEROLE | MASK_BYPASSRLS)

static uint64_t present_attributes(const struct role_fields *fields)
{
	return (fields->createdb.is_set ? ROLE_FIELD_CREATEDB : 0u) |
	       (fields->createrole.is_set ? ROLE_FIELD_CREATEROLE : 0u) |
	       (fields->bypassrls.is_set ? ROLE_FIELD_BYPASSRLS : 0u);
}

static bool not_populated(struct api_error *error, const char *path)
{
	return api_fail(error, API_INVALID_PARAMETER,
	        "Field 'role.%s' is in update_mask and must be populated in the request body.", path);
}

bool role_mask_read(
        const char *text, const struct role_fields *fields, uint64_t *ret, struct api_error *error)
{
	static const struct update_path paths[] = {
		{ .path = "spec", .fields = MASK_SPEC },
		{ .path = "*", .fields = MASK_ALL },
		{ .path = "spec.attributes", .fields = MASK_ATTRIBUTES },
		{ .path = "spec.attributes.createdb", .fields = MASK_CREATEDB },
		{ .path = "spec.attributes.createrole", .fields = MASK_CREATEROLE },
		{ .path = "spec.attributes.bypassrls", .fields = MASK_BYPASSRLS },
		{ .path = "spec.membership_roles", .fields = MASK_MEMBERSHIP },
	};
	struct update_mask mask;
	if (!update_mask_parse(text, paths, ARRAY_LEN(paths), &mask, error))
		return false;
	uint64_t bits = mask.fields;
	bool has_whole = bits & (MASK_SPEC | MASK_ALL), has_both = (bits & MASK_SPEC) && (bits & MASK_ALL);
	if (has_both || (has_whole && (bits & (MASK_LEAVES | MASK_ATTRIBUTES | MASK_MEMBERSHIP))) ||
	        ((bits & MASK_ATTRIBUTES) && (bits & MASK_LEAVES)))
		return api_fail(error, API_INVALID_PARAMETER,
		        "update_mask names a field and a part of it; name one of the two.");
	if (bits & MASK_ALL) {
		*ret = ROLE_FIELD_ALL;
		return true;
	}
	if (bits & MASK_SPEC) {
		*ret = present_attributes(fields) | ROLE_FIELD_MEMBERSHIP;
		return true;
	}
	if ((bits & MASK_ATTRIBUTES) && !fields->has_attributes)
		return not_populated(error, "spec.attributes");
	if ((bits & MASK_CREATEDB) && !fields->createdb.is_set)
		return not_populated(error, "spec.attributes.createdb");
	if ((bits & MASK_CREATEROLE) && !fields->createrole.is_set)
		return not_populated(error, "spec.attributes.createrole");
	if ((bits & MASK_BYPASSRLS) && !fields->bypassrls.is_set)
		return not_populated(error, "spec.attributes.bypassrls");
	if ((bits & MASK_MEMBERSHIP) && !fields->has_memberships)
		return not_populated(error, "spec.membership_roles");
	*ret = (bits & (MASK_LEAVES | MASK_MEMBERSHIP)) |
	       (bits & MASK_ATTRIBUTES ? ROLE_FIELD_ATTRIBUTES : 0u);
	return true;
}
