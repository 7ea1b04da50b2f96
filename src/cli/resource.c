#include "cli/resource.h"

#include "cli/rest.h"
#include "cli/table.h"

static void append_text(yyjson_val *resource, const char *names, struct buffer *out)
{
	buffer_append_text(out, json_text(resource, names));
}

static void append_id(yyjson_val *resource, const char *names, struct buffer *out)
{
	buffer_append_text(out, resource_id(json_text(resource, names)));
}

static void append_yes(yyjson_val *resource, const char *names, struct buffer *out)
{
	buffer_append_text(out, yyjson_is_true(json_at(resource, names)) ? "yes" : "");
}

/* "2026-08-01T10:00:00.123Z" without what nobody compares by eye. */
static void append_time(yyjson_val *resource, const char *names, struct buffer *out)
{
	const char *text = json_text(resource, names);
	if (strlen(text) < 20)
		return;
	buffer_printf(out, "%.10s %.8sZ", text, text + 11);
}

static void write_name(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "name", out);
}

static void write_display_name(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "status.display_name", out);
}

static void write_pg_version(yyjson_val *resource, struct buffer *out)
{
	yyjson_val *version = json_at(resource, "status.pg_version");
	if (yyjson_is_int(version))
		buffer_printf(out, "%lld", (long long)yyjson_get_sint(version));
}

static void write_default_branch(yyjson_val *resource, struct buffer *out)
{
	append_id(resource, "status.default_branch", out);
}

static void write_create_time(yyjson_val *resource, struct buffer *out)
{
	append_time(resource, "create_time", out);
}

static void write_project_deleted(yyjson_val *resource, struct buffer *out)
{
	append_time(resource, "delete_time", out);
}

static const struct resource_column project_columns[] = {
	{ "NAME", write_name },
	{ "DISPLAY NAME", write_display_name },
	{ "POSTGRES", write_pg_version },
	{ "DEFAULT BRANCH", write_default_branch },
	{ "CREATED", write_create_time },
	{ "DELETED", write_project_deleted },
	{ NULL, NULL },
};

static void write_state(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "status.current_state", out);
	const char *pending = json_text(resource, "status.pending_state");
	if (*pending)
		buffer_printf(out, " -> %s", pending);
}

static void write_is_default(yyjson_val *resource, struct buffer *out)
{
	append_yes(resource, "status.default", out);
}

static void write_is_protected(yyjson_val *resource, struct buffer *out)
{
	append_yes(resource, "status.is_protected", out);
}

static void write_source(yyjson_val *resource, struct buffer *out)
{
	append_id(resource, "status.source_branch", out);
	if (*json_text(resource, "status.source_snapshot"))
		buffer_printf(out, "snapshot %s", resource_id(json_text(resource, "status.source_snapshot")));
	const char *lsn = json_text(resource, "status.source_branch_lsn");
	if (*lsn)
		buffer_printf(out, " at %s", lsn);
}

static void write_expires(yyjson_val *resource, struct buffer *out)
{
	append_time(resource, "status.expire_time", out);
}

static void write_moment(yyjson_val *resource, struct buffer *out)
{
	append_time(resource, "status.source_branch_time", out);
}

static void write_bytes(yyjson_val *bytes, struct buffer *out)
{
	if (yyjson_is_int(bytes))
		buffer_printf(out, "%.1f MB", (double)yyjson_get_sint(bytes) / 1e6);
}

static void write_full_size(yyjson_val *resource, struct buffer *out)
{
	write_bytes(json_at(resource, "status.full_size_bytes"), out);
}

static const struct resource_column snapshot_columns[] = {
	{ "NAME", write_name },
	{ "SOURCE", write_source },
	{ "MOMENT", write_moment },
	{ "SIZE", write_full_size },
	{ "EXPIRES", write_expires },
	{ "CREATED", write_create_time },
	{ NULL, NULL },
};

static const struct resource_column branch_columns[] = {
	{ "NAME", write_name },
	{ "STATE", write_state },
	{ "DEFAULT", write_is_default },
	{ "PROTECTED", write_is_protected },
	{ "SOURCE", write_source },
	{ "EXPIRES", write_expires },
	{ "CREATED", write_create_time },
	{ NULL, NULL },
};

static void write_endpoint_type(yyjson_val *resource, struct buffer *out)
{
	static const char prefix[] = "ENDPOINT_TYPE_";
	const char *type = json_text(resource, "status.endpoint_type");
	bool is_known = strncmp(type, prefix, sizeof prefix - 1) == 0;
	buffer_append_text(out, is_known ? type + sizeof prefix - 1 : type);
}

static void write_endpoint_state(yyjson_val *resource, struct buffer *out)
{
	write_state(resource, out);
	if (yyjson_is_true(json_at(resource, "status.disabled")))
		buffer_append_text(out, " (disabled)");
}

static void write_size(yyjson_val *resource, struct buffer *out)
{
	yyjson_val *min = json_at(resource, "status.autoscaling_limit_min_cu");
	yyjson_val *max = json_at(resource, "status.autoscaling_limit_max_cu");
	if (yyjson_is_num(min) && yyjson_is_num(max))
		buffer_printf(out, "%g-%g", yyjson_get_num(min), yyjson_get_num(max));
}

static void write_suspend(yyjson_val *resource, struct buffer *out)
{
	const char *timeout = json_text(resource, "status.suspend_timeout_duration");
	buffer_append_text(out, *timeout ? timeout : "never");
}

static void write_host(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "status.hosts.host", out);
}

static const struct resource_column endpoint_columns[] = {
	{ "NAME", write_name },
	{ "TYPE", write_endpoint_type },
	{ "STATE", write_endpoint_state },
	{ "CU", write_size },
	{ "SUSPEND", write_suspend },
	{ "HOST", write_host },
	{ NULL, NULL },
};

static void write_postgres_database(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "status.postgres_database", out);
}

static void write_owner(yyjson_val *resource, struct buffer *out)
{
	append_id(resource, "status.role", out);
}

static const struct resource_column database_columns[] = {
	{ "NAME", write_name },
	{ "POSTGRES DATABASE", write_postgres_database },
	{ "OWNER", write_owner },
	{ "CREATED", write_create_time },
	{ NULL, NULL },
};

static void write_postgres_role(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "status.postgres_role", out);
}

static void write_identity(yyjson_val *resource, struct buffer *out)
{
	const char *type = json_text(resource, "status.identity_type");
	if (strcmp(type, "IDENTITY_TYPE_UNSPECIFIED") != 0)
		buffer_append_text(out, type);
}

static void write_auth_method(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "status.auth_method", out);
}

static void write_membership(yyjson_val *resource, struct buffer *out)
{
	yyjson_val *roles = json_at(resource, "status.membership_roles"), *role;
	size_t i, count;
	yyjson_arr_foreach(roles, i, count, role) buffer_printf(
	        out, "%s%s", i > 0 ? ", " : "", yyjson_get_str(role) ? yyjson_get_str(role) : "");
}

static const struct resource_column role_columns[] = {
	{ "NAME", write_name },
	{ "POSTGRES ROLE", write_postgres_role },
	{ "IDENTITY", write_identity },
	{ "LOGIN BY", write_auth_method },
	{ "MEMBER OF", write_membership },
	{ NULL, NULL },
};

static void write_type(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "role", out);
}

static void write_instance_state(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "current_state", out);
	const char *pending = json_text(resource, "pending_state");
	if (*pending)
		buffer_printf(out, " -> %s", pending);
}

static void write_start_time(yyjson_val *resource, struct buffer *out)
{
	append_time(resource, "start_time", out);
}

static void write_compute_host(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "compute_host", out);
}

static const struct resource_column compute_instance_columns[] = {
	{ "NAME", write_name },
	{ "TYPE", write_type },
	{ "STATE", write_instance_state },
	{ "STARTED", write_start_time },
	{ "HOST", write_compute_host },
	{ NULL, NULL },
};

static void write_postgres_schema(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "postgres_schema", out);
}

static void write_lake_schema(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "catalog", out);
	buffer_append_text(out, ".");
	append_text(resource, "schema", out);
}

static const struct resource_column cdf_config_columns[] = {
	{ "NAME", write_name },
	{ "POSTGRES SCHEMA", write_postgres_schema },
	{ "WRITES TO", write_lake_schema },
	{ "CREATED", write_create_time },
	{ NULL, NULL },
};

static void write_postgres_table(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "postgres_table", out);
}

static void write_lake_table(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "uc_table", out);
}

static void write_cdf_state(yyjson_val *resource, struct buffer *out)
{
	append_text(resource, "state", out);
}

static void write_last_sync(yyjson_val *resource, struct buffer *out)
{
	append_time(resource, "last_sync_time", out);
}

static const struct resource_column cdf_status_columns[] = {
	{ "NAME", write_name },
	{ "POSTGRES TABLE", write_postgres_table },
	{ "WRITES TO", write_lake_table },
	{ "STATE", write_cdf_state },
	{ "LAST SYNC", write_last_sync },
	{ NULL, NULL },
};

#define BRANCH_FORM   "projects/PROJECT/branches/BRANCH"
#define DATABASE_FORM BRANCH_FORM "/databases/DATABASE"
#define ENDPOINT_FORM BRANCH_FORM "/endpoints/ENDPOINT"
#define CDF_FORM      DATABASE_FORM "/cdf-configs/CDF_CONFIG"

const struct resource project_resource = {
	.noun = "project",
	.collection = "projects",
	.name_form = "projects/PROJECT",
	.id_query = "project_id",
	.columns = project_columns,
	.fields = project_fields,
};

const struct resource branch_resource = {
	.noun = "branch",
	.collection = "branches",
	.name_form = BRANCH_FORM,
	.parent_form = "projects/PROJECT",
	.id_query = "branch_id",
	.columns = branch_columns,
	.fields = branch_fields,
};

const struct resource endpoint_resource = {
	.noun = "endpoint",
	.collection = "endpoints",
	.name_form = ENDPOINT_FORM,
	.parent_form = BRANCH_FORM,
	.id_query = "endpoint_id",
	.columns = endpoint_columns,
	.fields = endpoint_fields,
};

const struct resource database_resource = {
	.noun = "database",
	.collection = "databases",
	.name_form = DATABASE_FORM,
	.parent_form = BRANCH_FORM,
	.id_query = "database_id",
	.is_id_optional = true,
	.columns = database_columns,
	.fields = database_fields,
};

const struct resource role_resource = {
	.noun = "role",
	.collection = "roles",
	.name_form = BRANCH_FORM "/roles/ROLE",
	.parent_form = BRANCH_FORM,
	.id_query = "role_id",
	.is_id_optional = true,
	.columns = role_columns,
	.fields = role_fields,
};

const struct resource snapshot_resource = {
	.noun = "snapshot",
	.collection = "snapshots",
	.name_form = "projects/PROJECT/snapshots/SNAPSHOT",
	.parent_form = "projects/PROJECT",
	.id_query = "snapshot_id",
	.columns = snapshot_columns,
	.fields = snapshot_fields,
};

const struct resource snapshot_schedule_resource = {
	.noun = "snapshot schedule",
	.collection = "snapshot-schedule",
	.name_form = BRANCH_FORM "/snapshot-schedule",
	.parent_form = BRANCH_FORM,
	.fields = snapshot_schedule_fields,
};

const struct resource compute_instance_resource = {
	.noun = "compute instance",
	.collection = "compute-instances",
	.list_member = "compute_instances",
	.name_form = ENDPOINT_FORM "/compute-instances/INSTANCE",
	.parent_form = ENDPOINT_FORM,
	.columns = compute_instance_columns,
};

const struct resource catalog_resource = {
	.noun = "catalog",
	.collection = "catalogs",
	.name_form = "catalogs/CATALOG",
	.id_query = "catalog_id",
	.fields = catalog_fields,
};

const struct resource synced_table_resource = {
	.noun = "synced table",
	.collection = "synced_tables",
	.name_form = "synced_tables/CATALOG.SCHEMA.TABLE",
	.id_query = "synced_table_id",
	.fields = synced_table_fields,
};

const struct resource cdf_config_resource = {
	.noun = "CDF config",
	.collection = "cdf-configs",
	.list_member = "cdf_configs",
	.name_form = CDF_FORM,
	.parent_form = DATABASE_FORM,
	.id_query = "cdf_config_id",
	.is_id_optional = true,
	.columns = cdf_config_columns,
	.fields = cdf_config_fields,
};

const struct resource cdf_status_resource = {
	.noun = "CDF status",
	.collection = "cdf-statuses",
	.list_member = "cdf_statuses",
	.name_form = CDF_FORM "/cdf-statuses/TABLE",
	.parent_form = CDF_FORM,
	.columns = cdf_status_columns,
};

const struct resource data_api_resource = {
	.noun = "Data API",
	.collection = "data-api",
	.name_form = DATABASE_FORM "/data-api",
	.parent_form = DATABASE_FORM,
	.fields = data_api_fields,
};

const char *resource_list_member(const struct resource *resource)
{
	return resource->list_member ? resource->list_member : resource->collection;
}

bool resource_name_fits(const char *form, const char *name)
{
	for (;;) {
		size_t form_len = strcspn(form, "/"), name_len = strcspn(name, "/");
		bool is_word = form[0] >= 'A' && form[0] <= 'Z';
		if (name_len == 0 ||
		        (!is_word && (form_len != name_len || memcmp(form, name, form_len) != 0)))
			return false;
		form += form_len;
		name += name_len;
		if (*form != *name)
			return false;
		if (*form == '\0')
			return true;
		form++;
		name++;
	}
}

const char *resource_id(const char *name)
{
	const char *slash = strrchr(name, '/');
	return slash ? slash + 1 : name;
}

void resource_table_write(const struct resource *resource, yyjson_val *resources, struct buffer *out)
{
	CLEANUP(table_done) struct table table = { 0 };
	for (const struct resource_column *column = resource->columns; column->title; column++)
		table_add_column(&table, column->title);
	size_t i, count;
	yyjson_val *one;
	yyjson_arr_foreach(resources, i, count, one)
	{
		for (const struct resource_column *column = resource->columns; column->title; column++) {
			CLEANUP(buffer_done) struct buffer cell = { 0 };
			column->write(one, &cell);
			table_add_cell(&table, cell.data ? cell.data : "");
		}
	}
	table_write(&table, out);
}
