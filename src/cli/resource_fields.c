#include "cli/resource_fields.h"

#include "cli/table.h"

#define CHANGE (FIELD_CREATE | FIELD_UPDATE)

#define DEPTH_MAX    16
#define WARNINGS_MAX 20 /* of one body: the rest is not read */

/* Every resource has these; people send back what they got. */
static const struct resource_field common_fields[] = {
	{ "name", 0, NULL },
	{ "parent", 0, NULL },
	{ "uid", 0, NULL },
	{ "create_time", 0, NULL },
	{ "update_time", 0, NULL },
	{ "delete_time", 0, NULL },
	{ "purge_time", 0, NULL },
	{ "status", 0, NULL },
	{ NULL, 0, NULL },
};

const struct resource_field project_fields[] = {
	{ "project_id", 0, NULL },
	{ "spec.display_name", CHANGE, "what people call it, up to 256 characters (default: its id)" },
	{ "spec.pg_version", FIELD_CREATE,
	        "major version of Postgres: 16, 17 or 18, where installed (default: 17)" },
	{ "spec.history_retention_duration", CHANGE,
	        "how far back one can go: \"172800s\" (2 days) to \"3024000s\" (35 days)" },
	{ "spec.default_branch", FIELD_UPDATE, "projects/PROJECT/branches/BRANCH" },
	{ "spec.default_endpoint_settings", FIELD_MASK, "all fields below it" },
	{ "spec.default_endpoint_settings.autoscaling_limit_min_cu", CHANGE,
	        "smallest size of endpoints that are made later: 0.5, 1, 2, …" },
	{ "spec.default_endpoint_settings.autoscaling_limit_max_cu", CHANGE, "largest size" },
	{ "spec.default_endpoint_settings.suspend_timeout_duration", CHANGE,
	        "how long unused until they sleep: \"60s\" to \"604800s\"" },
	{ "spec.default_endpoint_settings.no_suspension", CHANGE, "true: they never sleep" },
	{ "spec.default_endpoint_settings.pg_settings", CHANGE,
	        "Postgres settings: {\"work_mem\": \"8MB\"}" },
	{ "spec.enable_pg_native_login", CHANGE, "true: roles may log in with a Postgres password" },
	{ "spec.custom_tags", CHANGE, "[{\"key\": …, \"value\": …}]" },
	{ "spec.budget_policy_id", CHANGE, "kept and shown" },
	{ "spec.compute_provisioner", FIELD_CREATE, "kept and shown" },
	{ "initial_branch_spec.is_protected", FIELD_CREATE,
	        "true: branch \"production\" cannot be deleted or reset" },
	{ "initial_endpoint_spec.autoscaling_limit_min_cu", FIELD_CREATE, "size of the first endpoint" },
	{ "initial_endpoint_spec.autoscaling_limit_max_cu", FIELD_CREATE, "size of the first endpoint" },
	{ "initial_endpoint_spec.suspend_timeout_duration", FIELD_CREATE, "how long unused until it sleeps" },
	{ "initial_endpoint_spec.no_suspension", FIELD_CREATE, "true: it never sleeps" },
	{ "initial_endpoint_spec.group", 0, NULL },
	{ "initial_role_spec", 0, NULL },
	{ "initial_database_spec.postgres_database", FIELD_CREATE,
	        "name of the first database (default: databricks_postgres)" },
	{ NULL, 0, NULL },
};

const struct resource_field branch_fields[] = {
	{ "branch_id", 0, NULL },
	{ "spec.source_branch", FIELD_CREATE, "the branch to copy (default: the project's default branch)" },
	{ "spec.source_branch_time", FIELD_CREATE, "as it was at this moment: \"2026-08-01T10:00:00Z\"" },
	{ "spec.source_branch_lsn", FIELD_CREATE, "as it was at this position in WAL: \"0/1A2B3C8\"" },
	{ "spec.source_snapshot", FIELD_CREATE,
	        "projects/PROJECT/snapshots/SNAPSHOT, instead of the three above" },
	{ "spec.is_protected", CHANGE, "true: it cannot be deleted or reset" },
	{ "spec.ttl", CHANGE, "when it ends, counted from when it was made: \"86400s\"; up to 30 days" },
	{ "spec.expire_time", CHANGE, "when it ends: \"2026-08-08T10:00:00Z\"" },
	{ "spec.no_expiry", CHANGE, "true: it stays. One of these three is needed to make a branch" },
	{ "spec.expiration", FIELD_MASK, "ttl, expire_time and no_expiry" },
	{ NULL, 0, NULL },
};

const struct resource_field endpoint_fields[] = {
	{ "endpoint_id", 0, NULL },
	{ "spec.endpoint_type", FIELD_CREATE, "ENDPOINT_TYPE_READ_WRITE or ENDPOINT_TYPE_READ_ONLY" },
	{ "spec.autoscaling_limit_min_cu", CHANGE, "smallest size: 0.5, 1, 2, …" },
	{ "spec.autoscaling_limit_max_cu", CHANGE, "largest size" },
	{ "spec.suspend_timeout_duration", CHANGE,
	        "how long unused until it sleeps: \"60s\" to \"604800s\"" },
	{ "spec.no_suspension", CHANGE, "true: it never sleeps" },
	{ "spec.suspension", FIELD_MASK, "suspend_timeout_duration and no_suspension" },
	{ "spec.disabled", CHANGE, "true: it sleeps, and connections do not wake it" },
	{ "spec.settings.pg_settings", CHANGE, "Postgres settings: {\"work_mem\": \"8MB\"}" },
	{ "spec.group.min", CHANGE, "computes of it: 1 to 4, min as max" },
	{ "spec.group.max", CHANGE, "the same number" },
	{ "spec.group.enable_readable_secondaries", CHANGE, "true: the further ones take reads" },
	{ "spec.group", FIELD_MASK, "all fields below it" },
	{ NULL, 0, NULL },
};

const struct resource_field database_fields[] = {
	{ "database_id", 0, NULL },
	{ "spec.postgres_database", CHANGE, "its name in Postgres, up to 63 bytes; an update renames it" },
	{ "spec.role", CHANGE, "its owner: projects/PROJECT/branches/BRANCH/roles/ROLE" },
	{ NULL, 0, NULL },
};

const struct resource_field role_fields[] = {
	{ "role_id", 0, NULL },
	{ "spec.postgres_role", FIELD_CREATE,
	        "its name in Postgres: any, or a user's e-mail, a service principal's application id, a "
	        "group's name" },
	{ "spec.identity_type", FIELD_CREATE,
	        "USER, SERVICE_PRINCIPAL or GROUP; absent: a role of Postgres alone" },
	{ "spec.auth_method", FIELD_CREATE,
	        "LAKEBASE_OAUTH_V1 (tokens), PG_PASSWORD_SCRAM_SHA_256 (a password) or NO_LOGIN" },
	{ "spec.attributes", FIELD_MASK, "all fields below it" },
	{ "spec.attributes.createdb", CHANGE, "true: may make databases" },
	{ "spec.attributes.createrole", CHANGE, "true: may make roles" },
	{ "spec.attributes.bypassrls", CHANGE, "true: row level security does not hold for it" },
	{ "spec.membership_roles", CHANGE, "[\"DATABRICKS_SUPERUSER\"] or []" },
	{ NULL, 0, NULL },
};

const struct resource_field snapshot_fields[] = {
	{ "snapshot_id", 0, NULL },
	{ "spec.source_branch", FIELD_CREATE, "the branch to keep a moment of" },
	{ "spec.source_branch_time", FIELD_CREATE, "the moment (default: now)" },
	{ "spec.source_branch_lsn", FIELD_CREATE, "the moment as a position in WAL" },
	{ "spec.ttl", FIELD_CREATE, "when it ends, counted from now: \"2592000s\"" },
	{ "spec.expire_time", FIELD_CREATE, "when it ends: \"2026-09-01T10:00:00Z\"" },
	{ "spec.no_expiry", FIELD_CREATE, "true: it stays (as without any of these three)" },
	{ NULL, 0, NULL },
};

const struct resource_field snapshot_schedule_fields[] = {
	{ "schedule", FIELD_UPDATE,
	        "a list, [] for none, of {\"retention\": \"604800s\"} with \"daily_schedule\": {\"hour\": "
	        "2}, "
	        "\"weekly_schedule\": {\"day_of_week\": \"SUNDAY\", \"hour\": 2} or \"monthly_schedule\": "
	        "{\"day\": 1, \"hour\": 2}; "
	        "hours are UTC" },
	{ NULL, 0, NULL },
};

const struct resource_field catalog_fields[] = {
	{ "catalog_id", 0, NULL },
	{ "spec.branch", FIELD_CREATE, "projects/PROJECT/branches/BRANCH" },
	{ "spec.postgres_database", FIELD_CREATE, "name of the database in Postgres" },
	{ "spec.create_database_if_missing", FIELD_CREATE, "true: makes it" },
	{ NULL, 0, NULL },
};

const struct resource_field synced_table_fields[] = {
	{ "synced_table_id", 0, NULL },
	{ "spec.source_table_full_name", FIELD_CREATE, "CATALOG.SCHEMA.TABLE in the lake" },
	{ "spec.primary_key_columns", FIELD_CREATE, "[\"id\"]" },
	{ "spec.scheduling_policy", FIELD_CREATE, "SNAPSHOT, TRIGGERED or CONTINUOUS" },
	{ "spec.branch", FIELD_CREATE, "projects/PROJECT/branches/BRANCH" },
	{ "spec.postgres_database", FIELD_CREATE, "name of the database in Postgres" },
	{ "spec.create_database_objects_if_missing", FIELD_CREATE, "true: makes schema and table" },
	{ "spec.timeseries_key", FIELD_CREATE, "column whose largest value wins among rows with one key" },
	{ "spec.existing_pipeline_id", FIELD_CREATE, "pipeline to use" },
	{ "spec.new_pipeline_spec", FIELD_CREATE, "or to make" },
	{ "spec.accelerated_sync", 0, NULL },
	{ "spec.extra_columns", 0, NULL },
	{ "spec.extra_index_definitions", 0, NULL },
	{ "spec.type_overrides", FIELD_CREATE, "[{\"column_name\": …, \"pg_type\": …, \"size\": …}]" },
	{ NULL, 0, NULL },
};

const struct resource_field cdf_config_fields[] = {
	{ "cdf_config_id", 0, NULL },
	{ "catalog", FIELD_CREATE, "catalog in the lake that the tables are written to" },
	{ "schema", FIELD_CREATE, "schema in that catalog" },
	{ "postgres_schema", FIELD_CREATE, "schema in Postgres whose changes are written" },
	{ NULL, 0, NULL },
};

const struct resource_field data_api_fields[] = {
	{ "spec.db_schemas", CHANGE, "schemas to show: [\"public\"]" },
	{ "spec.db_anon_role", CHANGE, "role of those who do not log in" },
	{ "spec.db_extra_search_path", CHANGE, "further schemas for names in requests" },
	{ "spec.db_max_rows", CHANGE, "most rows in one answer" },
	{ "spec.db_aggregates_enabled", CHANGE, "true: sum, count and the like" },
	{ "spec.server_cors_allowed_origins", CHANGE, "web origins, or [\"*\"]" },
	{ "spec.server_timing_enabled", CHANGE, "true: header Server-Timing" },
	{ "spec.openapi_mode", CHANGE, "OPEN_API_MODE_IGNORE_PRIVILEGES or OPEN_API_MODE_DISABLED" },
	{ "spec.jwt_role_claim_key", CHANGE, "kept and shown" },
	{ "spec.jwt_cache_max_lifetime", CHANGE, "kept and shown" },
	{ NULL, 0, NULL },
};

enum known { KNOWN_NOT, KNOWN_FIELD, KNOWN_GROUP };

/* A group is what fields are below: "spec". */
static enum known look_up(const struct resource_field *fields, const char *path)
{
	enum known known = KNOWN_NOT;
	size_t len = strlen(path);
	for (; fields->path; fields++) {
		if (fields->use & FIELD_MASK)
			continue;
		if (strcmp(fields->path, path) == 0)
			return KNOWN_FIELD;
		if (strncmp(fields->path, path, len) == 0 && fields->path[len] == '.')
			known = KNOWN_GROUP;
	}
	return known;
}

static void warn_below(const struct resource_field *fields, yyjson_val *object, const char *prefix, int depth,
        size_t *warnings, struct buffer *out)
{
	size_t i, count;
	yyjson_val *key, *value;
	yyjson_obj_foreach(object, i, count, key, value)
	{
		CLEANUP(free_text) char *path = xasprintf("%s%s", prefix, yyjson_get_str(key));
		enum known known = look_up(fields, path);
		if (known == KNOWN_NOT)
			known = look_up(common_fields, path);
		if (known == KNOWN_GROUP && depth < DEPTH_MAX) {
			CLEANUP(free_text) char *below = xasprintf("%s.", path);
			warn_below(fields, value, below, depth + 1, warnings, out);
		} else if (known == KNOWN_NOT && (*warnings)++ < WARNINGS_MAX) {
			CLEANUP(free_text) char *printable = printable_copy(path);
			buffer_printf(out, "Warning: unknown field: %s\n", printable);
		}
	}
}

void resource_fields_warn(const struct resource_field *fields, yyjson_val *body, struct buffer *out)
{
	size_t warnings = 0;
	warn_below(fields, body, "", 0, &warnings, out);
}
