#include "control_plane/branch_fields.h"

#include "base/clock.h"

#define UPDATABLE (BRANCH_PROTECTED | BRANCH_EXPIRATION)

static const struct update_path paths[] = {
	{ .path = "spec", .fields = UPDATABLE, .keeps_absent = true },
	{ .path = "*", .fields = UPDATABLE, .is_all = true },
	{ .path = "spec.is_protected", .fields = BRANCH_PROTECTED },
	{ .path = "spec.expiration", .fields = BRANCH_EXPIRATION },
	{ .path = "spec.ttl", .fields = BRANCH_EXPIRATION },
	{ .path = "spec.expire_time", .fields = BRANCH_EXPIRATION },
	{ .path = "spec.no_expiry", .fields = BRANCH_EXPIRATION },
};

bool branch_mask_parse(const char *text, struct update_mask *ret, struct api_error *error)
{
	return update_mask_parse(text, paths, ARRAY_LEN(paths), ret, error);
}

bool branch_fields_read(yyjson_val *spec, struct branch_fields *ret, struct api_error *error)
{
	struct branch_fields fields;
	struct switch_field no_expiry;
	if (!field_text(spec, "spec", "source_branch", &fields.source_branch, error) ||
	        !field_text(spec, "spec", "source_branch_lsn", &fields.source_lsn, error) ||
	        !field_timestamp(spec, "spec", "source_branch_time", &fields.source_time, error) ||
	        !field_text(spec, "spec", "source_snapshot", &fields.source_snapshot, error) ||
	        !field_switch(spec, "spec", "is_protected", &fields.is_protected, error) ||
	        !field_duration(spec, "spec", "ttl", &fields.ttl, error) ||
	        !field_timestamp(spec, "spec", "expire_time", &fields.expire_time, error) ||
	        !field_switch(spec, "spec", "no_expiry", &no_expiry, error))
		return false;
	if (no_expiry.is_set && !no_expiry.value)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.no_expiry' must be true when it is given.");
	fields.no_expiry = no_expiry.is_set;
	if (fields.ttl.is_set + fields.expire_time.is_set + fields.no_expiry > 1)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.expiration': only one of ttl, expire_time or no_expiry may be set.");
	*ret = fields;
	return true;
}

static bool resolve_expiration(const struct branch_row *branch, const struct branch_fields *fields,
        const struct settings *limits, int64_t now_usec, int64_t *ret, struct api_error *error)
{
	*ret = 0;
	if (!fields->ttl.is_set && !fields->expire_time.is_set)
		return true;
	const char *key = fields->ttl.is_set ? "ttl" : "expire_time";
	if (fields->ttl.is_set && fields->ttl.usec <= 0)
		return api_fail(error, API_INVALID_PARAMETER, "Field 'spec.ttl' must be above 0s.");
	int64_t expire = fields->expire_time.usec;
	if (fields->ttl.is_set && __builtin_add_overflow(branch->create_usec, fields->ttl.usec, &expire))
		return api_fail(error, API_INVALID_PARAMETER, "Field 'spec.ttl' is too long.");
	if (expire <= now_usec)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.%s' gives a time in the past; a ttl counts from the creation of the "
		        "branch.",
		        key);
	if (expire - now_usec > limits->branch_ttl_max_sec * USEC_PER_SEC)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.%s' gives a time more than %g days ahead.", key,
		        (double)limits->branch_ttl_max_sec / 86400);
	*ret = expire;
	return true;
}

bool branch_fields_update(struct branch_row *branch, const struct branch_fields *fields,
        const struct update_mask *mask, const struct settings *limits, int64_t now_usec,
        struct api_error *error)
{
	bool is_protected = branch->is_protected;
	int64_t expire_usec = branch->expire_usec;
	if (update_mask_has(mask, BRANCH_PROTECTED, fields->is_protected.is_set))
		is_protected = fields->is_protected.is_set && fields->is_protected.value;
	if (update_mask_has(mask, BRANCH_EXPIRATION, branch_fields_has_expiration(fields)) &&
	        !resolve_expiration(branch, fields, limits, now_usec, &expire_usec, error))
		return false;
	branch->is_protected = is_protected;
	branch->expire_usec = expire_usec;
	return true;
}
