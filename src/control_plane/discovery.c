#include "control_plane/discovery.h"

#include <stdio.h>

/* A host and port as they may stand in a URL that we put into JSON; anything else is not echoed. */
static bool host_is_plain(const char *host)
{
	size_t len = strlen(host);
	return len > 0 && len <= 255 &&
	       strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") == len;
}

char *discovery_host(const struct call *call)
{
	const struct settings *settings = &call->services->dd->settings;
	/* From the request, so that it is right for every address the client may know us by. */
	if (call->request->host && host_is_plain(call->request->host))
		return xasprintf("http://%s", call->request->host);
	return xasprintf("http://%s:%d", settings->api_address, settings->api_port);
}

bool discovery_config(struct call *call)
{
	yyjson_mut_doc *doc = call->out;
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	CLEANUP(free_text) char *host = discovery_host(call);
	CLEANUP(free_text) char *oidc = xasprintf("%s/oidc", host);
	yyjson_mut_obj_add_strcpy(doc, root, "oidc_endpoint", oidc);
	yyjson_mut_obj_add_strcpy(doc, root, "workspace_id", call->services->dd->settings.workspace_id);
	yyjson_mut_obj_add_str(doc, root, "cloud", "AWS");
	yyjson_mut_obj_add_str(doc, root, "host_type", "workspace");
	return call_answer(call, root);
}

bool discovery_no_oauth(struct call *call)
{
	return api_fail(&call->error, API_NOT_IMPLEMENTED,
	        "OAuth is not available yet: use a personal access token (`tarn env` prints it)");
}
