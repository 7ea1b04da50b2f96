/* Resource names: "projects/p/branches/b/endpoints/e" and the ids in them (rest-api.md 1.3). */
#pragma once

#include "base/base.h"
#include "metadata/project_row.h"

enum resource_kind {
	RESOURCE_PROJECT,
	RESOURCE_BRANCH,
	RESOURCE_ENDPOINT,
	RESOURCE_ROLE,
	RESOURCE_DATABASE,
	RESOURCE_SNAPSHOT,
};

struct resource_name {
	enum resource_kind kind;
	char project_id[RESOURCE_ID_MAX + 1];
	char branch_id[RESOURCE_ID_MAX + 1]; /* empty for a project and a snapshot */
	char leaf_id[RESOURCE_ID_MAX + 1];   /* of an endpoint, role, database or snapshot; else empty */
};

#define RESOURCE_ID_PATTERN "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
bool resource_id_is_valid(const char *id);
bool uuid_is_valid(
        const char *id); /* lower case; what some clients take for the id of a service principal's role */
/* False for anything that is not exactly such a name. */
bool resource_name_parse(const char *text, struct resource_name *ret);

/* "br-calm-lake-1a2b3c4d" for prefix "br": DNS safe, unique by 32 random bits and the caller's unique index. */
void resource_uid_make(const char *prefix, char out[RESOURCE_ID_MAX + 1]);
/* The id that a login name gets as a role: "alice.b@example.com" is "alice-b"; "sp-<id>" for a service principal. */
void resource_role_id(const char *login, bool is_service_principal, char out[RESOURCE_ID_MAX + 1]);
/* An id made of a Postgres name: lower case, what ids cannot have becomes '-'. `prefix` stands in front of what begins with no letter. */
void resource_id_from_name(const char *name, const char *prefix, char out[RESOURCE_ID_MAX + 1]);
/* The number-th id of a name: "app", "app-2", "app-3", never longer than an id may be. */
void resource_id_numbered(const char *base, int number, char out[RESOURCE_ID_MAX + 1]);
