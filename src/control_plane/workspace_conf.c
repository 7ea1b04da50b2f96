#include "control_plane/workspace_conf.h"

#include "base/log.h"
#include "control_plane/ip_access.h"
#include "metadata/workspace_setting_row.h"

static bool refuse_key(struct call *call, const char *key)
{
	return api_fail(&call->error, API_BAD_REQUEST,
	        "Invalid keys: [\"%.60s\"]. There is: " IP_ACCESS_SETTING, key);
}

bool workspace_conf_get(struct call *call)
{
	struct error err;
	const char *keys = http_request_query(call->request, "keys");
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	if (!keys || !*keys)
		return api_fail(&call->error, API_BAD_REQUEST,
		        "parameter 'keys' is required: names, divided by commas");
	CLEANUP(free_text) char *copy = xstrdup(keys);
	for (char *rest = copy, *key; (key = strsep(&rest, ","));) {
		CLEANUP(free_text) char *value = NULL;
		if (strcmp(key, IP_ACCESS_SETTING) != 0)
			return refuse_key(call, key);
		if (workspace_setting_row_get(call->services->md, key, &value, &err) != STATUS_OK)
			return call_fail(call, &err);
		yyjson_mut_obj_put(root, yyjson_mut_strcpy(call->out, key),
		        value ? yyjson_mut_strcpy(call->out, value) : yyjson_mut_null(call->out));
	}
	return call_answer(call, root);
}

bool workspace_conf_set(struct call *call)
{
	struct error err;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	yyjson_val *key, *value;
	size_t i, count;
	if (!call_read_body(call))
		return false;
	if (!call->root || yyjson_obj_size(call->root) == 0)
		return api_fail(&call->error, API_BAD_REQUEST,
		        "the body names no setting, such as " IP_ACCESS_SETTING);
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	yyjson_obj_foreach(call->root, i, count, key, value)
	{
		if (!yyjson_equals_str(key, IP_ACCESS_SETTING))
			return refuse_key(call, yyjson_get_str(key));
		/* Terraform says "" for a setting that it no longer manages. */
		bool is_on = yyjson_equals_str(value, "true");
		if (!is_on && !yyjson_equals_str(value, "false") && !yyjson_equals_str(value, ""))
			return api_fail(&call->error, API_INVALID_PARAMETER,
			        "Field '" IP_ACCESS_SETTING "' must be \"true\" or \"false\", in quotes.");
		if (workspace_setting_row_set(call->services->md, IP_ACCESS_SETTING, is_on ? "true" : "false",
		            &err) != STATUS_OK)
			return call_fail(call, &err);
	}
	if (!ip_access_change(call, &tx))
		return false;
	log_info("%s: %s changed, trace %s", call->caller.login, IP_ACCESS_SETTING, call->request->trace_id);
	http_response_set_json(call->response, 204, NULL, 0);
	return true;
}
