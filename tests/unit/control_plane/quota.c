/* Limits (rest-api.md 4.4) and the computes behind an endpoint (3.11). */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "control_fixture.h"
#include "control_plane/compute_spec.h"

#define NO_EXPIRY    "{\"spec\":{\"no_expiry\":true}}"
#define OF_SNAPSHOT  "{\"spec\":{\"no_expiry\":true,\"source_snapshot\":\"projects/p/snapshots/s\"}}"
#define ENDPOINT(b)  "/projects/p/branches/" b "/endpoints/primary"
#define PRIMARY      ENDPOINT("production")
#define SNAPSHOT_NOW "{\"spec\":{\"source_branch\":\"projects/p/branches/production\"}}"

/* Every refusal names the object, the limit and the setting. */
static void expect_quota(const struct control_fixture *f, const char *message, const char *setting)
{
	expect_error(f, 400, "QUOTA_EXCEEDED", message);
	assert_non_null(strstr(text_at(f, "/message"), setting));
}

static void projects_are_counted(void **state)
{
	struct control_fixture *f = *state;
	f->dd.settings.projects = 1;
	perform(f, "POST", "/projects?project_id=p", NULL);
	call_api(f, "POST", "/projects?project_id=q", NULL);
	expect_quota(f, "the workspace has reached its limit of 1 projects", "setting projects");
	perform(f, "DELETE", "/projects/p", NULL); /* can still come back */
	call_api(f, "POST", "/projects?project_id=q", NULL);
	expect_quota(f, "the workspace", "setting projects");
	perform(f, "DELETE", "/projects/p?purge=true", NULL);
	perform(f, "POST", "/projects?project_id=q", NULL);
}

static void roots_are_counted(void **state)
{
	struct control_fixture *f = *state;
	f->dd.settings.root_branches_per_project = 2;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects/p/snapshots?snapshot_id=s", SNAPSHOT_NOW);
	perform(f, "POST", "/projects/p/branches?branch_id=one", OF_SNAPSHOT);
	call_api(f, "POST", "/projects/p/branches?branch_id=two", OF_SNAPSHOT);
	expect_quota(f, "the project has reached its limit of 2 branches without a parent",
	        "root_branches_per_project");
	perform(f, "POST", "/projects/p/branches?branch_id=child", NO_EXPIRY);
	/* A deleted one does not count, and does not come back over the limit. */
	perform(f, "DELETE", "/projects/p/branches/one", NULL);
	perform(f, "POST", "/projects/p/branches?branch_id=two", OF_SNAPSHOT);
	call_api(f, "POST", "/projects/p/branches/one/undelete", "{}");
	expect_quota(f, "the project", "root_branches_per_project");
	perform(f, "DELETE", "/projects/p/branches/two", NULL);
	perform(f, "POST", "/projects/p/branches/one/undelete", "{}");
}

static void protected_ones_are_counted(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", "{\"initial_branch_spec\":{\"is_protected\":true}}");
	call_api(f, "POST", "/projects/p/branches?branch_id=b",
	        "{\"spec\":{\"no_expiry\":true,\"is_protected\":true}}");
	expect_error(f, 400, "BAD_REQUEST", "the project has reached its limit of 1 protected branches");
	f->dd.settings.protected_branches_per_project = 2;
	perform(f, "POST", "/projects/p/branches?branch_id=b",
	        "{\"spec\":{\"no_expiry\":true,\"is_protected\":true}}");
}

static void snapshots_are_counted(void **state)
{
	struct control_fixture *f = *state;
	f->dd.settings.snapshots_per_project = 1;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects/p/snapshots?snapshot_id=a", SNAPSHOT_NOW);
	call_api(f, "POST", "/projects/p/snapshots?snapshot_id=b", SNAPSHOT_NOW);
	expect_quota(f, "the project has reached its limit of 1 snapshots", "snapshots_per_project");
	perform(f, "DELETE", "/projects/p/snapshots/a", NULL);
	perform(f, "POST", "/projects/p/snapshots?snapshot_id=b", SNAPSHOT_NOW);
}

static void roles_and_databases_are_counted(void **state)
{
	struct control_fixture *f = *state;
	f->dd.settings.roles_per_branch = f->dd.settings.databases_per_branch =
	        1; /* the project's first ones */
	perform(f, "POST", "/projects?project_id=p", NULL);
	call_api(f, "POST", "/projects/p/branches/production/roles?role_id=app",
	        "{\"spec\":{\"postgres_role\":\"app\"}}");
	expect_quota(f, "the branch has reached its limit of 1 roles", "roles_per_branch");
	call_api(f, "GET", "/projects/p/branches/production/roles", NULL);
	CLEANUP(free_text)
	char *body = xasprintf(
	        "{\"spec\":{\"postgres_database\":\"app\",\"role\":\"%s\"}}", text_at(f, "/roles/0/name"));
	call_api(f, "POST", "/projects/p/branches/production/databases?database_id=app", body);
	expect_quota(f, "the branch has reached its limit of 1 databases", "databases_per_branch");
}

/* The default branch is not counted and never refused; others run when there is room. */
static void computes_that_run_are_counted(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	f->dd.settings.active_computes_per_project = 1;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects?project_id=q", NULL);
	perform(f, "POST", "/projects/q/branches?branch_id=one", NO_EXPIRY);
	perform(f, "POST", "/projects/p/branches?branch_id=one", NO_EXPIRY);
	call_api(f, "GET", ENDPOINT("one"), NULL);
	CLEANUP(free_text) char *one = xstrdup(text_at(f, "/uid"));
	call_api(f, "POST", "/projects/p/branches?branch_id=two", NO_EXPIRY);
	expect_quota(f, "the project has reached its limit of 1 computes", "active_computes_per_project");
	machine_set_state(one, FLEET_ASLEEP);
	perform(f, "POST", "/projects/p/branches?branch_id=two", NO_EXPIRY);

	CLEANUP(free_text) char *folder = xasprintf("mkdir -p %s/computes/%s", f->folder, one);
	assert_int_equal(system(folder), 0);
	assert_int_equal(compute_spec_write(&f->services, one, &err), STATUS_LIMIT);
	assert_non_null(strstr(err.message, "limit of 1 computes"));
	assert_non_null(strstr(err.message, "active_computes_per_project"));
	call_api(f, "GET", ENDPOINT("two"), NULL);
	machine_set_state(text_at(f, "/uid"), FLEET_ASLEEP);
	assert_int_equal(compute_spec_write(&f->services, one, &err), STATUS_OK);
	machine_set_state(one, FLEET_RUNNING);
	assert_int_equal(
	        compute_spec_write(&f->services, one, &err), STATUS_OK); /* it is not beside itself */
	call_api(f, "GET", PRIMARY, NULL);
	CLEANUP(free_text) char *primary = xstrdup(text_at(f, "/uid"));
	CLEANUP(free_text) char *other = xasprintf("mkdir -p %s/computes/%s", f->folder, primary);
	assert_int_equal(system(other), 0);
	machine_set_state(primary, FLEET_ASLEEP);
	assert_int_equal(compute_spec_write(&f->services, primary, &err), STATUS_OK);
}

static void sizes_and_times_are_settings(void **state)
{
	struct control_fixture *f = *state;
	f->dd.settings.cu_max = 4;
	f->dd.settings.suspend_timeout_max_sec = 100;
	f->dd.settings.history_retention_max_sec = 259200;
	f->dd.settings.branch_ttl_max_sec = 3600;
	perform(f, "POST", "/projects?project_id=p", NULL);
	static const struct {
		const char *path, *body, *message;
	} cases[] = {
		{ PRIMARY, "{\"spec\":{\"autoscaling_limit_min_cu\":5,\"autoscaling_limit_max_cu\":5}}",
		        "Fields 'spec.autoscaling_limit_min_cu' and 'spec.autoscaling_limit_max_cu' must be "
		        "0.5 or "
		        "a whole number from 1 to 4." },
		{ PRIMARY, "{\"spec\":{\"suspend_timeout_duration\":\"101s\"}}",
		        "Field 'spec.suspend_timeout_duration' must be between 60s and 100s." },
		{ "/projects/p", "{\"spec\":{\"history_retention_duration\":\"259201s\"}}",
		        "Field 'spec.history_retention_duration' must be between 172800s and 259200s." },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		call_api(f, "PATCH", cases[i].path, cases[i].body);
		expect_error(f, 400, "INVALID_PARAMETER_VALUE", cases[i].message);
	}
	call_api(f, "POST", "/projects/p/branches?branch_id=b", "{\"spec\":{\"ttl\":\"3601s\"}}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'spec.ttl' gives a time more than");
	/* A root can no more expire than be deleted, also when it is not the default any more. */
	perform(f, "POST", "/projects/p/branches?branch_id=b", NO_EXPIRY);
	perform(f, "PATCH", "/projects/p", "{\"spec\":{\"default_branch\":\"projects/p/branches/b\"}}");
	call_api(f, "PATCH", "/projects/p/branches/production", "{\"spec\":{\"ttl\":\"3600s\"}}");
	expect_error(f, 400, "BAD_REQUEST", "a root branch cannot have an expiration");
}

static void each_endpoint_has_one_compute(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	call_api(f, "GET", PRIMARY, NULL);
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));
	call_api(f, "GET", PRIMARY "/compute-instances", NULL);
	assert_int_equal(f->http_status, 200);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "compute_instances")), 1);
	CLEANUP(free_text) char *id = xstrdup(text_at(f, "/compute_instances/0/compute_instance_id"));
	assert_string_equal(id + 2, uid + 2);
	assert_int_equal(strncmp(id, "ci-", 3), 0);
	assert_string_equal(text_at(f, "/compute_instances/0/role"), "READ_WRITE");
	assert_string_equal(text_at(f, "/compute_instances/0/current_state"), "ACTIVE");
	assert_string_equal(text_at(f, "/compute_instances/0/compute_host"), "127.64.0.2");
	assert_true(has(f, "/compute_instances/0/start_time"));
	assert_false(has(f, "/compute_instances/0/suspend_time"));
	assert_false(has(f, "/next_page_token"));

	CLEANUP(free_text) char *path = xasprintf(PRIMARY "/compute-instances/%s", id);
	machine_set_state(uid, FLEET_ASLEEP);
	call_api(f, "GET", path, NULL);
	assert_string_equal(text_at(f, "/name"), path + 1);
	assert_string_equal(text_at(f, "/current_state"), "IDLE");
	call_api(f, "GET", PRIMARY "/compute-instances/ci-x", NULL);
	expect_error(f, 404, "NOT_FOUND", "compute instance id not found");
	call_api(f, "GET", ENDPOINT("none") "/compute-instances", NULL);
	expect_error(f, 404, "NOT_FOUND", "branch id not found");
	call_api(f, "GET", "/projects/p/branches/production/endpoints/x/compute-instances", NULL);
	expect_error(f, 404, "NOT_FOUND", "endpoint id not found");
	call_api(f, "GET", PRIMARY "/compute-instances?page_size=-1", NULL);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "page_size");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, control_fixture_set_up, control_fixture_tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(projects_are_counted),
		TEST(roots_are_counted),
		TEST(protected_ones_are_counted),
		TEST(snapshots_are_counted),
		TEST(roles_and_databases_are_counted),
		TEST(computes_that_run_are_counted),
		TEST(sizes_and_times_are_settings),
		TEST(each_endpoint_has_one_compute),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
