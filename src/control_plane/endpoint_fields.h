/* Endpoint fields: what an EndpointSpec may carry and how a PATCH changes a row (rest-api.md 3.3, 1.4). */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "control_plane/compute_fields.h"
#include "control_plane/fields.h"
#include "control_plane/update_mask.h"
#include "metadata/endpoint_row.h"

/* Bits of an update mask. */
enum endpoint_field {
	ENDPOINT_MIN_CU = 1 << 0,
	ENDPOINT_MAX_CU = 1 << 1,
	ENDPOINT_SUSPENSION = 1 << 2,
	ENDPOINT_DISABLED = 1 << 3,
	ENDPOINT_PG_SETTINGS = 1 << 4,
};

struct endpoint_fields {
	struct text_field type; /* one of the two names, when set */
	struct switch_field is_disabled;
	struct compute_fields compute;
};

/* spec may be NULL. Texts are borrowed from its document. */
bool endpoint_fields_read(yyjson_val *spec, const struct settings *limits, struct endpoint_fields *ret,
        struct api_error *error);
void endpoint_fields_done(struct endpoint_fields *fields);                /* for CLEANUP */
bool endpoint_fields_are_read_only(const struct endpoint_fields *fields); /* type must be set */

bool endpoint_mask_parse(const char *text, struct update_mask *ret, struct api_error *error);
/* Changes size, suspension, settings and whether it is disabled; the project has the defaults. */
bool endpoint_fields_update(struct endpoint_row *endpoint, const struct endpoint_fields *fields,
        const struct update_mask *mask, const struct project_row *project, const struct settings *limits,
        const char *path, struct api_error *error);
