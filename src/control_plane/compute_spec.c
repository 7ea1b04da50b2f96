#include "control_plane/compute_spec.h"

#include <stdlib.h>
#include <yyjson.h>

#include "base/clock.h"
#include "base/file.h"
#include "control_plane/branch_archive.h"
#include "control_plane/branch_inventory.h"
#include "control_plane/fields.h"
#include "control_plane/quota.h"
#include "control_plane/reconciler.h"
#include "control_plane/resource_json.h"

#define SPEC_VERSION   1
#define SPEC_MAX_BYTES (4u << 20)

struct spec_rows {
	struct project_row project;
	struct branch_row branch;
	struct endpoint_row endpoint;
};

static void spec_rows_done(struct spec_rows *rows)
{
	project_row_done(&rows->project);
	endpoint_row_done(&rows->endpoint);
}

static status load_rows(
        const struct services *services, const char *uid, struct spec_rows *ret, struct error *err)
{
	status st = endpoint_row_find_uid(services->md, uid, &ret->endpoint, err);
	if (st == STATUS_OK)
		st = branch_row_get(services->md, ret->endpoint.branch, &ret->branch, err);
	if (st == STATUS_OK)
		st = project_row_get(services->md, ret->branch.project, &ret->project, err);
	if (st != STATUS_OK)
		return st;
	if (ret->branch.delete_usec != 0 || ret->branch.is_purged || ret->project.delete_usec != 0 ||
	        ret->project.is_purged)
		return error_set(err, STATUS_NOT_FOUND, 0, "endpoint \"%s\" has been deleted", uid);
	if (ret->endpoint.is_disabled && !reconciler_needs(services->reconciler, uid))
		return error_set(err, STATUS_DENIED, 0, "endpoint \"%s\" is disabled", uid);
	return quota_check_compute(services, &ret->project, &ret->branch, uid, err);
}

static status add_roles(const struct services *services, yyjson_mut_doc *doc, yyjson_mut_val *root,
        int64_t branch, struct error *err)
{
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "roles");
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = role_row_list(services->md, branch, 0, INT64_MAX, &st, err);
	while (code == STATUS_OK) {
		struct role_row role;
		code = role_row_next(&st, &role, err);
		if (code != STATUS_OK)
			break;
		yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);
		yyjson_mut_obj_add_strcpy(doc, item, "name", role.postgres_role);
		yyjson_mut_obj_add_bool(doc, item, "login", strcmp(role.auth_method, "NO_LOGIN") != 0);
		yyjson_mut_obj_add_bool(doc, item, "createdb", role.createdb);
		yyjson_mut_obj_add_bool(doc, item, "createrole", role.createrole);
		yyjson_mut_obj_add_bool(doc, item, "bypassrls", role.bypassrls);
		if (strcmp(role.identity_type, "IDENTITY_TYPE_UNSPECIFIED") != 0)
			yyjson_mut_obj_add_strcpy(doc, item, "identity", role.identity_type);
		if (role.verifier[0])
			yyjson_mut_obj_add_strcpy(doc, item, "verifier", role.verifier);
		yyjson_mut_obj_add_bool(
		        doc, item, "member_of_databricks_superuser", role.is_superuser_member);
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

static status add_databases(const struct services *services, yyjson_mut_doc *doc, yyjson_mut_val *root,
        int64_t branch, struct error *err)
{
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "databases");
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = database_row_list(services->md, branch, 0, INT64_MAX, &st, err);
	while (code == STATUS_OK) {
		struct database_row database;
		struct role_row owner;
		code = database_row_next(&st, &database, err);
		if (code == STATUS_OK) {
			code = role_row_find(services->md, branch, database.role_id, &owner, err);
			if (code != STATUS_OK)
				return error_set(err, STATUS_INTERNAL, 0,
				        "database \"%s\" has no owner \"%s\"", database.database_id,
				        database.role_id);
			yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);
			yyjson_mut_obj_add_strcpy(doc, item, "name", database.postgres_database);
			yyjson_mut_obj_add_strcpy(doc, item, "owner", owner.postgres_role);
		}
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

static status make_text(
        const struct services *services, const struct spec_rows *rows, char **ret, struct error *err)
{
	const struct installation *installation =
	        services_find_installation(services, rows->project.pg_version);
	if (!installation)
		return error_set(
		        err, STATUS_NOT_FOUND, 0, "PostgreSQL %d is not installed", rows->project.pg_version);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	CLEANUP(free_text) char *name = endpoint_name(&rows->project, &rows->branch, &rows->endpoint);
	yyjson_mut_obj_add_int(doc, root, "version", SPEC_VERSION);
	yyjson_mut_obj_add_sint(doc, root, "revision", rows->branch.revision);
	yyjson_mut_obj_add_str(doc, root, "endpoint_uid", rows->endpoint.uid);
	yyjson_mut_obj_add_str(doc, root, "endpoint_name", name);
	yyjson_mut_obj_add_str(doc, root, "volume_id", rows->branch.volume_id);
	yyjson_mut_val *postgres = yyjson_mut_obj_add_obj(doc, root, "postgres");
	yyjson_mut_obj_add_int(doc, postgres, "major", installation->major);
	yyjson_mut_obj_add_str(doc, postgres, "bin_dir", installation->bin_dir);
	yyjson_mut_val *cu = yyjson_mut_obj_add_obj(doc, root, "cu");
	json_add_cu(doc, cu, "min", rows->endpoint.min_cu);
	json_add_cu(doc, cu, "max", rows->endpoint.max_cu);
	yyjson_mut_obj_add_val(doc, root, "settings", yyjson_mut_rawcpy(doc, rows->endpoint.pg_settings));
	if (rows->endpoint.suspend_usec != 0)
		yyjson_mut_obj_add_sint(
		        doc, root, "suspend_timeout_sec", rows->endpoint.suspend_usec / USEC_PER_SEC);
	/*
	 * Only what a project begins with: afterwards Postgres is the truth, and somebody may have changed it by SQL. What is changed through
	 * the API is changed there at once (job_catalog.c).
	 */
	bool is_first =
	        !rows->branch.is_ready && rows->branch.source == 0 && !rows->branch.source_snapshot[0];
	status st = is_first ? add_roles(services, doc, root, rows->branch.id, err) : STATUS_OK;
	if (st == STATUS_OK && is_first)
		st = add_databases(services, doc, root, rows->branch.id, err);
	if (st == STATUS_OK)
		*ret = json_write(doc, root);
	yyjson_mut_doc_free(doc);
	return st;
}

status compute_spec_write(const struct services *services, const char *uid, struct error *err)
{
	CLEANUP(spec_rows_done) struct spec_rows rows = { 0 };
	CLEANUP(free_text) char *text = NULL;
	reconciler_interrupt(services->reconciler, uid);
	status st = load_rows(services, uid, &rows, err);
	if (st == STATUS_OK)
		branch_inventory_take_over(services, &rows.branch, uid);
	if (st == STATUS_OK)
		st = branch_archive_leave(services->md, &rows.branch, clock_wall_usec(), err);
	if (st == STATUS_OK)
		st = make_text(services, &rows, &text, err);
	if (st != STATUS_OK)
		return st;

	CLEANUP(free_text) char *path = data_directory_path(services->dd, "computes/%s/spec.json", uid);
	CLEANUP(buffer_done) struct buffer old = { 0 };
	struct error ignored; /* unreadable or missing: write it */
	if (file_read(path, SPEC_MAX_BYTES, &old, &ignored) == STATUS_OK &&
	        slice_equals_text(buffer_slice(&old), text))
		return STATUS_OK;
	return file_replace_durably(path, slice_from_text(text), 0600, err);
}
