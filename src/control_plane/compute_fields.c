#include "control_plane/compute_fields.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "control_plane/pg_settings.h"

void compute_fields_done(struct compute_fields *fields)
{
	free(fields->pg_settings);
	*fields = (struct compute_fields){ 0 };
}

static bool read_suspension(yyjson_val *object, const char *path, const struct settings *limits,
        struct time_field *ret, struct api_error *error)
{
	struct time_field timeout;
	struct switch_field never;
	if (!field_duration(object, path, "suspend_timeout_duration", &timeout, error) ||
	        !field_switch(object, path, "no_suspension", &never, error))
		return false;
	bool is_never = never.is_set && never.value; /* no_suspension:false says nothing */
	if (is_never && timeout.is_set)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Fields '%s.suspend_timeout_duration' and '%s.no_suspension' exclude each other.",
		        path, path);
	if (timeout.is_set && timeout.usec != 0 && /* "0s" is what some clients send for never */
	        (timeout.usec < limits->suspend_timeout_min_sec * USEC_PER_SEC ||
	                timeout.usec > limits->suspend_timeout_max_sec * USEC_PER_SEC))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s.suspend_timeout_duration' must be between %llds and %llds.", path,
		        (long long)limits->suspend_timeout_min_sec,
		        (long long)limits->suspend_timeout_max_sec);
	ret->is_set = is_never || timeout.is_set;
	ret->usec = is_never ? 0 : timeout.usec;
	return true;
}

static bool read_group(yyjson_val *object, const char *path, bool *ret_has_group, struct api_error *error)
{
	yyjson_val *group;
	if (!field_object(object, path, "group", &group, error))
		return false;
	char group_path[64];
	(void)snprintf(group_path, sizeof group_path, "%s.group", path);
	struct integer_field min, max;
	struct switch_field readable;
	if (!field_integer(group, group_path, "min", &min, error) ||
	        !field_integer(group, group_path, "max", &max, error) ||
	        !field_switch(group, group_path, "enable_readable_secondaries", &readable, error))
		return false;
	/* Go sends required members always: 0 is absent. */
	int64_t low = min.value, high = max.value;
	if (low == 0)
		low = high;
	if (high == 0)
		high = low;
	*ret_has_group = high != 0;
	if (high == 0)
		low = high = 1;
	if (low != high || low < 1 || low > 4)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Fields '%s.min' and '%s.max' must be equal and between 1 and 4.", group_path,
		        group_path);
	if (high > 1)
		return api_fail(error, API_NOT_IMPLEMENTED,
		        "Field '%s.max': endpoints with standbys are not available yet; use 1.", group_path);
	if (readable.is_set && readable.value)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s.enable_readable_secondaries' needs a read-write endpoint with max above "
		        "1.",
		        group_path);
	return true;
}

static bool read_cu(yyjson_val *object, const char *path, const char *key, struct number_field *ret,
        struct api_error *error)
{
	if (!field_number(object, path, key, ret, error))
		return false;
	if (ret->is_set && ret->value == 0)
		*ret = (struct number_field){ 0 };
	return true;
}

bool compute_fields_read(yyjson_val *object, const char *path, enum compute_fields_form form,
        const struct settings *limits, struct compute_fields *ret, struct api_error *error)
{
	CLEANUP(compute_fields_done) struct compute_fields fields = { 0 };
	if (!read_cu(object, path, "autoscaling_limit_min_cu", &fields.min_cu, error) ||
	        !read_cu(object, path, "autoscaling_limit_max_cu", &fields.max_cu, error) ||
	        !read_suspension(object, path, limits, &fields.suspension, error))
		return false;
	if (form != COMPUTE_FIELDS_DEFAULTS && !read_group(object, path, &fields.has_group, error))
		return false;

	yyjson_val *holder = object, *settings = NULL;
	char settings_path[96];
	(void)snprintf(settings_path, sizeof settings_path, "%s%s", path,
	        form == COMPUTE_FIELDS_ENDPOINT ? ".settings" : "");
	if (form == COMPUTE_FIELDS_ENDPOINT && !field_object(object, path, "settings", &holder, error))
		return false;
	if (form != COMPUTE_FIELDS_INITIAL &&
	        !field_object(holder, settings_path, "pg_settings", &settings, error))
		return false;
	/* "settings":{} is a value as well: no settings. */
	fields.has_pg_settings = settings || (form == COMPUTE_FIELDS_ENDPOINT && holder);
	(void)snprintf(settings_path + strlen(settings_path), sizeof settings_path - strlen(settings_path),
	        ".pg_settings");
	if (fields.has_pg_settings && !pg_settings_read(settings, settings_path, &fields.pg_settings, error))
		return false;
	*ret = fields;
	fields = (struct compute_fields){ 0 };
	return true;
}

static bool is_legal_cu(double cu, const struct settings *limits)
{
	return cu == 0.5 || (cu >= 1 && cu <= (double)limits->cu_max && cu == (double)(int)cu);
}

bool compute_size_check(double min_cu, double max_cu, const struct settings *limits, const char *path,
        struct api_error *error)
{
	if (!is_legal_cu(min_cu, limits) || !is_legal_cu(max_cu, limits))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Fields '%s.autoscaling_limit_min_cu' and '%s.autoscaling_limit_max_cu' must be 0.5 "
		        "or a whole "
		        "number from 1 to %lld.",
		        path, path, (long long)limits->cu_max);
	if (min_cu > max_cu)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s.autoscaling_limit_min_cu' (%g) must not be above autoscaling_limit_max_cu "
		        "(%g).",
		        path, min_cu, max_cu);
	if (min_cu == max_cu)
		return true;
	if (max_cu > (double)limits->autoscale_cu_max)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s.autoscaling_limit_max_cu': autoscaling ends at %lld; larger sizes must be "
		        "fixed (min equal "
		        "to max).",
		        path, (long long)limits->autoscale_cu_max);
	if (max_cu - min_cu > (double)limits->autoscale_cu_spread)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Fields '%s.autoscaling_limit_min_cu' and '%s.autoscaling_limit_max_cu' must not "
		        "differ by more than "
		        "%lld.",
		        path, path, (long long)limits->autoscale_cu_spread);
	return true;
}

bool compute_values_update(struct compute_values *values, const struct compute_fields *fields,
        const struct update_mask *mask, const struct compute_bits *bits,
        const struct compute_values *defaults, const struct settings *limits, const char *path,
        struct api_error *error)
{
	double min_cu = values->min_cu, max_cu = values->max_cu;
	if (update_mask_has(mask, bits->min_cu, fields->min_cu.is_set))
		min_cu = fields->min_cu.is_set ? fields->min_cu.value : defaults->min_cu;
	if (update_mask_has(mask, bits->max_cu, fields->max_cu.is_set))
		max_cu = fields->max_cu.is_set ? fields->max_cu.value : defaults->max_cu;
	if (!compute_size_check(min_cu, max_cu, limits, path, error))
		return false;
	values->min_cu = min_cu;
	values->max_cu = max_cu;
	if (update_mask_has(mask, bits->suspension, fields->suspension.is_set))
		values->suspend_usec =
		        fields->suspension.is_set ? fields->suspension.usec : defaults->suspend_usec;
	if (update_mask_has(mask, bits->pg_settings, fields->has_pg_settings)) {
		free(values->pg_settings);
		values->pg_settings =
		        xstrdup(fields->has_pg_settings ? fields->pg_settings : defaults->pg_settings);
	}
	return true;
}
