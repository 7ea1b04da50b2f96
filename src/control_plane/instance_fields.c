#include "control_plane/instance_fields.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/number.h"
#include "control_plane/project_fields.h"
#include "control_plane/resource_name.h"

#define CU_PER_CAPACITY 8

static const struct {
	const char *name;
	double cu;
} capacities[] = {
	{ "CU_1", 1 * CU_PER_CAPACITY },
	{ "CU_2", 2 * CU_PER_CAPACITY },
	{ "CU_4", 4 * CU_PER_CAPACITY },
	{ "CU_8", 8 * CU_PER_CAPACITY },
};

static const struct update_path paths[] = {
	{ .path = "*", .fields = UINT64_MAX, .keeps_absent = true },
	{ .path = "capacity", .fields = INSTANCE_CAPACITY },
	{ .path = "custom_tags", .fields = INSTANCE_CUSTOM_TAGS },
	{ .path = "enable_pg_native_login", .fields = INSTANCE_NATIVE_LOGIN },
	{ .path = "enable_readable_secondaries", .fields = INSTANCE_READABLE_SECONDARIES },
	{ .path = "node_count", .fields = INSTANCE_NODE_COUNT },
	{ .path = "retention_window_in_days", .fields = INSTANCE_RETENTION },
	{ .path = "stopped", .fields = INSTANCE_STOPPED },
	{ .path = "usage_policy_id", .fields = INSTANCE_USAGE_POLICY },
	/* Accepted: an unequal value is refused by itself. */
	{ .path = "name" },
};

bool instance_mask_parse(const char *text, struct update_mask *ret, struct api_error *error)
{
	return update_mask_parse(text && *text ? text : "*", paths, ARRAY_LEN(paths), ret, error);
}

static void lower(const char *name, char out[RESOURCE_ID_MAX + 1])
{
	size_t len = strnlen(name, RESOURCE_ID_MAX);
	for (size_t i = 0; i < len; i++)
		out[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
	out[len] = '\0';
}

bool instance_name_is_valid(const char *name)
{
	char id[RESOURCE_ID_MAX + 1];
	lower(name, id);
	return strlen(name) <= RESOURCE_ID_MAX && resource_id_is_valid(id);
}

void instance_id(const char *name, char out[RESOURCE_ID_MAX + 1])
{
	lower(name, out);
}

double instance_capacity_cu(const char *capacity)
{
	for (size_t i = 0; i < ARRAY_LEN(capacities); i++) {
		if (strcmp(capacities[i].name, capacity) == 0)
			return capacities[i].cu;
	}
	return 0;
}

const char *instance_capacity(double max_cu)
{
	size_t i = 0;
	while (i + 1 < ARRAY_LEN(capacities) && capacities[i].cu < max_cu)
		i++;
	return capacities[i].name;
}

int64_t instance_retention_days(int64_t usec)
{
	return usec / (86400 * USEC_PER_SEC);
}

void instance_fields_done(struct instance_fields *fields)
{
	free(fields->custom_tags);
	*fields = (struct instance_fields){ 0 };
}

/* A number that older clients send as 0 when it is not given. */
static bool read_count(yyjson_val *root, const char *key, struct integer_field *ret, struct api_error *error)
{
	if (!field_integer(root, "", key, ret, error))
		return false;
	if (ret->is_set && ret->value == 0)
		*ret = (struct integer_field){ 0 };
	return true;
}

static bool check_limits(const struct instance_fields *fields, struct api_error *error)
{
	if (fields->capacity.is_set && instance_capacity_cu(fields->capacity.text) == 0)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'capacity' must be CU_1, CU_2, CU_4 or CU_8, got '%.60s'.",
		        fields->capacity.text);
	int64_t days = fields->retention_days.value;
	if (fields->retention_days.is_set &&
	        (days < INSTANCE_RETENTION_MIN_DAYS || days > INSTANCE_RETENTION_MAX_DAYS))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'retention_window_in_days' must be between %d and %d, got %lld.",
		        INSTANCE_RETENTION_MIN_DAYS, INSTANCE_RETENTION_MAX_DAYS, (long long)days);
	int64_t nodes = fields->node_count.is_set ? fields->node_count.value : 1;
	if (nodes < 1 || nodes > INSTANCE_NODES_MAX)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'node_count' must be between 1 and %d, got %lld.", INSTANCE_NODES_MAX,
		        (long long)nodes);
	if (nodes > 1)
		return api_fail(error, API_NOT_IMPLEMENTED,
		        "Field 'node_count': more than one node (high availability) is not available yet.");
	if (fields->readable_secondaries.is_set && fields->readable_secondaries.value)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'enable_readable_secondaries' needs a 'node_count' of at least 2.");
	if (fields->usage_policy_id.is_set && strlen(fields->usage_policy_id.text) > CUSTOM_TAG_TEXT_MAX)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'usage_policy_id' is longer than %d bytes.", CUSTOM_TAG_TEXT_MAX);
	return true;
}

bool instance_fields_read(yyjson_val *root, struct instance_fields *ret, struct api_error *error)
{
	CLEANUP(instance_fields_done) struct instance_fields fields = { 0 };
	yyjson_val *tags;
	if (!field_text(root, "", "name", &fields.name, error) ||
	        !field_text(root, "", "capacity", &fields.capacity, error) ||
	        !field_text(root, "", "usage_policy_id", &fields.usage_policy_id, error) ||
	        !field_switch(root, "", "stopped", &fields.is_stopped, error) ||
	        !field_switch(root, "", "enable_pg_native_login", &fields.native_login, error) ||
	        !field_switch(root, "", "enable_readable_secondaries", &fields.readable_secondaries, error) ||
	        !read_count(root, "node_count", &fields.node_count, error) ||
	        !read_count(root, "retention_window_in_days", &fields.retention_days, error) ||
	        !field_array(root, "", "custom_tags", &tags, error) ||
	        !custom_tags_read(tags, "custom_tags", &fields.custom_tags, error) ||
	        !check_limits(&fields, error))
		return false;
	*ret = fields;
	fields = (struct instance_fields){ 0 };
	return true;
}

/* "PG_VERSION_17", as answers have it, or "17". */
static bool read_version(yyjson_val *root, struct integer_field *ret, struct api_error *error)
{
	struct text_field text;
	*ret = (struct integer_field){ 0 };
	if (!field_text(root, "", "pg_version", &text, error))
		return false;
	if (!text.is_set)
		return true;
	static const char prefix[] = "PG_VERSION_";
	const char *digits = text.text;
	if (strncmp(digits, prefix, sizeof prefix - 1) == 0)
		digits += sizeof prefix - 1;
	if (!number_parse(slice_from_text(digits), 1, 1000, &ret->value))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'pg_version' must be a version such as PG_VERSION_17, got '%.60s'.",
		        text.text);
	ret->is_set = true;
	return true;
}

bool instance_origin_read(yyjson_val *root, struct instance_origin *ret, struct api_error *error)
{
	static const char path[] = "parent_instance_ref";
	struct instance_origin origin = { 0 };
	yyjson_val *parent;
	uint64_t lsn;
	if (!read_version(root, &origin.pg_version, error) || !field_object(root, "", path, &parent, error) ||
	        !field_text(parent, path, "name", &origin.parent_name, error) ||
	        !field_text(parent, path, "uid", &origin.parent_uid, error) ||
	        !field_text(parent, path, "lsn", &origin.parent_lsn, error) ||
	        !field_timestamp(parent, path, "branch_time", &origin.parent_time, error))
		return false;
	origin.has_parent = yyjson_obj_size(parent) > 0;
	if (origin.has_parent && !origin.parent_name.is_set && !origin.parent_uid.is_set)
		return api_fail(error, API_INVALID_PARAMETER, "Field '%s.name' is required.", path);
	if (origin.parent_lsn.is_set &&
	        (!lsn_parse(slice_from_text(origin.parent_lsn.text), &lsn) || lsn == 0))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s.lsn' must be an LSN such as 0/1A2B3C8, not '%.60s'.", path,
		        origin.parent_lsn.text);
	*ret = origin;
	return true;
}
