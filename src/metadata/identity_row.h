/* Identities and their API tokens (only hashes). */
#pragma once

#include "base/base.h"
#include "metadata/metadata.h"
#include "metadata/project_row.h"

struct identity_row {
	int64_t id;
	char login[LOGIN_MAX + 1]; /* e-mail of a user, application id of a service principal */
	bool is_service_principal;
	char display_name[LOGIN_MAX + 1];
	bool is_admin;
};

/* Makes the user unless there is one of that login. */
MUST_CHECK status identity_row_ensure_admin(
        struct metadata *md, const char *login, int64_t now_usec, int64_t *ret_id, struct error *err);
/* The one token of that source ("admin.token") is now this one; an older one stops working. */
MUST_CHECK status identity_row_set_token(struct metadata *md, int64_t identity, const char *source,
        const char *token_hash, int64_t now_usec, struct error *err);
/* Who has this token? STATUS_NOT_FOUND. */
MUST_CHECK status identity_row_find_token(
        struct metadata *md, const char *token_hash, struct identity_row *ret, struct error *err);
