/*
 * Instance fields: what a DatabaseInstance of the older API may carry, and what its words are here: names and sizes.
 * See docs/instances.md.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "control_plane/fields.h"
#include "control_plane/update_mask.h"
#include "metadata/project_row.h"

/* An id of a project or branch, in which letters may be capitals. */
#define INSTANCE_NAME_PATTERN "^[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
bool instance_name_is_valid(const char *name);
/* The id that stands behind a valid name: its lower case. */
void instance_id(const char *name, char out[RESOURCE_ID_MAX + 1]);

/* "CU_1", "CU_2", "CU_4", "CU_8" are 8, 16, 32, 64 CU of today: each had 16 GB where a CU has 2. 0: another word. */
double instance_capacity_cu(const char *capacity);
/* The smallest that holds that many CU; the largest when none does. */
const char *instance_capacity(double max_cu);
#define INSTANCE_CAPACITY_DEFAULT "CU_2"

#define INSTANCE_RETENTION_MIN_DAYS     2
#define INSTANCE_RETENTION_MAX_DAYS     35
#define INSTANCE_RETENTION_DEFAULT_DAYS 7
#define INSTANCE_NODES_MAX              3
/* Whole days; a part of one is not promised. */
int64_t instance_retention_days(int64_t usec);

enum instance_field {
	INSTANCE_CAPACITY = 1 << 0,
	INSTANCE_CUSTOM_TAGS = 1 << 1,
	INSTANCE_NATIVE_LOGIN = 1 << 2,
	INSTANCE_READABLE_SECONDARIES = 1 << 3,
	INSTANCE_NODE_COUNT = 1 << 4,
	INSTANCE_RETENTION = 1 << 5,
	INSTANCE_STOPPED = 1 << 6,
	INSTANCE_USAGE_POLICY = 1 << 7,
};

struct instance_fields {
	struct text_field name, capacity, usage_policy_id;
	struct switch_field is_stopped, native_login, readable_secondaries;
	struct integer_field node_count, retention_days;
	char *custom_tags; /* JSON list; NULL: not set; owned */
};

/* Only a new instance has these. */
struct instance_origin {
	struct integer_field pg_version;
	bool has_parent;
	struct text_field parent_name, parent_uid,
	        parent_lsn; /* of the parent at least one of name and uid */
	struct time_field parent_time;
};

/* Texts are borrowed from the document of `root`, which may be NULL. Output fields in it are passed over. */
bool instance_fields_read(yyjson_val *root, struct instance_fields *ret, struct api_error *error);
bool instance_origin_read(yyjson_val *root, struct instance_origin *ret, struct api_error *error);
void instance_fields_done(struct instance_fields *fields); /* for CLEANUP */

/* NULL, "" and "*" mean what the body carries: those who wrote this API's documents send "*" with one field. */
bool instance_mask_parse(const char *text, struct update_mask *ret, struct api_error *error);
