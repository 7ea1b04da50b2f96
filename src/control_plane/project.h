/* Project: the REST calls on projects (rest-api.md 3.1). */
#pragma once

#include "control_plane/call.h"
#include "control_plane/endpoint_fields.h"
#include "control_plane/project_beginning.h"
#include "control_plane/project_fields.h"

/* The branch that every project begins with. */
#define ROOT_BRANCH_ID "production"

bool project_create(struct call *call);
bool project_list(struct call *call);
bool project_get(struct call *call);
bool project_update(struct call *call);
bool project_delete(struct call *call);
bool project_undelete(struct call *call);

/* What a new project shall be; the texts are borrowed. */
struct project_request {
	const char *project_id;
	struct project_fields fields;
	struct switch_field is_protected;
	struct endpoint_fields endpoint; /* of the first endpoint; only its compute part */
	bool has_endpoint;
};
void project_request_done(struct project_request *request); /* for CLEANUP */
/* Checks the name, the limits and the values, and makes the rows; touches nothing. */
bool project_prepare(struct call *call, const struct project_request *request, struct project_row *project,
        struct endpoint_row *endpoint, struct project_beginning *beginning);
/* Inside a transaction: the project with all it begins with, and the operation that makes it. */
MUST_CHECK status project_insert(struct call *call, struct project_row *project, bool is_protected,
        struct endpoint_row *endpoint, const struct project_beginning *beginning, struct operation_row *ret,
        struct error *err);

/* Is there anything in it that keeps it from being deleted? */
bool project_check_may_delete(struct call *call, const struct project_row *project);
/*
 * Inside a transaction: marks a project deleted (or purged) and records the operation that stops or removes what runs, which is the
 * reconciler's.
 */
MUST_CHECK status project_delete_row(struct metadata *md, struct project_row *project, bool is_purge,
        int64_t retention_sec, const char *actor, int64_t now_usec, struct operation_row *ret,
        struct error *err);
/* Inside a transaction: a soft-deleted project whose time is over goes for good. For the reaper. */
MUST_CHECK status project_purge_due(
        struct metadata *md, struct project_row *project, int64_t now_usec, struct error *err);
