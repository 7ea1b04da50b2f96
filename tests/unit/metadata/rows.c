/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "base/file.h"
#include "metadata/branch_row.h"
#include "metadata/database_row.h"
#include "metadata/endpoint_row.h"
#include "metadata/project_row.h"
#include "metadata/role_row.h"

struct fixture {
	char folder[32];
	struct metadata *md;
	struct project_row project;
	struct branch_row branch;
};

static struct project_row new_project(const char *id, const char *uid)
{
	struct project_row row = { .owner = "alice@example.com",
		.create_usec = 1,
		.update_usec = 2,
		.display_name = xstrdup("It's \"me\" \xc3\xbc; DROP TABLE project"),
		.pg_version = 17,
		.history_retention_usec = 3,
		.min_cu = 0.5,
		.max_cu = 8,
		.suspend_usec = 4,
		.pg_settings = xstrdup("{\"work_mem\":\"8MB\"}"),
		.enable_pg_native_login = true,
		.custom_tags = xstrdup("[]"),
		.budget_policy_id = xstrdup("b"),
		.next_timeline = 2 };
	strcpy(row.project_id, id);
	strcpy(row.uid, uid);
	strcpy(row.default_branch_uid, "br-1");
	return row;
}

static struct branch_row new_branch(int64_t project, const char *id, const char *uid)
{
	struct branch_row row = {
		.project = project, .create_usec = 5, .update_usec = 6, .state_change_usec = 7
	};
	strcpy(row.branch_id, id);
	strcpy(row.uid, uid);
	return row;
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	struct error err;
	strcpy(f->folder, "/tmp/tarn-unit-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	CLEANUP(free_text) char *path = xasprintf("%s/metadata.db", f->folder);
	assert_int_equal(metadata_open(path, &f->md, &err), STATUS_OK);
	f->project = new_project("p", "u1");
	assert_int_equal(project_row_insert(f->md, &f->project, &err), STATUS_OK);
	f->branch = new_branch(f->project.id, "production", "br-1");
	assert_int_equal(branch_row_insert(f->md, &f->branch, &err), STATUS_OK);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct error err;
	project_row_done(&f->project);
	metadata_close(f->md);
	assert_int_equal(tree_remove(f->folder, &err), STATUS_OK);
	free(f);
	return 0;
}

static void a_project_reads_as_written(void **state)
{
	struct fixture *f = *state;
	struct error err;
	CLEANUP(project_row_done) struct project_row got = { 0 };
	assert_int_equal(project_row_find(f->md, "p", &got, &err), STATUS_OK);
	assert_int_equal(got.id, f->project.id);
	assert_string_equal(got.owner, "alice@example.com");
	assert_string_equal(got.display_name, f->project.display_name);
	assert_int_equal(got.pg_version, 17);
	assert_true(got.min_cu == 0.5 && got.max_cu == 8);
	assert_int_equal(got.suspend_usec, 4);
	assert_string_equal(got.pg_settings, "{\"work_mem\":\"8MB\"}");
	assert_true(got.enable_pg_native_login);
	assert_string_equal(got.default_branch_uid, "br-1");
	assert_string_equal(got.budget_policy_id, "b");
	assert_null(got.compute_provisioner);
	assert_int_equal(got.next_timeline, 2);
	assert_int_equal(got.delete_usec, 0);
}

static void a_name_is_taken_until_it_is_purged(void **state)
{
	struct fixture *f = *state;
	struct error err;
	CLEANUP(project_row_done) struct project_row second = new_project("p", "u2");
	assert_int_equal(project_row_insert(f->md, &second, &err), STATUS_EXISTS);
	f->project.delete_usec = 100;
	f->project.purge_usec = 200;
	assert_int_equal(project_row_update(f->md, &f->project, &err), STATUS_OK);
	assert_int_equal(project_row_insert(f->md, &second, &err), STATUS_EXISTS);
	f->project.is_purged = true;
	assert_int_equal(project_row_update(f->md, &f->project, &err), STATUS_OK);
	assert_int_equal(project_row_insert(f->md, &second, &err), STATUS_OK);
	CLEANUP(project_row_done) struct project_row got = { 0 };
	assert_int_equal(project_row_find(f->md, "p", &got, &err), STATUS_OK);
	assert_string_equal(got.uid, "u2");
}

static int64_t count_projects(struct fixture *f, int64_t after, bool with_deleted, int64_t limit)
{
	struct error err;
	int64_t count = 0;
	CLEANUP(statement_done) struct statement st = { 0 };
	assert_int_equal(project_row_list(f->md, after, with_deleted, limit, &st, &err), STATUS_OK);
	for (;;) {
		CLEANUP(project_row_done) struct project_row row = { 0 };
		if (project_row_next(&st, &row, &err) != STATUS_OK)
			return count;
		count++;
	}
}

static void lists_hide_the_deleted(void **state)
{
	struct fixture *f = *state;
	struct error err;
	CLEANUP(project_row_done) struct project_row second = new_project("q", "u2");
	assert_int_equal(project_row_insert(f->md, &second, &err), STATUS_OK);
	second.delete_usec = 1;
	assert_int_equal(project_row_update(f->md, &second, &err), STATUS_OK);
	assert_int_equal(count_projects(f, 0, false, 10), 1);
	assert_int_equal(count_projects(f, 0, true, 10), 2);
	assert_int_equal(count_projects(f, 0, true, 1), 1);
	assert_int_equal(count_projects(f, f->project.id, true, 10), 1);
	assert_int_equal(count_projects(f, second.id, true, 10), 0);
}

/* AUTOINCREMENT: an operation may name a row that is gone, so its id must never mean another one. */
static void row_ids_are_never_used_twice(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct branch_row second = new_branch(f->project.id, "dev", "br-2");
	assert_int_equal(branch_row_insert(f->md, &second, &err), STATUS_OK);
	assert_int_equal(branch_row_remove(f->md, second.id, &err), STATUS_OK);
	struct branch_row third = new_branch(f->project.id, "dev", "br-3");
	assert_int_equal(branch_row_insert(f->md, &third, &err), STATUS_OK);
	assert_true(third.id > second.id);
}

static void removing_a_project_takes_all_below_it(void **state)
{
	struct fixture *f = *state;
	struct error err;
	CLEANUP(endpoint_row_done)
	struct endpoint_row endpoint = { .branch = f->branch.id,
		.endpoint_id = "primary",
		.uid = "ep-1",
		.min_cu = 1,
		.max_cu = 1,
		.pg_settings = xstrdup("{}"),
		.address = "127.64.0.2" };
	assert_int_equal(endpoint_row_insert(f->md, &endpoint, &err), STATUS_OK);
	struct role_row role = { .branch = f->branch.id,
		.role_id = "r",
		.postgres_role = "r",
		.identity_type = "USER",
		.auth_method = "NO_LOGIN" };
	assert_int_equal(role_row_insert(f->md, &role, &err), STATUS_OK);
	assert_int_equal(project_row_remove(f->md, f->project.id, &err), STATUS_OK);
	struct branch_row branch;
	struct endpoint_row gone;
	assert_int_equal(branch_row_get(f->md, f->branch.id, &branch, &err), STATUS_NOT_FOUND);
	assert_int_equal(endpoint_row_find_uid(f->md, "ep-1", &gone, &err), STATUS_NOT_FOUND);
	assert_int_equal(role_row_find(f->md, f->branch.id, "r", &role, &err), STATUS_NOT_FOUND);
}

static void children_inherit_once(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct role_row role = { .branch = f->branch.id,
		.role_id = "alice",
		.postgres_role = "alice@example.com",
		.identity_type = "USER",
		.auth_method = "LAKEBASE_OAUTH_V1",
		.createdb = true,
		.is_superuser_member = true };
	struct database_row database = { .branch = f->branch.id,
		.database_id = "databricks-postgres",
		.postgres_database = "databricks_postgres",
		.role_id = "alice" };
	assert_int_equal(role_row_insert(f->md, &role, &err), STATUS_OK);
	assert_int_equal(database_row_insert(f->md, &database, &err), STATUS_OK);
	struct branch_row child = new_branch(f->project.id, "dev", "br-2");
	assert_int_equal(branch_row_insert(f->md, &child, &err), STATUS_OK);
	for (int i = 0; i < 2; i++) { /* the step may be repeated after a crash */
		assert_int_equal(role_row_inherit(f->md, f->branch.id, child.id, 77, &err), STATUS_OK);
		assert_int_equal(database_row_inherit(f->md, f->branch.id, child.id, 77, &err), STATUS_OK);
	}
	struct role_row got;
	struct database_row got_database;
	assert_int_equal(role_row_find(f->md, child.id, "alice", &got, &err), STATUS_OK);
	assert_string_equal(got.postgres_role, "alice@example.com");
	assert_true(got.createdb && got.is_superuser_member && !got.bypassrls);
	assert_int_equal(got.create_usec, 77);
	assert_int_equal(
	        database_row_find(f->md, child.id, "databricks-postgres", &got_database, &err), STATUS_OK);
	assert_string_equal(got_database.role_id, "alice");
}

static void the_next_due_time_is_the_earliest(void **state)
{
	struct fixture *f = *state;
	struct error err;
	int64_t due = -1;
	assert_int_equal(metadata_next_due(f->md, &due, &err), STATUS_OK);
	assert_int_equal(due, 0);
	struct branch_row child = new_branch(f->project.id, "dev", "br-2");
	child.expire_usec = 500;
	assert_int_equal(branch_row_insert(f->md, &child, &err), STATUS_OK);
	assert_int_equal(metadata_next_due(f->md, &due, &err), STATUS_OK);
	assert_int_equal(due, 500);
	CLEANUP(statement_done) struct statement st = { 0 };
	assert_int_equal(branch_row_list_expired(f->md, 499, &st, &err), STATUS_OK);
	assert_int_equal(branch_row_next(&st, &child, &err), STATUS_NOT_FOUND);
	statement_done(&st);
	assert_int_equal(branch_row_list_expired(f->md, 500, &st, &err), STATUS_OK);
	assert_int_equal(branch_row_next(&st, &child, &err), STATUS_OK);
	statement_done(&st);
	/* Of a deleted project nothing expires: it may come back. */
	f->project.delete_usec = 1;
	f->project.purge_usec = 900;
	assert_int_equal(project_row_update(f->md, &f->project, &err), STATUS_OK);
	assert_int_equal(metadata_next_due(f->md, &due, &err), STATUS_OK);
	assert_int_equal(due, 900);
	assert_int_equal(branch_row_list_expired(f->md, 1000, &st, &err), STATUS_OK);
	assert_int_equal(branch_row_next(&st, &child, &err), STATUS_NOT_FOUND);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(a_project_reads_as_written),
		TEST(a_name_is_taken_until_it_is_purged),
		TEST(lists_hide_the_deleted),
		TEST(row_ids_are_never_used_twice),
		TEST(removing_a_project_takes_all_below_it),
		TEST(children_inherit_once),
		TEST(the_next_due_time_is_the_earliest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
