/*
 * A change of a role or database (ROLE_…, DATABASE_…): done in Postgres, then in the rows.
 *
 *   LOAD ─▶ WAKE ─▶ LOOK ─▶ IDENTIFY ─▶ CHANGE (in a worker: the change, then an inventory) ─▶ (settle) ─▶ FINISH
 *     a failure ─▶ (settle) ─▶ FINISH_FAILED: what a create has recorded goes away again
 *
 * Durable step: "marked" (IDENTIFY), before anything is changed. An attempt behind it may be the second one, and what the first one did must be known
 * for sure: somebody may have changed it again, or made something of the same name. So with the step goes the oid of what is to be changed or dropped, or that a
 * database to be made shall have; and Postgres itself notes the operation with the change (catalog_change.h). Only a database that was made, and dropped by SQL
 * before the operation has ended, is made again.
 * A sleeping compute is woken, also that of a disabled endpoint, which sleeps again afterwards (job_source.c).
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "base/random.h"
#include "compute/catalog_change.h"
#include "control_plane/branch_inventory.h"
#include "control_plane/catalog_plan.h"
#include "control_plane/inventory_rows.h"
#include "control_plane/job.h"
#include "control_plane/resource_json.h"
#include "control_plane/role_fields.h"

#define FINISH_RETRY_MS 2000
#define CHANGE_RETRY_MS 200
#define CHANGE_ATTEMPTS 5
#define STEP_MARKED     "marked " /* and the oid; 0: of a role to be created */
#define STEP_BEGUN                                                                                           \
	"begun " /* the same of a version that noted nothing in Postgres: what is there already is its own */

enum catalog_phase {
	LOAD = JOB_PHASE_FIRST,
	WAKE,
	LOOK,
	IDENTIFY,
	CHANGE,
	CHANGE_FAILED,
	SETTLE,
	FINISH,
	SETTLE_FAILED,
	FINISH_FAILED,
};

/* What the worker thread needs, copied. */
struct catalog_work {
	enum operation_kind kind;
	bool is_repeated;
	char operation[OPERATION_ID_LEN + 1]; /* empty: nothing is noted in Postgres */
	int64_t oid; /* of what is changed or dropped, as far as known; that a database to be made gets, 0: any */
	struct catalog_plan plan;
	char *socket_dir;
	char name[POSTGRES_NAME_MAX + 1];      /* of the role or database */
	char owner[POSTGRES_NAME_MAX + 1];     /* empty: none */
	char verifier[SCRAM_VERIFIER_MAX + 1]; /* empty: none */
	struct role_wish wish;
	unsigned wish_fields;
	bool lacks_markers; /* the branch: it gets them first */
	struct identity_mark *marks;
	size_t mark_count;
};

void catalog_work_free(struct catalog_work *work)
{
	if (!work)
		return;
	free(work->socket_dir);
	free(work->marks);
	free(work);
}

static void copy_name(char to[POSTGRES_NAME_MAX + 1], const char *name)
{
	size_t len = strnlen(name, POSTGRES_NAME_MAX);
	memcpy(to, name, len);
	to[len] = '\0';
}

static unsigned wish_fields(uint64_t bits)
{
	return (bits & ROLE_FIELD_CREATEDB ? ROLE_CREATEDB : 0u) |
	       (bits & ROLE_FIELD_CREATEROLE ? ROLE_CREATEROLE : 0u) |
	       (bits & ROLE_FIELD_BYPASSRLS ? ROLE_BYPASSRLS : 0u) |
	       (bits & ROLE_FIELD_MEMBERSHIP ? ROLE_MEMBERSHIP : 0u);
}

static status load_role(struct job *job, struct catalog_work *work, struct error *err)
{
	struct role_row role, heir;
	struct metadata *md = job->services->md;
	const struct catalog_plan *plan = &work->plan;
	status st = role_row_find(md, job->operation.branch, plan->id, &role, err);
	if (st == STATUS_NOT_FOUND && work->kind == OPERATION_ROLE_CREATE) /* branch_inventory.h I3 */
		return error_set(err, STATUS_EXISTS, 0, "role with that name already exists");
	if (st == STATUS_OK && plan->owner[0])
		st = role_row_find(md, job->operation.branch, plan->owner, &heir, err);
	if (st != STATUS_OK)
		return st;
	copy_name(work->name, role.postgres_role);
	work->oid = role.oid;
	if (plan->owner[0])
		copy_name(work->owner, heir.postgres_role);
	bool is_create = work->kind == OPERATION_ROLE_CREATE;
	const char *identity = is_create ? role.identity_type : plan->identity_type;
	const char *method = is_create ? role.auth_method : plan->auth_method;
	work->wish = (struct role_wish){ .name = work->name,
		.identity = inventory_rows_identity(identity),
		.login = strcmp(method, "NO_LOGIN") != 0,
		.createdb = is_create ? role.createdb : plan->createdb,
		.createrole = is_create ? role.createrole : plan->createrole,
		.bypassrls = is_create ? role.bypassrls : plan->bypassrls,
		.is_superuser_member = is_create ? role.is_superuser_member : plan->is_superuser_member };
	work->wish_fields = is_create ? ROLE_ALL : wish_fields(plan->fields);
	bool needs_password = strcmp(method, "PG_PASSWORD_SCRAM_SHA_256") == 0;
	if (plan->must_reset) {
		work->wish_fields |= ROLE_LOGIN | ROLE_IDENTITY | ROLE_PASSWORD;
		if (needs_password && !role.verifier[0])
			return error_set(err, STATUS_CONFLICT, 0,
			        "role \"%s\" has no password yet; set one with ALTER ROLE ... PASSWORD first",
			        work->name);
	}
	if (needs_password && (is_create || plan->must_reset)) {
		(void)snprintf(work->verifier, sizeof work->verifier, "%s", role.verifier);
		work->wish.verifier = work->verifier;
	}
	return STATUS_OK;
}

static status load_database(struct job *job, struct catalog_work *work, struct error *err)
{
	struct database_row database;
	struct role_row owner;
	struct metadata *md = job->services->md;
	status st = database_row_find(md, job->operation.branch, work->plan.id, &database, err);
	if (st == STATUS_NOT_FOUND && work->kind == OPERATION_DATABASE_CREATE) /* branch_inventory.h I3 */
		return error_set(err, STATUS_EXISTS, 0, "database with that name already exists");
	if (st != STATUS_OK)
		return st;
	copy_name(work->name, database.postgres_database);
	work->oid = database.oid;
	const char *owner_id = work->kind == OPERATION_DATABASE_CREATE ? database.role_id : work->plan.owner;
	if (!owner_id[0])
		return STATUS_OK;
	st = role_row_find(md, job->operation.branch, owner_id, &owner, err);
	if (st == STATUS_NOT_FOUND)
		return error_set(err, st, 0, "role not found; role_id:\"%s\"", owner_id);
	if (st == STATUS_OK)
		copy_name(work->owner, owner.postgres_role);
	return st;
}

static bool is_about_role(const struct catalog_work *work)
{
	return work->kind == OPERATION_ROLE_CREATE || work->kind == OPERATION_ROLE_UPDATE ||
	       work->kind == OPERATION_ROLE_DELETE;
}

static status note_step(struct job *job, struct error *err)
{
	char before[sizeof job->operation.step];
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	memcpy(before, job->operation.step, sizeof before);
	status st = transaction_begin(job->services->md, &tx, err);
	(void)snprintf(job->operation.step, sizeof job->operation.step, STEP_MARKED "%lld",
	        (long long)job->catalog->oid);
	if (st == STATUS_OK)
		st = operation_row_update(job->services->md, &job->operation, err);
	if (st == STATUS_OK)
		st = transaction_commit(&tx, err);
	if (st != STATUS_OK)
		memcpy(job->operation.step, before, sizeof before);
	return st;
}

static bool is_at_step(const struct job *job, const char *step)
{
	return strncmp(job->operation.step, step, strlen(step)) == 0;
}

static bool has_begun(const struct job *job)
{
	return is_at_step(job, STEP_MARKED) || is_at_step(job, STEP_BEGUN);
}

static int64_t begun_oid(const struct job *job)
{
	int64_t oid = 0;
	const char *space = strchr(job->operation.step, ' ');
	(void)!number_parse(slice_from_text(space ? space + 1 : ""), 0, UINT32_MAX, &oid);
	return oid;
}

static status fill(struct job *job, struct catalog_work *work, struct error *err)
{
	CLEANUP(job_rows_done) struct job_rows rows = { 0 };
	status st = catalog_plan_parse(job->operation.plan, &work->plan, err);
	if (st == STATUS_OK && !operation_kind_parse(job->operation.kind, &work->kind))
		st = error_set(err, STATUS_INTERNAL, 0, "unknown kind of operation");
	if (st == STATUS_OK)
		st = job_rows_load(job, &rows, err);
	if (st != STATUS_OK)
		return st;
	if (rows.branch.is_purged || rows.branch.delete_usec != 0)
		return error_set(err, STATUS_CONFLICT, 0, "the branch has been deleted");
	memcpy(job->endpoint_uid, rows.endpoint.uid, sizeof job->endpoint_uid);
	memcpy(job->source_endpoint_uid, rows.endpoint.uid, sizeof job->source_endpoint_uid);
	job->needed_uid = job->source_endpoint_uid;
	work->socket_dir = fleet_socket_dir(job->services->fleet, rows.endpoint.uid);
	work->is_repeated = has_begun(job);
	st = is_about_role(work) ? load_role(job, work, err) : load_database(job, work, err);
	if (work->is_repeated)
		work->oid = begun_oid(job);
	return st;
}

static void load(struct job *job)
{
	struct error err;
	job->failed_phase = SETTLE_FAILED;
	catalog_work_free(job->catalog);
	job->catalog = xcalloc(1, sizeof *job->catalog);
	status st = fill(job, job->catalog, &err);
	if (st == STATUS_NOT_FOUND && job->catalog->is_repeated &&
	        (job->catalog->kind == OPERATION_ROLE_DELETE ||
	                job->catalog->kind == OPERATION_DATABASE_DELETE)) {
		job_go(job, SETTLE); /* a look in between has seen already that it is gone */
		return;
	}
	if (st != STATUS_OK)
		job_fail(job, &err);
	else
		job_go(job, WAKE);
}

struct named {
	int64_t oid;
	const char *name;
};

static struct named at(const struct job *job, size_t index)
{
	if (is_about_role(job->catalog))
		return (struct named){ job->inventory.roles[index].oid, job->inventory.roles[index].name };
	return (struct named){ job->inventory.databases[index].oid, job->inventory.databases[index].name };
}

/* By the oid if it is not 0, else by the name. oid 0: not there. */
static struct named find(const struct job *job, int64_t oid, const char *name)
{
	size_t count =
	        is_about_role(job->catalog) ? job->inventory.role_count : job->inventory.database_count;
	for (size_t i = 0; i < count; i++) {
		struct named item = at(job, i);
		if (oid != 0 ? item.oid == oid : strcmp(item.name, name) == 0)
			return item;
	}
	return (struct named){ 0 };
}

/* Under whatever name it has now. In a first attempt what has its name counts, too: dropped and made anew is the same to a client. */
static struct named find_target(const struct job *job)
{
	const struct catalog_work *work = job->catalog;
	struct named found = { 0 };
	if (work->oid != 0)
		found = find(job, work->oid, NULL);
	return found.oid != 0 || work->is_repeated ? found : find(job, 0, work->name);
}

static int64_t choose_oid(void)
{
	return OIDS_MIN + (int64_t)(random_u64() % (uint64_t)(OIDS_MAX - OIDS_MIN + 1));
}

/* Before the change: the step, if there is none yet. Each attempt to make a database has an oid of its own: a crash may leave files of the last one's. */
static status prepare(struct job *job, struct error *err)
{
	struct catalog_work *work = job->catalog;
	bool makes_database = work->kind == OPERATION_DATABASE_CREATE && !is_at_step(job, STEP_BEGUN);
	if (makes_database)
		work->oid = choose_oid();
	status st = !has_begun(job) || makes_database ? note_step(job, err) : STATUS_OK;
	if (is_at_step(job, STEP_MARKED))
		memcpy(work->operation, job->operation.id, sizeof work->operation);
	work->lacks_markers = job->inventory.lacks_markers;
	free(TAKE_PTR(work->marks));
	work->mark_count = 0;
	if (st == STATUS_OK && work->lacks_markers)
		st = inventory_rows_marks(
		        job->services->md, job->operation.branch, &work->marks, &work->mark_count, err);
	return st;
}

/* What is changed, by what Postgres has just said; the name in the rows may be older. */
static void identify(struct job *job)
{
	struct error err;
	struct catalog_work *work = job->catalog;
	bool is_create = work->kind == OPERATION_ROLE_CREATE || work->kind == OPERATION_DATABASE_CREATE;
	bool is_delete = work->kind == OPERATION_ROLE_DELETE || work->kind == OPERATION_DATABASE_DELETE;
	struct named found = is_create ? (struct named){ 0 } : find_target(job);
	bool is_made = work->kind == OPERATION_DATABASE_CREATE && work->is_repeated && work->oid != 0 &&
	               find(job, work->oid, NULL).oid != 0;
	/* A role's sessions may be left; for a database nothing is, and DROP would find what is made under its name meanwhile. */
	bool is_gone = is_delete && found.oid == 0 &&
	               (find(job, 0, work->name).oid != 0 || (work->kind == OPERATION_DATABASE_DELETE &&
	                                                             work->is_repeated && work->oid != 0));
	if (is_made || is_gone) { /* by an earlier attempt; and then another has its name */
		job_go(job, SETTLE);
		return;
	}
	job->failed_phase = SETTLE_FAILED;
	if (!is_create && !is_delete && found.oid == 0) {
		error_fill(&err, STATUS_NOT_FOUND, 0, "\"%s\" does not exist any more", work->name);
		job_fail(job, &err);
		return;
	}
	if (found.oid != 0)
		copy_name(work->name, found.name);
	work->oid = found.oid;
	if (strcmp(work->plan.new_name, work->name) == 0)
		work->plan.new_name[0] = '\0'; /* it has that name already */
	if (prepare(job, &err) != STATUS_OK)
		job_fail(job, &err);
	else
		job_go(job, CHANGE);
}

static status change(const struct catalog_work *work, struct error *err)
{
	const char *owner = work->owner[0] ? work->owner : NULL;
	const char *new_name = work->plan.new_name[0] ? work->plan.new_name : NULL;
	const char *operation = work->operation[0] ? work->operation : NULL;
	switch (work->kind) {
	case OPERATION_ROLE_CREATE:
		return catalog_create_role(work->socket_dir, &work->wish, operation, err);
	case OPERATION_ROLE_UPDATE:
		return catalog_alter_role(work->socket_dir, &work->wish, work->wish_fields, operation, err);
	case OPERATION_ROLE_DELETE:
		return catalog_drop_role(work->socket_dir, work->name, owner, err);
	case OPERATION_DATABASE_CREATE:
		return catalog_create_database(work->socket_dir, work->name, owner, work->oid, err);
	case OPERATION_DATABASE_UPDATE:
		return catalog_alter_database(work->socket_dir, work->name, new_name, owner, operation, err);
	case OPERATION_DATABASE_DELETE:
		return catalog_drop_database(work->socket_dir, work->name, err);
	default:
		return error_set(err, STATUS_INTERNAL, 0, "not a change of a role or database");
	}
}

/* In a worker thread. What an earlier attempt was at, it is at no more. */
static status end_and_look(struct job *job, struct error *err)
{
	const struct catalog_work *work = job->catalog;
	status st = work->is_repeated ? catalog_end_attempts(work->socket_dir, err) : STATUS_OK;
	return st == STATUS_OK ? job_look(job, err) : st;
}

/* In a worker thread. */
static status change_and_look(struct job *job, struct error *err)
{
	const struct catalog_work *work = job->catalog;
	status st = work->lacks_markers
	                    ? catalog_mark_identities(work->socket_dir, work->marks, work->mark_count, err)
	                    : STATUS_OK;
	if (st == STATUS_OK)
		st = change(work, err);
	return st == STATUS_OK ? job_look(job, err) : st;
}

/* It may have fallen asleep, or crashed, just then. */
static void change_again(struct job *job)
{
	bool is_passing = job->work_error.code == STATUS_UNAVAILABLE;
	if (is_passing && ++job->tries < CHANGE_ATTEMPTS) {
		job->failure = (struct error){ 0 };
		job->catalog->is_repeated = has_begun(job);
		job_retry(job, WAKE, CHANGE_RETRY_MS);
		return;
	}
	job_go(job, SETTLE_FAILED);
}

/* The resource as it is now, for the response; NULL for Empty. */
static status response(struct job *job, const struct job_rows *rows, char **ret, struct error *err)
{
	const struct catalog_work *work = job->catalog;
	struct metadata *md = job->services->md;
	struct role_row role;
	struct database_row database;
	if (work->kind == OPERATION_ROLE_DELETE || work->kind == OPERATION_DATABASE_DELETE)
		return STATUS_OK;
	status st = is_about_role(work)
	                    ? role_row_find(md, rows->branch.id, work->plan.id, &role, err)
	                    : database_row_find(md, rows->branch.id, work->plan.id, &database, err);
	if (st != STATUS_OK)
		return st;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	*ret = json_write(doc, is_about_role(work)
	                               ? role_to_json(doc, &rows->project, &rows->branch, &role)
	                               : database_to_json(doc, &rows->project, &rows->branch, &database));
	yyjson_mut_doc_free(doc);
	return STATUS_OK;
}

/* The pending row is an ordinary one from now on; it may be gone, if somebody dropped the role by SQL meanwhile. */
static status settle_row(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	struct role_row role;
	struct database_row database;
	status st = STATUS_OK;
	if (job->catalog->kind == OPERATION_ROLE_CREATE) {
		st = role_row_find(md, job->operation.branch, job->catalog->plan.id, &role, err);
		role.is_pending = false;
		if (st == STATUS_OK)
			st = role_row_update(md, &role, err);
	} else if (job->catalog->kind == OPERATION_DATABASE_CREATE) {
		st = database_row_find(md, job->operation.branch, job->catalog->plan.id, &database, err);
		database.is_pending = false;
		if (job->catalog->oid != 0)
			database.oid = job->catalog->oid; /* it is that one, whatever it is called by now */
		if (st == STATUS_OK)
			st = database_row_update(md, &database, err);
	} else if (job->catalog->kind == OPERATION_ROLE_UPDATE) {
		st = role_row_find(md, job->operation.branch, job->catalog->plan.id, &role, err);
		role.update_usec = clock_wall_usec(); /* also when nothing has changed (rest-api.md 1.4) */
		if (st == STATUS_OK)
			st = role_row_update(md, &role, err);
	} else if (job->catalog->kind == OPERATION_DATABASE_UPDATE) {
		st = database_row_find(md, job->operation.branch, job->catalog->plan.id, &database, err);
		database.update_usec = clock_wall_usec();
		if (st == STATUS_OK)
			st = database_row_update(md, &database, err);
	}
	return st == STATUS_NOT_FOUND ? STATUS_OK : st;
}

static status finish(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(job_rows_done) struct job_rows rows = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	CLEANUP(free_text) char *json = NULL;
	int64_t now = clock_wall_usec();
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = job_rows_load(job, &rows, err);
	if (st == STATUS_OK)
		st = settle_row(job, err);
	if (st == STATUS_OK && job->has_inventory)
		st = branch_inventory_absorb(
		        job->services, rows.branch.id, job->inventory_ticket, &job->inventory, now, err);
	if (st == STATUS_OK)
		st = response(job, &rows, &json, err);
	if (st == STATUS_NOT_FOUND)
		st = operation_fail(md, &job->operation, err, now, err);
	else if (st == STATUS_OK)
		st = operation_succeed(md, &job->operation, json, now, err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

static status remove_pending(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	struct role_row role;
	struct database_row database;
	status st = STATUS_OK;
	if (job->catalog->kind == OPERATION_ROLE_CREATE) {
		st = role_row_find(md, job->operation.branch, job->catalog->plan.id, &role, err);
		if (st == STATUS_OK && role.is_pending)
			st = role_row_remove(md, role.id, err);
	} else if (job->catalog->kind == OPERATION_DATABASE_CREATE) {
		st = database_row_find(md, job->operation.branch, job->catalog->plan.id, &database, err);
		if (st == STATUS_OK && database.is_pending)
			st = database_row_remove(md, database.id, err);
	}
	return st == STATUS_NOT_FOUND ? STATUS_OK : st;
}

static status finish_failed(struct job *job, struct error *err)
{
	struct metadata *md = job->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = remove_pending(job, err);
	if (st == STATUS_OK)
		st = operation_fail(md, &job->operation, &job->failure, clock_wall_usec(), err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

void job_catalog_step(struct job *job)
{
	switch ((enum catalog_phase)job->phase) {
	case LOAD:
		load(job);
		break;
	case WAKE:
		job->failed_phase = SETTLE_FAILED;
		job_open(job, job->endpoint_uid, LOOK);
		break;
	case LOOK:
		job->failed_phase = CHANGE_FAILED;
		job_work(job, end_and_look, IDENTIFY);
		break;
	case IDENTIFY:
		identify(job);
		break;
	case CHANGE:
		job->failed_phase = CHANGE_FAILED;
		job_work(job, change_and_look, SETTLE);
		break;
	case CHANGE_FAILED:
		change_again(job);
		break;
	case SETTLE:
		job_settle_source(job, FINISH);
		break;
	case FINISH:
		if (job_record_end(job, finish, FINISH_RETRY_MS))
			job_finish(job);
		break;
	case SETTLE_FAILED:
		job_settle_source(job, FINISH_FAILED);
		break;
	case FINISH_FAILED:
		if (job_record_end(job, finish_failed, FINISH_RETRY_MS))
			job_finish(job);
		break;
	}
}
