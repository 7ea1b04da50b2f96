/* The inventory at the end of a job: what the roles and databases of its branch are by then (branch_inventory.h). */
#include <stdio.h>
#include <stdlib.h>

#include "compute/catalog_change.h"
#include "control_plane/branch_inventory.h"
#include "control_plane/inventory_rows.h"
#include "control_plane/job.h"
#include "control_plane/role.h"
#include "metadata/database_row.h"
#include "metadata/role_row.h"

/* Passwords that were made in a worker thread, beside the roles of job->inventory. */
struct renewed {
	char sealed[SEALED_PASSWORD_MAX + 1]; /* empty: not this one */
};

status job_look(struct job *job, struct error *err)
{
	CLEANUP(free_text) char *socket_dir = fleet_socket_dir(job->services->fleet, job->endpoint_uid);
	inventory_done(&job->inventory);
	job->has_inventory = false;
	job->inventory_ticket = branch_inventory_ticket();
	status st = inventory_take(socket_dir, &job->inventory, err);
	job->has_inventory = st == STATUS_OK;
	return st;
}

static status renew(struct job *job, struct inventory_role *role, struct renewed *ret, struct error *err)
{
	CLEANUP(free_text) char *socket_dir = fleet_socket_dir(job->services->fleet, job->endpoint_uid);
	struct project_row project = { 0 }; /* only its uid is looked at: the name of the store */
	struct role_row row = { 0 };
	memcpy(project.uid, job->store, sizeof project.uid);
	status st = role_renew_password(job->services, &project, &row, err);
	struct role_wish wish = { .name = role->name, .verifier = row.verifier };
	if (st == STATUS_OK)
		st = catalog_alter_role(socket_dir, &wish, ROLE_PASSWORD, NULL, err);
	if (st != STATUS_OK)
		return error_prefix(err, "could not give role \"%s\" a password of its own", role->name);
	(void)snprintf(role->verifier, sizeof role->verifier, "%s", row.verifier);
	memcpy(ret->sealed, row.sealed_password, sizeof ret->sealed);
	return STATUS_OK;
}

status job_look_and_renew(struct job *job, struct error *err)
{
	status st = job_look(job, err);
	free(job->renewed);
	job->renewed = xcalloc(job->inventory.role_count + 1, sizeof *job->renewed);
	for (size_t i = 0; i < job->inventory.role_count && st == STATUS_OK; i++) {
		if (job->inventory.roles[i].verifier[0])
			st = renew(job, &job->inventory.roles[i], &job->renewed[i], err);
	}
	return st;
}

status job_absorb(struct job *job, int64_t branch, int64_t now_usec, struct error *err)
{
	struct metadata *md = job->services->md;
	if (!job->has_inventory)
		return STATUS_OK;
	status st = branch_inventory_absorb(
	        job->services, branch, job->inventory_ticket, &job->inventory, now_usec, err);
	for (size_t i = 0; job->renewed && i < job->inventory.role_count && st == STATUS_OK; i++) {
		struct role_row row;
		if (!job->renewed[i].sealed[0])
			continue;
		st = role_row_find_name(md, branch, job->inventory.roles[i].name, &row, err);
		if (st == STATUS_NOT_FOUND) { /* a name that is no text */
			st = STATUS_OK;
			continue;
		}
		if (st == STATUS_OK) {
			memcpy(row.sealed_password, job->renewed[i].sealed, sizeof row.sealed_password);
			st = role_row_update(md, &row, err);
		}
	}
	return st;
}

/* ---- a cluster as it was before its first role ---- */

struct beginning {
	struct role_row *roles;
	size_t role_count;
	struct database_row *databases;
	char (*owners)[POSTGRES_NAME_MAX + 1]; /* beside the databases; empty: the system's */
	size_t database_count;
};

static void beginning_free(struct beginning *beginning)
{
	if (!beginning)
		return;
	free(beginning->roles);
	free(beginning->databases);
	free(beginning->owners);
	free(beginning);
}

static status load_roles(struct metadata *md, int64_t branch, struct beginning *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = role_row_list(md, branch, 0, INT64_MAX, &st, err);
	while (code == STATUS_OK) {
		ret->roles = xrealloc(ret->roles, (ret->role_count + 1) * sizeof *ret->roles);
		code = role_row_next(&st, &ret->roles[ret->role_count], err);
		ret->role_count += code == STATUS_OK;
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

static const char *owner_of(const struct beginning *beginning, const struct database_row *database)
{
	for (size_t i = 0; i < beginning->role_count; i++) {
		if (strcmp(beginning->roles[i].role_id, database->role_id) == 0)
			return beginning->roles[i].postgres_role;
	}
	return "";
}

static status load_databases(struct metadata *md, int64_t branch, struct beginning *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = database_row_list(md, branch, 0, INT64_MAX, &st, err);
	while (code == STATUS_OK) {
		size_t i = ret->database_count;
		ret->databases = xrealloc(ret->databases, (i + 1) * sizeof *ret->databases);
		ret->owners = xrealloc(ret->owners, (i + 1) * sizeof *ret->owners);
		code = database_row_next(&st, &ret->databases[i], err);
		if (code != STATUS_OK)
			break;
		(void)snprintf(ret->owners[i], sizeof *ret->owners, "%.*s", POSTGRES_NAME_MAX,
		        owner_of(ret, &ret->databases[i]));
		ret->database_count++;
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

status job_load_beginning(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	beginning_free(job->beginning);
	job->beginning = xcalloc(1, sizeof *job->beginning);
	status st = load_roles(md, job->operation.branch, job->beginning, err);
	if (st == STATUS_OK)
		st = load_databases(md, job->operation.branch, job->beginning, err);
	if (st == STATUS_OK && job->beginning->role_count == 0) {
		beginning_free(job->beginning);
		job->beginning = NULL;
	}
	return st;
}

status job_begin_roles(struct job *job, struct error *err)
{
	CLEANUP(free_text) char *socket_dir = fleet_socket_dir(job->services->fleet, job->endpoint_uid);
	const struct beginning *beginning = job->beginning;
	status st = STATUS_OK;
	for (size_t i = 0; i < beginning->role_count && st == STATUS_OK; i++) {
		const struct role_row *row = &beginning->roles[i];
		const struct role_wish wish = { .name = row->postgres_role,
			.identity = inventory_rows_identity(row->identity_type),
			.login = strcmp(row->auth_method, "NO_LOGIN") != 0,
			.createdb = row->createdb,
			.createrole = row->createrole,
			.bypassrls = row->bypassrls,
			.is_superuser_member = row->is_superuser_member,
			.verifier = row->verifier[0] ? row->verifier : NULL };
		st = catalog_create_role(socket_dir, &wish, NULL, err);
	}
	for (size_t i = 0; i < beginning->database_count && st == STATUS_OK; i++) {
		if (beginning->owners[i][0])
			st = catalog_create_database(socket_dir, beginning->databases[i].postgres_database,
			        beginning->owners[i], 0, err);
	}
	return st;
}

void job_inventory_done(struct job *job)
{
	beginning_free(job->beginning);
	job->beginning = NULL;
	inventory_done(&job->inventory);
	free(job->renewed);
	job->renewed = NULL;
}
