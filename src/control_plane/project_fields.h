/* Project fields: what a ProjectSpec may carry, its limits, and how a PATCH changes a row (rest-api.md 3.1, 1.4). */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "control_plane/compute_fields.h"
#include "control_plane/fields.h"
#include "control_plane/update_mask.h"
#include "metadata/project_row.h"

#define DISPLAY_NAME_MAX_CHARACTERS 256
#define CUSTOM_TAGS_MAX             50
#define CUSTOM_TAG_TEXT_MAX         256 /* bytes of a key or a value */

/* Bits of an update mask. */
enum project_field {
	PROJECT_DISPLAY_NAME = 1 << 0,
	PROJECT_HISTORY_RETENTION = 1 << 1,
	PROJECT_MIN_CU = 1 << 2,
	PROJECT_MAX_CU = 1 << 3,
	PROJECT_SUSPENSION = 1 << 4,
	PROJECT_PG_SETTINGS = 1 << 5,
	PROJECT_NATIVE_LOGIN = 1 << 6,
	PROJECT_DEFAULT_BRANCH = 1 << 7,
	PROJECT_CUSTOM_TAGS = 1 << 8,
	PROJECT_BUDGET_POLICY = 1 << 9,
	PROJECT_PROVISIONER = 1 << 10, /* only on create */
};

struct project_fields {
	struct text_field display_name;
	struct integer_field pg_version;
	struct time_field history_retention;
	struct compute_fields defaults;
	struct switch_field native_login;
	struct text_field default_branch;
	char *custom_tags; /* JSON list; NULL: not set; owned */
	struct text_field budget_policy_id, compute_provisioner;
};

/* Of a list of {"key","value"}, called `path` in messages: its text, which the caller frees; unchanged when list is NULL. */
bool custom_tags_read(yyjson_val *list, const char *path, char **ret, struct api_error *error);

/* spec may be NULL. Texts are borrowed from its document. */
bool project_fields_read(
        yyjson_val *spec, const struct settings *limits, struct project_fields *ret, struct api_error *error);
void project_fields_done(struct project_fields *fields); /* for CLEANUP */

bool project_mask_parse(const char *text, struct update_mask *ret, struct api_error *error);
/* Sets what a new project has when nothing is said; project_id must be set. */
void project_fields_set_defaults(struct project_row *project);
/* All but default_branch, which needs the branches. */
bool project_fields_update(struct project_row *project, const struct project_fields *fields,
        const struct update_mask *mask, const struct settings *limits, struct api_error *error);
