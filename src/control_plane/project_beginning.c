#include "control_plane/project_beginning.h"

#include <stdio.h>

#include "compute/inventory.h"
#include "control_plane/resource_name.h"
#include "control_plane/role.h"
#include "control_plane/role_fields.h"

/* The caller's own role. */
static bool begin_role(struct call *call, struct role_row *role)
{
	bool is_service_principal = call->caller.kind == IDENTITY_SERVICE_PRINCIPAL;
	if (strlen(call->caller.login) > POSTGRES_NAME_MAX)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "your login has more than %d bytes, which is too long for a role of Postgres; name "
		        "another "
		        "one in 'initial_role_spec'",
		        POSTGRES_NAME_MAX);
	resource_role_id(call->caller.login, is_service_principal, role->role_id);
	(void)snprintf(role->postgres_role, sizeof role->postgres_role, "%s", call->caller.login);
	(void)snprintf(role->identity_type, sizeof role->identity_type, "%s",
	        is_service_principal ? "SERVICE_PRINCIPAL" : "USER");
	(void)snprintf(role->auth_method, sizeof role->auth_method, "LAKEBASE_OAUTH_V1");
	role->createdb = role->createrole = role->bypassrls = role->is_superuser_member = true;
	return true;
}

static bool read_role(struct call *call, const struct project_row *project, struct role_row *role)
{
	yyjson_val *spec;
	struct role_fields fields;
	struct error err;
	if (!field_object(call->root, "", "initial_role_spec", &spec, &call->error))
		return false;
	if (yyjson_obj_size(spec) == 0)
		return begin_role(call, role);
	if (!role_fields_read(spec, &fields, &call->error))
		return false;
	if (!fields.postgres_role.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'initial_role_spec.postgres_role' is required, expected non-default value "
		        "(not "
		        "\"\")!");
	if (!role_fields_apply(&fields, role, &call->error))
		return false;
	bool is_service_principal = strcmp(role->identity_type, "SERVICE_PRINCIPAL") == 0;
	if (is_service_principal || strcmp(role->identity_type, "USER") == 0)
		resource_role_id(role->postgres_role, is_service_principal, role->role_id);
	else
		resource_id_from_name(role->postgres_role, "role", role->role_id);
	if (strcmp(role->auth_method, "PG_PASSWORD_SCRAM_SHA_256") != 0)
		return true;
	return role_renew_password(call->services, project, role, &err) == STATUS_OK || call_fail(call, &err);
}

static bool read_database(struct call *call, struct database_row *database)
{
	yyjson_val *spec;
	struct text_field name;
	if (!field_object(call->root, "", "initial_database_spec", &spec, &call->error) ||
	        !field_text(spec, "initial_database_spec", "postgres_database", &name, &call->error))
		return false;
	if (!name.is_set)
		name.text = FIRST_DATABASE_NAME;
	if (strlen(name.text) > POSTGRES_NAME_MAX || inventory_database_is_reserved(name.text))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'initial_database_spec.postgres_database' must have at most %d bytes and be "
		        "no name "
		        "of the system, got '%.100s'.",
		        POSTGRES_NAME_MAX, name.text);
	(void)snprintf(database->postgres_database, sizeof database->postgres_database, "%s", name.text);
	resource_id_from_name(name.text, "database", database->database_id);
	return true;
}

bool project_beginning_read(
        struct call *call, const struct project_row *project, struct project_beginning *ret)
{
	struct project_beginning beginning = {
		.role = { .create_usec = call->now_usec, .update_usec = call->now_usec },
		.database = { .create_usec = call->now_usec, .update_usec = call->now_usec },
	};
	if (!read_role(call, project, &beginning.role) || !read_database(call, &beginning.database))
		return false;
	memcpy(beginning.database.role_id, beginning.role.role_id, sizeof beginning.database.role_id);
	*ret = beginning;
	return true;
}

status project_beginning_insert(
        struct metadata *md, int64_t branch, const struct project_beginning *beginning, struct error *err)
{
	struct role_row role = beginning->role;
	struct database_row database = beginning->database;
	role.branch = database.branch = branch;
	status st = role_row_insert(md, &role, err);
	return st == STATUS_OK ? database_row_insert(md, &database, err) : st;
}
