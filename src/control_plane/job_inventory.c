/* The inventory at the end of a job: what the roles and databases of its branch are by then (branch_inventory.h). */
#include <stdio.h>
#include <stdlib.h>

#include "compute/catalog_change.h"
#include "control_plane/branch_inventory.h"
#include "control_plane/job.h"
#include "control_plane/role.h"

/* Passwords that were made in a worker thread, beside the roles of job->inventory. */
struct renewed {
	char sealed[SEALED_PASSWORD_MAX + 1]; /* empty: not this one */
};

status job_look(struct job *job, struct error *err)
{
	CLEANUP(free_text) char *socket_dir = fleet_socket_dir(job->services->fleet, job->endpoint_uid);
	inventory_done(&job->inventory);
	job->has_inventory = false;
	job->inventory_ticket = branch_inventory_ticket(job->services->inventory);
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
		st = catalog_alter_role(socket_dir, &wish, ROLE_PASSWORD, err);
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

void job_inventory_done(struct job *job)
{
	inventory_done(&job->inventory);
	free(job->renewed);
	job->renewed = NULL;
}
