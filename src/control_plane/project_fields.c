#include "control_plane/project_fields.h"

#include <stdlib.h>

#include "base/clock.h"
#include "compute/installation.h"
#include "http/request.h"

#define COMPUTE_FIELDS (PROJECT_MIN_CU | PROJECT_MAX_CU | PROJECT_SUSPENSION | PROJECT_PG_SETTINGS)
#define UPDATABLE                                                                                            \
	(PROJECT_DISPLAY_NAME | PROJECT_HISTORY_RETENTION | COMPUTE_FIELDS | PROJECT_NATIVE_LOGIN |          \
	        PROJECT_DEFAULT_BRANCH | PROJECT_CUSTOM_TAGS | PROJECT_BUDGET_POLICY)

#define HISTORY_RETENTION_DEFAULT_SEC 604800

static const struct update_path paths[] = {
	{ .path = "spec", .fields = UPDATABLE, .keeps_absent = true },
	{ .path = "*", .fields = UPDATABLE, .is_all = true },
	{ .path = "spec.display_name", .fields = PROJECT_DISPLAY_NAME },
	{ .path = "spec.history_retention_duration", .fields = PROJECT_HISTORY_RETENTION },
	{ .path = "spec.default_endpoint_settings", .fields = COMPUTE_FIELDS },
	{ .path = "spec.default_endpoint_settings.autoscaling_limit_min_cu", .fields = PROJECT_MIN_CU },
	{ .path = "spec.default_endpoint_settings.autoscaling_limit_max_cu", .fields = PROJECT_MAX_CU },
	{ .path = "spec.default_endpoint_settings.suspend_timeout_duration", .fields = PROJECT_SUSPENSION },
	{ .path = "spec.default_endpoint_settings.no_suspension", .fields = PROJECT_SUSPENSION },
	{ .path = "spec.default_endpoint_settings.suspension", .fields = PROJECT_SUSPENSION },
	/* sic: the published name of the group */
	{ .path = "spec.project_default_settings.suspension", .fields = PROJECT_SUSPENSION },
	{ .path = "spec.default_endpoint_settings.pg_settings", .fields = PROJECT_PG_SETTINGS },
	{ .path = "spec.enable_pg_native_login", .fields = PROJECT_NATIVE_LOGIN },
	{ .path = "spec.default_branch", .fields = PROJECT_DEFAULT_BRANCH },
	{ .path = "spec.custom_tags", .fields = PROJECT_CUSTOM_TAGS },
	{ .path = "spec.budget_policy_id", .fields = PROJECT_BUDGET_POLICY },
	/* Terraform always lists these two; they have no effect on a PATCH. */
	{ .path = "initial_branch_spec" },
	{ .path = "initial_endpoint_spec" },
	{ .path = "initial_role_spec" },
	{ .path = "initial_database_spec" },
	/* Accepted: an unequal value is refused by itself. */
	{ .path = "spec.pg_version" },
};

static const struct compute_bits compute_bits = {
	.min_cu = PROJECT_MIN_CU,
	.max_cu = PROJECT_MAX_CU,
	.suspension = PROJECT_SUSPENSION,
	.pg_settings = PROJECT_PG_SETTINGS,
};

static struct compute_values compute_defaults(void)
{
	static char none[] = "{}";
	return (struct compute_values){ .min_cu = 1,
		.max_cu = 1,
		.suspend_usec = SUSPEND_DEFAULT_SEC * USEC_PER_SEC,
		.pg_settings = none };
}

bool project_mask_parse(const char *text, struct update_mask *ret, struct api_error *error)
{
	return update_mask_parse(text, paths, ARRAY_LEN(paths), ret, error);
}

void project_fields_done(struct project_fields *fields)
{
	compute_fields_done(&fields->defaults);
	free(fields->custom_tags);
	*fields = (struct project_fields){ 0 };
}

bool custom_tags_read(yyjson_val *list, const char *path, char **ret, struct api_error *error)
{
	if (!list)
		return true;
	if (yyjson_arr_size(list) > CUSTOM_TAGS_MAX)
		return api_fail(error, API_INVALID_PARAMETER, "Field '%s' has more than %d tags.", path,
		        CUSTOM_TAGS_MAX);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *out = yyjson_mut_arr(doc);
	yyjson_mut_doc_set_root(doc, out);
	bool is_good = true;
	size_t i, count;
	yyjson_val *tag;
	yyjson_arr_foreach(list, i, count, tag)
	{
		struct text_field key = { 0 }, value = { 0 };
		is_good = yyjson_is_obj(tag) || api_fail(error, API_INVALID_PARAMETER,
		                                        "Field '%s' must be a list of objects.", path);
		is_good = is_good && field_text(tag, path, "key", &key, error) &&
		          field_text(tag, path, "value", &value, error);
		if (is_good && !key.is_set)
			is_good = api_fail(error, API_INVALID_PARAMETER, "Field '%s.key' is required.", path);
		if (is_good && (strlen(key.text) > CUSTOM_TAG_TEXT_MAX ||
		                       (value.is_set && strlen(value.text) > CUSTOM_TAG_TEXT_MAX)))
			is_good = api_fail(error, API_INVALID_PARAMETER,
			        "Field '%s' has a key or value longer than %d bytes.", path,
			        CUSTOM_TAG_TEXT_MAX);
		if (!is_good)
			break;
		yyjson_mut_val *entry = yyjson_mut_arr_add_obj(doc, out);
		yyjson_mut_obj_add_str(doc, entry, "key", key.text);
		yyjson_mut_obj_add_str(doc, entry, "value", value.is_set ? value.text : "");
	}
	if (is_good)
		*ret = yyjson_mut_write(doc, 0, NULL);
	yyjson_mut_doc_free(doc);
	return is_good;
}

static bool check_limits(
        const struct project_fields *fields, const struct settings *limits, struct api_error *error)
{
	if (fields->display_name.is_set &&
	        utf8_count(slice_from_text(fields->display_name.text)) > DISPLAY_NAME_MAX_CHARACTERS)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.display_name' must have 1 to %d characters.",
		        DISPLAY_NAME_MAX_CHARACTERS);
	if (fields->budget_policy_id.is_set && strlen(fields->budget_policy_id.text) > CUSTOM_TAG_TEXT_MAX)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.budget_policy_id' is longer than %d bytes.", CUSTOM_TAG_TEXT_MAX);
	if (fields->compute_provisioner.is_set &&
	        strlen(fields->compute_provisioner.text) > CUSTOM_TAG_TEXT_MAX)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.compute_provisioner' is longer than %d bytes.", CUSTOM_TAG_TEXT_MAX);
	int64_t history = fields->history_retention.usec;
	if (fields->history_retention.is_set &&
	        (history < limits->history_retention_min_sec * USEC_PER_SEC ||
	                history > limits->history_retention_max_sec * USEC_PER_SEC))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.history_retention_duration' must be between %llds and %llds.",
		        (long long)limits->history_retention_min_sec,
		        (long long)limits->history_retention_max_sec);
	int64_t version = fields->pg_version.value;
	if (fields->pg_version.is_set && (version < 16 || version > 18))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'spec.pg_version' must be 16, 17 or 18, got %lld.", (long long)version);
	return true;
}

bool project_fields_read(
        yyjson_val *spec, const struct settings *limits, struct project_fields *ret, struct api_error *error)
{
	CLEANUP(project_fields_done) struct project_fields fields = { 0 };
	yyjson_val *defaults, *tags;
	if (!field_text(spec, "spec", "display_name", &fields.display_name, error) ||
	        !field_integer(spec, "spec", "pg_version", &fields.pg_version, error) ||
	        !field_duration(
	                spec, "spec", "history_retention_duration", &fields.history_retention, error) ||
	        !field_object(spec, "spec", "default_endpoint_settings", &defaults, error) ||
	        !compute_fields_read(defaults, "spec.default_endpoint_settings", COMPUTE_FIELDS_DEFAULTS,
	                limits, &fields.defaults, error) ||
	        !field_switch(spec, "spec", "enable_pg_native_login", &fields.native_login, error) ||
	        !field_text(spec, "spec", "default_branch", &fields.default_branch, error) ||
	        !field_text(spec, "spec", "budget_policy_id", &fields.budget_policy_id, error) ||
	        !field_text(spec, "spec", "compute_provisioner", &fields.compute_provisioner, error) ||
	        !field_array(spec, "spec", "custom_tags", &tags, error) ||
	        !custom_tags_read(tags, "spec.custom_tags", &fields.custom_tags, error))
		return false;
	if (fields.pg_version.is_set && fields.pg_version.value == 0) /* Go's "not given" */
		fields.pg_version = (struct integer_field){ 0 };
	if (!check_limits(&fields, limits, error))
		return false;
	*ret = fields;
	fields = (struct project_fields){ 0 };
	return true;
}

static void set_text(char **field, const char *text)
{
	free(*field);
	*field = text ? xstrdup(text) : NULL;
}

void project_fields_set_defaults(struct project_row *project)
{
	struct compute_values defaults = compute_defaults();
	project->pg_version = POSTGRES_MAJOR_DEFAULT;
	project->history_retention_usec = HISTORY_RETENTION_DEFAULT_SEC * USEC_PER_SEC;
	project->min_cu = defaults.min_cu;
	project->max_cu = defaults.max_cu;
	project->suspend_usec = defaults.suspend_usec;
	set_text(&project->display_name, project->project_id);
	set_text(&project->pg_settings, defaults.pg_settings);
	set_text(&project->custom_tags, "[]");
}

static bool update_compute(struct project_row *project, const struct project_fields *fields,
        const struct update_mask *mask, const struct settings *limits, struct api_error *error)
{
	struct compute_values defaults = compute_defaults();
	struct compute_values values = { .min_cu = project->min_cu,
		.max_cu = project->max_cu,
		.suspend_usec = project->suspend_usec,
		.pg_settings = project->pg_settings };
	if (!compute_values_update(&values, &fields->defaults, mask, &compute_bits, &defaults, limits,
	            "spec.default_endpoint_settings", error))
		return false;
	project->min_cu = values.min_cu;
	project->max_cu = values.max_cu;
	project->suspend_usec = values.suspend_usec;
	project->pg_settings = values.pg_settings;
	return true;
}

bool project_fields_update(struct project_row *project, const struct project_fields *fields,
        const struct update_mask *mask, const struct settings *limits, struct api_error *error)
{
	if (!update_compute(project, fields, mask, limits, error))
		return false;
	if (fields->pg_version.is_set)
		project->pg_version = (int)fields->pg_version.value;
	if (update_mask_has(mask, PROJECT_DISPLAY_NAME, fields->display_name.is_set))
		set_text(&project->display_name,
		        fields->display_name.is_set ? fields->display_name.text : project->project_id);
	if (update_mask_has(mask, PROJECT_HISTORY_RETENTION, fields->history_retention.is_set))
		project->history_retention_usec = fields->history_retention.is_set
		                                          ? fields->history_retention.usec
		                                          : HISTORY_RETENTION_DEFAULT_SEC * USEC_PER_SEC;
	if (update_mask_has(mask, PROJECT_NATIVE_LOGIN, fields->native_login.is_set))
		project->enable_pg_native_login = fields->native_login.is_set && fields->native_login.value;
	/* Full replacement ("*") keeps the tags unless there are new ones. */
	bool has_tags = fields->custom_tags && strcmp(fields->custom_tags, "[]") != 0;
	if (update_mask_has(mask, PROJECT_CUSTOM_TAGS, fields->custom_tags != NULL) &&
	        (has_tags || !mask->is_all))
		set_text(&project->custom_tags, fields->custom_tags ? fields->custom_tags : "[]");
	if (update_mask_has(mask, PROJECT_BUDGET_POLICY, fields->budget_policy_id.is_set))
		set_text(&project->budget_policy_id,
		        fields->budget_policy_id.is_set ? fields->budget_policy_id.text : NULL);
	if (update_mask_has(mask, PROJECT_PROVISIONER, fields->compute_provisioner.is_set))
		set_text(&project->compute_provisioner, fields->compute_provisioner.text);
	return true;
}
