/*
 * Resource JSON: how resources look in GET, LIST and Operation.response (rest-api.md 3, "out" columns): names, times and
 * `status` with effective values, never `spec`. One function per resource, so that all three look the same.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "control_plane/services.h"
#include "metadata/branch_row.h"
#include "metadata/database_row.h"
#include "metadata/endpoint_row.h"
#include "metadata/project_row.h"
#include "metadata/role_row.h"
#include "metadata/snapshot_row.h"

yyjson_mut_val *project_to_json(
        const struct services *services, yyjson_mut_doc *doc, const struct project_row *project);
yyjson_mut_val *branch_to_json(
        yyjson_mut_doc *doc, const struct project_row *project, const struct branch_row *branch);
yyjson_mut_val *snapshot_to_json(
        yyjson_mut_doc *doc, const struct project_row *project, const struct snapshot_row *snapshot);
yyjson_mut_val *endpoint_to_json(const struct services *services, yyjson_mut_doc *doc,
        const struct project_row *project, const struct branch_row *branch,
        const struct endpoint_row *endpoint);
void compute_instance_id(const struct endpoint_row *endpoint, char out[RESOURCE_ID_MAX + 1]);
yyjson_mut_val *compute_instance_to_json(const struct services *services, yyjson_mut_doc *doc,
        const struct project_row *project, const struct branch_row *branch,
        const struct endpoint_row *endpoint);
yyjson_mut_val *role_to_json(yyjson_mut_doc *doc, const struct project_row *project,
        const struct branch_row *branch, const struct role_row *role);
yyjson_mut_val *database_to_json(yyjson_mut_doc *doc, const struct project_row *project,
        const struct branch_row *branch, const struct database_row *database);

/* "<uid>.<domain>" ("<uid>-ro.<domain>" of a read-only one), or the endpoint's own loopback address. Caller frees. */
char *endpoint_host(const struct data_directory *dd, const struct endpoint_row *endpoint);
char *endpoint_pooled_host(const struct data_directory *dd, const struct endpoint_row *endpoint);

/* Names; caller frees. */
char *project_name(const struct project_row *project);
char *branch_name(const struct project_row *project, const struct branch_row *branch);
char *snapshot_name(const struct project_row *project, const struct snapshot_row *snapshot);
char *endpoint_name(const struct project_row *project, const struct branch_row *branch,
        const struct endpoint_row *endpoint);

/* Makes `value` the root of doc and writes it; caller frees. */
char *json_write(yyjson_mut_doc *doc, yyjson_mut_val *value);
