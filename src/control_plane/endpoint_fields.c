#include "control_plane/endpoint_fields.h"

#define UPDATABLE                                                                                            \
	(ENDPOINT_MIN_CU | ENDPOINT_MAX_CU | ENDPOINT_SUSPENSION | ENDPOINT_DISABLED | ENDPOINT_PG_SETTINGS)

static const struct update_path paths[] = {
	{ .path = "spec", .fields = UPDATABLE, .keeps_absent = true },
	{ .path = "*", .fields = UPDATABLE, .is_all = true },
	{ .path = "spec.autoscaling_limit_min_cu", .fields = ENDPOINT_MIN_CU },
	{ .path = "spec.autoscaling_limit_max_cu", .fields = ENDPOINT_MAX_CU },
	{ .path = "spec.suspension", .fields = ENDPOINT_SUSPENSION },
	{ .path = "spec.suspend_timeout_duration", .fields = ENDPOINT_SUSPENSION },
	{ .path = "spec.no_suspension", .fields = ENDPOINT_SUSPENSION },
	{ .path = "spec.disabled", .fields = ENDPOINT_DISABLED },
	{ .path = "spec.settings", .fields = ENDPOINT_PG_SETTINGS },
	{ .path = "spec.settings.pg_settings", .fields = ENDPOINT_PG_SETTINGS },
	/* Only groups of one exist, and the body's value is checked anyway. */
	{ .path = "spec.group" },
	{ .path = "spec.group.min" },
	{ .path = "spec.group.max" },
	{ .path = "spec.group.enable_readable_secondaries" },
	/* Accepted: an unequal value is refused by itself. */
	{ .path = "spec.endpoint_type" },
};

static const struct compute_bits compute_bits = {
	.min_cu = ENDPOINT_MIN_CU,
	.max_cu = ENDPOINT_MAX_CU,
	.suspension = ENDPOINT_SUSPENSION,
	.pg_settings = ENDPOINT_PG_SETTINGS,
};

void endpoint_fields_done(struct endpoint_fields *fields)
{
	compute_fields_done(&fields->compute);
	*fields = (struct endpoint_fields){ 0 };
}

bool endpoint_mask_parse(const char *text, struct update_mask *ret, struct api_error *error)
{
	return update_mask_parse(text, paths, ARRAY_LEN(paths), ret, error);
}

bool endpoint_fields_are_read_only(const struct endpoint_fields *fields)
{
	return strcmp(fields->type.text, "ENDPOINT_TYPE_READ_ONLY") == 0;
}

bool endpoint_fields_read(
        yyjson_val *spec, const struct settings *limits, struct endpoint_fields *ret, struct api_error *error)
{
	struct endpoint_fields fields = { 0 };
	if (!field_text(spec, "spec", "endpoint_type", &fields.type, error))
		return false;
	/* What the public skill tells people to type (13). */
	if (!fields.type.is_set && !field_text(spec, "spec", "type", &fields.type, error))
		return false;
	if (fields.type.is_set && strcmp(fields.type.text, "ENDPOINT_TYPE_READ_WRITE") != 0 &&
	        strcmp(fields.type.text, "ENDPOINT_TYPE_READ_ONLY") != 0)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'endpoint.spec.endpoint_type' must be ENDPOINT_TYPE_READ_WRITE or "
		        "ENDPOINT_TYPE_READ_ONLY, got '%.100s'.",
		        fields.type.text);
	if (!field_switch(spec, "spec", "disabled", &fields.is_disabled, error) ||
	        !compute_fields_read(spec, "spec", COMPUTE_FIELDS_ENDPOINT, limits, &fields.compute, error))
		return false;
	*ret = fields;
	return true;
}

bool endpoint_fields_update(struct endpoint_row *endpoint, const struct endpoint_fields *fields,
        const struct update_mask *mask, const struct project_row *project, const struct settings *limits,
        const char *path, struct api_error *error)
{
	struct compute_values defaults = { .min_cu = project->min_cu,
		.max_cu = project->max_cu,
		.suspend_usec = project->suspend_usec,
		.pg_settings = project->pg_settings };
	struct compute_values values = { .min_cu = endpoint->min_cu,
		.max_cu = endpoint->max_cu,
		.suspend_usec = endpoint->suspend_usec,
		.pg_settings = endpoint->pg_settings };
	if (!compute_values_update(
	            &values, &fields->compute, mask, &compute_bits, &defaults, limits, path, error))
		return false;
	endpoint->min_cu = values.min_cu;
	endpoint->max_cu = values.max_cu;
	endpoint->suspend_usec = values.suspend_usec;
	endpoint->pg_settings = values.pg_settings;
	if (update_mask_has(mask, ENDPOINT_DISABLED, fields->is_disabled.is_set))
		endpoint->is_disabled = fields->is_disabled.is_set && fields->is_disabled.value;
	return true;
}
