#include "control_plane/discovery.h"

#include <stdio.h>

#include "control_plane/federation_policy.h"
#include "control_plane/oauth_exchange.h"

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
	/* Sent together with the workspace's (rest-api.md 6.1): who manages federation policies need not be told it. */
	yyjson_mut_obj_add_strcpy(doc, root, "account_id", federation_account_id(call->services));
	/* What clients let their tokens be issued for, when they can choose (GitHub). */
	yyjson_mut_val *audiences =
	        yyjson_mut_obj_add_arr(doc, root, "token_federation_default_oidc_audiences");
	yyjson_mut_arr_add_strcpy(doc, audiences, federation_account_id(call->services));
	return call_answer(call, root);
}

static void add_texts(yyjson_mut_doc *doc, yyjson_mut_val *root, const char *key, const char *const *texts)
{
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, key);
	for (; *texts; texts++)
		yyjson_mut_arr_add_str(doc, list, *texts);
}

bool discovery_oauth(struct call *call)
{
	static const struct {
		const char *key, *path;
	} endpoints[] = {
		{ "issuer", "/oidc" },
		{ "authorization_endpoint", "/oidc/v1/authorize" },
		{ "token_endpoint", "/oidc/v1/token" },
		{ "revocation_endpoint", "/oidc/v1/revoke" },
		{ "jwks_uri", "/oidc/jwks.json" },
	};
	yyjson_mut_doc *doc = call->out;
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	CLEANUP(free_text) char *host = discovery_host(call);
	for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
		CLEANUP(free_text) char *url = xasprintf("%s%s", host, endpoints[i].path);
		yyjson_mut_obj_add_strcpy(doc, root, endpoints[i].key, url);
	}
	add_texts(doc, root, "response_types_supported", (const char *const[]){ "code", NULL });
	add_texts(doc, root, "response_modes_supported", (const char *const[]){ "query", NULL });
	add_texts(doc, root, "grant_types_supported",
	        (const char *const[]){ "authorization_code", "refresh_token", "client_credentials",
	                OAUTH_EXCHANGE_GRANT, NULL });
	add_texts(doc, root, "code_challenge_methods_supported", (const char *const[]){ "S256", NULL });
	add_texts(doc, root, "scopes_supported", (const char *const[]){ "all-apis", "offline_access", NULL });
	add_texts(doc, root, "token_endpoint_auth_methods_supported",
	        (const char *const[]){ "client_secret_basic", "client_secret_post", "none", NULL });
	add_texts(doc, root, "revocation_endpoint_auth_methods_supported",
	        (const char *const[]){ "none", NULL });
	return call_answer(call, root);
}

bool discovery_keys(struct call *call)
{
	struct error err;
	char *keys = NULL;
	if (token_key_set(call->services->token_key, &keys, &err) != STATUS_OK)
		return call_fail(call, &err);
	http_response_set_json(call->response, 200, keys, strlen(keys));
	return true;
}
