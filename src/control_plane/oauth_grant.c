#include "control_plane/oauth_grant.h"

#include "base/clock.h"
#include "base/log.h"

#define REFRESH_LIFE_SEC (30 * 86400ll) /* after its last use */

status oauth_grant_access(struct call *call, const struct token_row *origin, int64_t life_sec,
        struct oauth_grant *grant, struct error *err)
{
	struct token_row token = *origin;
	token.kind = TOKEN_ACCESS;
	token.create_usec = call->now_usec;
	token.expire_usec = call->now_usec + life_sec * USEC_PER_SEC;
	grant->life_sec = life_sec;
	secret_generate(SECRET_ACCESS, grant->access);
	api_token_hash(slice_from_text(grant->access), token.hash);
	status st = token_row_remove_expired(call->services->md, call->now_usec, err);
	return st == STATUS_OK ? token_row_insert(call->services->md, &token, err) : st;
}

status oauth_grant_refresh(struct call *call, const struct oauth_session_row *session,
        struct oauth_grant *grant, struct error *err)
{
	struct refresh_token_row row = { .session = session->id,
		.expire_usec = call->now_usec + REFRESH_LIFE_SEC * USEC_PER_SEC };
	if (row.expire_usec > session->expire_usec)
		row.expire_usec = session->expire_usec;
	secret_generate(SECRET_REFRESH, grant->refresh);
	api_token_hash(slice_from_text(grant->refresh), row.hash);
	return refresh_token_row_insert(call->services->md, &row, err);
}

static bool answer(struct call *call, const struct oauth_grant *grant, const char *type, const char *what)
{
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_obj_add_strcpy(call->out, root, "access_token", grant->access);
	if (type)
		yyjson_mut_obj_add_str(call->out, root, "issued_token_type", type);
	yyjson_mut_obj_add_str(call->out, root, "token_type", "Bearer");
	yyjson_mut_obj_add_int(call->out, root, "expires_in", grant->life_sec);
	yyjson_mut_obj_add_str(
	        call->out, root, "scope", grant->refresh[0] ? "offline_access all-apis" : "all-apis");
	if (grant->refresh[0])
		yyjson_mut_obj_add_strcpy(call->out, root, "refresh_token", grant->refresh);
	http_response_add_header(call->response, "Cache-Control", "no-store");
	log_info("%s: TOKEN by %s, trace %s", call->caller.login, what, call->request->trace_id);
	return call_answer(call, root);
}

bool oauth_grant_answer(struct call *call, const struct oauth_grant *grant, const char *what)
{
	return answer(call, grant, NULL, what);
}

bool oauth_grant_answer_exchange(struct call *call, const struct oauth_grant *grant, const char *what)
{
	return answer(call, grant, "urn:ietf:params:oauth:token-type:access_token", what);
}
