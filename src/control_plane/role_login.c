#include "control_plane/role_login.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/scram_verifier.h"
#include "base/clock.h"
#include "control_plane/branch_inventory.h"
#include "control_plane/fields.h"
#include "control_plane/operation.h"
#include "control_plane/resource_name.h"
#include "metadata/branch_row.h"
#include "metadata/endpoint_row.h"
#include "metadata/identity_row.h"
#include "metadata/project_row.h"
#include "metadata/role_row.h"

#define PLAIN "IDENTITY_TYPE_UNSPECIFIED"

struct login_question {
	const struct services *services;
	char uid[RESOURCE_ID_MAX + 1];
	char role[LOGIN_MAX + 1];
	control_login_fn done;
	void *arg;
};

struct login_rows {
	struct project_row project;
	struct branch_row branch;
	struct endpoint_row endpoint;
	struct role_row role;
	bool has_role;
	bool is_identity; /* the name is one's, or looks like it */
	bool is_active;   /* of an identity that has it and may act */
	bool is_leaving;  /* it is being deleted: what it makes now would hold that up */
	bool is_owned; /* the role is an identity's: by its name, or Postgres says that it stands for one */
};

static void login_rows_done(struct login_rows *rows)
{
	project_row_done(&rows->project);
	endpoint_row_done(&rows->endpoint);
	OPENSSL_cleanse(rows->role.verifier, sizeof rows->role.verifier);
}

static bool looks_like_identity(const char *name)
{
	return strchr(name, '@') || uuid_is_valid(name);
}

static status load(const struct login_question *question, struct login_rows *ret, struct error *err)
{
	struct metadata *md = question->services->md;
	status st = endpoint_row_find_uid(md, question->uid, &ret->endpoint, err);
	if (st == STATUS_OK)
		st = branch_row_get(md, ret->endpoint.branch, &ret->branch, err);
	if (st == STATUS_OK)
		st = project_row_get(md, ret->branch.project, &ret->project, err);
	if (st != STATUS_OK)
		return st;
	st = role_row_find_name(md, ret->branch.id, question->role, &ret->role, err);
	ret->has_role = st == STATUS_OK;
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		return st;
	if (st == STATUS_OK) {
		CLEANUP(free_text)
		char *name = xasprintf("projects/%s/branches/%s/roles/%s", ret->project.project_id,
		        ret->branch.branch_id, ret->role.role_id);
		st = operation_row_has_begun(
		        md, operation_kind_name(OPERATION_ROLE_DELETE), name, &ret->is_leaving, err);
		if (st != STATUS_OK)
			return st;
	}
	struct identity_row identity;
	st = identity_row_find_exactly(md, question->role, &identity, err);
	ret->is_identity = st == STATUS_OK || looks_like_identity(question->role);
	ret->is_active = st == STATUS_OK && identity.is_active;
	ret->is_owned = st == STATUS_OK || (ret->has_role && strcmp(ret->role.identity_type, PLAIN) != 0);
	return st == STATUS_NOT_FOUND ? STATUS_OK : st;
}

static bool is_about_password(const struct role_row *role)
{
	/* A role that may not log in shows that it knows how first, as with Postgres. */
	return strcmp(role->auth_method, "PG_PASSWORD_SCRAM_SHA_256") == 0 ||
	       (strcmp(role->auth_method, "NO_LOGIN") == 0 && strcmp(role->identity_type, PLAIN) == 0);
}

/* Is what the rows say of the name enough, whatever has happened in Postgres since? */
static bool is_clear(const struct login_rows *rows)
{
	return !rows->project.enable_pg_native_login &&
	       (rows->is_identity || (rows->has_role && !is_about_password(&rows->role)));
}

static void mock(
        const struct login_question *question, const struct login_rows *rows, struct control_login *login)
{
	uint8_t secret[SEALER_DERIVED_BYTES];
	CLEANUP(free_text) char *purpose = xasprintf("scram mock, project %s", rows->project.uid);
	sealer_derive(question->services->sealer, purpose, secret);
	scram_verifier_mock((struct slice){ secret, sizeof secret }, question->role, login->verifier);
	OPENSSL_cleanse(secret, sizeof secret);
}

/* Why no password of the role is right; NULL: one is. */
static const char *refusal_reason(const struct login_rows *rows)
{
	struct scram_verifier verifier;
	const struct role_row *role = &rows->role;
	const char *reason = !rows->has_role ? "the role does not exist"
	                     : rows->is_owned && !rows->is_active
	                             ? "the identity has been deactivated or deleted"
	                     : !role->verifier[0] ? "the role has no password"
	                     : !scram_verifier_parse(role->verifier, &verifier)
	                             ? "the role's password is not kept as a SCRAM verifier"
	                     : role->valid_until_usec > 0 && role->valid_until_usec < clock_wall_usec()
	                             ? "the role's password has expired"
	                             : NULL;
	OPENSSL_cleanse(&verifier, sizeof verifier);
	return reason;
}

static void decide(const struct login_question *question, const struct login_rows *rows, bool is_fresh,
        struct control_login *ret)
{
	bool is_enabled = rows->project.enable_pg_native_login;
	bool wants_password = rows->has_role ? is_about_password(&rows->role) : !rows->is_identity;
	*ret = (struct control_login){ .is_enabled = is_enabled, .is_fresh = is_fresh, .is_permitted = true };
	ret->method = wants_password && (is_enabled || !rows->is_identity) ? LOGIN_PASSWORD : LOGIN_TOKEN;
	/* Tokens are minted for active identities only; one that was, and is no longer, has some that have not expired. */
	ret->is_revoked = ret->method == LOGIN_TOKEN && (!rows->is_active || rows->is_leaving);
	if (ret->method == LOGIN_TOKEN || !is_enabled)
		return;
	const char *reason = refusal_reason(rows);
	if (reason) {
		mock(question, rows, ret);
		(void)snprintf(ret->reason, sizeof ret->reason, "%s", reason);
	} else {
		memcpy(ret->verifier, rows->role.verifier, sizeof ret->verifier);
		ret->is_permitted = strcmp(rows->role.auth_method, "NO_LOGIN") != 0 && !rows->is_leaving;
	}
}

/* Takes the question. */
static void answer(struct login_question *question, bool is_fresh)
{
	struct control_login login = { 0 };
	struct error err;
	CLEANUP(login_rows_done) struct login_rows rows = { 0 };
	if (load(question, &rows, &err) == STATUS_OK) {
		decide(question, &rows, is_fresh, &login);
		question->done(question->arg, &login, NULL);
	} else {
		question->done(question->arg, NULL, &err);
	}
	OPENSSL_cleanse(&login, sizeof login);
	free(question);
}

static void asked(void *arg, bool is_fresh)
{
	answer(arg, is_fresh);
}

void role_login_ask(
        const struct services *services, const char *uid, const char *role, control_login_fn done, void *arg)
{
	struct error err;
	CLEANUP(login_rows_done) struct login_rows rows = { 0 };
	struct login_question *question = xcalloc(1, sizeof *question);
	*question = (struct login_question){ .services = services, .done = done, .arg = arg };
	(void)snprintf(question->uid, sizeof question->uid, "%s", uid);
	/* A longer name is no role's: the proxy refuses it before. */
	(void)snprintf(question->role, sizeof question->role, "%s", role);
	if (load(question, &rows, &err) != STATUS_OK || is_clear(&rows))
		answer(question, false);
	else
		branch_inventory_ask(services->inventory, rows.branch.id, asked, question);
}
