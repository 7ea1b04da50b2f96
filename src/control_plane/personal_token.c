#include "control_plane/personal_token.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/api_token.h"
#include "base/clock.h"
#include "base/log.h"
#include "control_plane/discovery.h"
#include "control_plane/fields.h"
#include "control_plane/identity.h"
#include "control_plane/scim.h"
#include "metadata/token_row.h"

#define LIFE_MAX_SEC      (730 * 86400ll) /* and the default, as the service has it */
#define TOKENS_MAX        600             /* of one identity */
#define CODE_LIFE_SEC     3600
#define CODE_LIFE_MAX_SEC (7 * 86400ll)
#define MSEC(usec)        ((usec) / 1000)

/* What both creations read. */
static bool read_request(struct call *call, struct token_row *token)
{
	struct text_field comment;
	struct integer_field life;
	yyjson_val *scopes, *scope;
	if (!field_text(call->root, "", "comment", &comment, &call->error) ||
	        !field_integer(call->root, "", "lifetime_seconds", &life, &call->error) ||
	        !field_array(call->root, "", "scopes", &scopes, &call->error))
		return false;
	yyjson_arr_iter iter = yyjson_arr_iter_with(scopes);
	while ((scope = yyjson_arr_iter_next(&iter))) {
		if (!yyjson_equals_str(scope, "all-apis"))
			return api_fail(&call->error, API_NOT_IMPLEMENTED,
			        "Field 'scopes': tokens for less than 'all-apis' are not available.");
	}
	if (life.is_set && (life.value < 1 || life.value > LIFE_MAX_SEC))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'lifetime_seconds' must be between 1 and %lld (730 days).", LIFE_MAX_SEC);
	if (comment.is_set && strlen(comment.text) > TOKEN_COMMENT_MAX)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'comment' must have at most %d bytes.", TOKEN_COMMENT_MAX);
	(void)snprintf(token->comment, sizeof token->comment, "%s", comment.is_set ? comment.text : "");
	token->create_usec = call->now_usec;
	token->expire_usec = call->now_usec + (life.is_set ? life.value : LIFE_MAX_SEC) * USEC_PER_SEC;
	return true;
}

static bool insert(struct call *call, struct token_row *token, const char *letters, char *secret)
{
	struct error err;
	struct metadata *md = call->services->md;
	int64_t count = 0;
	secret_generate(letters, secret);
	api_token_hash(slice_from_text(secret), token->hash);
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        token_row_remove_expired(md, call->now_usec, &err) != STATUS_OK ||
	        token_row_count(md, token->identity, token->kind, &count, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (count >= TOKENS_MAX)
		return api_fail(&call->error, API_QUOTA,
		        "an identity can have %d tokens; delete one that is no longer needed", TOKENS_MAX);
	if (token_row_insert(md, token, &err) != STATUS_OK || transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	return true;
}

static yyjson_mut_val *token_to_json(yyjson_mut_doc *doc, const struct token_row *token)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_strcpy(doc, root, "token_id", token->id);
	yyjson_mut_obj_add_int(doc, root, "creation_time", MSEC(token->create_usec));
	yyjson_mut_obj_add_int(doc, root, "expiry_time", token->expire_usec ? MSEC(token->expire_usec) : -1);
	yyjson_mut_obj_add_strcpy(doc, root, "comment", token->comment);
	return root;
}

static yyjson_mut_val *managed_to_json(
        yyjson_mut_doc *doc, const struct token_row *token, const struct identity_row *owner)
{
	char id[IDENTITY_ID_LEN + 1];
	identity_id_make(owner->id, id);
	yyjson_mut_val *root = token_to_json(doc, token);
	yyjson_mut_obj_add_int(doc, root, "created_by_id", strtoll(id, NULL, 10));
	yyjson_mut_obj_add_strcpy(doc, root, "created_by_username", owner->login);
	yyjson_mut_obj_add_int(doc, root, "owner_id", strtoll(id, NULL, 10));
	return root;
}

static void log_token(
        const struct call *call, const char *what, const struct token_row *token, const char *owner)
{
	log_info("%s: %s token %s of %s, trace %s", call->caller.login, what, token->id, owner,
	        call->request->trace_id);
}

bool personal_token_create(struct call *call)
{
	struct token_row token = { .kind = TOKEN_PERSONAL, .identity = call->caller.id };
	char secret[API_TOKEN_LEN + 1];
	if (!call_read_body(call) || !read_request(call, &token) ||
	        !insert(call, &token, SECRET_PERSONAL, secret))
		return false;
	log_token(call, "CREATE", &token, call->caller.login);
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_obj_add_strcpy(call->out, root, "token_value", secret);
	yyjson_mut_obj_add_val(call->out, root, "token_info", token_to_json(call->out, &token));
	return call_answer(call, root);
}

bool personal_token_list(struct call *call)
{
	struct error err;
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(call->out, root, "token_infos");
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = token_row_list(call->services->md, call->caller.id, TOKEN_PERSONAL, &st, &err);
	while (code == STATUS_OK) {
		struct token_row token;
		code = token_row_next(&st, &token, &err);
		if (code == STATUS_OK && token.expire_usec > call->now_usec)
			yyjson_mut_arr_append(list, token_to_json(call->out, &token));
	}
	return code == STATUS_NOT_FOUND ? call_answer(call, root) : call_fail(call, &err);
}

static bool remove_token(struct call *call, int64_t identity, const char *id, const char *owner)
{
	struct error err;
	struct token_row token = { 0 };
	(void)snprintf(token.id, sizeof token.id, "%s", id);
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK ||
	        token_row_remove(call->services->md, identity, TOKEN_PERSONAL, id, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_token(call, "DELETE", &token, owner);
	return call_answer(call, yyjson_mut_obj(call->out));
}

bool personal_token_delete(struct call *call)
{
	struct text_field id;
	if (!call_read_body(call) || !field_text(call->root, "", "token_id", &id, &call->error))
		return false;
	if (!id.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'token_id' is required, expected non-default value (not \"\")!");
	return remove_token(call, call->caller.id, id.text, call->caller.login);
}

/* ---- For administrators ---- */

bool token_management_list(struct call *call)
{
	struct error err;
	struct metadata *md = call->services->md;
	const char *of = http_request_query(call->request, "created_by_username");
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(call->out, root, "token_infos");
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = token_row_list_all(md, &st, &err);
	while (code == STATUS_OK) {
		struct token_row token;
		struct identity_row owner;
		code = token_row_next(&st, &token, &err);
		if (code != STATUS_OK)
			break;
		if (identity_row_get(md, token.identity, &owner, &err) != STATUS_OK)
			return call_fail(call, &err);
		if (token.expire_usec > call->now_usec && (!of || !*of || strcmp(of, owner.login) == 0))
			yyjson_mut_arr_append(list, managed_to_json(call->out, &token, &owner));
	}
	return code == STATUS_NOT_FOUND ? call_answer(call, root) : call_fail(call, &err);
}

static bool find_token(struct call *call, struct token_row *token, struct identity_row *owner)
{
	struct error err;
	struct metadata *md = call->services->md;
	return (token_row_get(md, call->parameters[0], token, &err) == STATUS_OK &&
	               identity_row_get(md, token->identity, owner, &err) == STATUS_OK) ||
	       call_fail(call, &err);
}

bool token_management_get(struct call *call)
{
	struct token_row token;
	struct identity_row owner;
	if (!find_token(call, &token, &owner))
		return false;
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_obj_add_val(call->out, root, "token_info", managed_to_json(call->out, &token, &owner));
	return call_answer(call, root);
}

bool token_management_delete(struct call *call)
{
	struct token_row token;
	struct identity_row owner;
	return find_token(call, &token, &owner) && remove_token(call, owner.id, token.id, owner.login);
}

bool token_management_create(struct call *call)
{
	struct error err;
	struct text_field application;
	struct identity_row principal;
	struct token_row token = { .kind = TOKEN_PERSONAL };
	char secret[API_TOKEN_LEN + 1];
	if (!call_read_body(call) ||
	        !field_text(call->root, "", "application_id", &application, &call->error))
		return false;
	if (!application.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'application_id' is required, expected non-default value (not \"\")!");
	if (identity_row_find(call->services->md, IDENTITY_SERVICE_PRINCIPAL, application.text, &principal,
	            &err) != STATUS_OK)
		return call_fail(call, &err);
	token.identity = principal.id;
	if (!read_request(call, &token) || !insert(call, &token, SECRET_PERSONAL, secret))
		return false;
	log_token(call, "CREATE", &token, principal.login);
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_obj_add_strcpy(call->out, root, "token_value", secret);
	yyjson_mut_obj_add_val(call->out, root, "token_info", managed_to_json(call->out, &token, &principal));
	return call_answer(call, root);
}

bool sign_in_code_create(struct call *call)
{
	struct error err;
	struct identity_row user;
	struct integer_field life;
	char code[API_TOKEN_LEN + 1];
	struct metadata *md = call->services->md;
	if (!scim_find(call, IDENTITY_USER, call->parameters[0], &user) || !call_read_body(call) ||
	        !field_integer(call->root, "", "lifetime_seconds", &life, &call->error))
		return false;
	if (life.is_set && (life.value < 1 || life.value > CODE_LIFE_MAX_SEC))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'lifetime_seconds' must be between 1 and %lld (7 days).", CODE_LIFE_MAX_SEC);
	if (!user.is_active)
		return api_fail(
		        &call->error, API_INVALID_STATE, "user '%s' has been deactivated", user.login);
	struct token_row token = { .kind = TOKEN_SIGN_IN,
		.identity = user.id,
		.create_usec = call->now_usec,
		.expire_usec = call->now_usec + (life.is_set ? life.value : CODE_LIFE_SEC) * USEC_PER_SEC };
	secret_generate(SECRET_SIGN_IN, code);
	api_token_hash(slice_from_text(code), token.hash);
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        token_row_remove_kind(md, user.id, TOKEN_SIGN_IN, &err) != STATUS_OK ||
	        token_row_insert(md, &token, &err) != STATUS_OK || transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_info("%s: CREATE sign-in code for %s, trace %s", call->caller.login, user.login,
	        call->request->trace_id);
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	CLEANUP(free_text) char *host = discovery_host(call);
	yyjson_mut_obj_add_strcpy(call->out, root, "code", code);
	yyjson_mut_obj_add_strcpy(call->out, root, "host", host);
	json_add_timestamp(call->out, root, "expire_time", token.expire_usec);
	return call_answer(call, root);
}
