#include "control_plane/resource_json.h"

#include <stdlib.h>

#include "base/number.h"
#include "control_plane/endpoint_address.h"
#include "control_plane/fields.h"

#define LOGICAL_SIZE_LIMIT 8796093022208ll /* 8 TiB, as the service publishes */

char *project_name(const struct project_row *project)
{
	return xasprintf("projects/%s", project->project_id);
}

char *branch_name(const struct project_row *project, const struct branch_row *branch)
{
	return xasprintf("projects/%s/branches/%s", project->project_id, branch->branch_id);
}

char *snapshot_name(const struct project_row *project, const struct snapshot_row *snapshot)
{
	return xasprintf("projects/%s/snapshots/%s", project->project_id, snapshot->snapshot_id);
}

char *endpoint_name(const struct project_row *project, const struct branch_row *branch,
        const struct endpoint_row *endpoint)
{
	return xasprintf("projects/%s/branches/%s/endpoints/%s", project->project_id, branch->branch_id,
	        endpoint->endpoint_id);
}

char *endpoint_host(const struct data_directory *dd, const struct endpoint_row *endpoint)
{
	if (dd->settings.domain)
		return xasprintf(
		        "%s%s.%s", endpoint->uid, endpoint->is_read_only ? "-ro" : "", dd->settings.domain);
	return xstrdup(endpoint->address);
}

char *endpoint_pooled_host(const struct data_directory *dd, const struct endpoint_row *endpoint)
{
	char address[ADDRESS_MAX + 1];
	if (dd->settings.domain)
		return xasprintf("%s-pooler.%s", endpoint->uid, dd->settings.domain);
	return xstrdup(endpoint_address_to_pooler(endpoint->address, address) ? address : endpoint->address);
}

char *json_write(yyjson_mut_doc *doc, yyjson_mut_val *value)
{
	yyjson_mut_doc_set_root(doc, value);
	return yyjson_mut_write(doc, 0, NULL);
}

static void add_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, const char *text)
{
	if (text && *text)
		yyjson_mut_obj_add_strcpy(doc, object, key, text);
}

/* Takes text. */
static void add_owned(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, char *text)
{
	yyjson_mut_obj_add_strcpy(doc, object, key, text);
	free(text);
}

/* Stored JSON that is not the empty object or list. */
static void add_stored(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, const char *json)
{
	if (strcmp(json, "{}") != 0 && strcmp(json, "[]") != 0)
		yyjson_mut_obj_add_val(doc, object, key, yyjson_mut_rawcpy(doc, json));
}

static void add_optional_time(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, int64_t usec)
{
	if (usec != 0)
		json_add_timestamp(doc, object, key, usec);
}

static int64_t last_active(const struct services *services, const struct endpoint_row *endpoint)
{
	const struct fleet_member *member = fleet_look(services->fleet, endpoint->uid);
	return member && member->last_active_usec > endpoint->last_active_usec ? member->last_active_usec
	                                                                       : endpoint->last_active_usec;
}

/* The newest of all its endpoints; a failure to read it leaves it out, as the contract allows. */
static int64_t project_last_active(const struct services *services, const struct project_row *project)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	struct error err;
	int64_t newest = 0;
	if (endpoint_row_list_of_project(services->md, project->id, &st, &err) != STATUS_OK)
		return 0;
	for (;;) {
		CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
		if (endpoint_row_next(&st, &endpoint, &err) != STATUS_OK)
			return newest;
		int64_t usec = last_active(services, &endpoint);
		if (usec > newest)
			newest = usec;
	}
}

static void add_default_branch(const struct services *services, yyjson_mut_doc *doc, yyjson_mut_val *object,
        const struct project_row *project)
{
	struct branch_row branch;
	struct error err;
	if (branch_row_find_uid(services->md, project->default_branch_uid, &branch, &err) == STATUS_OK)
		add_owned(doc, object, "default_branch", branch_name(project, &branch));
}

yyjson_mut_val *project_to_json(
        const struct services *services, yyjson_mut_doc *doc, const struct project_row *project)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	add_owned(doc, root, "name", project_name(project));
	yyjson_mut_obj_add_strcpy(doc, root, "project_id", project->project_id);
	yyjson_mut_obj_add_strcpy(doc, root, "uid", project->uid);
	json_add_timestamp(doc, root, "create_time", project->create_usec);
	json_add_timestamp(doc, root, "update_time", project->update_usec);
	add_optional_time(doc, root, "delete_time", project->delete_usec);
	add_optional_time(doc, root, "purge_time", project->purge_usec);

	yyjson_mut_val *status_json = yyjson_mut_obj_add_obj(doc, root, "status");
	yyjson_mut_obj_add_strcpy(doc, status_json, "project_id", project->project_id);
	yyjson_mut_obj_add_strcpy(doc, status_json, "display_name", project->display_name);
	yyjson_mut_obj_add_int(doc, status_json, "pg_version", project->pg_version);
	yyjson_mut_obj_add_strcpy(doc, status_json, "owner", project->owner);
	add_default_branch(services, doc, status_json, project);
	json_add_duration(doc, status_json, "history_retention_duration", project->history_retention_usec);

	yyjson_mut_val *defaults = yyjson_mut_obj_add_obj(doc, status_json, "default_endpoint_settings");
	json_add_cu(doc, defaults, "autoscaling_limit_min_cu", project->min_cu);
	json_add_cu(doc, defaults, "autoscaling_limit_max_cu", project->max_cu);
	if (project->suspend_usec != 0)
		json_add_duration(doc, defaults, "suspend_timeout_duration", project->suspend_usec);
	else
		yyjson_mut_obj_add_bool(doc, defaults, "no_suspension", true);
	add_stored(doc, defaults, "pg_settings", project->pg_settings);

	yyjson_mut_obj_add_bool(doc, status_json, "enable_pg_native_login", project->enable_pg_native_login);
	yyjson_mut_obj_add_sint(doc, status_json, "branch_logical_size_limit_bytes", LOGICAL_SIZE_LIMIT);
	yyjson_mut_obj_add_sint(doc, status_json, "synthetic_storage_size_bytes", project->storage_bytes);
	add_optional_time(
	        doc, status_json, "compute_last_active_time", project_last_active(services, project));
	add_stored(doc, status_json, "custom_tags", project->custom_tags);
	add_text(doc, status_json, "budget_policy_id", project->budget_policy_id);
	add_text(doc, status_json, "compute_provisioner", project->compute_provisioner);
	return root;
}

static void add_moment(yyjson_mut_doc *doc, yyjson_mut_val *object, uint64_t source_lsn, int64_t source_usec)
{
	char lsn[LSN_TEXT_MAX];
	lsn_format(source_lsn, lsn);
	if (source_lsn != 0)
		yyjson_mut_obj_add_strcpy(doc, object, "source_branch_lsn", lsn);
	add_optional_time(doc, object, "source_branch_time", source_usec);
}

yyjson_mut_val *snapshot_to_json(
        yyjson_mut_doc *doc, const struct project_row *project, const struct snapshot_row *snapshot)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	add_owned(doc, root, "name", snapshot_name(project, snapshot));
	yyjson_mut_obj_add_strcpy(doc, root, "snapshot_id", snapshot->snapshot_id);
	yyjson_mut_obj_add_strcpy(doc, root, "uid", snapshot->uid);
	json_add_timestamp(doc, root, "create_time", snapshot->create_usec);
	yyjson_mut_val *status_json = yyjson_mut_obj_add_obj(doc, root, "status");
	add_owned(doc, status_json, "source_branch",
	        xasprintf("projects/%s/branches/%s", project->project_id, snapshot->source_branch_id));
	add_moment(doc, status_json, snapshot->source_lsn, snapshot->source_usec);
	if (snapshot->expire_usec != 0)
		json_add_timestamp(doc, status_json, "expire_time", snapshot->expire_usec);
	else
		yyjson_mut_obj_add_bool(doc, status_json, "no_expiry", true);
	if (snapshot->is_ready)
		yyjson_mut_obj_add_sint(doc, status_json, "full_size_bytes", snapshot->full_size);
	return root;
}

yyjson_mut_val *branch_to_json(
        yyjson_mut_doc *doc, const struct project_row *project, const struct branch_row *branch)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	add_owned(doc, root, "name", branch_name(project, branch));
	yyjson_mut_obj_add_strcpy(doc, root, "branch_id", branch->branch_id);
	add_owned(doc, root, "parent", project_name(project));
	yyjson_mut_obj_add_strcpy(doc, root, "uid", branch->uid);
	json_add_timestamp(doc, root, "create_time", branch->create_usec);
	json_add_timestamp(doc, root, "update_time", branch->update_usec);

	bool is_deleted = branch->delete_usec != 0;
	yyjson_mut_val *status_json = yyjson_mut_obj_add_obj(doc, root, "status");
	yyjson_mut_obj_add_strcpy(doc, status_json, "branch_id", branch->branch_id);
	yyjson_mut_obj_add_str(doc, status_json, "current_state",
	        is_deleted             ? "DELETED"
	        : !branch->is_ready    ? "INIT"
	        : branch->is_resetting ? "RESETTING"
	        : branch->archive_usec ? "ARCHIVED"
	                               : "READY");
	if (!is_deleted && (!branch->is_ready || branch->is_resetting))
		yyjson_mut_obj_add_str(doc, status_json, "pending_state", "READY");
	json_add_timestamp(doc, status_json, "state_change_time", branch->state_change_usec);
	yyjson_mut_obj_add_bool(
	        doc, status_json, "default", strcmp(branch->uid, project->default_branch_uid) == 0);
	yyjson_mut_obj_add_bool(doc, status_json, "is_protected", branch->is_protected);
	yyjson_mut_obj_add_sint(doc, status_json, "logical_size_bytes", branch->logical_size);
	if (branch->source != 0) {
		add_owned(doc, status_json, "source_branch",
		        xasprintf("projects/%s/branches/%s", project->project_id, branch->source_branch_id));
		add_moment(doc, status_json, branch->source_lsn, branch->source_usec);
	}
	if (branch->source_snapshot[0])
		add_owned(doc, status_json, "source_snapshot",
		        xasprintf("projects/%s/snapshots/%s", project->project_id, branch->source_snapshot));
	add_optional_time(doc, status_json, "expire_time", branch->expire_usec);
	add_optional_time(doc, status_json, "delete_time", branch->delete_usec);
	add_optional_time(doc, status_json, "purge_time", branch->purge_usec);
	return root;
}

/* current_state, and pending_state only while something changes (clients poll until it is gone). */
static void add_endpoint_state(const struct services *services, yyjson_mut_doc *doc, yyjson_mut_val *object,
        const struct branch_row *branch, const struct endpoint_row *endpoint)
{
	const struct fleet_member *member = fleet_look(services->fleet, endpoint->uid);
	const char *current = "IDLE", *pending = NULL;
	if (!branch->is_ready) {
		current = "INIT";
		pending = "ACTIVE";
	} else if (member) {
		switch (member->state) {
		case FLEET_ASLEEP:
			break;
		case FLEET_STARTING:
			pending = "ACTIVE";
			break;
		case FLEET_RUNNING:
			current = "ACTIVE";
			break;
		case FLEET_STOPPING:
			current = "ACTIVE";
			pending = "IDLE";
			break;
		}
	}
	yyjson_mut_obj_add_str(doc, object, "current_state", current);
	if (pending)
		yyjson_mut_obj_add_str(doc, object, "pending_state", pending);
}

yyjson_mut_val *endpoint_to_json(const struct services *services, yyjson_mut_doc *doc,
        const struct project_row *project, const struct branch_row *branch,
        const struct endpoint_row *endpoint)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	add_owned(doc, root, "name", endpoint_name(project, branch, endpoint));
	yyjson_mut_obj_add_strcpy(doc, root, "endpoint_id", endpoint->endpoint_id);
	add_owned(doc, root, "parent", branch_name(project, branch));
	yyjson_mut_obj_add_strcpy(doc, root, "uid", endpoint->uid);
	json_add_timestamp(doc, root, "create_time", endpoint->create_usec);
	json_add_timestamp(doc, root, "update_time", endpoint->update_usec);

	yyjson_mut_val *status_json = yyjson_mut_obj_add_obj(doc, root, "status");
	yyjson_mut_obj_add_strcpy(doc, status_json, "endpoint_id", endpoint->endpoint_id);
	yyjson_mut_obj_add_str(doc, status_json, "endpoint_type",
	        endpoint->is_read_only ? "ENDPOINT_TYPE_READ_ONLY" : "ENDPOINT_TYPE_READ_WRITE");
	add_endpoint_state(services, doc, status_json, branch, endpoint);
	yyjson_mut_obj_add_bool(doc, status_json, "disabled", endpoint->is_disabled);
	json_add_cu(doc, status_json, "autoscaling_limit_min_cu", endpoint->min_cu);
	json_add_cu(doc, status_json, "autoscaling_limit_max_cu", endpoint->max_cu);
	if (endpoint->suspend_usec != 0)
		json_add_duration(doc, status_json, "suspend_timeout_duration", endpoint->suspend_usec);
	yyjson_mut_val *settings = yyjson_mut_obj_add_obj(doc, status_json, "settings");
	add_stored(doc, settings, "pg_settings", endpoint->pg_settings);
	yyjson_mut_val *group = yyjson_mut_obj_add_obj(doc, status_json, "group");
	yyjson_mut_obj_add_int(doc, group, "min", 1);
	yyjson_mut_obj_add_int(doc, group, "max", 1);
	yyjson_mut_obj_add_bool(doc, group, "enable_readable_secondaries", endpoint->is_read_only);
	yyjson_mut_val *hosts = yyjson_mut_obj_add_obj(doc, status_json, "hosts");
	add_owned(doc, hosts, "host", endpoint_host(services->dd, endpoint));
	if (endpoint->is_read_only)
		add_owned(doc, hosts, "read_only_host", endpoint_host(services->dd, endpoint));
	add_owned(doc, hosts, endpoint->is_read_only ? "read_only_pooled_host" : "read_write_pooled_host",
	        endpoint_pooled_host(services->dd, endpoint));
	add_optional_time(doc, status_json, "last_active_time", last_active(services, endpoint));
	return root;
}

void compute_instance_id(const struct endpoint_row *endpoint, char out[RESOURCE_ID_MAX + 1])
{
	(void)snprintf(out, RESOURCE_ID_MAX + 1, "ci%s", endpoint->uid + strcspn(endpoint->uid, "-"));
}

yyjson_mut_val *compute_instance_to_json(const struct services *services, yyjson_mut_doc *doc,
        const struct project_row *project, const struct branch_row *branch,
        const struct endpoint_row *endpoint)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	char id[RESOURCE_ID_MAX + 1];
	compute_instance_id(endpoint, id);
	CLEANUP(free_text) char *parent = endpoint_name(project, branch, endpoint);
	add_owned(doc, root, "name", xasprintf("%s/compute-instances/%s", parent, id));
	yyjson_mut_obj_add_strcpy(doc, root, "compute_instance_id", id);
	yyjson_mut_obj_add_str(doc, root, "role", endpoint->is_read_only ? "READ_ONLY" : "READ_WRITE");
	add_endpoint_state(services, doc, root, branch, endpoint);
	/* The fleet knows of a turn somewhat before the metadata. */
	const struct fleet_member *member = fleet_look(services->fleet, endpoint->uid);
	bool is_running = member && member->state != FLEET_ASLEEP;
	add_optional_time(doc, root, "start_time",
	        is_running && !endpoint->was_running ? member->since_usec : endpoint->started_usec);
	add_optional_time(doc, root, "suspend_time",
	        member && !is_running && endpoint->was_running ? member->since_usec
	                                                       : endpoint->suspended_usec);
	add_owned(doc, root, "compute_host", endpoint_host(services->dd, endpoint));
	return root;
}

yyjson_mut_val *role_to_json(yyjson_mut_doc *doc, const struct project_row *project,
        const struct branch_row *branch, const struct role_row *role)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	add_owned(doc, root, "name",
	        xasprintf("projects/%s/branches/%s/roles/%s", project->project_id, branch->branch_id,
	                role->role_id));
	yyjson_mut_obj_add_strcpy(doc, root, "role_id", role->role_id);
	add_owned(doc, root, "parent", branch_name(project, branch));
	json_add_timestamp(doc, root, "create_time", role->create_usec);
	json_add_timestamp(doc, root, "update_time", role->update_usec);

	yyjson_mut_val *status_json = yyjson_mut_obj_add_obj(doc, root, "status");
	yyjson_mut_obj_add_strcpy(doc, status_json, "role_id", role->role_id);
	yyjson_mut_obj_add_strcpy(doc, status_json, "postgres_role", role->postgres_role);
	yyjson_mut_obj_add_strcpy(doc, status_json, "identity_type", role->identity_type);
	yyjson_mut_obj_add_strcpy(doc, status_json, "auth_method", role->auth_method);
	yyjson_mut_val *attributes = yyjson_mut_obj_add_obj(doc, status_json, "attributes");
	yyjson_mut_obj_add_bool(doc, attributes, "createdb", role->createdb);
	yyjson_mut_obj_add_bool(doc, attributes, "createrole", role->createrole);
	yyjson_mut_obj_add_bool(doc, attributes, "bypassrls", role->bypassrls);
	if (role->is_superuser_member) {
		yyjson_mut_val *memberships = yyjson_mut_obj_add_arr(doc, status_json, "membership_roles");
		yyjson_mut_arr_add_str(doc, memberships, "DATABRICKS_SUPERUSER");
	}
	return root;
}

yyjson_mut_val *database_to_json(yyjson_mut_doc *doc, const struct project_row *project,
        const struct branch_row *branch, const struct database_row *database)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	add_owned(doc, root, "name",
	        xasprintf("projects/%s/branches/%s/databases/%s", project->project_id, branch->branch_id,
	                database->database_id));
	yyjson_mut_obj_add_strcpy(doc, root, "database_id", database->database_id);
	add_owned(doc, root, "parent", branch_name(project, branch));
	json_add_timestamp(doc, root, "create_time", database->create_usec);
	json_add_timestamp(doc, root, "update_time", database->update_usec);

	yyjson_mut_val *status_json = yyjson_mut_obj_add_obj(doc, root, "status");
	yyjson_mut_obj_add_strcpy(doc, status_json, "database_id", database->database_id);
	yyjson_mut_obj_add_strcpy(doc, status_json, "postgres_database", database->postgres_database);
	if (database->role_id[0])
		add_owned(doc, status_json, "role",
		        xasprintf("projects/%s/branches/%s/roles/%s", project->project_id, branch->branch_id,
		                database->role_id));
	return root;
}
