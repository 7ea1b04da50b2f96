/* `tarn auth …`: signing in, users, service principals, groups, their tokens and secrets, outside issuers. The verbs are in auth_identities.c, auth_tokens.c, auth_trust.c and auth_login.c. */
#pragma once

#include "cli/command.h"
#include "cli/connection.h"
#include "cli/rest.h"

/* One `tarn auth …` while it runs. Arguments are what stands behind its words, checked for their number. */
struct auth_call {
	const struct options *options;
	const char **arguments;
	size_t argument_count;
	enum output_form form;
	struct connection connection; /* after auth_connect() */
	struct rest *rest;
};

typedef status (*auth_fn)(struct auth_call *call, struct error *err);

/* Finds the connection and opens it; once. */
MUST_CHECK status auth_connect(struct auth_call *call, struct error *err);

/* What a list shows of each object: a title and a member, by names divided by '.'. */
struct auth_column {
	const char *title, *member;
};
/* A JSON array in one of the two forms. */
MUST_CHECK status auth_print_list(const struct auth_call *call, yyjson_val *list,
        const struct auth_column *columns, size_t count, struct error *err);
/* JSON, or nothing but `text` for people. */
MUST_CHECK status auth_print(
        const struct auth_call *call, yyjson_val *value, const char *text, struct error *err);
/* A JSON object of texts: name, value, …, NULL; values that are NULL are left out. Caller frees. */
char *auth_body(const char *name, ...);

status auth_login(struct auth_call *call, struct error *err);
status auth_describe(struct auth_call *call, struct error *err);
status auth_token(struct auth_call *call, struct error *err);
status auth_users_list(struct auth_call *call, struct error *err);
status auth_users_create(struct auth_call *call, struct error *err);
status auth_users_delete(struct auth_call *call, struct error *err);
status auth_users_activate(struct auth_call *call, struct error *err);
status auth_users_deactivate(struct auth_call *call, struct error *err);
status auth_users_set_admin(struct auth_call *call, struct error *err);
status auth_users_sign_in_code(struct auth_call *call, struct error *err);
status auth_principals_list(struct auth_call *call, struct error *err);
status auth_principals_create(struct auth_call *call, struct error *err);
status auth_principals_delete(struct auth_call *call, struct error *err);
status auth_principals_set_admin(struct auth_call *call, struct error *err);
status auth_groups_list(struct auth_call *call, struct error *err);
status auth_groups_create(struct auth_call *call, struct error *err);
status auth_groups_delete(struct auth_call *call, struct error *err);
status auth_groups_add_member(struct auth_call *call, struct error *err);
status auth_groups_remove_member(struct auth_call *call, struct error *err);
status auth_tokens_list(struct auth_call *call, struct error *err);
status auth_tokens_create(struct auth_call *call, struct error *err);
status auth_tokens_revoke(struct auth_call *call, struct error *err);
status auth_secrets_list(struct auth_call *call, struct error *err);
status auth_secrets_create(struct auth_call *call, struct error *err);
status auth_secrets_delete(struct auth_call *call, struct error *err);
status auth_trust_list(struct auth_call *call, struct error *err);
status auth_trust_add(struct auth_call *call, struct error *err);
status auth_trust_remove(struct auth_call *call, struct error *err);

status auth_access_list(struct auth_call *call, struct error *err);
status auth_access_create(struct auth_call *call, struct error *err);
status auth_access_set_enabled(struct auth_call *call, struct error *err);
status auth_access_delete(struct auth_call *call, struct error *err);
status auth_access_enforce(struct auth_call *call, struct error *err);

/* The id of a user (e-mail), service principal (application id or display name) or group (name). STATUS_NOT_FOUND. Caller frees. */
enum auth_kind { AUTH_USER, AUTH_PRINCIPAL, AUTH_GROUP };
MUST_CHECK status auth_find(
        struct auth_call *call, enum auth_kind kind, const char *name, char **ret_id, struct error *err);
