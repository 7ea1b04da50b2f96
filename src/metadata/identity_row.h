/*
 * Identities: users, service principals and groups, in one space of names (schema.c, version 3), and who is a member of which group. Names are
 * compared without case; what is stored is what is shown, and is the name of the Postgres role.
 */
#pragma once

#include "base/base.h"
#include "metadata/metadata.h"
#include "metadata/project_row.h"
#include "metadata/statement.h"

#define GROUP_ADMINS "admins" /* its members are the administrators */
#define GROUP_USERS  "users"  /* everybody who is no group; has no members of its own */

enum identity_kind { IDENTITY_USER, IDENTITY_SERVICE_PRINCIPAL, IDENTITY_GROUP };

struct identity_row {
	int64_t id;
	enum identity_kind kind;
	char login[LOGIN_MAX +
	           1]; /* e-mail of a user, application id of a service principal, name of a group */
	char display_name[LOGIN_MAX + 1];
	char external_id[LOGIN_MAX + 1]; /* what a directory outside calls it; "": nothing */
	bool is_service_principal;       /* the kind says so */
	bool is_active;                  /* false: none of its tokens is accepted */
	bool is_admin;                   /* a member of "admins"; only read */
	int64_t create_usec;
};

const char *identity_kind_text(enum identity_kind kind); /* "SERVICE_PRINCIPAL" */

/* Sets id; login, kind, names, is_active and create_usec are the caller's. STATUS_EXISTS when the name is taken, by any kind. */
MUST_CHECK status identity_row_insert(struct metadata *md, struct identity_row *row, struct error *err);
/* Writes login (of a group that is renamed), display_name, external_id and is_active. STATUS_EXISTS as above. */
MUST_CHECK status identity_row_update(struct metadata *md, const struct identity_row *row, struct error *err);
/* With its tokens, secrets, sessions, permissions and memberships. */
MUST_CHECK status identity_row_remove(struct metadata *md, int64_t id, struct error *err);

/* STATUS_NOT_FOUND with a message for people. */
MUST_CHECK status identity_row_find(struct metadata *md, enum identity_kind kind, const char *login,
        struct identity_row *ret, struct error *err);
MUST_CHECK status identity_row_get(
        struct metadata *md, int64_t id, struct identity_row *ret, struct error *err);
/* Of any kind, and exactly this name: whom a text of old means (the owner of a project). */
MUST_CHECK status identity_row_find_exactly(
        struct metadata *md, const char *login, struct identity_row *ret, struct error *err);
/* Texts are compared without case. */
enum filter_attribute { FILTER_ALL, FILTER_ID, FILTER_LOGIN, FILTER_DISPLAY_NAME, FILTER_EXTERNAL_ID };
enum filter_comparison { FILTER_EQUALS, FILTER_DIFFERS, FILTER_CONTAINS, FILTER_STARTS };

struct identity_filter {
	enum filter_attribute attribute;
	enum filter_comparison comparison;
	const char *value;
};
/* In creation order, `offset` rows skipped; then identity_row_next() until STATUS_NOT_FOUND. */
MUST_CHECK status identity_row_list(struct metadata *md, enum identity_kind kind,
        const struct identity_filter *filter, int64_t offset, int64_t limit, struct statement *ret,
        struct error *err);
MUST_CHECK status identity_row_next(struct statement *st, struct identity_row *ret, struct error *err);
MUST_CHECK status identity_row_count(struct metadata *md, enum identity_kind kind,
        const struct identity_filter *filter, int64_t *ret, struct error *err);

/* Makes the user unless there is one of that login, and an active administrator of it. */
MUST_CHECK status identity_row_ensure_admin(
        struct metadata *md, const char *login, int64_t now_usec, int64_t *ret_id, struct error *err);

/* Memberships. Both directions list in creation order, for identity_row_next(). */
MUST_CHECK status group_add_member(
        struct metadata *md, int64_t group, int64_t member, struct error *err); /* nothing when it is one */
MUST_CHECK status group_remove_member(struct metadata *md, int64_t group, int64_t member, struct error *err);
MUST_CHECK status group_remove_all(struct metadata *md, int64_t group, struct error *err);
MUST_CHECK status group_list_members(
        struct metadata *md, int64_t group, struct statement *ret, struct error *err);
/* Without "users", where everybody is. */
MUST_CHECK status group_list_of(
        struct metadata *md, int64_t member, struct statement *ret, struct error *err);
MUST_CHECK status group_has_member(
        struct metadata *md, int64_t group, int64_t member, bool *ret, struct error *err);
