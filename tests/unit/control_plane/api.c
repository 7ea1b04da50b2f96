/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "auth/token.h"
#include "base/clock.h"
#include "control_fixture.h"

#define NO_EXPIRY "{\"spec\":{\"no_expiry\":true}}"

/* Nothing that must always be there is missing, and nothing that clients would stumble over is there. */
static void expect_members(yyjson_val *object, const char *const members[], size_t count)
{
	for (size_t i = 0; i < count; i++) {
		yyjson_val *value = yyjson_obj_get(object, members[i]);
		if (!value || yyjson_is_null(value) || (yyjson_is_str(value) && yyjson_get_len(value) == 0))
			fail_msg("\"%s\" is missing or empty", members[i]);
	}
	assert_null(yyjson_obj_get(object, "spec"));
}

static void callers_without_a_good_token_learn_nothing(void **state)
{
	struct control_fixture *f = *state;
	static const char *const headers[] = { NULL, "", "Bearer", "Bearer ", "Bearer x", "Basic YTpi",
		"Bearer dapi0000000000000000000000000000000", "dapi00000000000000000000000000000000" };
	static const char *const paths[] = { "/api/2.0/postgres/projects", "/api/2.0/postgres/nonsense",
		"/api/2.0/preview/scim/v2/Me" };
	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		for (size_t k = 0; k < ARRAY_LEN(paths); k++) {
			call_raw(f, "GET", paths[k], NULL, headers[i]);
			expect_error(f, 401, "UNAUTHENTICATED", "");
		}
	}
	call_raw(f, "GET", "/.well-known/databricks-config", NULL, NULL);
	assert_int_equal(f->http_status, 200);
	assert_string_equal(text_at(f, "/oidc_endpoint"), "http://127.0.0.1:18080/oidc");
	assert_string_equal(text_at(f, "/workspace_id"), "1234567890123456");
	assert_string_equal(text_at(f, "/host_type"), "workspace");
}

static void unknown_paths_and_verbs_are_json(void **state)
{
	struct control_fixture *f = *state;
	call_api(f, "GET", "/1234", NULL);
	expect_error(f, 404, "NOT_FOUND", "resource not found");
	call_api(f, "PUT", "/projects", NULL);
	expect_error(f, 405, "METHOD_NOT_ALLOWED", "method PUT");
	call_api(f, "DELETE", "/projects/p/operations/x", NULL);
	expect_error(f, 405, "METHOD_NOT_ALLOWED", "");
	call_api(f, "GET", "/projects/p/operations/x", NULL);
	expect_error(f, 404, "NOT_FOUND", "operation id not found");
	call_api(f, "GET", "/operations/x", NULL);
	expect_error(f, 404, "NOT_FOUND", "operation id not found");
	call_api(f, "GET", "/projects/", NULL);
	expect_error(f, 404, "NOT_FOUND", "resource not found");
	assert_true(has(f, "/details/0/metadata"));
	assert_non_null(strstr(text_at(f, "/message"), " [TraceId: 0123456789abcdef0123456789abcdef]"));
}

static void me_is_the_caller(void **state)
{
	struct control_fixture *f = *state;
	call_raw(
	        f, "GET", "/api/2.0/preview/scim/v2/Me", NULL, "Bearer dapi00000000000000000000000000000000");
	assert_int_equal(f->http_status, 200);
	assert_string_equal(text_at(f, "/userName"), "alice@example.com");
	assert_string_equal(text_at(f, "/emails/0/value"), "alice@example.com");
}

static void a_project_begins_with_all_it_needs(void **state)
{
	struct control_fixture *f = *state;
	CLEANUP(free_text)
	char *name = begin_operation(f, "POST", "/projects?project_id=my-app",
	        "{\"spec\":{\"display_name\":\"My \\\"App\\\" \xc3\xbc\",\"pg_version\":\"17\"}}");
	assert_int_equal(strncmp(name, "projects/my-app/operations/", 27), 0);
	call_api(f, "GET", "/projects/my-app/branches/production", NULL);
	assert_string_equal(text_at(f, "/status/current_state"), "INIT");
	finish_operation(f, name);
	assert_string_equal(text_at(f, "/metadata/@type"),
	        "type.googleapis.com/databricks.postgres.v1.ProjectOperationMetadata");
	assert_string_equal(text_at(f, "/response/name"), "projects/my-app");

	static const char *const top[] = { "name", "project_id", "uid", "create_time", "update_time",
		"status" };
	static const char *const status_members[] = { "project_id", "display_name", "pg_version",
		"history_retention_duration", "default_branch", "default_endpoint_settings",
		"enable_pg_native_login", "owner", "branch_logical_size_limit_bytes",
		"synthetic_storage_size_bytes" };
	call_api(f, "GET", "/projects/my-app?", NULL);
	expect_members(f->json, top, ARRAY_LEN(top));
	expect_members(yyjson_obj_get(f->json, "status"), status_members, ARRAY_LEN(status_members));
	assert_string_equal(text_at(f, "/status/display_name"), "My \"App\" \xc3\xbc");
	assert_string_equal(text_at(f, "/status/owner"), "alice@example.com");
	assert_string_equal(text_at(f, "/status/default_branch"), "projects/my-app/branches/production");
	assert_string_equal(
	        text_at(f, "/status/default_endpoint_settings/suspend_timeout_duration"), "86400s");
	assert_true(yyjson_is_int(
	        yyjson_ptr_get(f->json, "/status/default_endpoint_settings/autoscaling_limit_min_cu")));

	static const char *const branch_members[] = { "branch_id", "current_state", "state_change_time",
		"default", "is_protected", "logical_size_bytes" };
	call_api(f, "GET", "/projects/my-app/branches", NULL);
	assert_string_equal(text_at(f, "/branches/0/name"), "projects/my-app/branches/production");
	expect_members(
	        yyjson_ptr_get(f->json, "/branches/0/status"), branch_members, ARRAY_LEN(branch_members));
	assert_string_equal(text_at(f, "/branches/0/status/current_state"), "READY");
	assert_false(has(f, "/branches/0/status/pending_state"));
	assert_false(has(f, "/branches/0/status/source_branch"));

	static const char *const endpoint_members[] = { "endpoint_id", "endpoint_type",
		"autoscaling_limit_min_cu", "autoscaling_limit_max_cu", "suspend_timeout_duration",
		"disabled", "settings", "current_state", "hosts", "group" };
	call_api(f, "GET", "/projects/my-app/branches/production/endpoints", NULL);
	expect_members(yyjson_ptr_get(f->json, "/endpoints/0/status"), endpoint_members,
	        ARRAY_LEN(endpoint_members));
	assert_string_equal(text_at(f, "/endpoints/0/status/endpoint_type"), "ENDPOINT_TYPE_READ_WRITE");
	assert_string_equal(text_at(f, "/endpoints/0/status/current_state"), "ACTIVE");
	assert_false(has(f, "/endpoints/0/status/pending_state"));
	assert_string_equal(text_at(f, "/endpoints/0/status/hosts/host"), "127.64.0.2");
	assert_string_equal(text_at(f, "/endpoints/0/status/hosts/read_write_pooled_host"), "127.128.0.2");
	assert_int_equal(yyjson_obj_size(yyjson_ptr_get(f->json, "/endpoints/0/status/hosts")), 2);
	assert_int_equal(yyjson_obj_size(yyjson_ptr_get(f->json, "/endpoints/0/status/settings")), 0);

	call_api(f, "GET", "/projects/my-app/branches/production/roles/alice", NULL);
	assert_string_equal(text_at(f, "/status/postgres_role"), "alice@example.com");
	assert_string_equal(text_at(f, "/status/identity_type"), "USER");
	assert_string_equal(text_at(f, "/status/membership_roles/0"), "DATABRICKS_SUPERUSER");
	assert_int_equal(yyjson_obj_size(yyjson_ptr_get(f->json, "/status/attributes")), 3);
	call_api(f, "GET", "/projects/my-app/branches/production/databases/databricks-postgres", NULL);
	assert_string_equal(text_at(f, "/status/postgres_database"), "databricks_postgres");
	assert_string_equal(text_at(f, "/status/role"), "projects/my-app/branches/production/roles/alice");

	/* A finished operation never changes, by either of its names. */
	CLEANUP(free_text) char *path = xasprintf("/%s", name);
	call_api(f, "GET", path, NULL);
	CLEANUP(free_text) char *first = yyjson_val_write(f->json, 0, NULL);
	CLEANUP(free_text) char *bare = xasprintf("/operations/%s", strrchr(name, '/') + 1);
	call_api(f, "GET", bare, NULL);
	CLEANUP(free_text) char *second = yyjson_val_write(f->json, 0, NULL);
	assert_string_equal(first, second);
	CLEANUP(free_text) char *other = xasprintf("/projects/other/operations/%s", strrchr(name, '/') + 1);
	call_api(f, "GET", other, NULL);
	expect_error(f, 404, "NOT_FOUND", "operation id not found");
}

static void create_requests_are_checked(void **state)
{
	struct control_fixture *f = *state;
	static const struct {
		const char *path, *body;
		int http_status;
		const char *code, *message;
	} cases[] = {
		{ "/projects", "{}", 400, "INVALID_PARAMETER_VALUE",
		        "Field 'project_id' is required, expected non-default value (not \"\")!" },
		{ "/projects?project_id=", "{}", 400, "INVALID_PARAMETER_VALUE",
		        "Field 'project_id' is required" },
		{ "/projects?project_id=A%22%C3%BC", "{}", 400, "INVALID_PARAMETER_VALUE",
		        "Field project_id must match pattern ^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$, got "
		        "'A\"\xc3\xbc'." },
		{ "/projects?project_id=p", "{", 400, "MALFORMED_REQUEST", "" },
		{ "/projects?project_id=p", "[]", 400, "MALFORMED_REQUEST", "" },
		{ "/projects?project_id=p", "{\"spec\":5}", 400, "INVALID_PARAMETER_VALUE", "Field 'spec'" },
		{ "/projects?project_id=p", "{\"spec\":{\"pg_version\":15}}", 400, "INVALID_PARAMETER_VALUE",
		        "Field 'spec.pg_version'" },
		{ "/projects?project_id=p", "{\"spec\":{\"pg_version\":18}}", 400, "INVALID_PARAMETER_VALUE",
		        "Field 'spec.pg_version'" },
		{ "/projects?project_id=p", "{\"spec\":{\"history_retention_duration\":\"172799s\"}}", 400,
		        "INVALID_PARAMETER_VALUE", "Field 'spec.history_retention_duration'" },
		{ "/projects?project_id=p", "{\"spec\":{\"custom_tags\":[{\"value\":\"x\"}]}}", 400,
		        "INVALID_PARAMETER_VALUE", "Field 'spec.custom_tags.key'" },
		{ "/projects?project_id=p", "{\"initial_endpoint_spec\":{\"autoscaling_limit_min_cu\":3}}",
		        400, "INVALID_PARAMETER_VALUE",
		        "Field 'initial_endpoint_spec.autoscaling_limit_min_cu'" },
		{ "/projects?project_id=p", "{\"initial_role_spec\":{\"postgres_role\":\"pg_x\"}}", 400,
		        "INVALID_PARAMETER_VALUE", "Field 'role.spec.postgres_role'" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		call_api(f, "POST", cases[i].path, cases[i].body);
		expect_error(f, cases[i].http_status, cases[i].code, cases[i].message);
	}
	char name[300] = "{\"spec\":{\"display_name\":\"";
	memset(name + strlen(name), 'n', 257);
	strcat(name, "\"}}");
	call_api(f, "POST", "/projects?project_id=p", name);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'spec.display_name'");
	call_api(f, "GET", "/projects", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "projects")), 0);
}

static void names_are_taken_and_counted(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=a", NULL);
	call_api(f, "POST", "/projects?project_id=a", "{}");
	expect_error(f, 409, "ALREADY_EXISTS", "project with such id already exists in the workspace");
	perform(f, "POST", "/projects?project_id=b", NULL);
	perform(f, "POST", "/projects?project_id=c", NULL);
	perform(f, "POST", "/projects?project_id=d", NULL);
	call_api(f, "POST", "/projects?project_id=e", "{}");
	expect_error(f, 400, "QUOTA_EXCEEDED", "");
}

static void parents_are_looked_for_from_the_left(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	static const struct {
		const char *path, *message;
	} cases[] = {
		{ "/projects/x", "project id not found" },
		{ "/projects/x/branches", "project id not found" },
		{ "/projects/x/branches/y/endpoints/z", "project id not found" },
		{ "/projects/p/branches/y", "branch id not found" },
		{ "/projects/p/branches/y/endpoints", "branch id not found" },
		{ "/projects/p/branches/y/roles/z", "branch id not found" },
		{ "/projects/p/branches/production/endpoints/z", "endpoint id not found" },
		{ "/projects/p/branches/production/roles/z", "role id not found" },
		{ "/projects/p/branches/production/databases/z", "database id not found" },
		{ "/projects/p/branches/production/databases/z/cdf-configs", "database id not found" },
		{ "/projects/x/snapshots", "project id not found" },
		{ "/projects/p/snapshots/s", "snapshot id not found" },
		{ "/catalogs/c", "catalog id not found" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		call_api(f, "GET", cases[i].path, NULL);
		expect_error(f, 404, "NOT_FOUND", cases[i].message);
	}
}

static void what_is_not_served_says_so(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	static const struct {
		const char *method, *path;
	} mutations[] = {
		{ "POST", "/projects/p/branches/production/databases/databricks-postgres/data-api" },
		{ "POST", "/catalogs?catalog_id=c" },
		{ "POST", "/synced_tables?synced_table_id=a.b.c" },
		{ "POST", "/projects/p/preview/replication-groups/g/failover" },
	};
	for (size_t i = 0; i < ARRAY_LEN(mutations); i++) {
		call_api(f, mutations[i].method, mutations[i].path, "{}");
		expect_error(f, 501, "NOT_IMPLEMENTED", "");
	}
	call_api(f, "GET", "/projects/p/snapshots", NULL);
	assert_int_equal(f->http_status, 200);
	assert_true(yyjson_is_arr(yyjson_obj_get(f->json, "snapshots")));
	call_raw(
	        f, "GET", "/api/2.0/database/instances", NULL, "Bearer dapi00000000000000000000000000000000");
	assert_true(yyjson_is_arr(yyjson_obj_get(f->json, "database_instances")));
}

static void branches_need_an_expiration_and_inherit(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	call_api(f, "POST", "/projects/p/branches?branch_id=dev", "{\"spec\":{}}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE",
	        "Field 'spec.expiration' is required: one of ttl, expire_time or no_expiry must be set");
	call_api(f, "POST", "/projects/p/branches?branch_id=dev",
	        "{\"spec\":{\"no_expiry\":true,\"source_branch_lsn\":\"0/1\"}}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "outside the window");
	call_api(f, "POST", "/projects/p/branches?branch_id=dev",
	        "{\"spec\":{\"no_expiry\":true,\"source_branch_lsn\":\"0x1\"}}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'spec.source_branch_lsn' must be an LSN");
	call_api(f, "POST", "/projects/p/branches?branch_id=dev",
	        "{\"spec\":{\"no_expiry\":true,\"source_branch_time\":\"2126-01-01T00:00:00Z\"}}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "source_branch_time must not be in the future");
	call_api(f, "POST", "/projects/p/branches?branch_id=dev",
	        "{\"spec\":{\"no_expiry\":true,\"source_branch_time\":\"2026-01-01T00:00:00Z\","
	        "\"source_branch_lsn\":\"0/3000000\"}}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Fields 'spec.source_branch_lsn'");
	call_api(f, "POST", "/projects/p/branches?branch_id=dev",
	        "{\"spec\":{\"no_expiry\":true,\"source_branch\":\"projects/q/branches/production\"}}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'spec.source_branch'");
	call_api(f, "POST", "/projects/p/branches?branch_id=dev",
	        "{\"spec\":{\"no_expiry\":true,\"source_branch\":\"projects/p/branches/nope\"}}");
	expect_error(f, 404, "NOT_FOUND", "branch id not found");

	perform(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
	assert_string_equal(text_at(f, "/status/source_branch"), "projects/p/branches/production");
	assert_string_equal(text_at(f, "/status/source_branch_lsn"), "0/3000120");
	assert_string_equal(text_at(f, "/status/source_branch_time"), "2027-01-15T08:00:00Z");
	assert_false(has(f, "/status/expire_time"));
	call_api(f, "GET", "/projects/p/branches/dev/roles/alice", NULL);
	assert_string_equal(text_at(f, "/name"), "projects/p/branches/dev/roles/alice");
	call_api(f, "GET", "/projects/p/branches/dev/databases/databricks-postgres", NULL);
	assert_string_equal(text_at(f, "/status/role"), "projects/p/branches/dev/roles/alice");
	call_api(f, "GET", "/projects/p/branches/dev/endpoints/primary", NULL);
	assert_string_equal(text_at(f, "/status/hosts/host"), "127.64.0.3");
	call_api(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
	expect_error(f, 409, "ALREADY_EXISTS", "branch with such id already exists");
}

static void declarative_tools_adopt_what_is_there(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	call_api(f, "GET", "/projects/p/branches/production", NULL);
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));
	perform(f, "POST", "/projects/p/branches?branch_id=production&replace_existing=true",
	        "{\"spec\":{\"no_expiry\":true,\"is_protected\":true}}");
	assert_string_equal(text_at(f, "/uid"), uid);
	assert_true(yyjson_is_true(yyjson_ptr_get(f->json, "/status/is_protected")));

	call_api(f, "GET", "/projects/p/branches/production/endpoints/primary", NULL);
	CLEANUP(free_text) char *endpoint_uid = xstrdup(text_at(f, "/uid"));
	perform(f, "POST",
	        "/projects/p/branches/production/endpoints?endpoint_id=primary&replace_existing=true",
	        "{\"spec\":{\"type\":\"ENDPOINT_TYPE_READ_WRITE\",\"endpoint_type\":\"\",\"autoscaling_limit_"
	        "max_cu\":4}}");
	assert_string_equal(text_at(f, "/uid"), endpoint_uid);
	assert_int_equal(yyjson_get_int(yyjson_ptr_get(f->json, "/status/autoscaling_limit_max_cu")), 4);
	call_api(f, "POST", "/projects/p/branches/production/endpoints?endpoint_id=primary",
	        "{\"spec\":{\"endpoint_type\":\"ENDPOINT_TYPE_READ_WRITE\"}}");
	expect_error(f, 409, "ALREADY_EXISTS", "endpoint with such id already exists");
	call_api(f, "POST", "/projects/p/branches/production/endpoints?endpoint_id=two",
	        "{\"spec\":{\"endpoint_type\":\"ENDPOINT_TYPE_READ_WRITE\"}}");
	expect_error(f, 400, "BAD_REQUEST", "branch 'production' has its read-write endpoint already");
	call_api(f, "POST", "/projects/p/branches/production/endpoints?endpoint_id=ro",
	        "{\"spec\":{\"endpoint_type\":\"ENDPOINT_TYPE_READ_ONLY\"}}");
	expect_error(f, 501, "NOT_IMPLEMENTED", "");
	call_api(f, "POST", "/projects/p/branches/production/endpoints?endpoint_id=x",
	        "{\"spec\":{\"endpoint_type\":\"\"}}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'endpoint.spec.endpoint_type' is required");
}

/* Checklist 18 and 19, byte for byte where clients match. */
static void what_must_stay_stays(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
	perform(f, "POST", "/projects/p/branches?branch_id=leaf",
	        "{\"spec\":{\"no_expiry\":true,\"source_branch\":\"projects/p/branches/dev\"}}");
	call_api(f, "DELETE", "/projects/p/branches/production?purge=true", NULL);
	expect_error(f, 400, "BAD_REQUEST",
	        "Cannot delete root branch 'projects/p/branches/production'. Root branches cannot be deleted "
	        "independently.");
	assert_string_equal(text_at(f, "/details/0/@type"), "type.googleapis.com/google.rpc.ErrorInfo");
	assert_string_equal(text_at(f, "/details/0/reason"), "RESOURCE_CONFLICT");
	assert_string_equal(text_at(f, "/details/0/domain"), "databricks.com");
	assert_string_equal(text_at(f, "/details/0/metadata/declarative_context"), "MANAGED_BY_PARENT");
	call_api(f, "DELETE", "/projects/p/branches/dev/endpoints/primary", NULL);
	expect_error(f, 400, "BAD_REQUEST",
	        "Cannot delete read-write endpoint 'projects/p/branches/dev/endpoints/primary'. Read-write "
	        "endpoints cannot be "
	        "deleted.");
	assert_string_equal(text_at(f, "/details/0/metadata/declarative_context"), "MANAGED_BY_PARENT");
	call_api(f, "DELETE", "/projects/p/branches/dev", NULL);
	expect_error(f, 400, "BAD_REQUEST", "cannot delete a branch that has children");
	call_api(f, "PATCH", "/projects/p/branches/dev?update_mask=spec.ttl",
	        "{\"spec\":{\"ttl\":\"3600s\"}}");
	expect_error(f, 400, "BAD_REQUEST", "a branch that has children cannot have an expiration");

	perform(f, "PATCH", "/projects/p/branches/leaf?update_mask=spec.is_protected",
	        "{\"spec\":{\"is_protected\":true}}");
	call_api(f, "DELETE", "/projects/p/branches/leaf", NULL);
	expect_error(f, 400, "BAD_REQUEST", "cannot delete protected branch");
	call_api(f, "PATCH", "/projects/p/branches/leaf?update_mask=spec.expiration",
	        "{\"spec\":{\"ttl\":\"3600s\"}}");
	expect_error(f, 400, "BAD_REQUEST", "a protected branch cannot have an expiration");
	call_api(f, "PATCH", "/projects/p/branches/dev?update_mask=spec.is_protected",
	        "{\"spec\":{\"is_protected\":true}}");
	expect_error(f, 400, "BAD_REQUEST", "the project has reached its limit of 1 protected branches");
	call_api(f, "DELETE", "/projects/p", NULL);
	expect_error(f, 400, "BAD_REQUEST", "cannot delete a project that has a protected branch");
	perform(f, "PATCH", "/projects/p/branches/leaf?update_mask=spec.is_protected", "{\"spec\":{}}");
	perform(f, "DELETE", "/projects/p/branches/leaf", NULL);
	assert_string_equal(text_at(f, "/@type"), "type.googleapis.com/google.protobuf.Empty");
}

static void the_default_branch_moves_and_is_kept(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
	perform(f, "PATCH", "/projects/p?update_mask=spec.default_branch",
	        "{\"spec\":{\"default_branch\":\"projects/p/branches/dev\"}}");
	assert_string_equal(text_at(f, "/status/default_branch"), "projects/p/branches/dev");
	call_api(f, "GET", "/projects/p/branches/dev", NULL);
	assert_true(yyjson_is_true(yyjson_ptr_get(f->json, "/status/default")));
	call_api(f, "GET", "/projects/p/branches/production", NULL);
	assert_true(yyjson_is_false(yyjson_ptr_get(f->json, "/status/default")));
	call_api(f, "DELETE", "/projects/p/branches/dev", NULL);
	expect_error(f, 400, "BAD_REQUEST", "cannot delete the default branch");
	call_api(f, "PATCH", "/projects/p?update_mask=spec.default_branch",
	        "{\"spec\":{\"default_branch\":\"projects/q/branches/dev\"}}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'spec.default_branch'");
}

/* Checklist 14 and 15: what Terraform sends. */
static void projects_are_patched_by_mask(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p",
	        "{\"spec\":{\"custom_tags\":[{\"key\":\"b\",\"value\":\"1\"},{\"key\":\"a\",\"value\":\"2\"}]"
	        ",\"budget_policy_id\":\"bp\","
	        "\"default_endpoint_settings\":{\"autoscaling_limit_min_cu\":0.5,\"autoscaling_limit_max_"
	        "cu\":2,"
	        "\"no_suspension\":true,\"pg_settings\":{\"work_mem\":\"8MB\"}}}}");
	assert_true(
	        yyjson_is_true(yyjson_ptr_get(f->json, "/status/default_endpoint_settings/no_suspension")));
	perform(f, "PATCH", "/projects/p?update_mask=initial_branch_spec,initial_endpoint_spec%2Cspec",
	        "{\"name\":\"projects/p\",\"spec\":{\"display_name\":\"New\",\"pg_version\":17,"
	        "\"history_retention_duration\":\"604800s\"}}");
	assert_string_equal(text_at(f, "/status/display_name"), "New");
	assert_string_equal(text_at(f, "/status/budget_policy_id"), "bp");
	assert_string_equal(text_at(f, "/status/custom_tags/1/key"), "a");
	assert_true(yyjson_get_real(yyjson_ptr_get(
	                    f->json, "/status/default_endpoint_settings/autoscaling_limit_min_cu")) == 0.5);
	perform(f, "PATCH", "/projects/p?update_mask=*", "{\"spec\":{}}");
	assert_string_equal(text_at(f, "/status/display_name"), "p");
	assert_false(has(f, "/status/budget_policy_id"));
	assert_true(has(f, "/status/custom_tags")); /* "*" does not clear them */
	perform(f, "PATCH", "/projects/p?update_mask=spec.custom_tags", "{\"spec\":{\"custom_tags\":[]}}");
	assert_false(has(f, "/status/custom_tags"));
	call_api(f, "PATCH", "/projects/p", "{\"spec\":{\"pg_version\":16}}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'spec.pg_version' cannot be changed");
	call_api(f, "PATCH", "/projects/p?update_mask=spec.nope", "{}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Unknown field path in update_mask");
	/* New branches get the defaults that are in force then. */
	perform(f, "PATCH", "/projects/p?update_mask=spec.default_endpoint_settings",
	        "{\"spec\":{\"default_endpoint_settings\":{\"autoscaling_limit_max_cu\":8,\"suspend_timeout_"
	        "duration\":\"300s\"}}}");
	perform(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
	call_api(f, "GET", "/projects/p/branches/dev/endpoints/primary", NULL);
	assert_int_equal(yyjson_get_int(yyjson_ptr_get(f->json, "/status/autoscaling_limit_max_cu")), 8);
	assert_string_equal(text_at(f, "/status/suspend_timeout_duration"), "300s");
}

static void endpoints_are_patched_and_disabled(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
#define E "/projects/p/branches/production/endpoints/primary"
	perform(f, "PATCH", E "?update_mask=spec.settings,spec.suspension",
	        "{\"spec\":{\"no_suspension\":true,\"settings\":{\"pg_settings\":{\"work_mem\":\"8MB\"}},"
	        "\"disabled\":true}}");
	assert_false(has(f, "/status/suspend_timeout_duration"));
	assert_string_equal(text_at(f, "/status/settings/pg_settings/work_mem"), "8MB");
	assert_true(yyjson_is_false(yyjson_ptr_get(f->json, "/status/disabled")));
	assert_int_equal(f->machine->done[STEP_APPLY], 1);
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));

	f->machine->is_holding = true;
	CLEANUP(free_text)
	char *name =
	        begin_operation(f, "PATCH", E "?update_mask=spec.disabled", "{\"spec\":{\"disabled\":true}}");
	for (int i = 0; i < 5; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	call_api(f, "GET", E, NULL);
	assert_string_equal(text_at(f, "/status/current_state"), "ACTIVE");
	assert_string_equal(text_at(f, "/status/pending_state"), "IDLE");
	machine_release();
	finish_operation(f, name);
	assert_string_equal(text_at(f, "/response/status/current_state"), "IDLE");
	assert_false(has(f, "/response/status/pending_state"));
	assert_true(yyjson_is_true(yyjson_ptr_get(f->json, "/response/status/disabled")));
	assert_int_equal(machine_state(uid), FLEET_ASLEEP);

	/* A branch can still be made of it, and then it sleeps again. */
	perform(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
	assert_int_equal(machine_state(uid), FLEET_ASLEEP);
	perform(f, "PATCH", E "?update_mask=spec",
	        "{\"spec\":{\"endpoint_type\":\"ENDPOINT_TYPE_READ_WRITE\",\"disabled\":false}}");
	assert_string_equal(text_at(f, "/status/current_state"), "IDLE");
	call_api(f, "PATCH", E, "{\"spec\":{\"endpoint_type\":\"ENDPOINT_TYPE_READ_ONLY\"}}");
	expect_error(
	        f, 400, "INVALID_PARAMETER_VALUE", "Field 'endpoint.spec.endpoint_type' cannot be changed");
	call_api(f, "PATCH", E "?update_mask=spec.autoscaling_limit_min_cu",
	        "{\"spec\":{\"autoscaling_limit_min_cu\":2}}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE",
	        "Field 'spec.autoscaling_limit_min_cu' (2) must not be above");
}

/* Checklist 20. */
static void deleted_things_come_back_or_go(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
	call_api(f, "POST", "/projects/p/branches/dev/undelete", "{}");
	expect_error(f, 400, "INVALID_STATE", "");
	perform(f, "DELETE", "/projects/p/branches/dev", NULL);
	call_api(f, "GET", "/projects/p/branches", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "branches")), 1);
	call_api(f, "GET", "/projects/p/branches?show_deleted=true", NULL);
	assert_string_equal(text_at(f, "/branches/1/status/current_state"), "DELETED");
	call_api(f, "GET", "/projects/p/branches/dev", NULL);
	assert_int_equal(f->http_status, 200);
	assert_true(has(f, "/status/delete_time") && has(f, "/status/purge_time"));
	static const char *const hidden[] = { "/projects/p/branches/dev/endpoints",
		"/projects/p/branches/dev/roles" };
	for (size_t i = 0; i < ARRAY_LEN(hidden); i++) {
		call_api(f, "GET", hidden[i], NULL);
		expect_error(f, 404, "NOT_FOUND", "branch id not found");
	}
	call_api(f, "POST", "/projects/p/branches?branch_id=dev&replace_existing=true", NO_EXPIRY);
	expect_error(f, 409, "ALREADY_EXISTS", "branch with such id already exists");
	call_api(f, "DELETE", "/projects/p/branches/dev", NULL);
	expect_error(f, 404, "NOT_FOUND", "branch id not found");
	perform(f, "DELETE", "/projects/p/branches/nope?allow_missing=true", NULL);
	assert_int_equal(machine_volume_count(), 2);
	perform(f, "POST", "/projects/p/branches/dev/undelete", NULL);
	assert_string_equal(text_at(f, "/status/current_state"), "READY");
	assert_false(has(f, "/status/delete_time"));

	perform(f, "DELETE", "/projects/p", NULL);
	call_api(f, "GET", "/projects/p/branches", NULL);
	expect_error(f, 404, "NOT_FOUND", "project id not found");
	call_api(f, "GET", "/projects/p", NULL);
	assert_true(has(f, "/delete_time") && has(f, "/purge_time"));
	perform(f, "POST", "/projects/p/undelete", "{}");
	call_api(f, "GET", "/projects/p/branches", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "branches")), 2);

	perform(f, "DELETE", "/projects/p", NULL);
	CLEANUP(free_text) char *name = begin_operation(f, "DELETE", "/projects/p?purge=true", NULL);
	/* The name is free at once, while its files still go. */
	CLEANUP(free_text) char *again = begin_operation(f, "POST", "/projects?project_id=p", NULL);
	finish_operation(f, name);
	finish_operation(f, again);
	assert_true(has(f, "/response"));
	assert_int_equal(machine_volume_count(), 1);
	assert_int_equal(machine_compute_count(), 1);
	call_api(f, "POST", "/projects/q/undelete", "{}");
	expect_error(f, 404, "NOT_FOUND", "project id not found");
}

/* Checklist 22. */
static void pages_are_walked_once(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects/p/branches?branch_id=b", NO_EXPIRY);
	perform(f, "POST", "/projects/p/branches?branch_id=a", NO_EXPIRY);
	static const char *const order[] = { "production", "b", "a", "late" };
	CLEANUP(free_text) char *path = xstrdup("/projects/p/branches?page_size=1");
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		call_api(f, "GET", path, NULL);
		assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "branches")), 1);
		assert_string_equal(text_at(f, "/branches/0/branch_id"), order[i]);
		free(path);
		path = xasprintf(
		        "/projects/p/branches?page_size=1&page_token=%s", text_at(f, "/next_page_token"));
		if (i == 0)
			perform(f, "POST", "/projects/p/branches?branch_id=late", NO_EXPIRY);
	}
	assert_false(has(f, "/next_page_token"));
	call_api(f, "GET", "/projects/p/branches?page_size=-1", NULL);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "page_size");
	call_api(f, "GET", "/projects/p/branches?page_token=x", NULL);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "page_token");
	perform(f, "POST", "/projects/p/branches?branch_id=five", NO_EXPIRY);
	call_api(f, "POST", "/projects/p/branches?branch_id=six", NO_EXPIRY);
	expect_error(f, 400, "QUOTA_EXCEEDED", "the project has reached its limit of 5 branches");
}

/* Checklist 23 and 24, as far as it is the control plane's. */
static void credentials_are_minted(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	call_api(f, "GET", E, NULL);
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));
#define NAME "projects/p/branches/production/endpoints/primary"
	call_api(f, "POST", "/credentials", "{\"endpoint\":\"" NAME "\"}");
	assert_int_equal(f->http_status, 200);
	struct token_claims claims;
	struct error err;
	int64_t expires;
	assert_true(clock_parse_timestamp(slice_from_text(text_at(f, "/expire_time")), &expires));
	assert_int_equal(token_verify(f->token_key, slice_from_text(text_at(f, "/token")),
	                         expires - 3599 * USEC_PER_SEC, &claims, &err),
	        STATUS_OK);
	assert_string_equal(claims.login, "alice@example.com");
	assert_int_equal(claims.endpoint_count, 1);
	assert_string_equal(claims.endpoints[0], uid);
	assert_int_equal(claims.expires_usec, expires);
	static const struct {
		const char *body;
		int http_status;
		const char *message;
	} cases[] = {
		{ "{}", 400, "Field 'endpoint' is required" },
		{ "", 400, "Field 'endpoint' is required" },
		{ "{\"endpoint\":\"\"}", 400, "Field 'endpoint' is required" },
		{ "{\"endpoint\":5}", 400, "Field 'endpoint' must be a string" },
		{ "{\"endpoint\":\"primary\"}", 400, "Field 'endpoint' must be a full name" },
		{ "{\"endpoint\":\"projects/p/branches/production/endpoints/x\"}", 404,
		        "endpoint id not found" },
		{ "{\"endpoint\":\"" NAME "\",\"ttl\":\"299s\"}", 400, "Field 'ttl'" },
		{ "{\"endpoint\":\"" NAME "\",\"ttl\":\"3601s\"}", 400, "Field 'ttl'" },
		{ "{\"endpoint\":\"" NAME "\",\"ttl\":\"300s\"}", 200, "" },
		{ "{\"endpoint\":\"" NAME "\",\"expire_time\":\"2020-01-01T00:00:00Z\"}", 400,
		        "Field 'expire_time'" },
		{ "{\"endpoint\":\"" NAME "\",\"ttl\":\"300s\",\"expire_time\":\"2020-01-01T00:00:00Z\"}",
		        400, "Fields 'ttl'" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		call_api(f, "POST", "/credentials", cases[i].body);
		assert_int_equal(f->http_status, cases[i].http_status);
		if (strncmp(text_at(f, "/message"), cases[i].message, strlen(cases[i].message)) != 0)
			fail_msg("%s: %s", cases[i].body, text_at(f, "/message"));
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, control_fixture_set_up, control_fixture_tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(callers_without_a_good_token_learn_nothing),
		TEST(unknown_paths_and_verbs_are_json),
		TEST(me_is_the_caller),
		TEST(a_project_begins_with_all_it_needs),
		TEST(create_requests_are_checked),
		TEST(names_are_taken_and_counted),
		TEST(parents_are_looked_for_from_the_left),
		TEST(what_is_not_served_says_so),
		TEST(branches_need_an_expiration_and_inherit),
		TEST(declarative_tools_adopt_what_is_there),
		TEST(what_must_stay_stays),
		TEST(the_default_branch_moves_and_is_kept),
		TEST(projects_are_patched_by_mask),
		TEST(endpoints_are_patched_and_disabled),
		TEST(deleted_things_come_back_or_go),
		TEST(pages_are_walked_once),
		TEST(credentials_are_minted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
