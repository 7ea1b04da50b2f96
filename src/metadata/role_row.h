/* Role rows. A row is a copy and holds no memory of its own. */
#pragma once

#include "base/base.h"
#include "metadata/metadata.h"
#include "metadata/project_row.h"
#include "metadata/statement.h"

#define SEALED_PASSWORD_MAX 255

struct role_row {
	int64_t id;
	int64_t branch;
	char role_id[RESOURCE_ID_MAX + 1];
	int64_t create_usec, update_usec;
	char postgres_role[LOGIN_MAX + 1];
	char identity_type[32]; /* "USER", "SERVICE_PRINCIPAL", "GROUP", "IDENTITY_TYPE_UNSPECIFIED" */
	char auth_method[32];   /* "LAKEBASE_OAUTH_V1", "PG_PASSWORD_SCRAM_SHA_256", "NO_LOGIN" */
	bool createdb, createrole, bypassrls;
	bool is_superuser_member; /* of databricks_superuser */
	int64_t oid;              /* Postgres'; 0: it was not asked yet */
	bool is_pending;          /* its create operation is open */
	char verifier[256];       /* rolpassword as Postgres has it; empty: none */
	int64_t valid_until_usec; /* rolvaliduntil; 0: for ever */
	char sealed_password[SEALED_PASSWORD_MAX +
	                     1]; /* the one that we made for this verifier; empty: not known */
};

MUST_CHECK status role_row_insert(struct metadata *md, struct role_row *row, struct error *err); /* sets id */
/* All but branch and create_usec. */
MUST_CHECK status role_row_update(struct metadata *md, const struct role_row *row, struct error *err);
/* Frees all names of a branch for a moment, so that updates may exchange them; inside a transaction that writes every row. */
MUST_CHECK status role_row_loosen_names(struct metadata *md, int64_t branch, struct error *err);
MUST_CHECK status role_row_remove(struct metadata *md, int64_t id, struct error *err);
MUST_CHECK status role_row_count(struct metadata *md, int64_t branch, int64_t *ret, struct error *err);
MUST_CHECK status role_row_find(
        struct metadata *md, int64_t branch, const char *role_id, struct role_row *ret, struct error *err);
/* By the name that it has in Postgres. */
MUST_CHECK status role_row_find_name(
        struct metadata *md, int64_t branch, const char *name, struct role_row *ret, struct error *err);
MUST_CHECK status role_row_list(struct metadata *md, int64_t branch, int64_t after_id, int64_t limit,
        struct statement *ret, struct error *err);
MUST_CHECK status role_row_next(struct statement *st, struct role_row *ret, struct error *err);
/* What a new branch inherits: same ids; removes what the child had before (a repeated step). */
MUST_CHECK status role_row_inherit(
        struct metadata *md, int64_t from_branch, int64_t to_branch, int64_t now_usec, struct error *err);
