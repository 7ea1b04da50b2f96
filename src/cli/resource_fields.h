/* Resource fields: what the body of each kind of resource may have, for help texts, completions and warnings about what it has besides. */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "base/buffer.h"

enum {
	FIELD_CREATE = 1,
	FIELD_UPDATE = 2,
	FIELD_MASK = 4, /* a word of update masks only: it stands for several fields */
};

struct resource_field {
	const char *path;    /* "spec.default_endpoint_settings.no_suspension" */
	unsigned int use;    /* FIELD_…; 0: the server's to write, and no mistake to send back */
	const char *summary; /* what it is, its form, its limits; NULL with use 0 */
};

/* All end with a NULL path. */
extern const struct resource_field project_fields[], branch_fields[], endpoint_fields[], database_fields[],
        role_fields[], snapshot_fields[], snapshot_schedule_fields[], catalog_fields[], synced_table_fields[],
        cdf_config_fields[], data_api_fields[];

/* Appends a line "Warning: …" for each member of the body that no field of the table is. */
void resource_fields_warn(const struct resource_field *fields, yyjson_val *body, struct buffer *out);
