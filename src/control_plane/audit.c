#include "control_plane/audit.h"

#include <stdlib.h>

#include "base/clock.h"
#include "control_plane/ip_access.h"

#define VERSION    1
#define TEXT_MAX   512 /* of what comes from outside */
#define API_PREFIX "/api/2.0/postgres/"

/* Query parameters that say what was asked for; others (page tokens, what OAuth carries) are not recorded. */
static const char *const parameters[] = { "project_id", "branch_id", "endpoint_id", "database_id", "role_id",
	"snapshot_id", "catalog_id", "synced_table_id", "cdf_config_id", "replication_group_preview_id",
	"policy_id", "update_mask", "purge", "replace_existing", "allow_missing", "show_deleted" };

static bool is_audited(const struct call *call, int http_status)
{
	return strcmp(call->request->method, "GET") != 0 || http_status == 401 || http_status == 403 ||
	       http_status == 429;
}

static void add_text(yyjson_mut_doc *doc, yyjson_mut_val *root, const char *key, const char *text)
{
	if (!text || !*text)
		return;
	CLEANUP(free_text) char *copy = xstrndup(text, strnlen(text, TEXT_MAX));
	utf8_clean(copy); /* headers may hold anything, and the cut may be inside a character */
	yyjson_mut_obj_add_strcpy(doc, root, key, copy);
}

static yyjson_mut_val *begin(yyjson_mut_doc *doc, const char *event)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	char now[CLOCK_TEXT_MAX];
	clock_format_timestamp(clock_wall_usec(), now);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_int(doc, root, "version", VERSION);
	yyjson_mut_obj_add_strcpy(doc, root, "time", now);
	yyjson_mut_obj_add_str(doc, root, "event", event);
	return root;
}

static void append(const struct services *services, yyjson_mut_doc *doc)
{
	size_t len = 0;
	char *line = yyjson_mut_write(doc, YYJSON_WRITE_NOFLAG, &len);
	if (line)
		audit_trail_append(
		        services->audit, (struct slice){ .data = (const uint8_t *)line, .len = len });
	free(line);
	yyjson_mut_doc_free(doc);
}

static void add_parameters(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct http_request *request)
{
	yyjson_mut_val *object = NULL;
	for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
		const char *value = http_request_query(request, parameters[i]);
		if (!value)
			continue;
		if (!object)
			object = yyjson_mut_obj_add_obj(doc, root, "parameters");
		add_text(doc, object, parameters[i], value);
	}
}

void audit_call(const struct call *call, int http_status, const char *error_code)
{
	const struct http_request *request = call->request;
	if (!call->services->audit || call->is_not_audited || !is_audited(call, http_status))
		return;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = begin(doc, "call");
	if (call->caller.login[0]) {
		add_text(doc, root, "login", call->caller.login);
		yyjson_mut_obj_add_sint(doc, root, "identity", call->caller.id);
	}
	add_text(doc, root, "address", request->peer);
	if (request->is_forwarded)
		yyjson_mut_obj_add_bool(doc, root, "forwarded", true);
	char client[HTTP_PEER_MAX + 1];
	ip_access_address(request, client);
	if (strcmp(client, request->peer) != 0)
		add_text(doc, root, "client", client);
	add_text(doc, root, "user_agent", request->user_agent);
	add_text(doc, root, "method", request->method);
	bool is_ours = strncmp(request->path, API_PREFIX, sizeof API_PREFIX - 1) == 0;
	add_text(doc, root, "resource", is_ours ? request->path + sizeof API_PREFIX - 1 : request->path);
	add_parameters(doc, root, request);
	add_text(doc, root, "operation", call->operation);
	add_text(doc, root, "policy", call->policy);
	yyjson_mut_obj_add_int(doc, root, "status", http_status);
	add_text(doc, root, "error_code", error_code);
	add_text(doc, root, "trace_id", request->trace_id);
	append(call->services, doc);
}

void audit_operation(
        const struct services *services, const struct operation_row *operation, const char *error_code)
{
	if (!services->audit)
		return;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = begin(doc, "operation");
	CLEANUP(free_text) char *name = xasprintf("%s/operations/%s", operation->resource, operation->id);
	add_text(doc, root, "login", operation->actor);
	add_text(doc, root, "kind", operation->kind);
	add_text(doc, root, "resource", operation->resource);
	add_text(doc, root, "operation", name);
	yyjson_mut_obj_add_str(doc, root, "result", error_code ? "failed" : "done");
	add_text(doc, root, "error_code", error_code);
	append(services, doc);
}
