#include "control_plane/instance_credential.h"

#include <stdio.h>

#include "auth/token.h"
#include "base/clock.h"
#include "base/log.h"
#include "control_plane/fields.h"
#include "control_plane/instance.h"

#define LIFE_SEC 3600

/* The endpoints of the instances that are named. */
static bool read_names(struct call *call, yyjson_val *names, struct token_claims *claims)
{
	if (yyjson_arr_size(names) == 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'instance_names' is required and must name at least one instance!");
	size_t i, count;
	yyjson_val *value;
	yyjson_arr_foreach(names, i, count, value)
	{
		CLEANUP(instance_done) struct instance instance = { 0 };
		const char *name = yyjson_get_str(value);
		if (!name || strlen(name) != yyjson_get_len(value))
			return api_fail(&call->error, API_INVALID_PARAMETER,
			        "Field 'instance_names' must be a list of names.");
		if (!instance_find(call, name, &instance))
			return false;
		if (token_claims_name(claims, instance.endpoint.uid))
			continue;
		if (claims->endpoint_count == TOKEN_ENDPOINTS_MAX)
			return api_fail(&call->error, API_INVALID_PARAMETER,
			        "Field 'instance_names' names more than %d instances.", TOKEN_ENDPOINTS_MAX);
		(void)snprintf(claims->endpoints[claims->endpoint_count++], sizeof claims->endpoints[0], "%s",
		        instance.endpoint.uid);
	}
	return true;
}

bool instance_credential_create(struct call *call)
{
	struct token_claims claims = { .issued_usec = call->now_usec };
	struct text_field request_id;
	/* They narrow access to Unity Catalog tables, which there are none of. */
	yyjson_val *names, *ignored_claims;
	if (!call_read_body(call) || !field_array(call->root, "", "instance_names", &names, &call->error) ||
	        !field_text(call->root, "", "request_id", &request_id, &call->error) ||
	        !field_array(call->root, "", "claims", &ignored_claims, &call->error) ||
	        !read_names(call, names, &claims))
		return false;
	claims.expires_usec = (call->now_usec / USEC_PER_SEC + LIFE_SEC) * USEC_PER_SEC;
	(void)snprintf(claims.login, sizeof claims.login, "%s", call->caller.login);
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct error err;
	if (token_mint(call->services->token_key, &claims, &token, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_info("%s: CREDENTIAL for %zu instances, endpoint %s first, trace %s", call->caller.login,
	        claims.endpoint_count, claims.endpoints[0], call->request->trace_id);

	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_obj_add_strncpy(call->out, root, "token", token.data, token.len);
	json_add_timestamp(call->out, root, "expiration_time", claims.expires_usec);
	return call_answer(call, root);
}
