/*
 * Catalog plan: what an operation on a role or database shall do, decided when it was recorded (operation_row.plan): JSON with `version` 1. What
 * a create makes is in its pending row instead.
 */
#pragma once

#include "base/base.h"
#include "metadata/project_row.h"
#include "metadata/role_row.h"

struct catalog_plan {
	char id[RESOURCE_ID_MAX + 1]; /* role_id or database_id */
	char owner[RESOURCE_ID_MAX +
	           1]; /* role_id: a database's new owner, who gets what a deleted role owned; empty: none */
	char new_name[RESOURCE_ID_MAX + 1]; /* of a database; empty: it keeps its name */
	uint64_t fields;                    /* of a role: which of the next are meant (enum role_field) */
	bool createdb, createrole, bypassrls, is_superuser_member;
	bool must_reset; /* of a role: identity and login too, and the password (replace_existing) */
	char identity_type[32], auth_method[32];
};

char *catalog_plan_format(const struct catalog_plan *plan); /* caller frees */
MUST_CHECK status catalog_plan_parse(const char *text, struct catalog_plan *ret, struct error *err);
