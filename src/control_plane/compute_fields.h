/*
 * Compute fields: size, suspension, settings and group, as they stand in an EndpointSpec, an InitialEndpointSpec and a
 * ProjectDefaultEndpointSettings (rest-api.md 3.1, 3.3), with the rules of 4.2.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "control_plane/api_error.h"
#include "control_plane/fields.h"

#define CU_MAX              112.0
#define CU_AUTOSCALE_MAX    64.0
#define CU_AUTOSCALE_SPREAD 16.0
#define SUSPEND_MAX_SEC     604800
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

/* object may be NULL: nothing set. suspend_min_sec: settings.suspend_timeout_min_sec. */
bool compute_fields_read(yyjson_val *object, const char *path, enum compute_fields_form form,
        int64_t suspend_min_sec, struct compute_fields *ret, struct api_error *error);
void compute_fields_done(struct compute_fields *fields); /* for CLEANUP */

/* Takes what `fields` sets over into the three values and checks the size that results. */
bool compute_fields_apply(const struct compute_fields *fields, const char *path, double *min_cu,
        double *max_cu, int64_t *suspend_usec, struct api_error *error);
bool compute_size_check(double min_cu, double max_cu, const char *path, struct api_error *error);
