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

#define TOKEN "Bearer dapi00000000000000000000000000000000"

static yyjson_val *call_db(struct control_fixture *f, const char *method, const char *path, const char *body)
{
	CLEANUP(free_text) char *whole = xasprintf("/api/2.0/database%s", path);
	return call_raw(f, method, whole, body, TOKEN);
}

static void expect_ok(const struct control_fixture *f)
{
	if (f->http_status != 200)
		fail_msg("%d %s", f->http_status, text_at(f, "/message"));
}

/* Until nothing happens any more. */
static void rest(struct control_fixture *f)
{
	for (int i = 0; i < 5; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	settle(f);
}

/* Created, and available. */
static void create(struct control_fixture *f, const char *body)
{
	call_db(f, "POST", "/instances", body);
	expect_ok(f);
	assert_string_equal(text_at(f, "/state"), "STARTING");
	CLEANUP(free_text) char *path = xasprintf("/instances/%s", text_at(f, "/name"));
	rest(f);
	call_db(f, "GET", path, NULL);
	assert_string_equal(text_at(f, "/state"), "AVAILABLE");
}

static int64_t number_at(const struct control_fixture *f, const char *pointer)
{
	return yyjson_get_sint(yyjson_ptr_get(f->json, pointer));
}

static bool is_true_at(const struct control_fixture *f, const char *pointer)
{
	yyjson_val *value = yyjson_ptr_get(f->json, pointer);
	assert_true(yyjson_is_bool(value));
	return yyjson_is_true(value);
}

static void an_instance_is_a_project(void **state)
{
	struct control_fixture *f = *state;
	call_db(f, "POST", "/instances",
	        "{\"name\":\"my-db\",\"capacity\":\"CU_1\",\"retention_window_in_days\":14,\"stopped\":false,"
	        "\"custom_tags\":[{\"key\":\"k\",\"value\":\"v\"}],\"usage_policy_id\":\"u\"}");
	expect_ok(f);
	/* What was given comes back in answers to changes, and only there. */
	assert_string_equal(text_at(f, "/state"), "STARTING");
	assert_int_equal(number_at(f, "/retention_window_in_days"), 14);
	assert_false(is_true_at(f, "/stopped"));
	assert_string_equal(text_at(f, "/custom_tags/0/key"), "k");
	assert_string_equal(text_at(f, "/usage_policy_id"), "u");
	assert_false(has(f, "/node_count") || has(f, "/enable_pg_native_login"));
	rest(f);
	call_db(f, "GET", "/instances/my-db", NULL);
	static const char *const texts[][2] = { { "/name", "my-db" }, { "/state", "AVAILABLE" },
		{ "/capacity", "CU_1" }, { "/effective_capacity", "CU_1" },
		{ "/pg_version", "PG_VERSION_17" }, { "/creator", "alice@example.com" },
		{ "/read_write_dns", "127.64.0.2" }, { "/effective_custom_tags/0/value", "v" },
		{ "/effective_usage_policy_id", "u" } };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_string_equal(text_at(f, texts[i][0]), texts[i][1]);
	assert_int_equal(number_at(f, "/effective_node_count"), 1);
	assert_int_equal(number_at(f, "/effective_retention_window_in_days"), 14);
	assert_false(is_true_at(f, "/effective_stopped") ||
	             is_true_at(f, "/effective_enable_pg_native_login") ||
	             is_true_at(f, "/effective_enable_readable_secondaries"));
	static const char *const absent[] = { "/custom_tags", "/stopped", "/retention_window_in_days",
		"/usage_policy_id", "/read_only_dns", "/parent_instance_ref", "/child_instance_refs" };
	for (size_t i = 0; i < ARRAY_LEN(absent); i++)
		assert_false(has(f, absent[i]));
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));

	call_api(f, "GET", "/projects/my-db", NULL);
	assert_string_equal(text_at(f, "/uid"), uid);
	assert_string_equal(text_at(f, "/status/history_retention_duration"), "1209600s");
	call_api(f, "GET", "/projects/my-db/branches/production/endpoints/primary", NULL);
	assert_int_equal(number_at(f, "/status/autoscaling_limit_min_cu"), 8);
	assert_int_equal(number_at(f, "/status/autoscaling_limit_max_cu"), 8);

	CLEANUP(free_text) char *by_uid = xasprintf("/instances:findByUid?uid=%s", uid);
	call_db(f, "GET", by_uid, NULL);
	assert_string_equal(text_at(f, "/name"), "my-db");
	call_db(f, "PATCH", "/instances/my-db/upgrade", NULL);
	assert_int_equal(yyjson_obj_size(f->json), 0);
	expect_ok(f);
}

static void a_project_is_an_instance(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p",
	        "{\"initial_endpoint_spec\":{\"autoscaling_limit_max_cu\":9}}");
	perform(f, "POST", "/projects/p/branches?branch_id=dev", "{\"spec\":{\"no_expiry\":true}}");
	call_db(f, "GET", "/instances/P", NULL);
	assert_string_equal(text_at(f, "/name"), "p");
	assert_string_equal(text_at(f, "/capacity"), "CU_2");
	assert_false(has(f, "/child_instance_refs")); /* nobody called the branch an instance */
	call_db(f, "GET", "/instances", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "database_instances")), 1);
	call_db(f, "GET", "/instances/dev", NULL);
	expect_error(f, 404, "NOT_FOUND", "database instance 'dev' not found");
	/* A change of something else leaves a size that no capacity has. */
	call_db(f, "PATCH", "/instances/p?update_mask=capacity,retention_window_in_days",
	        "{\"capacity\":\"CU_2\",\"retention_window_in_days\":3}");
	expect_ok(f);
	call_api(f, "GET", "/projects/p/branches/production/endpoints/primary", NULL);
	assert_int_equal(number_at(f, "/status/autoscaling_limit_max_cu"), 9);
	perform(f, "DELETE", "/projects/p", NULL); /* softly */
	call_db(f, "GET", "/instances/p", NULL);
	expect_error(f, 404, "NOT_FOUND", "database instance 'p' not found");
	call_db(f, "GET", "/instances", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "database_instances")), 0);
	call_db(f, "POST", "/instances", "{\"name\":\"p\"}");
	expect_error(f, 409, "ALREADY_EXISTS", "database instance 'p' already exists; it is deleted");
}

static void names_keep_their_case(void **state)
{
	struct control_fixture *f = *state;
	create(f, "{\"name\":\"My-DB\"}");
	assert_string_equal(text_at(f, "/capacity"), "CU_2");
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));
	static const char *const spellings[] = { "/instances/My-DB", "/instances/my-db", "/instances/MY-DB" };
	for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
		call_db(f, "GET", spellings[i], NULL);
		assert_string_equal(text_at(f, "/name"), "My-DB");
		assert_string_equal(text_at(f, "/uid"), uid);
	}
	call_api(f, "GET", "/projects/my-db", NULL);
	assert_string_equal(text_at(f, "/status/display_name"), "My-DB");
	assert_string_equal(text_at(f, "/uid"), uid);
	call_db(f, "POST", "/instances", "{\"name\":\"my-db\"}");
	expect_error(f, 409, "ALREADY_EXISTS", "database instance 'My-DB' already exists");
	call_api(f, "POST", "/projects?project_id=my-db", NULL);
	expect_error(f, 409, "ALREADY_EXISTS", "project with such id");
	call_db(f, "PATCH", "/instances/my-db", "{\"name\":\"other\"}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'name' cannot be changed");
	/* Tags are the project's, although there is a row. */
	call_db(f, "PATCH", "/instances/my-db", "{\"custom_tags\":[{\"key\":\"k\",\"value\":\"v\"}]}");
	assert_string_equal(text_at(f, "/effective_custom_tags/0/key"), "k");
	call_api(f, "GET", "/projects/my-db", NULL);
	assert_string_equal(text_at(f, "/status/custom_tags/0/key"), "k");
	call_db(f, "DELETE", "/instances/my-db", NULL);
	expect_ok(f);
	create(f, "{\"name\":\"my-DB\"}"); /* the name is free at once */
	assert_string_equal(text_at(f, "/name"), "my-DB");
}

static void requests_are_refused_with_reasons(void **state)
{
	struct control_fixture *f = *state;
	create(f, "{\"name\":\"a\"}");
	static const struct {
		const char *body;
		int http_status;
		const char *code, *message;
	} bad[] = {
		{ "", 400, "INVALID_PARAMETER_VALUE", "Field 'name' is required" },
		{ "{\"name\":\"a_b\"}", 400, "INVALID_PARAMETER_VALUE", "Field name must match pattern" },
		{ "[]", 400, "MALFORMED_REQUEST", "" },
		{ "{\"name\":\"a\"}", 409, "ALREADY_EXISTS", "database instance 'a' already exists" },
		{ "{\"name\":\"b\",\"node_count\":2,\"enable_readable_secondaries\":true}", 501,
		        "NOT_IMPLEMENTED", "Field 'node_count'" },
		{ "{\"name\":\"b\",\"pg_version\":\"PG_VERSION_16\"}", 400, "INVALID_PARAMETER_VALUE",
		        "Field 'pg_version': no PostgreSQL 16" },
		{ "{\"name\":\"b\",\"parent_instance_ref\":{\"name\":\"c\"}}", 404, "NOT_FOUND",
		        "database instance 'c' not found" },
		{ "{\"name\":\"b\",\"parent_instance_ref\":{\"uid\":\"c\"}}", 404, "NOT_FOUND",
		        "database instance with uid 'c'" },
		{ "{\"name\":\"b\",\"parent_instance_ref\":{\"name\":\"a\",\"uid\":\"c\"}}", 400,
		        "INVALID_PARAMETER_VALUE", "Fields 'parent_instance_ref.name'" },
		{ "{\"name\":\"b\",\"parent_instance_ref\":{\"name\":\"a\"},\"retention_window_in_days\":8}",
		        400, "INVALID_PARAMETER_VALUE",
		        "Field 'retention_window_in_days': a child instance has" },
		{ "{\"name\":\"b\",\"parent_instance_ref\":{\"name\":\"a\"},\"enable_pg_native_login\":true}",
		        400, "INVALID_PARAMETER_VALUE",
		        "Field 'enable_pg_native_login': a child instance has" },
		{ "{\"name\":\"b\",\"parent_instance_ref\":{\"name\":\"a\"},\"pg_version\":\"16\"}", 400,
		        "INVALID_PARAMETER_VALUE", "Field 'pg_version': a child instance has" },
		{ "{\"name\":\"production\",\"parent_instance_ref\":{\"name\":\"a\"}}", 409, "ALREADY_EXISTS",
		        "project 'a' has a branch 'production' already" },
		{ "{\"name\":\"b\",\"parent_instance_ref\":{\"name\":\"a\",\"branch_time\":\"2999-01-01T00:"
		  "00:00Z\"}}",
		        400, "INVALID_PARAMETER_VALUE", "Field 'parent_instance_ref.branch_time' must not" },
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		call_db(f, "POST", "/instances", bad[i].body);
		expect_error(f, bad[i].http_status, bad[i].code, bad[i].message);
	}
	static const struct {
		const char *method, *path, *body;
		int http_status;
		const char *message;
	} others[] = {
		{ "GET", "/instances/x", NULL, 404, "database instance 'x' not found" },
		{ "GET", "/instances/a%2Fb", NULL, 404, "database instance 'a/b' not found" },
		{ "GET", "/instances:findByUid", NULL, 400, "Field 'uid' is required" },
		{ "GET", "/instances:findByUid?uid=x", NULL, 404,
		        "database instance with uid 'x' not found" },
		{ "PATCH", "/instances/a?update_mask=uid", "{}", 400, "Unknown field path in update_mask" },
		{ "PATCH", "/instances/x", "{}", 404, "database instance 'x' not found" },
		{ "PATCH", "/instances/a", "{\"node_count\":3}", 501, "Field 'node_count'" },
		{ "DELETE", "/instances/a?purge=false", NULL, 400, "purge=false is not allowed" },
		{ "DELETE", "/instances/a?force=maybe", NULL, 400, "" },
		{ "DELETE", "/instances/x", NULL, 404, "database instance 'x' not found" },
		{ "POST", "/instances/a/failover", "{}", 501, "not available yet: failing over" },
		{ "POST", "/instances/x/failover", "{}", 404, "database instance 'x' not found" },
		{ "GET", "/instances/x/synced_tables", NULL, 404, "database instance 'x' not found" },
		{ "GET", "/instances/x/catalogs", NULL, 404, "database instance 'x' not found" },
		{ "GET", "/instances/x/roles", NULL, 404, "database instance 'x' not found" },
		{ "GET", "/instances/a/roles/x", NULL, 404, "role 'x' not found in database instance 'a'" },
		{ "POST", "/catalogs", "{}", 501, "not available yet: registering catalogs" },
		{ "GET", "/catalogs/c", NULL, 404, "catalog id not found" },
		{ "POST", "/synced_tables", "{}", 501, "not available yet: synced tables" },
		{ "GET", "/synced_tables/a.b.c", NULL, 404, "synced table id not found" },
		{ "POST", "/tables", "{}", 501, "not available yet: tables" },
		{ "GET", "/tables/a.b.c", NULL, 404, "table id not found" },
		{ "GET", "/instances?page_size=-1", NULL, 400, "" },
		{ "PUT", "/instances/a", "{}", 405, "" },
	};
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		call_db(f, others[i].method, others[i].path, others[i].body);
		if (f->http_status != others[i].http_status ||
		        strncmp(text_at(f, "/message"), others[i].message, strlen(others[i].message)) != 0)
			fail_msg("%s %s: %d %s", others[i].method, others[i].path, f->http_status,
			        text_at(f, "/message"));
	}
	call_db(f, "GET", "/instances", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "database_instances")), 1);
	static const char *const empty[][2] = { { "/instances/a/catalogs", "database_catalogs" },
		{ "/instances/a/synced_tables", "synced_tables" } };
	for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
		call_db(f, "GET", empty[i][0], NULL);
		assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, empty[i][1])), 0);
		expect_ok(f);
	}
}

static void children_are_branches(void **state)
{
	struct control_fixture *f = *state;
	create(f, "{\"name\":\"main\",\"capacity\":\"CU_4\"}");
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));
	create(f, "{\"name\":\"Kid\",\"parent_instance_ref\":{\"name\":\"main\"},"
	          "\"custom_tags\":[{\"key\":\"own\",\"value\":\"1\"}],\"retention_window_in_days\":7}");
	assert_string_equal(text_at(f, "/name"), "Kid");
	assert_string_equal(text_at(f, "/capacity"), "CU_4"); /* as its parent */
	assert_string_equal(text_at(f, "/parent_instance_ref/name"), "main");
	assert_string_equal(text_at(f, "/parent_instance_ref/uid"), uid);
	assert_string_equal(text_at(f, "/parent_instance_ref/effective_lsn"), "0/3000120");
	assert_false(has(f, "/parent_instance_ref/lsn") || has(f, "/parent_instance_ref/branch_time"));
	assert_string_equal(text_at(f, "/effective_custom_tags/0/key"), "own");
	CLEANUP(free_text) char *kid_uid = xstrdup(text_at(f, "/uid"));
	assert_string_not_equal(kid_uid, uid);
	call_api(f, "GET", "/projects/main/branches/kid", NULL);
	assert_string_equal(text_at(f, "/status/source_branch"), "projects/main/branches/production");
	CLEANUP(free_text)
	char *grandchild = xasprintf("{\"name\":\"grandkid\",\"capacity\":\"CU_1\",\"parent_instance_ref\":{"
	                             "\"uid\":\"%s\",\"lsn\":\"0/3000120\","
	                             "\"branch_time\":\"2020-01-01T00:00:00Z\"}}",
	        kid_uid);
	create(f, grandchild);
	assert_string_equal(text_at(f, "/parent_instance_ref/name"), "Kid");
	assert_string_equal(text_at(f, "/parent_instance_ref/lsn"), "0/3000120");
	assert_string_equal(text_at(f, "/parent_instance_ref/branch_time"), "2020-01-01T00:00:00Z");
	assert_string_equal(text_at(f, "/capacity"), "CU_1");
	call_db(f, "GET", "/instances/main", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "child_instance_refs")), 1);
	assert_string_equal(text_at(f, "/child_instance_refs/0/name"), "Kid");
	assert_string_equal(text_at(f, "/child_instance_refs/0/uid"), kid_uid);
	assert_false(has(f, "/effective_custom_tags"));
	CLEANUP(free_text) char *by_uid = xasprintf("/instances:findByUid?uid=%s", kid_uid);
	call_db(f, "GET", by_uid, NULL);
	assert_string_equal(text_at(f, "/name"), "Kid");
	/* One name, one thing. */
	call_api(f, "POST", "/projects?project_id=kid", NULL);
	expect_error(f, 409, "ALREADY_EXISTS", "project id 'kid' is taken: a database instance");
	call_db(f, "POST", "/instances", "{\"name\":\"KID\"}");
	expect_error(f, 409, "ALREADY_EXISTS", "database instance 'Kid' already exists");
	/* A child has labels of its own, and not what belongs to the project. */
	call_db(f, "PATCH",
	        "/instances/"
	        "kid?update_mask=capacity,custom_tags,enable_pg_native_login,retention_window_in_days,"
	        "stopped,usage_policy_id",
	        "{\"usage_policy_id\":\"mine\"}");
	expect_ok(f);
	assert_string_equal(text_at(f, "/effective_usage_policy_id"), "mine");
	assert_false(has(f, "/effective_custom_tags"));
	call_db(f, "PATCH", "/instances/kid", "{\"retention_window_in_days\":9}");
	expect_error(
	        f, 400, "INVALID_PARAMETER_VALUE", "Field 'retention_window_in_days': a child instance has");
	call_db(f, "PATCH", "/instances/kid?update_mask=stopped", "{\"retention_window_in_days\":9}");
	expect_ok(f); /* it is not meant */
	call_db(f, "GET", "/instances/main", NULL);
	assert_false(has(f, "/effective_usage_policy_id"));

	call_db(f, "DELETE", "/instances/main", NULL);
	expect_error(f, 400, "BAD_REQUEST", "cannot delete database instance 'main': it has descendants");
	call_db(f, "DELETE", "/instances/kid?purge=true", NULL);
	expect_error(f, 400, "BAD_REQUEST", "cannot delete database instance 'Kid': it has descendants");
	call_db(f, "DELETE", "/instances/kid?force=true&purge=true", NULL);
	expect_ok(f);
	assert_int_equal(yyjson_obj_size(f->json), 0);
	call_db(f, "GET", "/instances/kid", NULL);
	expect_error(f, 404, "NOT_FOUND", "");
	call_db(f, "GET", "/instances/grandkid", NULL);
	expect_error(f, 404, "NOT_FOUND", "");
	call_db(f, "GET", "/instances/main", NULL);
	assert_false(has(f, "/child_instance_refs"));
	create(f,
	        "{\"name\":\"kid\",\"parent_instance_ref\":{\"name\":\"main\"}}"); /* the names are free at once */
	rest(f);
	assert_int_equal(machine_volume_count(), 2);
	call_db(f, "DELETE", "/instances/main?force=true", NULL);
	expect_ok(f);
	rest(f);
	assert_int_equal(machine_volume_count(), 0);
	assert_int_equal(machine_compute_count(), 0);
	create(f, "{\"name\":\"kid\"}");
}

static void what_is_protected_stays(void **state)
{
	struct control_fixture *f = *state;
	create(f, "{\"name\":\"a\"}");
	create(f, "{\"name\":\"b\",\"parent_instance_ref\":{\"name\":\"a\"}}");
	create(f, "{\"name\":\"c\",\"parent_instance_ref\":{\"name\":\"b\"}}");
	perform(f, "PATCH", "/projects/a/branches/c?update_mask=spec.is_protected",
	        "{\"spec\":{\"is_protected\":true}}");
	static const char *const paths[] = { "/instances/a?force=true", "/instances/b?force=true",
		"/instances/c" };
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		call_db(f, "DELETE", paths[i], NULL);
		expect_error(f, 400, "BAD_REQUEST", "cannot delete ");
	}
	call_db(f, "GET", "/instances", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "database_instances")), 3);
	assert_string_equal(text_at(f, "/database_instances/2/name"), "c");
}

static void it_stops_and_starts(void **state)
{
	struct control_fixture *f = *state;
	create(f, "{\"name\":\"a\"}");
	f->machine->is_holding = true;
	call_db(f, "PATCH", "/instances/a?update_mask=*", "{\"stopped\":true}");
	expect_ok(f);
	assert_true(is_true_at(f, "/stopped") && is_true_at(f, "/effective_stopped"));
	assert_string_equal(text_at(f, "/state"), "UPDATING");
	f->machine->is_holding = false;
	for (int i = 0; i < 20; i++) {
		machine_release();
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	}
	rest(f);
	call_db(f, "GET", "/instances/a", NULL);
	assert_string_equal(text_at(f, "/state"), "STOPPED");
	assert_string_equal(text_at(f, "/capacity"), "CU_2");          /* nothing else has changed */
	call_db(f, "PATCH", "/instances/a?update_mask=stopped", "{}"); /* older clients drop false */
	rest(f);
	call_db(f, "GET", "/instances/a", NULL);
	assert_string_equal(text_at(f, "/state"), "AVAILABLE");
	assert_false(is_true_at(f, "/effective_stopped"));

	/* Stopped from the beginning: started only to make its roles. */
	call_db(f, "POST", "/instances", "{\"name\":\"b\",\"stopped\":true}");
	expect_ok(f);
	rest(f);
	call_db(f, "GET", "/instances/b", NULL);
	assert_string_equal(text_at(f, "/state"), "STOPPED");
	call_api(f, "GET", "/projects/b/branches/production/endpoints/primary", NULL);
	assert_string_equal(text_at(f, "/status/current_state"), "IDLE");
	call_db(f, "PATCH", "/instances/b", "{\"stopped\":false,\"capacity\":\"CU_8\"}");
	rest(f);
	call_db(f, "GET", "/instances/b", NULL);
	assert_string_equal(text_at(f, "/state"), "AVAILABLE");
	assert_string_equal(text_at(f, "/capacity"), "CU_8");
}

static void masks_say_what_is_meant(void **state)
{
	struct control_fixture *f = *state;
	create(f, "{\"name\":\"a\",\"capacity\":\"CU_1\",\"retention_window_in_days\":14,\"usage_policy_id\":"
	          "\"u\","
	          "\"enable_pg_native_login\":true,\"custom_tags\":[{\"key\":\"k\",\"value\":\"v\"}]}");
	assert_true(is_true_at(f, "/effective_enable_pg_native_login"));
	call_db(f, "PATCH", "/instances/a?update_mask=*", "{\"capacity\":\"CU_4\",\"name\":\"a\"}");
	rest(f);
	call_db(f, "GET", "/instances/a", NULL);
	assert_string_equal(text_at(f, "/capacity"), "CU_4");
	assert_int_equal(number_at(f, "/effective_retention_window_in_days"), 14);
	assert_string_equal(text_at(f, "/effective_usage_policy_id"), "u");
	call_db(f, "PATCH", "/instances/a?update_mask=usage_policy_id",
	        "{\"usage_policy_id\":\"w\",\"retention_window_in_days\":3}");
	assert_string_equal(text_at(f, "/effective_usage_policy_id"), "w");
	assert_int_equal(number_at(f, "/effective_retention_window_in_days"), 14);
	call_db(f, "PATCH",
	        "/instances/"
	        "a?update_mask=capacity,custom_tags,enable_pg_native_login,enable_readable_secondaries,node_"
	        "count,"
	        "retention_window_in_days,stopped,usage_policy_id",
	        "{}");
	expect_ok(f);
	assert_string_equal(text_at(f, "/capacity"), "CU_4"); /* there is always one */
	assert_int_equal(number_at(f, "/effective_retention_window_in_days"), 7);
	assert_false(is_true_at(f, "/effective_enable_pg_native_login"));
	assert_false(has(f, "/effective_usage_policy_id") || has(f, "/effective_custom_tags"));
}

static void pages_are_walked_once(void **state)
{
	struct control_fixture *f = *state;
	create(f, "{\"name\":\"a\"}");
	create(f, "{\"name\":\"b\"}");
	create(f, "{\"name\":\"kid\",\"parent_instance_ref\":{\"name\":\"a\"}}");
	static const char *const expected[] = { "a", "b", "kid" };
	CLEANUP(free_text) char *token = xstrdup("");
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		CLEANUP(free_text) char *path = xasprintf("/instances?page_size=1&page_token=%s", token);
		call_db(f, "GET", path, NULL);
		expect_ok(f);
		assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "database_instances")), 1);
		assert_string_equal(text_at(f, "/database_instances/0/name"), expected[i]);
		free(token);
		token = xstrdup(text_at(f, "/next_page_token"));
	}
	assert_string_equal(token, "");
	call_api(f, "GET", "/projects?page_size=1", NULL);
	CLEANUP(free_text)
	char *foreign = xasprintf("/instances?page_token=%s", text_at(f, "/next_page_token"));
	call_db(f, "GET", foreign, NULL);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "");
}

static void one_credential_opens_what_is_named(void **state)
{
	struct control_fixture *f = *state;
	create(f, "{\"name\":\"a\"}");
	create(f, "{\"name\":\"Kid\",\"parent_instance_ref\":{\"name\":\"a\"}}");
	create(f, "{\"name\":\"b\"}");
	static const char *const branches[] = { "/projects/a/branches/production", "/projects/a/branches/kid",
		"/projects/b/branches/production" };
	char uids[3][64];
	for (size_t i = 0; i < ARRAY_LEN(branches); i++) {
		CLEANUP(free_text) char *path = xasprintf("%s/endpoints/primary", branches[i]);
		call_api(f, "GET", path, NULL);
		(void)snprintf(uids[i], sizeof uids[i], "%s", text_at(f, "/uid"));
	}
	call_db(f, "POST", "/credentials",
	        "{\"instance_names\":[\"a\",\"kid\",\"A\"],\"request_id\":\"r\",\"claims\":[]}");
	expect_ok(f);
	struct token_claims claims;
	struct error err;
	int64_t expires;
	assert_true(clock_parse_timestamp(slice_from_text(text_at(f, "/expiration_time")), &expires));
	assert_int_equal(token_verify(f->token_key, slice_from_text(text_at(f, "/token")),
	                         expires - USEC_PER_SEC, &claims, &err),
	        STATUS_OK);
	assert_string_equal(claims.login, "alice@example.com");
	assert_int_equal(claims.endpoint_count, 2);
	assert_true(token_claims_name(&claims, uids[0]) && token_claims_name(&claims, uids[1]));
	assert_false(token_claims_name(&claims, uids[2]));
	assert_int_equal(claims.expires_usec, expires);
	static const struct {
		const char *body;
		int http_status;
		const char *message;
	} bad[] = {
		{ "{}", 400, "Field 'instance_names' is required" },
		{ "{\"instance_names\":[]}", 400, "Field 'instance_names' is required" },
		{ "{\"instance_names\":\"a\"}", 400, "Field 'instance_names' must be a list" },
		{ "{\"instance_names\":[1]}", 400, "Field 'instance_names' must be a list of names" },
		{ "{\"instance_names\":[\"a\\u0000\"]}", 400,
		        "Field 'instance_names' must be a list of names" },
		{ "{\"instance_names\":[\"a\",\"x\"]}", 404, "database instance 'x' not found" },
		{ "{\"instance_names\":[\"a\"],\"request_id\":1}", 400, "Field 'request_id'" },
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		call_db(f, "POST", "/credentials", bad[i].body);
		if (f->http_status != bad[i].http_status ||
		        strncmp(text_at(f, "/message"), bad[i].message, strlen(bad[i].message)) != 0)
			fail_msg("%s: %d %s", bad[i].body, f->http_status, text_at(f, "/message"));
	}
}

static void what_failed_is_told(void **state)
{
	struct control_fixture *f = *state;
	f->machine->fail_with[STEP_VOLUME_CREATE] = STATUS_IO;
	f->machine->fail_times[STEP_VOLUME_CREATE] = 1;
	call_db(f, "POST", "/instances", "{\"name\":\"A\"}");
	expect_ok(f);
	rest(f);
	call_db(f, "GET", "/instances/A", NULL);
	expect_error(f, 404, "NOT_FOUND", "database instance 'A' not found; it could not be created: ");
	create(f, "{\"name\":\"a\"}"); /* and nothing is left of it */
	f->machine->fail_with[STEP_CLONE] = STATUS_IO;
	f->machine->fail_times[STEP_CLONE] = 1;
	call_db(f, "POST", "/instances", "{\"name\":\"kid\",\"parent_instance_ref\":{\"name\":\"a\"}}");
	expect_ok(f);
	rest(f);
	call_db(f, "GET", "/instances/kid", NULL);
	expect_error(f, 404, "NOT_FOUND", "database instance 'kid' not found; it could not be created: ");
	create(f, "{\"name\":\"kid\",\"parent_instance_ref\":{\"name\":\"a\"}}");
}

static void run_some(struct control_fixture *f, int turns)
{
	for (int i = 0; i < turns; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

/* At any moment the process may go: an instance that was promised comes, with its name, and nothing twice. */
static void a_child_survives_a_crash_after_every_turn(void **state)
{
	struct control_fixture *f = *state;
	create(f, "{\"name\":\"Main\"}");
	for (int turns = 0; turns < 16; turns++) {
		call_db(f, "POST", "/instances",
		        "{\"name\":\"Kid\",\"parent_instance_ref\":{\"name\":\"main\"}}");
		expect_ok(f);
		run_some(f, turns);
		control_fixture_crash(f);
		rest(f);
		call_db(f, "GET", "/instances/kid", NULL);
		expect_ok(f);
		assert_string_equal(text_at(f, "/name"), "Kid");
		assert_string_equal(text_at(f, "/state"), "AVAILABLE");
		assert_string_equal(text_at(f, "/parent_instance_ref/name"), "Main");
		assert_int_equal(machine_volume_count(), 2);
		call_db(f, "DELETE", "/instances/kid", NULL);
		expect_ok(f);
		run_some(f, turns);
		control_fixture_crash(f);
		rest(f);
		call_db(f, "GET", "/instances/kid", NULL);
		assert_int_equal(f->http_status, 404);
		assert_int_equal(machine_volume_count(), 1);
	}
}

static void roles_and_databases_are_seen(void **state)
{
	struct control_fixture *f = *state;
	create(f, "{\"name\":\"a\"}");
	call_db(f, "GET", "/instances/a/roles", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "database_instance_roles")), 1);
	call_db(f, "GET", "/instances/a/roles/alice@example.com", NULL);
	assert_string_equal(text_at(f, "/name"), "alice@example.com");
	assert_string_equal(text_at(f, "/instance_name"), "a");
	assert_string_equal(text_at(f, "/identity_type"), "USER");
	assert_string_equal(text_at(f, "/membership_role"), "DATABRICKS_SUPERUSER");
	assert_true(
	        is_true_at(f, "/attributes/createdb") && is_true_at(f, "/effective_attributes/bypassrls"));
	call_db(f, "GET", "/instances/a/databases", NULL);
	assert_string_equal(text_at(f, "/databases/0/name"), "databricks_postgres");
	assert_true(is_true_at(f, "/databases/0/is_usable_by_customer"));
}

static void roles_are_made_by_their_names(void **state)
{
	struct control_fixture *f = *state;
	create(f, "{\"name\":\"a\"}");
	/* Requests cannot be held here, so this answers before the operation has ended; tests/system/instances.py waits. */
	call_db(f, "POST", "/instances/a/roles",
	        "{\"name\":\"app_user\",\"identity_type\":\"PG_ONLY\",\"attributes\":{\"createdb\":true}}");
	expect_ok(f);
	assert_string_equal(text_at(f, "/name"), "app_user");
	assert_string_equal(text_at(f, "/identity_type"), "PG_ONLY");
	assert_true(is_true_at(f, "/effective_attributes/createdb"));
	assert_false(is_true_at(f, "/attributes/createrole") || has(f, "/membership_role"));
	rest(f);
	call_api(f, "GET", "/projects/a/branches/production/roles/app-user", NULL);
	assert_string_equal(text_at(f, "/status/auth_method"), "PG_PASSWORD_SCRAM_SHA_256");
	call_db(f, "POST", "/instances/a/roles",
	        "{\"name\":\"bob@example.com\",\"identity_type\":\"USER\",\"membership_role\":\"DATABRICKS_"
	        "SUPERUSER\"}");
	expect_ok(f);
	rest(f);
	call_api(f, "GET", "/projects/a/branches/production/roles", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "roles")), 3);
	static const struct {
		const char *method, *path, *body;
		int http_status;
		const char *message;
	} bad[] = {
		{ "POST", "/instances/a/roles", "{}", 400, "Field 'name' is required" },
		{ "POST", "/instances/a/roles", "{\"name\":\"app_user\"}", 400,
		        "role with that name already exists" },
		{ "POST", "/instances/a/roles", "{\"name\":\"pg_x\"}", 400,
		        "Field 'name': the name 'pg_x' is reserved" },
		{ "POST", "/instances/a/roles", "{\"name\":\"r\",\"identity_type\":\"ALIEN\"}", 400,
		        "Field 'identity_type' must be PG_ONLY" },
		{ "POST", "/instances/a/roles", "{\"name\":\"r\",\"membership_role\":\"x\"}", 400,
		        "Field 'membership_role' must be" },
		{ "POST", "/instances/a/roles", "{\"name\":\"r\",\"attributes\":{\"createdb\":1}}", 400,
		        "Field 'attributes.createdb'" },
		{ "POST", "/instances/x/roles", "{\"name\":\"r\"}", 404, "database instance 'x' not found" },
		{ "DELETE", "/instances/a/roles/r", NULL, 404, "role 'r' not found" },
		{ "DELETE", "/instances/a/roles/app_user?reassign_owned_to=r", NULL, 404,
		        "role 'r' not found" },
		{ "DELETE", "/instances/a/roles/app_user?reassign_owned_to=app_user", NULL, 400,
		        "Field 'reassign_owned_to' must name another role" },
		{ "DELETE", "/instances/a/roles/r?allow_missing=perhaps", NULL, 400, "" },
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		call_db(f, bad[i].method, bad[i].path, bad[i].body);
		if (f->http_status != bad[i].http_status ||
		        strncmp(text_at(f, "/message"), bad[i].message, strlen(bad[i].message)) != 0)
			fail_msg("%s %s: %d %s", bad[i].method, bad[i].path, f->http_status,
			        text_at(f, "/message"));
	}
	call_db(f, "DELETE", "/instances/a/roles/r?allow_missing=true", NULL);
	expect_ok(f);
	call_db(f, "DELETE", "/instances/a/roles/app_user?reassign_owned_to=bob@example.com", NULL);
	expect_ok(f);
	rest(f);
	call_db(f, "GET", "/instances/a/roles/app_user", NULL);
	expect_error(f, 404, "NOT_FOUND", "role 'app_user' not found");
}

static void permissions_go_by_the_older_name(void **state)
{
	struct control_fixture *f = *state;
#define PERMISSIONS "/api/2.0/permissions/database-instances/"
	create(f, "{\"name\":\"My-DB\"}");
	create(f, "{\"name\":\"kid\",\"parent_instance_ref\":{\"name\":\"my-db\"}}");
	call_raw(f, "POST", "/api/2.0/preview/scim/v2/Users", "{\"userName\":\"bob@example.com\"}", TOKEN);
	call_raw(f, "PATCH", PERMISSIONS "My-DB",
	        "{\"access_control_list\":[{\"user_name\":\"bob@example.com\",\"permission_level\":\"CAN_"
	        "USE\"}]}",
	        TOKEN);
	expect_ok(f);
	assert_string_equal(text_at(f, "/object_id"), "/database-instances/My-DB");
	assert_string_equal(text_at(f, "/object_type"), "database-instances");
	call_raw(f, "GET", "/api/2.0/permissions/database-projects/my-db", NULL, TOKEN);
	assert_string_equal(text_at(f, "/object_id"), "/database-projects/my-db");
	assert_string_equal(text_at(f, "/access_control_list/0/user_name"), "bob@example.com");
	call_raw(f, "GET", PERMISSIONS "kid", NULL, TOKEN);
	assert_string_equal(text_at(f, "/access_control_list/0/user_name"), "bob@example.com");
	call_raw(f, "GET", PERMISSIONS "kid/permissionLevels", NULL, TOKEN);
	assert_string_equal(text_at(f, "/permission_levels/0/permission_level"), "CAN_USE");
	/* It would be granted on the parent, too. */
	call_raw(f, "PUT", PERMISSIONS "kid", "{\"access_control_list\":[]}", TOKEN);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE",
	        "database instance 'kid' has the permissions of the project");
	call_raw(f, "GET", PERMISSIONS "none", NULL, TOKEN);
	expect_error(f, 404, "NOT_FOUND", "database instance 'none' not found");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, control_fixture_set_up, control_fixture_tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(an_instance_is_a_project),
		TEST(a_project_is_an_instance),
		TEST(names_keep_their_case),
		TEST(requests_are_refused_with_reasons),
		TEST(children_are_branches),
		TEST(what_is_protected_stays),
		TEST(it_stops_and_starts),
		TEST(masks_say_what_is_meant),
		TEST(pages_are_walked_once),
		TEST(one_credential_opens_what_is_named),
		TEST(what_failed_is_told),
		TEST(a_child_survives_a_crash_after_every_turn),
		TEST(roles_and_databases_are_seen),
		TEST(roles_are_made_by_their_names),
		TEST(permissions_go_by_the_older_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
