#include "control_plane/client_secret.h"

#include "auth/api_token.h"
#include "base/clock.h"
#include "base/log.h"
#include "control_plane/fields.h"
#include "control_plane/scim.h"
#include "metadata/client_secret_row.h"

#define LIFE_MAX_SEC (730 * 86400ll) /* and the default */
#define SECRETS_MAX  5               /* so that one can be replaced by another while both work */

static yyjson_mut_val *secret_to_json(
        const struct call *call, yyjson_mut_doc *doc, const struct client_secret_row *row)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_strcpy(doc, root, "id", row->id);
	yyjson_mut_obj_add_strcpy(doc, root, "secret_hash", row->hash);
	yyjson_mut_obj_add_str(doc, root, "status", row->expire_usec > call->now_usec ? "ACTIVE" : "EXPIRED");
	json_add_timestamp(doc, root, "create_time", row->create_usec);
	json_add_timestamp(doc, root, "update_time", row->create_usec);
	json_add_timestamp(doc, root, "expire_time", row->expire_usec);
	return root;
}

static bool find_principal(struct call *call, struct identity_row *ret)
{
	return scim_find(call, IDENTITY_SERVICE_PRINCIPAL, call->parameters[0], ret);
}

static status count_secrets(struct metadata *md, int64_t identity, int *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = client_secret_row_list(md, identity, &st, err);
	for (*ret = 0; code == STATUS_OK;) {
		struct client_secret_row row;
		code = client_secret_row_next(&st, &row, err);
		*ret += code == STATUS_OK;
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

bool client_secret_create(struct call *call)
{
	struct error err;
	struct identity_row principal;
	struct time_field life;
	yyjson_val *scopes;
	struct metadata *md = call->services->md;
	if (!find_principal(call, &principal) || !call_read_body(call) ||
	        !field_duration(call->root, "", "lifetime", &life, &call->error) ||
	        !field_array(call->root, "", "scopes", &scopes, &call->error))
		return false;
	if (yyjson_arr_size(scopes) > 0 &&
	        !(yyjson_arr_size(scopes) == 1 &&
	                yyjson_equals_str(yyjson_arr_get_first(scopes), "all-apis")))
		return api_fail(&call->error, API_NOT_IMPLEMENTED,
		        "Field 'scopes': secrets for less than 'all-apis' are not available.");
	if (life.is_set && (life.usec < USEC_PER_SEC || life.usec > LIFE_MAX_SEC * USEC_PER_SEC))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'lifetime' must be between 1s and %llds (730 days).", LIFE_MAX_SEC);

	char secret[API_TOKEN_LEN + 1];
	struct client_secret_row row = { .identity = principal.id,
		.create_usec = call->now_usec,
		.expire_usec = call->now_usec + (life.is_set ? life.usec : LIFE_MAX_SEC * USEC_PER_SEC) };
	secret_generate(SECRET_CLIENT, secret);
	api_token_hash(slice_from_text(secret), row.hash);
	int count = 0;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        count_secrets(md, principal.id, &count, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (count >= SECRETS_MAX)
		return api_fail(&call->error, API_QUOTA,
		        "a service principal can have %d secrets; delete one first", SECRETS_MAX);
	if (client_secret_row_insert(md, &row, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_info("%s: CREATE secret %s of %s, trace %s", call->caller.login, row.id, principal.login,
	        call->request->trace_id);
	yyjson_mut_val *root = secret_to_json(call, call->out, &row);
	yyjson_mut_obj_add_strcpy(call->out, root, "secret", secret);
	return call_answer(call, root);
}

bool client_secret_list(struct call *call)
{
	struct error err;
	struct identity_row principal;
	if (!find_principal(call, &principal))
		return false;
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(call->out, root, "secrets");
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = client_secret_row_list(call->services->md, principal.id, &st, &err);
	while (code == STATUS_OK) {
		struct client_secret_row row;
		code = client_secret_row_next(&st, &row, &err);
		if (code == STATUS_OK)
			yyjson_mut_arr_append(list, secret_to_json(call, call->out, &row));
	}
	return code == STATUS_NOT_FOUND ? call_answer(call, root) : call_fail(call, &err);
}

bool client_secret_delete(struct call *call)
{
	struct error err;
	struct identity_row principal;
	struct metadata *md = call->services->md;
	if (!find_principal(call, &principal))
		return false;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        client_secret_row_remove(md, principal.id, call->parameters[1], &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_info("%s: DELETE secret %.64s of %s, trace %s", call->caller.login, call->parameters[1],
	        principal.login, call->request->trace_id);
	return call_answer(call, yyjson_mut_obj(call->out));
}
