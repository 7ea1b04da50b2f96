#include "control_plane/api.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "control_plane/access.h"
#include "control_plane/audit.h"
#include "control_plane/branch.h"
#include "control_plane/branch_exchange.h"
#include "control_plane/call.h"
#include "control_plane/client_secret.h"
#include "control_plane/compute_instance.h"
#include "control_plane/credential.h"
#include "control_plane/database.h"
#include "control_plane/discovery.h"
#include "control_plane/endpoint.h"
#include "control_plane/federation_policy.h"
#include "control_plane/health.h"
#include "control_plane/identity.h"
#include "control_plane/instance.h"
#include "control_plane/instance_credential.h"
#include "control_plane/instance_role.h"
#include "control_plane/ip_access.h"
#include "control_plane/ip_access_list.h"
#include "control_plane/metrics.h"
#include "control_plane/oauth_authorize.h"
#include "control_plane/oauth_token.h"
#include "control_plane/permission.h"
#include "control_plane/personal_token.h"
#include "control_plane/project.h"
#include "control_plane/request_limit.h"
#include "control_plane/role.h"
#include "control_plane/scim.h"
#include "control_plane/snapshot.h"
#include "control_plane/snapshot_schedule.h"
#include "control_plane/unserved.h"
#include "control_plane/workspace_conf.h"
#include "http/router.h"

#define PG       "/api/2.0/postgres"
#define PROJECT  PG "/projects/{}"
#define BRANCH   PROJECT "/branches/{}"
#define ENDPOINT BRANCH "/endpoints/{}"
#define ROLE     BRANCH "/roles/{}"
#define DATABASE BRANCH "/databases/{}"
#define CDF      DATABASE "/cdf-configs/{}"
#define GROUP    PROJECT "/preview/replication-groups/{}"

#define OPEN_BODY_MAX (64u << 10) /* where no token is needed */
#define SCIM          "/api/2.0/preview/scim/v2"
#define TOKEN         "/api/2.0/token"
#define TOKENS        "/api/2.0/token-management/tokens"
#define SECRETS       "/api/2.0/accounts/servicePrincipals/{}/credentials/secrets"
#define IP_LISTS      "/api/2.0/ip-access-lists"
#define PERMISSIONS   "/api/2.0/permissions/database-projects/{}"
#define ACCOUNT       "/api/2.0/accounts/{}"
#define POLICIES      ACCOUNT "/federationPolicies"
#define SP_POLICIES   ACCOUNT "/servicePrincipals/{}/federationPolicies"

/*
 * What a route demands of its caller. The level of a project is checked where the project is found (call_find_project), so a handler
 * of a route that names one cannot forget it; of a list, only what the caller may see is shown.
 */
enum access {
	ACCESS_BY_METHOD, /* GET: CAN_USE of the project; everything else: CAN_MANAGE */
	ACCESS_ANYWHERE,  /* nothing, not even an address that may come */
	ACCESS_OPEN,      /* nothing: answered without a token */
	ACCESS_IDENTITY,  /* to be somebody */
	ACCESS_USE,       /* CAN_USE, whatever the method */
	ACCESS_ADMIN,     /* to be an administrator */
};
/* The older instances API. */
#define DB                   "/api/2.0/database"
#define INSTANCE             DB "/instances/{}"
#define INSTANCE_PERMISSIONS "/api/2.0/permissions/database-instances/{}"

struct target {
	call_fn handle;
	enum access access;
	/* For what is not served yet. */
	const char *collection; /* LIST: the key of the empty list */
	const char *missing;    /* GET: the message of the 404 */
	const char *feature;    /* change: "synced tables are not available yet" */
};

/* A compound literal of static storage: what a route points to. */
#define SERVE(fn)                                                                                            \
	&(const struct target)                                                                               \
	{                                                                                                    \
		.handle = (fn)                                                                               \
	}
#define SERVE_ANYWHERE(fn)                                                                                   \
	&(const struct target)                                                                               \
	{                                                                                                    \
		.handle = (fn), .access = ACCESS_ANYWHERE                                                    \
	}
#define SERVE_OPEN(fn)                                                                                       \
	&(const struct target)                                                                               \
	{                                                                                                    \
		.handle = (fn), .access = ACCESS_OPEN                                                        \
	}
#define SERVE_ALL(fn)                                                                                        \
	&(const struct target)                                                                               \
	{                                                                                                    \
		.handle = (fn), .access = ACCESS_IDENTITY                                                    \
	}
#define SERVE_USE(fn)                                                                                        \
	&(const struct target)                                                                               \
	{                                                                                                    \
		.handle = (fn), .access = ACCESS_USE                                                         \
	}
#define SERVE_ADMIN(fn)                                                                                      \
	&(const struct target)                                                                               \
	{                                                                                                    \
		.handle = (fn), .access = ACCESS_ADMIN                                                       \
	}
#define EMPTY(key)                                                                                           \
	&(const struct target)                                                                               \
	{                                                                                                    \
		.collection = (key)                                                                          \
	}
#define MISSING(noun)                                                                                        \
	&(const struct target)                                                                               \
	{                                                                                                    \
		.missing = noun " id not found"                                                              \
	}
#define REFUSE(what)                                                                                         \
	&(const struct target)                                                                               \
	{                                                                                                    \
		.feature = (what)                                                                            \
	}

static const struct http_route routes[] = {
	{ "GET", "/healthz", SERVE_ANYWHERE(health_live) },
	{ "GET", "/readyz", SERVE_ANYWHERE(health_ready) },
	{ "GET", "/metrics", SERVE_OPEN(metrics_get) },
	{ "GET", "/.well-known/databricks-config", SERVE_OPEN(discovery_config) },
	{ "GET", "/oidc/.well-known/oauth-authorization-server", SERVE_OPEN(discovery_oauth) },
	{ "GET", "/oidc/.well-known/openid-configuration", SERVE_OPEN(discovery_oauth) },
	{ "GET", "/oidc/jwks.json", SERVE_OPEN(discovery_keys) },
	{ "POST", "/oidc/v1/token", SERVE_OPEN(oauth_token) },
	{ "POST", "/oidc/v1/revoke", SERVE_OPEN(oauth_revoke) },
	{ "GET", "/oidc/v1/authorize", SERVE_OPEN(oauth_authorize_page) },
	{ "POST", "/oidc/v1/authorize", SERVE_OPEN(oauth_authorize) },
	{ "GET", SCIM "/Me", SERVE_ALL(identity_me) },

	{ "GET", SCIM "/Users", SERVE_ALL(scim_list) },
	{ "POST", SCIM "/Users", SERVE_ADMIN(scim_create) },
	{ "GET", SCIM "/Users/{}", SERVE_ALL(scim_get) },
	{ "PUT", SCIM "/Users/{}", SERVE_ADMIN(scim_put) },
	{ "PATCH", SCIM "/Users/{}", SERVE_ADMIN(scim_patch) },
	{ "DELETE", SCIM "/Users/{}", SERVE_ADMIN(scim_delete) },
	{ "POST", SCIM "/Users/{}/sign-in-code", SERVE_ADMIN(sign_in_code_create) },
	{ "GET", SCIM "/ServicePrincipals", SERVE_ALL(scim_list) },
	{ "POST", SCIM "/ServicePrincipals", SERVE_ADMIN(scim_create) },
	{ "GET", SCIM "/ServicePrincipals/{}", SERVE_ALL(scim_get) },
	{ "PUT", SCIM "/ServicePrincipals/{}", SERVE_ADMIN(scim_put) },
	{ "PATCH", SCIM "/ServicePrincipals/{}", SERVE_ADMIN(scim_patch) },
	{ "DELETE", SCIM "/ServicePrincipals/{}", SERVE_ADMIN(scim_delete) },
	{ "GET", SCIM "/Groups", SERVE_ALL(scim_list) },
	{ "POST", SCIM "/Groups", SERVE_ADMIN(scim_create) },
	{ "GET", SCIM "/Groups/{}", SERVE_ALL(scim_get) },
	{ "PUT", SCIM "/Groups/{}", SERVE_ADMIN(scim_put) },
	{ "PATCH", SCIM "/Groups/{}", SERVE_ADMIN(scim_patch) },
	{ "DELETE", SCIM "/Groups/{}", SERVE_ADMIN(scim_delete) },

	{ "POST", TOKEN "/create", SERVE_ALL(personal_token_create) },
	{ "GET", TOKEN "/list", SERVE_ALL(personal_token_list) },
	{ "POST", TOKEN "/delete", SERVE_ALL(personal_token_delete) },
	{ "PATCH", TOKEN "/{}", REFUSE("changing tokens") },
	{ "GET", TOKENS, SERVE_ADMIN(token_management_list) },
	{ "GET", TOKENS "/{}", SERVE_ADMIN(token_management_get) },
	{ "DELETE", TOKENS "/{}", SERVE_ADMIN(token_management_delete) },
	{ "POST", "/api/2.0/token-management/on-behalf-of/tokens", SERVE_ADMIN(token_management_create) },
	{ "POST", SECRETS, SERVE_ADMIN(client_secret_create) },
	{ "GET", SECRETS, SERVE_ADMIN(client_secret_list) },
	{ "DELETE", SECRETS "/{}", SERVE_ADMIN(client_secret_delete) },
	{ "POST", POLICIES, SERVE_ADMIN(federation_policy_create) },
	{ "GET", POLICIES, SERVE_ADMIN(federation_policy_list) },
	{ "GET", POLICIES "/{}", SERVE_ADMIN(federation_policy_get) },
	{ "PATCH", POLICIES "/{}", SERVE_ADMIN(federation_policy_update) },
	{ "DELETE", POLICIES "/{}", SERVE_ADMIN(federation_policy_delete) },
	{ "POST", SP_POLICIES, SERVE_ADMIN(federation_policy_create) },
	{ "GET", SP_POLICIES, SERVE_ADMIN(federation_policy_list) },
	{ "GET", SP_POLICIES "/{}", SERVE_ADMIN(federation_policy_get) },
	{ "PATCH", SP_POLICIES "/{}", SERVE_ADMIN(federation_policy_update) },
	{ "DELETE", SP_POLICIES "/{}", SERVE_ADMIN(federation_policy_delete) },

	{ "POST", IP_LISTS, SERVE_ADMIN(ip_access_list_create) },
	{ "GET", IP_LISTS, SERVE_ADMIN(ip_access_list_list) },
	{ "GET", IP_LISTS "/{}", SERVE_ADMIN(ip_access_list_get) },
	{ "PUT", IP_LISTS "/{}", SERVE_ADMIN(ip_access_list_replace) },
	{ "PATCH", IP_LISTS "/{}", SERVE_ADMIN(ip_access_list_update) },
	{ "DELETE", IP_LISTS "/{}", SERVE_ADMIN(ip_access_list_delete) },
	{ "GET", "/api/2.0/workspace-conf", SERVE_ADMIN(workspace_conf_get) },
	{ "PATCH", "/api/2.0/workspace-conf", SERVE_ADMIN(workspace_conf_set) },

	{ "GET", PERMISSIONS, SERVE(permission_get) },
	{ "PUT", PERMISSIONS, SERVE(permission_put) },
	{ "PATCH", PERMISSIONS, SERVE(permission_patch) },
	{ "GET", PERMISSIONS "/permissionLevels", SERVE(permission_levels) },

	{ "POST", PG "/projects", SERVE_ALL(project_create) },
	{ "GET", PG "/projects", SERVE_ALL(project_list) },
	{ "GET", PROJECT, SERVE(project_get) },
	{ "PATCH", PROJECT, SERVE(project_update) },
	{ "DELETE", PROJECT, SERVE(project_delete) },
	{ "POST", PROJECT "/undelete", SERVE(project_undelete) },

	{ "POST", PROJECT "/branches", SERVE(branch_create) },
	{ "GET", PROJECT "/branches", SERVE(branch_list) },
	{ "GET", BRANCH, SERVE(branch_get) },
	{ "PATCH", BRANCH, SERVE(branch_update) },
	{ "DELETE", BRANCH, SERVE(branch_delete) },
	{ "POST", BRANCH "/undelete", SERVE(branch_undelete) },
	{ "POST", BRANCH "/reset", SERVE(branch_reset) },
	{ "POST", BRANCH "/restore", SERVE(branch_restore) },
	{ "GET", BRANCH "/restore-window", SERVE(branch_restore_window) },

	{ "POST", BRANCH "/endpoints", SERVE(endpoint_create) },
	{ "GET", BRANCH "/endpoints", SERVE(endpoint_list) },
	{ "GET", ENDPOINT, SERVE(endpoint_get) },
	{ "PATCH", ENDPOINT, SERVE(endpoint_update) },
	{ "DELETE", ENDPOINT, SERVE(endpoint_delete) },
	{ "GET", ENDPOINT "/compute-instances", SERVE(compute_instance_list) },
	{ "GET", ENDPOINT "/compute-instances/{}", SERVE(compute_instance_get) },

	{ "GET", BRANCH "/databases", SERVE(database_list) },
	{ "GET", DATABASE, SERVE(database_get) },
	{ "POST", BRANCH "/databases", SERVE_USE(database_create) },
	{ "PATCH", DATABASE, SERVE(database_update) },
	{ "DELETE", DATABASE, SERVE(database_delete) },
	{ "GET", BRANCH "/roles", SERVE(role_list) },
	{ "GET", ROLE, SERVE(role_get) },
	{ "POST", BRANCH "/roles", SERVE_USE(role_create) },
	{ "PATCH", ROLE, SERVE(role_update) },
	{ "DELETE", ROLE, SERVE(role_delete) },
	{ "POST", ROLE "/password", SERVE(role_reveal_password) },

	{ "GET", DATABASE "/data-api", MISSING("data api") },
	{ "POST", DATABASE "/data-api", REFUSE("the Data API") },
	{ "PATCH", DATABASE "/data-api", REFUSE("the Data API") },
	{ "DELETE", DATABASE "/data-api", REFUSE("the Data API") },
	{ "GET", DATABASE "/cdf-configs", EMPTY("cdf_configs") },
	{ "POST", DATABASE "/cdf-configs", REFUSE("the change data feed") },
	{ "GET", CDF, MISSING("cdf config") },
	{ "DELETE", CDF, REFUSE("the change data feed") },
	{ "GET", CDF "/cdf-statuses", EMPTY("cdf_statuses") },
	{ "GET", CDF "/cdf-statuses/{}", MISSING("cdf status") },

	{ "POST", PG "/catalogs", REFUSE("registering catalogs") },
	{ "GET", PG "/catalogs/{}", MISSING("catalog") },
	{ "DELETE", PG "/catalogs/{}", REFUSE("registering catalogs") },
	{ "POST", PG "/synced_tables", REFUSE("synced tables") },
	{ "GET", PG "/synced_tables/{}", MISSING("synced table") },
	{ "DELETE", PG "/synced_tables/{}", REFUSE("synced tables") },
	{ "POST", PG "/tables", REFUSE("tables") },
	{ "GET", PG "/tables/{}", MISSING("table") },
	{ "DELETE", PG "/tables/{}", REFUSE("tables") },

	{ "POST", PG "/credentials", SERVE_USE(credential_create) },

	{ "POST", PROJECT "/snapshots", SERVE(snapshot_post) },
	{ "GET", PROJECT "/snapshots", SERVE(snapshot_list_all) },
	{ "GET", PROJECT "/snapshots/{}", SERVE(snapshot_get) },
	{ "DELETE", PROJECT "/snapshots/{}", SERVE(snapshot_delete) },
	{ "GET", BRANCH "/snapshot-schedule", SERVE(snapshot_schedule_get) },
	{ "PATCH", BRANCH "/snapshot-schedule", SERVE(snapshot_schedule_update) },

	{ "POST", PROJECT "/preview/replication-groups", REFUSE("replication groups") },
	{ "GET", PROJECT "/preview/replication-groups", EMPTY("replication_group_previews") },
	{ "GET", GROUP, MISSING("replication group") },
	{ "PATCH", GROUP, REFUSE("replication groups") },
	{ "DELETE", GROUP, REFUSE("replication groups") },
	{ "POST", GROUP "/failover", REFUSE("replication groups") },
	{ "POST", GROUP "/switchover", REFUSE("replication groups") },
	{ "GET", PROJECT "/preview/recovery-branches", EMPTY("recovery_branch_previews") },
	{ "GET", PROJECT "/preview/recovery-branches/{}", MISSING("recovery branch") },
	{ "DELETE", PROJECT "/preview/recovery-branches/{}", REFUSE("recovery branches") },
	{ "POST", PROJECT "/preview/recovery-branches/{}/inspect", REFUSE("recovery branches") },

	{ "GET", INSTANCE_PERMISSIONS, SERVE(permission_get) },
	{ "PUT", INSTANCE_PERMISSIONS, SERVE(permission_put) },
	{ "PATCH", INSTANCE_PERMISSIONS, SERVE(permission_patch) },
	{ "GET", INSTANCE_PERMISSIONS "/permissionLevels", SERVE(permission_levels) },
	{ "POST", DB "/instances", SERVE_ALL(instance_create) },
	{ "GET", DB "/instances", SERVE_ALL(instance_list) },
	{ "GET", DB "/instances:findByUid", SERVE(instance_find_by_uid) },
	{ "GET", INSTANCE, SERVE(instance_get) },
	{ "PATCH", INSTANCE, SERVE(instance_update) },
	{ "DELETE", INSTANCE, SERVE(instance_delete) },
	{ "POST", INSTANCE "/failover", REFUSE("failing over; an instance has one node") },
	{ "PATCH", INSTANCE "/upgrade", SERVE(instance_upgrade) },
	{ "GET", INSTANCE "/roles", SERVE(instance_role_list) },
	{ "GET", INSTANCE "/roles/{}", SERVE(instance_role_get) },
	{ "POST", INSTANCE "/roles", SERVE_USE(instance_role_create) },
	{ "DELETE", INSTANCE "/roles/{}", SERVE(instance_role_delete) },
	{ "GET", INSTANCE "/databases", SERVE(instance_database_list) },
	{ "GET", INSTANCE "/catalogs", EMPTY("database_catalogs") },
	{ "GET", INSTANCE "/synced_tables", EMPTY("synced_tables") },
	{ "POST", DB "/credentials", SERVE_USE(instance_credential_create) },
	{ "POST", DB "/catalogs", REFUSE("registering catalogs") },
	{ "GET", DB "/catalogs/{}", MISSING("catalog") },
	{ "PATCH", DB "/catalogs/{}", REFUSE("registering catalogs") },
	{ "DELETE", DB "/catalogs/{}", REFUSE("registering catalogs") },
	{ "POST", DB "/synced_tables", REFUSE("synced tables") },
	{ "GET", DB "/synced_tables/{}", MISSING("synced table") },
	{ "PATCH", DB "/synced_tables/{}", REFUSE("synced tables") },
	{ "DELETE", DB "/synced_tables/{}", REFUSE("synced tables") },
	{ "POST", DB "/tables", REFUSE("tables") },
	{ "GET", DB "/tables/{}", MISSING("table") },
	{ "DELETE", DB "/tables/{}", REFUSE("tables") },

	{ "GET", BRANCH "/forward-etl", MISSING("forward etl") },
	{ "GET", BRANCH "/forward-etl/metadata", MISSING("forward etl") },
	{ "DELETE", BRANCH "/forward-etl", REFUSE("forward ETL") },
	{ "DELETE", BRANCH "/forward-etl/configuration", REFUSE("forward ETL") },
};

/* For metrics only: no pattern can say how long the resource's name is. */
static const struct http_route operation_route = { "GET", PG "/{resource}/operations/{}", NULL };

/* GET /{any resource name}/operations/{id}, and /operations/{id} (1.3): the resource may be gone, so no table knows it. */
static bool is_operation_path(const struct http_request *request)
{
	size_t count = request->segment_count;
	return count >= 5 && strcmp(request->segments[0], "api") == 0 &&
	       strcmp(request->segments[1], "2.0") == 0 && strcmp(request->segments[2], "postgres") == 0 &&
	       strcmp(request->segments[count - 2], "operations") == 0 &&
	       request->segments[count - 1][0] != '\0';
}

/* Who asked for it may read it for ever; others as long as they may see its project. */
static bool check_operation(struct call *call, const struct operation_row *row)
{
	struct error err;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	if (call->caller.is_admin || strcmp(row->actor, call->caller.login) == 0)
		return true;
	status st = project_row_get(call->services->md, row->project, &project, &err);
	if (st == STATUS_NOT_FOUND)
		return api_fail(&call->error, API_NOT_FOUND, "operation id not found");
	return st == STATUS_OK ? access_check_project(call, &project) : call_fail(call, &err);
}

static bool get_operation(struct call *call)
{
	const struct http_request *request = call->request;
	if (strcmp(request->method, "GET") != 0) {
		http_response_add_header(call->response, "Allow", "GET");
		return api_fail(&call->error, API_METHOD, "operations can only be read");
	}
	struct error err;
	CLEANUP(operation_row_done) struct operation_row row = { 0 };
	status st = operation_row_find(
	        call->services->md, request->segments[request->segment_count - 1], &row, &err);
	if (st == STATUS_OK && request->segment_count > 5) {
		CLEANUP(buffer_done) struct buffer resource = { 0 };
		for (size_t i = 3; i + 2 < request->segment_count; i++)
			buffer_printf(&resource, "%s%s", i > 3 ? "/" : "", request->segments[i]);
		if (strcmp(resource.data, row.resource) != 0)
			return api_fail(&call->error, API_NOT_FOUND, "operation id not found");
	}
	if (st != STATUS_OK)
		return call_fail(call, &err);
	return check_operation(call, &row) && call_answer(call, operation_to_json(call->out, &row));
}

static bool is_in_api(const struct http_request *request)
{
	return request->segment_count > 0 && strcmp(request->segments[0], "api") == 0;
}

static bool dispatch(struct call *call)
{
	const struct http_request *request = call->request;
	struct http_match match = { 0 };
	char allow[HTTP_ALLOW_MAX];
	enum http_match_result result = http_route_find(routes, ARRAY_LEN(routes), request, &match, allow);
	const struct target *target = result == HTTP_MATCH_FOUND ? match.route->target : NULL;
	call->route = match.route;
	if (target && target->access == ACCESS_ANYWHERE)
		return request_limit_admit(call) && target->handle(call);
	if (!ip_access_check_call(call))
		return false;
	if (target && target->access == ACCESS_OPEN)
		return request_limit_admit(call) && target->handle(call);
	bool is_read = strcmp(request->method, "GET") == 0;
	call->level = is_read || (target && target->access == ACCESS_USE) ? PERMISSION_CAN_USE
	                                                                  : PERMISSION_CAN_MANAGE;
	/* Who we are comes first: an outsider does not learn which paths exist. */
	if (is_in_api(request) && !identity_authenticate(call))
		return request_limit_note_bad_token(call);
	if (!request_limit_admit(call))
		return false;
	if (request->is_body_dropped) /* its token became good while it came */
		return api_fail(&call->error, API_UNAVAILABLE, "the request came while its token was made");
	if (is_operation_path(request)) {
		call->route = &operation_route;
		return get_operation(call);
	}
	if (result == HTTP_MATCH_NO_METHOD) {
		http_response_add_header(call->response, "Allow", allow);
		return api_fail(&call->error, API_METHOD, "method %s is not allowed here; allowed: %s",
		        request->method, allow);
	}
	if (!target)
		return api_fail(&call->error, API_NOT_FOUND, "resource not found");
	call->parameters = match.parameters;
	if (target->access == ACCESS_ADMIN && !access_require_admin(call, "this call"))
		return false;
	if (target->handle)
		return target->handle(call);
	if (!unserved_check_parents(call, match.parameter_count))
		return false;
	if (target->collection)
		return unserved_list(call, target->collection);
	if (target->missing)
		return api_fail(&call->error, API_NOT_FOUND, "%s", target->missing);
	return api_fail(&call->error, API_NOT_IMPLEMENTED, "not available yet: %s", target->feature);
}

static void refuse(const struct call *call)
{
	const struct http_request *request = call->request;
	int http_status = api_code_http_status(call->error.code);
	http_response_set_error(call->response, http_status, api_code_text(call->error.code),
	        call->error.message, call->error.is_managed_by_parent ? "MANAGED_BY_PARENT" : NULL,
	        request->trace_id);
	bool is_read = strcmp(request->method, "GET") == 0;
	if (http_status >= 500 && http_status != 501)
		log_error("%s %.200s: %s, trace %s", request->method, request->path, call->error.message,
		        request->trace_id);
	else if (!is_read && call->caller.login[0])
		log_info("%s: %s %.200s refused: %s, trace %s", call->caller.login, request->method,
		        request->path, call->error.message, request->trace_id);
}

/* What every call has in common, and no route can leave out: it is audited and counted when it is answered. */
static void finish(const struct call *call, bool is_ok)
{
	const struct http_request *request = call->request;
	int64_t begun_usec = request->begin_usec ? request->begin_usec : clock_monotonic_usec();
	audit_call(call, call->response->status, is_ok ? NULL : api_code_text(call->error.code));
	metrics_note_call(call->services->metrics, call->route, request->method, call->response->status,
	        clock_monotonic_usec() - begun_usec);
}

void api_handle(void *owner, const struct http_request *request, struct http_response *response)
{
	struct call call = {
		.services = owner,
		.request = request,
		.response = response,
		.now_usec = clock_wall_usec(),
		.out = yyjson_mut_doc_new(NULL),
	};
	bool is_ok = dispatch(&call);
	if (!call.is_held) { /* else it will come again */
		if (!is_ok)
			refuse(&call);
		finish(&call, is_ok);
	}
	free(call.operation);
	free(call.policy);
	yyjson_doc_free(call.body);
	yyjson_mut_doc_free(call.out);
}

size_t api_body_limit(void *owner, const struct http_request *request)
{
	struct http_response ignored = { 0 };
	struct call call = { .services = owner, .request = request, .response = &ignored };
	struct http_match match = { 0 };
	char allow[HTTP_ALLOW_MAX], address[HTTP_PEER_MAX + 1];
	ip_access_address(request, address);
	if (!ip_access_allows(call.services->access, address))
		return 0;
	if (http_route_find(routes, ARRAY_LEN(routes), request, &match, allow) == HTTP_MATCH_FOUND &&
	        ((const struct target *)match.route->target)->access == ACCESS_OPEN)
		return OPEN_BODY_MAX;
	bool is_good = is_in_api(request) && identity_authenticate(&call);
	http_response_done(&ignored);
	return is_good ? HTTP_BODY_MAX : 0;
}
