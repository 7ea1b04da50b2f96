#include "control_plane/operation.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "control_plane/api_error.h"
#include "http/request.h"

#define METADATA_TYPE "type.googleapis.com/databricks.postgres.v1."
#define EMPTY_JSON    "{\"@type\":\"type.googleapis.com/google.protobuf.Empty\"}"

static const struct {
	const char *name, *metadata_type;
	bool is_project_wide;
} kinds[OPERATION_KINDS] = {
	[OPERATION_PROJECT_CREATE] = { "PROJECT_CREATE", METADATA_TYPE "ProjectOperationMetadata", true },
	[OPERATION_PROJECT_UPDATE] = { "PROJECT_UPDATE", METADATA_TYPE "ProjectOperationMetadata", true },
	[OPERATION_PROJECT_DELETE] = { "PROJECT_DELETE", METADATA_TYPE "ProjectOperationMetadata", true },
	[OPERATION_PROJECT_PURGE] = { "PROJECT_PURGE", METADATA_TYPE "ProjectOperationMetadata", true },
	[OPERATION_PROJECT_UNDELETE] = { "PROJECT_UNDELETE", METADATA_TYPE "ProjectOperationMetadata", true },
	[OPERATION_BRANCH_CREATE] = { "BRANCH_CREATE", METADATA_TYPE "BranchOperationMetadata", false },
	[OPERATION_BRANCH_UPDATE] = { "BRANCH_UPDATE", METADATA_TYPE "BranchOperationMetadata", false },
	[OPERATION_BRANCH_DELETE] = { "BRANCH_DELETE", METADATA_TYPE "BranchOperationMetadata", false },
	[OPERATION_BRANCH_PURGE] = { "BRANCH_PURGE", METADATA_TYPE "BranchOperationMetadata", false },
	[OPERATION_BRANCH_UNDELETE] = { "BRANCH_UNDELETE", METADATA_TYPE "BranchOperationMetadata", false },
	[OPERATION_BRANCH_RESET] = { "BRANCH_RESET", METADATA_TYPE "BranchOperationMetadata", false },
	[OPERATION_BRANCH_RESTORE] = { "BRANCH_RESTORE", METADATA_TYPE "BranchOperationMetadata", false },
	[OPERATION_BRANCH_ARCHIVE] = { "BRANCH_ARCHIVE", METADATA_TYPE "BranchOperationMetadata", false },
	[OPERATION_SNAPSHOT_CREATE] = { "SNAPSHOT_CREATE", METADATA_TYPE "SnapshotOperationMetadata", false },
	[OPERATION_SNAPSHOT_DELETE] = { "SNAPSHOT_DELETE", METADATA_TYPE "SnapshotOperationMetadata", false },
	[OPERATION_SCHEDULE_UPDATE] = { "SCHEDULE_UPDATE", METADATA_TYPE "SnapshotScheduleOperationMetadata",
	        false },
	[OPERATION_ENDPOINT_UPDATE] = { "ENDPOINT_UPDATE", METADATA_TYPE "EndpointOperationMetadata", false },
	[OPERATION_ROLE_CREATE] = { "ROLE_CREATE", METADATA_TYPE "RoleOperationMetadata", false },
	[OPERATION_ROLE_UPDATE] = { "ROLE_UPDATE", METADATA_TYPE "RoleOperationMetadata", false },
	[OPERATION_ROLE_DELETE] = { "ROLE_DELETE", METADATA_TYPE "RoleOperationMetadata", false },
	[OPERATION_DATABASE_CREATE] = { "DATABASE_CREATE", METADATA_TYPE "DatabaseOperationMetadata", false },
	[OPERATION_DATABASE_UPDATE] = { "DATABASE_UPDATE", METADATA_TYPE "DatabaseOperationMetadata", false },
	[OPERATION_DATABASE_DELETE] = { "DATABASE_DELETE", METADATA_TYPE "DatabaseOperationMetadata", false },
};

const char *operation_kind_name(enum operation_kind kind)
{
	return kinds[kind].name;
}

bool operation_kind_parse(const char *name, enum operation_kind *ret)
{
	for (int i = 0; i < OPERATION_KINDS; i++) {
		if (strcmp(kinds[i].name, name) == 0) {
			*ret = (enum operation_kind)i;
			return true;
		}
	}
	return false;
}

status operation_begin(struct metadata *md, enum operation_kind kind, const char *actor,
        const struct operation_target *target, int64_t now_usec, struct operation_row *ret, struct error *err)
{
	struct operation_row row = { .project = target->project,
		.branch = target->branch,
		.source_branch = target->source_branch,
		.endpoint = target->endpoint,
		.snapshot = target->snapshot,
		.undo = target->undo ? xstrdup(target->undo) : NULL,
		.plan = target->plan ? xstrdup(target->plan) : NULL,
		.create_usec = now_usec };
	random_hex(row.id, OPERATION_ID_LEN);
	(void)snprintf(row.resource, sizeof row.resource, "%s", target->resource);
	(void)snprintf(row.kind, sizeof row.kind, "%s", kinds[kind].name);
	(void)snprintf(row.actor, sizeof row.actor, "%s", actor);
	status st = operation_row_insert(md, &row, err);
	if (st == STATUS_OK)
		*ret = row;
	else
		operation_row_done(&row);
	return st;
}

status operation_succeed(struct metadata *md, struct operation_row *row, const char *response_json,
        int64_t now_usec, struct error *err)
{
	free(row->response);
	row->response = xstrdup(response_json ? response_json : EMPTY_JSON);
	row->finish_usec = now_usec;
	return operation_row_update(md, row, err);
}

status operation_fail(struct metadata *md, struct operation_row *row, const struct error *failure,
        int64_t now_usec, struct error *err)
{
	CLEANUP(free_text)
	char *message = xasprintf("%s%s%s", failure->message, failure->hint[0] ? ". " : "", failure->hint);
	utf8_clean(message);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_str(doc, root, "error_code", api_operation_error_code(failure->code));
	yyjson_mut_obj_add_str(doc, root, "message", message);
	free(row->error);
	row->error = yyjson_mut_write(doc, 0, NULL);
	yyjson_mut_doc_free(doc);
	row->finish_usec = now_usec;
	return operation_row_update(md, row, err);
}

static bool is_same(int64_t row, int64_t other)
{
	return row != 0 && row == other;
}

bool operation_must_wait(const struct operation_row *later, const struct operation_row *earlier)
{
	if (later->project != earlier->project)
		return false;
	enum operation_kind kind;
	if (!operation_kind_parse(later->kind, &kind) || kinds[kind].is_project_wide ||
	        !operation_kind_parse(earlier->kind, &kind) || kinds[kind].is_project_wide)
		return true;
	return is_same(later->branch, earlier->branch) || is_same(later->branch, earlier->source_branch) ||
	       is_same(later->source_branch, earlier->branch) || is_same(later->snapshot, earlier->snapshot);
}

yyjson_mut_val *operation_to_json(yyjson_mut_doc *doc, const struct operation_row *row)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	CLEANUP(free_text) char *name = xasprintf("%s/operations/%s", row->resource, row->id);
	yyjson_mut_obj_add_strcpy(doc, root, "name", name);
	yyjson_mut_obj_add_bool(doc, root, "done", row->finish_usec != 0);
	enum operation_kind kind;
	yyjson_mut_val *metadata = yyjson_mut_obj_add_obj(doc, root, "metadata");
	if (operation_kind_parse(row->kind, &kind))
		yyjson_mut_obj_add_str(doc, metadata, "@type", kinds[kind].metadata_type);
	/* Stored as the JSON that was written when it ended, so it never changes. */
	if (row->response)
		yyjson_mut_obj_add_val(doc, root, "response", yyjson_mut_rawcpy(doc, row->response));
	else if (row->error)
		yyjson_mut_obj_add_val(doc, root, "error", yyjson_mut_rawcpy(doc, row->error));
	return root;
}
