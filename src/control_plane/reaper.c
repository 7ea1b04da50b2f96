#include "control_plane/reaper.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "control_plane/branch.h"
#include "control_plane/branch_archive.h"
#include "control_plane/operation.h"
#include "control_plane/project.h"
#include "control_plane/reconciler.h"
#include "control_plane/snapshot.h"
#include "control_plane/snapshot_schedule.h"
#include "metadata/branch_row.h"
#include "metadata/snapshot_row.h"

#define RETRY_MS           10000
#define ACTOR              "system"
#define ARCHIVE_PAUSE_USEC (60 * USEC_PER_SEC)
#define FORGET_INTERVAL    (24 * 3600 * USEC_PER_SEC)

struct reaper {
	const struct services *services;
	uv_timer_t timer;
	int64_t forgot_usec;  /* monotonic; when operations were last forgotten */
	int64_t archive_usec; /* monotonic; when branches to be archived are looked for again */
};

typedef status (*branch_query)(struct metadata *, int64_t, struct statement *, struct error *);

/* The first row of a query, closed again: the query's table is about to change. */
static status first_branch(
        struct metadata *md, branch_query query, int64_t now_usec, struct branch_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = query(md, now_usec, &st, err);
	return code == STATUS_OK ? branch_row_next(&st, ret, err) : code;
}

static status first_project(struct metadata *md, int64_t now_usec, struct project_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = project_row_list_due(md, now_usec, &st, err);
	return code == STATUS_OK ? project_row_next(&st, ret, err) : code;
}

static status delete_branches(
        struct reaper *reaper, branch_query query, bool is_purge, int64_t now_usec, struct error *err)
{
	struct metadata *md = reaper->services->md;
	for (;;) {
		struct branch_row branch;
		CLEANUP(project_row_done) struct project_row project = { 0 };
		CLEANUP(operation_row_done) struct operation_row operation = { 0 };
		CLEANUP(transaction_end) struct transaction tx = { 0 };
		status st = transaction_begin(md, &tx, err);
		if (st == STATUS_OK)
			st = first_branch(md, query, now_usec, &branch, err);
		if (st == STATUS_NOT_FOUND)
			return STATUS_OK;
		if (st == STATUS_OK)
			st = project_row_get(md, branch.project, &project, err);
		if (st == STATUS_OK)
			st = branch_delete_row(md, &project, &branch, is_purge,
			        reaper->services->dd->settings.deleted_retention_sec, ACTOR, now_usec,
			        &operation, err);
		if (st == STATUS_OK)
			st = transaction_commit(&tx, err);
		if (st != STATUS_OK)
			return st;
		log_info(ACTOR ": %s %s, operation %s begun", operation.kind, operation.resource,
		        operation.id);
	}
}

static status purge_projects(struct reaper *reaper, int64_t now_usec, struct error *err)
{
	struct metadata *md = reaper->services->md;
	for (;;) {
		CLEANUP(project_row_done) struct project_row project = { 0 };
		CLEANUP(transaction_end) struct transaction tx = { 0 };
		status st = transaction_begin(md, &tx, err);
		if (st == STATUS_OK)
			st = first_project(md, now_usec, &project, err);
		if (st == STATUS_NOT_FOUND)
			return STATUS_OK;
		if (st == STATUS_OK)
			st = project_purge_due(md, &project, now_usec, err);
		if (st == STATUS_OK)
			st = transaction_commit(&tx, err);
		if (st != STATUS_OK)
			return st;
		log_info(ACTOR ": PROJECT_PURGE projects/%s begun", project.project_id);
	}
}

static status delete_snapshots(struct reaper *reaper, int64_t now_usec, struct error *err)
{
	struct metadata *md = reaper->services->md;
	for (;;) {
		struct snapshot_row snapshot;
		CLEANUP(project_row_done) struct project_row project = { 0 };
		CLEANUP(operation_row_done) struct operation_row operation = { 0 };
		CLEANUP(transaction_end) struct transaction tx = { 0 };
		status st = transaction_begin(md, &tx, err);
		if (st == STATUS_OK) {
			CLEANUP(statement_done) struct statement query = { 0 };
			st = snapshot_row_list_expired(md, now_usec, &query, err);
			if (st == STATUS_OK)
				st = snapshot_row_next(&query, &snapshot, err);
		}
		if (st == STATUS_NOT_FOUND)
			return STATUS_OK;
		if (st == STATUS_OK)
			st = project_row_get(md, snapshot.project, &project, err);
		if (st == STATUS_OK)
			st = snapshot_delete_row(md, &project, &snapshot, ACTOR, now_usec, &operation, err);
		if (st == STATUS_OK)
			st = transaction_commit(&tx, err);
		if (st != STATUS_OK)
			return st;
		log_info(ACTOR ": %s %s, operation %s begun", operation.kind, operation.resource,
		        operation.id);
	}
}

static status reap(struct reaper *reaper, int64_t now_usec, struct error *err)
{
	status st = delete_branches(reaper, branch_row_list_expired, false, now_usec, err);
	if (st == STATUS_OK)
		st = delete_branches(reaper, branch_row_list_due, true, now_usec, err);
	if (st == STATUS_OK)
		st = delete_snapshots(reaper, now_usec, err);
	if (st == STATUS_OK)
		st = purge_projects(reaper, now_usec, err);
	if (st == STATUS_OK)
		st = snapshot_schedule_fire(reaper->services->md, now_usec, err);
	int64_t monotonic = clock_monotonic_usec();
	if (st == STATUS_OK &&
	        (reaper->forgot_usec == 0 || monotonic - reaper->forgot_usec > FORGET_INTERVAL)) {
		reaper->forgot_usec = monotonic;
		st = operation_row_forget(reaper->services->md,
		        now_usec - OPERATION_RETENTION_DAYS * 86400 * USEC_PER_SEC, err);
	}
	return st;
}

/* Goes over all branches, so not after every mutation. Returns when it is to be done again, in ms. */
static int64_t archive(struct reaper *reaper, int64_t now_usec)
{
	struct error err;
	bool has_more = false;
	int64_t monotonic = clock_monotonic_usec();
	int64_t pause = reaper->services->dd->settings.archive_idle_sec * USEC_PER_SEC / 4;
	if (pause > ARCHIVE_PAUSE_USEC)
		pause = ARCHIVE_PAUSE_USEC;
	if (monotonic >= reaper->archive_usec) {
		status st = branch_archive_due(reaper->services, now_usec, &has_more, &err);
		if (st != STATUS_OK)
			log_error("could not look for branches to archive: %s", err.message);
		reaper->archive_usec = monotonic + (has_more ? USEC_PER_SEC : pause);
	}
	return (reaper->archive_usec - monotonic) / 1000 + 1;
}

static void on_timer(uv_timer_t *timer)
{
	struct reaper *reaper = timer->data;
	struct error err;
	int64_t now = clock_wall_usec(), due = 0;
	status st = reap(reaper, now, &err);
	int64_t archive_ms = archive(reaper, now);
	reconciler_kick(reaper->services->reconciler);
	if (st == STATUS_OK)
		st = metadata_next_due(reaper->services->md, &due, &err);
	if (st != STATUS_OK)
		log_error("could not look after expirations: %s", err.message);
	int64_t delay_ms = st != STATUS_OK ? RETRY_MS : archive_ms;
	if (st == STATUS_OK && due != 0 && (due - now) / 1000 + 1 < delay_ms)
		delay_ms = due > now ? (due - now) / 1000 + 1 : 1;
	(void)uv_timer_start(timer, on_timer, (uint64_t)delay_ms, 0);
}

struct reaper *reaper_create(struct services *services)
{
	struct reaper *reaper = xcalloc(1, sizeof *reaper);
	reaper->services = services;
	services->reaper = reaper;
	(void)uv_timer_init(services->loop, &reaper->timer);
	reaper->timer.data = reaper;
	return reaper;
}

void reaper_look(struct reaper *reaper)
{
	(void)uv_timer_start(&reaper->timer, on_timer, 0, 0);
}

static void on_closed(uv_handle_t *timer)
{
	free(timer->data);
}

void reaper_close(struct reaper *reaper)
{
	if (!reaper)
		return;
	(void)uv_timer_stop(&reaper->timer);
	uv_close((uv_handle_t *)&reaper->timer, on_closed);
}

/* Rows marked purged that no open operation is about. */
static const char orphaned_branches[] =
        "SELECT b.id, p.id, 'projects/' || p.project_id || '/branches/' || b.branch_id FROM branch b"
        " JOIN project p ON p.id = b.project WHERE b.is_purged = 1 AND b.is_resetting = 0 AND p.is_purged = "
        "0 AND NOT EXISTS"
        " (SELECT 1 FROM operation o WHERE o.branch = b.id AND o.kind = 'BRANCH_PURGE' AND o.finish_usec IS "
        "NULL)";
static const char orphaned_snapshots[] =
        "SELECT s.id, p.id, 'projects/' || p.project_id || '/snapshots/' || s.snapshot_id FROM snapshot s"
        " JOIN project p ON p.id = s.project WHERE s.is_purged = 1 AND p.is_purged = 0 AND NOT EXISTS"
        " (SELECT 1 FROM operation o WHERE o.snapshot = s.id AND o.kind = 'SNAPSHOT_DELETE' AND "
        "o.finish_usec IS "
        "NULL)";
static const char orphaned_projects[] =
        "SELECT 0, p.id, 'projects/' || p.project_id FROM project p WHERE p.is_purged = 1 AND NOT EXISTS"
        " (SELECT 1 FROM operation o WHERE o.project = p.id AND o.kind = 'PROJECT_PURGE' AND o.finish_usec "
        "IS NULL)";

static status resume(
        const struct services *services, const char *sql, enum operation_kind kind, struct error *err)
{
	for (;;) {
		char resource[OPERATION_RESOURCE_MAX + 1];
		struct operation_target target = { .resource = resource };
		CLEANUP(operation_row_done) struct operation_row operation = { 0 };
		CLEANUP(transaction_end) struct transaction tx = { 0 };
		status st = transaction_begin(services->md, &tx, err);
		if (st != STATUS_OK)
			return st;
		{
			CLEANUP(statement_done) struct statement query = { 0 };
			st = statement_open(services->md, sql, &query, err);
			if (st == STATUS_OK)
				st = statement_next(&query, err);
			if (st == STATUS_NOT_FOUND)
				return STATUS_OK;
			if (st != STATUS_OK)
				return st;
			*(kind == OPERATION_SNAPSHOT_DELETE ? &target.snapshot : &target.branch) =
			        statement_integer(&query);
			target.project = statement_integer(&query);
			statement_text(&query, resource, sizeof resource);
		}
		st = operation_begin(services->md, kind, ACTOR, &target, clock_wall_usec(), &operation, err);
		if (st == STATUS_OK)
			st = transaction_commit(&tx, err);
		if (st != STATUS_OK)
			return st;
	}
}

status reaper_resume_purges(const struct services *services, struct error *err)
{
	status st = resume(services, orphaned_branches, OPERATION_BRANCH_PURGE, err);
	if (st == STATUS_OK)
		st = resume(services, orphaned_snapshots, OPERATION_SNAPSHOT_DELETE, err);
	return st == STATUS_OK ? resume(services, orphaned_projects, OPERATION_PROJECT_PURGE, err) : st;
}
