/*
 * Compute fields: size, suspension, settings and group, as they stand in an EndpointSpec, an InitialEndpointSpec and a
 * ProjectDefaultEndpointSettings (rest-api.md 3.1, 3.3), with the rules of 4.2.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "control_plane/api_error.h"
#include "control_plane/fields.h"
#include "control_plane/update_mask.h"
#include "data_directory/data_directory.h"

#define SUSPEND_DEFAULT_SEC 86400

struct compute_fields {
	struct number_field min_cu, max_cu;
	struct time_field suspension; /* 0 µs: never */
	bool has_pg_settings;
	char *pg_settings; /* JSON object; owned */
	bool has_group;
};

enum compute_fields_form {
	COMPUTE_FIELDS_ENDPOINT, /* settings.pg_settings, group */
	COMPUTE_FIELDS_INITIAL,  /* group */
	COMPUTE_FIELDS_DEFAULTS, /* pg_settings */
};

/* object may be NULL: nothing set. */
bool compute_fields_read(yyjson_val *object, const char *path, enum compute_fields_form form,
        const struct settings *limits, struct compute_fields *ret, struct api_error *error);
void compute_fields_done(struct compute_fields *fields); /* for CLEANUP */

/* Effective values of one compute, as rows hold them. suspend_usec 0: never. */
struct compute_values {
	double min_cu, max_cu;
	int64_t suspend_usec;
	char *pg_settings; /* JSON object; owned by whoever holds the struct */
};

/* Which bit of an update mask means which leaf. */
struct compute_bits {
	uint64_t min_cu, max_cu, suspension, pg_settings;
};

/*
 * Changes *values to what `fields` say, as far as the mask means them; a leaf that is meant but not set becomes that of
 * `defaults`. False with *values unchanged when the size that results is not allowed.
 */
bool compute_values_update(struct compute_values *values, const struct compute_fields *fields,
        const struct update_mask *mask, const struct compute_bits *bits,
        const struct compute_values *defaults, const struct settings *limits, const char *path,
        struct api_error *error);
bool compute_size_check(double min_cu, double max_cu, const struct settings *limits, const char *path,
        struct api_error *error);
