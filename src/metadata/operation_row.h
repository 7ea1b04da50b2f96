/*
 * Operation rows: what shall be done, how far it is, how it ended. They outlive the resources they are about.
 *
 * A row is open while finish_usec is 0; then it has either a response or an error, for ever.
 */
#pragma once

#include "base/base.h"
#include "metadata/metadata.h"
#include "metadata/project_row.h"
#include "metadata/statement.h"

#define OPERATION_RESOURCE_MAX 255
#define OPERATION_ID_LEN       32

struct operation_row {
	int64_t seq; /* order of creation */
	char id[OPERATION_ID_LEN + 1];
	char resource[OPERATION_RESOURCE_MAX + 1]; /* "projects/p/branches/b": what is acted upon */
	char kind[24];                             /* see control_plane/operation.h */
	char actor[LOGIN_MAX + 1];                 /* login, or "system" */
	/* Row ids; 0: none. */
	int64_t project, branch, source_branch, endpoint, snapshot;
	char step[24]; /* the last one that is durably done; "" at first */
	int64_t create_usec, finish_usec;
	char *undo; /* what the change replaced, to be put back when it cannot be carried out; NULL: nothing */
	char *plan; /* how it is to be done, decided when it was recorded: JSON (control_plane/clone_plan.h); NULL: nothing to decide */
	char *response, *error; /* JSON texts */
};

void operation_row_done(struct operation_row *row); /* for CLEANUP */

MUST_CHECK status operation_row_insert(
        struct metadata *md, struct operation_row *row, struct error *err); /* sets seq */
/* Writes step, finish_usec, response, error and plan. */
MUST_CHECK status operation_row_update(
        struct metadata *md, const struct operation_row *row, struct error *err);
MUST_CHECK status operation_row_find(
        struct metadata *md, const char *id, struct operation_row *ret, struct error *err);
/* Open ones behind `after_seq`, oldest first. */
MUST_CHECK status operation_row_list_open(
        struct metadata *md, int64_t after_seq, struct statement *ret, struct error *err);
MUST_CHECK status operation_row_next(struct statement *st, struct operation_row *ret, struct error *err);
/* How many operations recorded after it have changed the settings of the same endpoint. */
MUST_CHECK status operation_row_count_newer_settings(
        struct metadata *md, const struct operation_row *row, int64_t *ret, struct error *err);
/* Of all resources. */
MUST_CHECK status operation_row_count_open(
        struct metadata *md, const char *kind, int64_t *ret, struct error *err);
/* Is one of that kind open for the endpoint? */
MUST_CHECK status operation_row_is_open(
        struct metadata *md, const char *kind, int64_t endpoint, bool *ret, struct error *err);
/* Is one of that kind open for the resource, with a step that is done? */
MUST_CHECK status operation_row_has_begun(
        struct metadata *md, const char *kind, const char *resource, bool *ret, struct error *err);
/* Of one kind for an endpoint, since a time: how many failed, when the last one did (0: none), and its error, a JSON text that the caller frees. */
struct operation_failures {
	int64_t count, last_usec;
	char *error;
};
MUST_CHECK status operation_row_failures(struct metadata *md, const char *kind, int64_t endpoint,
        int64_t since_usec, struct operation_failures *ret, struct error *err);
/*
 * The last creation of a project, or of a branch of any project, with that id which this actor asked for and which failed at or after
 * that time. STATUS_NOT_FOUND.
 */
MUST_CHECK status operation_row_find_failed_create(struct metadata *md, const char *actor, const char *id,
        int64_t since_usec, struct operation_row *ret, struct error *err);
/* Does the plan of an open operation name the volume? */
MUST_CHECK status operation_row_plans_volume(
        struct metadata *md, const char *volume_id, bool *ret, struct error *err);
/* Forgets operations that finished before that time. */
MUST_CHECK status operation_row_forget(struct metadata *md, int64_t before_usec, struct error *err);
