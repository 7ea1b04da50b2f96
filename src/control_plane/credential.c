#include "control_plane/credential.h"

#include <stdio.h>

#include "auth/token.h"
#include "base/clock.h"
#include "base/log.h"
#include "control_plane/branch_archive.h"
#include "control_plane/fields.h"
#include "control_plane/resource_name.h"

#define LIFE_MIN_SEC 300
#define LIFE_MAX_SEC 3600

/* Whole seconds, as the token has them. */
static bool read_expiry(struct call *call, int64_t *ret_usec)
{
	struct time_field ttl, expire_time;
	if (!field_duration(call->root, "", "ttl", &ttl, &call->error) ||
	        !field_timestamp(call->root, "", "expire_time", &expire_time, &call->error))
		return false;
	if (ttl.is_set && expire_time.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Fields 'ttl' and 'expire_time' exclude each other.");
	int64_t life_usec = ttl.is_set           ? ttl.usec
	                    : expire_time.is_set ? expire_time.usec - call->now_usec
	                                         : LIFE_MAX_SEC * USEC_PER_SEC;
	/* A client that computes "now + 5 min" is not refused for the time its request took. */
	int64_t slack_usec = expire_time.is_set ? 5 * USEC_PER_SEC : 0;
	if (life_usec < LIFE_MIN_SEC * USEC_PER_SEC - slack_usec ||
	        life_usec > LIFE_MAX_SEC * USEC_PER_SEC + slack_usec)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s' must give a life between %ds and %ds.",
		        expire_time.is_set ? "expire_time" : "ttl", LIFE_MIN_SEC, LIFE_MAX_SEC);
	*ret_usec = (call->now_usec + life_usec) / USEC_PER_SEC * USEC_PER_SEC;
	return true;
}

static bool find_endpoint(struct call *call, const char *text, struct endpoint_row *ret)
{
	struct error err;
	struct resource_name name;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	struct branch_row branch;
	if (!resource_name_parse(text, &name) || name.kind != RESOURCE_ENDPOINT)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'endpoint' must be a full name like projects/P/branches/B/endpoints/E, got "
		        "'%.200s'.",
		        text);
	return call_find_project(call, name.project_id, &project) &&
	       call_find_branch(call, &project, name.branch_id, &branch) &&
	       call_find_endpoint(call, &branch, name.leaf_id, ret) &&
	       (branch_archive_leave(call->services->md, &branch, call->now_usec, &err) == STATUS_OK ||
	               call_fail(call, &err));
}

/* The caller's own role, or that of a group the caller is a member of. */
static bool choose_login(struct call *call, const struct text_field *group, char out[TOKEN_LOGIN_MAX + 1])
{
	struct error err;
	struct identity_row row;
	bool is_member = false;
	if (!group->is_set) {
		(void)snprintf(out, TOKEN_LOGIN_MAX + 1, "%s", call->caller.login);
		return true;
	}
	status st = identity_row_find(call->services->md, IDENTITY_GROUP, group->text, &row, &err);
	if (st == STATUS_OK)
		st = group_has_member(call->services->md, row.id, call->caller.id, &is_member, &err);
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		return call_fail(call, &err);
	if (!is_member) /* said in the same way whether there is such a group or not */
		return api_fail(&call->error, API_DENIED,
		        "Field 'group_name': you are not a member of a group '%.200s'.", group->text);
	(void)snprintf(out, TOKEN_LOGIN_MAX + 1, "%s", row.login);
	return true;
}

bool credential_create(struct call *call)
{
	struct text_field endpoint_text, group;
	yyjson_val *ignored_claims; /* they narrow access to Unity Catalog tables, which there are none of */
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	if (!call_read_body(call) || !field_text(call->root, "", "endpoint", &endpoint_text, &call->error) ||
	        !field_text(call->root, "", "group_name", &group, &call->error) ||
	        !field_array(call->root, "", "claims", &ignored_claims, &call->error))
		return false;
	if (!endpoint_text.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'endpoint' is required, expected non-default value (not \"\")!");
	struct token_claims claims = { .issued_usec = call->now_usec };
	if (!read_expiry(call, &claims.expires_usec) || !find_endpoint(call, endpoint_text.text, &endpoint) ||
	        !choose_login(call, &group, claims.login))
		return false;
	claims.endpoint_count = 1;
	(void)snprintf(claims.endpoints[0], sizeof claims.endpoints[0], "%s", endpoint.uid);
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct error err;
	if (token_mint(call->services->token_key, &claims, &token, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_info("%s: CREDENTIAL %s as %s, trace %s", call->caller.login, endpoint_text.text, claims.login,
	        call->request->trace_id);

	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_obj_add_strncpy(call->out, root, "token", token.data, token.len);
	json_add_timestamp(call->out, root, "expire_time", claims.expires_usec);
	return call_answer(call, root);
}
