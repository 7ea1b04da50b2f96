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
#include "metadata/instance_row.h"
#include "metadata/operation_row.h"
#include "metadata/project_row.h"
#include "metadata/role_row.h"
#include "metadata/snapshot_row.h"

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
	assert_int_equal(project_row_list(f->md, NULL, after, with_deleted, limit, &st, &err), STATUS_OK);
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

static void a_branch_reads_as_written(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct branch_row row = new_branch(f->project.id, "dev", "br-2"), got;
	strcpy(row.origin_volume, "br-1");
	row.origin_lsn = UINT64_MAX - 5; /* above what a signed number holds */
	strcpy(row.source_snapshot, "nightly");
	row.is_resetting = true;
	assert_int_equal(branch_row_insert(f->md, &row, &err), STATUS_OK);
	assert_int_equal(branch_row_find(f->md, f->project.id, "dev", &got, &err), STATUS_OK);
	assert_string_equal(got.volume_id, "br-2"); /* unless another is given */
	assert_int_equal(got.next_volume, 1);
	assert_string_equal(got.origin_volume, "br-1");
	assert_true(got.origin_lsn == UINT64_MAX - 5);
	assert_string_equal(got.source_snapshot, "nightly");
	assert_true(got.is_resetting);
	const struct branch_space space = { .logical = 1, .own = 2, .shared = 3, .history = 4 };
	assert_int_equal(branch_row_note_space(f->md, got.id, &space, &err), STATUS_OK);
	assert_int_equal(
	        branch_row_note_space(f->md, got.id + 1000, &space, &err), STATUS_OK); /* it is gone */
	assert_int_equal(branch_row_get(f->md, got.id, &got, &err), STATUS_OK);
	assert_int_equal(got.logical_size, 1);
	assert_int_equal(got.own_bytes + 10 * got.shared_bytes + 100 * got.history_bytes, 432);
	strcpy(got.volume_id, "br-2-1");
	got.next_volume = 2;
	assert_int_equal(branch_row_update(f->md, &got, &err), STATUS_OK);
	assert_int_equal(branch_row_find_volume(f->md, "br-2", &got, &err), STATUS_NOT_FOUND);
	assert_int_equal(branch_row_find_volume(f->md, "br-2-1", &got, &err), STATUS_OK);
	assert_string_equal(got.uid, "br-2");
	/* No two branches have one volume. */
	struct branch_row other = new_branch(f->project.id, "other", "br-3");
	strcpy(other.volume_id, "br-2-1");
	assert_int_equal(branch_row_insert(f->md, &other, &err), STATUS_EXISTS);
	assert_int_equal(project_row_note_storage(f->md, f->project.id, 12345, &err), STATUS_OK);
	CLEANUP(project_row_done) struct project_row project = { 0 };
	assert_int_equal(project_row_get(f->md, f->project.id, &project, &err), STATUS_OK);
	assert_int_equal(project.storage_bytes, 12345);
}

static struct snapshot_row new_snapshot(const struct fixture *f, const char *id, const char *uid)
{
	struct snapshot_row row = {
		.project = f->project.id, .create_usec = 1, .source = f->branch.id, .revision = 3
	};
	strcpy(row.snapshot_id, id);
	strcpy(row.uid, uid);
	strcpy(row.source_branch_id, "production");
	return row;
}

static void snapshots_keep_the_roles_of_their_moment(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct role_row role = { .branch = f->branch.id,
		.role_id = "alice",
		.postgres_role = "alice@example.com",
		.identity_type = "USER",
		.auth_method = "LAKEBASE_OAUTH_V1",
		.createrole = true };
	struct database_row database = {
		.branch = f->branch.id, .database_id = "db", .postgres_database = "db_1", .role_id = "alice"
	};
	assert_int_equal(role_row_insert(f->md, &role, &err), STATUS_OK);
	assert_int_equal(database_row_insert(f->md, &database, &err), STATUS_OK);
	struct snapshot_row row = new_snapshot(f, "s", "u-1"), got;
	assert_int_equal(snapshot_row_insert(f->md, &row, &err), STATUS_OK);
	for (int i = 0; i < 2; i++) /* the step may be repeated after a crash */
		assert_int_equal(snapshot_row_keep_roles(f->md, row.id, f->branch.id, &err), STATUS_OK);
	row.source_lsn = 0x3000120;
	row.source_usec = 7;
	row.full_size = 9;
	row.expire_usec = 500;
	row.is_ready = row.is_scheduled = true;
	assert_int_equal(snapshot_row_update(f->md, &row, &err), STATUS_OK);
	assert_int_equal(
	        branch_row_remove(f->md, f->branch.id, &err), STATUS_OK); /* it outlives the branch */
	assert_int_equal(snapshot_row_find(f->md, f->project.id, "s", &got, &err), STATUS_OK);
	assert_int_equal(got.source_lsn, 0x3000120);
	assert_int_equal(got.source_usec + got.full_size + got.expire_usec + got.revision, 519);
	assert_true(got.is_ready && got.is_scheduled && !got.is_purged);
	struct branch_row child = new_branch(f->project.id, "dev", "br-2");
	assert_int_equal(branch_row_insert(f->md, &child, &err), STATUS_OK);
	for (int i = 0; i < 2; i++)
		assert_int_equal(snapshot_row_give_roles(f->md, row.id, child.id, 77, &err), STATUS_OK);
	assert_int_equal(role_row_find(f->md, child.id, "alice", &role, &err), STATUS_OK);
	assert_true(role.createrole && !role.createdb);
	assert_int_equal(role.create_usec, 77);
	assert_int_equal(database_row_find(f->md, child.id, "db", &database, &err), STATUS_OK);
	assert_string_equal(database.postgres_database, "db_1");
	assert_int_equal(snapshot_row_remove(f->md, row.id, &err), STATUS_OK);
	assert_int_equal(snapshot_row_get(f->md, row.id, &got, &err), STATUS_NOT_FOUND);
	assert_int_equal(role_row_find(f->md, child.id, "alice", &role, &err), STATUS_OK);
}

static void snapshots_are_listed_counted_and_expire(void **state)
{
	struct fixture *f = *state;
	struct error err;
	int64_t count = 0, due = -1;
	struct snapshot_row a = new_snapshot(f, "a", "u-1"), b = new_snapshot(f, "b", "u-2"), got;
	b.is_scheduled = b.is_ready = true;
	a.expire_usec = 400; /* not made yet: it does not expire */
	b.expire_usec = 500;
	assert_int_equal(snapshot_row_insert(f->md, &a, &err), STATUS_OK);
	assert_int_equal(snapshot_row_insert(f->md, &b, &err), STATUS_OK);
	struct snapshot_row twin = new_snapshot(f, "a", "u-3");
	assert_int_equal(snapshot_row_insert(f->md, &twin, &err), STATUS_EXISTS);
	assert_int_equal(snapshot_row_count_manual(f->md, f->project.id, &count, &err), STATUS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(metadata_next_due(f->md, &due, &err), STATUS_OK);
	assert_int_equal(due, 500);
	CLEANUP(statement_done) struct statement st = { 0 };
	assert_int_equal(snapshot_row_list_expired(f->md, 1000, &st, &err), STATUS_OK);
	assert_int_equal(snapshot_row_next(&st, &got, &err), STATUS_OK);
	assert_string_equal(got.snapshot_id, "b");
	assert_int_equal(snapshot_row_next(&st, &got, &err), STATUS_NOT_FOUND);
	statement_done(&st);
	assert_int_equal(snapshot_row_list(f->md, f->project.id, a.id, 10, &st, &err), STATUS_OK);
	assert_int_equal(snapshot_row_next(&st, &got, &err), STATUS_OK);
	assert_string_equal(got.snapshot_id, "b");
	statement_done(&st);
	a.is_purged = true;
	assert_int_equal(snapshot_row_update(f->md, &a, &err), STATUS_OK);
	assert_int_equal(snapshot_row_insert(f->md, &twin, &err), STATUS_OK); /* the name is free */
	assert_int_equal(project_row_remove(f->md, f->project.id, &err), STATUS_OK);
	assert_int_equal(snapshot_row_get(f->md, b.id, &got, &err), STATUS_NOT_FOUND);
}

static void instances_are_branches_with_names(void **state)
{
	struct fixture *f = *state;
	struct error err;
	CLEANUP(instance_row_done) struct instance_row got = { 0 };
	strcpy(f->branch.branch_id, "production");
	assert_int_equal(branch_row_update(f->md, &f->branch, &err), STATUS_OK);
	struct branch_row kid = new_branch(f->project.id, "kid", "br-kid"),
	                  plain = new_branch(f->project.id, "plain", "br-p");
	kid.source = plain.source = f->branch.id;
	assert_int_equal(branch_row_insert(f->md, &kid, &err), STATUS_OK);
	assert_int_equal(branch_row_insert(f->md, &plain, &err), STATUS_OK);

	/* Without a row: as the project is called. */
	assert_int_equal(instance_row_find(f->md, f->project.project_id, &got, &err), STATUS_OK);
	assert_true(got.branch == f->branch.id && !got.is_stored && !got.is_deleted);
	assert_string_equal(got.uid, f->project.uid);
	assert_string_equal(got.creator, "alice@example.com");
	assert_string_equal(got.usage_policy_id, "b");
	instance_row_done(&got);
	assert_int_equal(instance_row_find(f->md, "plain", &got, &err), STATUS_NOT_FOUND);
	assert_int_equal(instance_row_find_branch(f->md, plain.id, &got, &err), STATUS_NOT_FOUND);

	struct instance_row row = { .branch = kid.id,
		.name = "Kid",
		.uid = "u-kid",
		.creator = "bob",
		.parent_lsn = 9,
		.parent_usec = 8 };
	row.custom_tags = xstrdup("[]");
	assert_int_equal(instance_row_insert(f->md, &row, &err), STATUS_OK);
	assert_int_equal(instance_row_insert(f->md, &row, &err), STATUS_EXISTS);
	row.usage_policy_id = xstrdup("w");
	assert_int_equal(instance_row_update(f->md, &row, &err), STATUS_OK);
	instance_row_done(&row);
	static const char *const spellings[] = { "Kid", "kid", "KID" };
	for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
		assert_int_equal(instance_row_find(f->md, spellings[i], &got, &err), STATUS_OK);
		assert_string_equal(got.name, "Kid");
		assert_string_equal(got.creator, "bob");
		assert_string_equal(got.usage_policy_id, "w");
		assert_string_equal(got.project_id, f->project.project_id);
		assert_true(
		        got.branch == kid.id && got.is_stored && got.parent_lsn == 9 && got.parent_usec == 8);
		instance_row_done(&got);
	}
	assert_int_equal(instance_row_find_uid(f->md, "u-kid", &got, &err), STATUS_OK);
	assert_true(got.branch == kid.id);
	instance_row_done(&got);
	assert_int_equal(instance_row_find_uid(f->md, f->project.uid, &got, &err), STATUS_OK);
	assert_true(got.branch == f->branch.id);
	instance_row_done(&got);

	CLEANUP(statement_done) struct statement st = { 0 };
	int64_t expected[] = { f->branch.id, kid.id };
	assert_int_equal(instance_row_list(f->md, NULL, 0, 10, &st, &err), STATUS_OK);
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		assert_int_equal(instance_row_next(&st, &got, &err), STATUS_OK);
		assert_true(got.branch == expected[i]);
		instance_row_done(&got);
	}
	assert_int_equal(instance_row_next(&st, &got, &err), STATUS_NOT_FOUND);
	statement_done(&st);
	assert_int_equal(instance_row_list_children(f->md, f->branch.id, &st, &err), STATUS_OK);
	assert_int_equal(instance_row_next(&st, &got, &err), STATUS_OK);
	assert_string_equal(got.name, "Kid");
	instance_row_done(&got);
	assert_int_equal(instance_row_next(&st, &got, &err), STATUS_NOT_FOUND);
	statement_done(&st);

	/* Softly deleted it keeps its name, purged it does not; the row goes with the branch. */
	kid.delete_usec = kid.purge_usec = 5;
	assert_int_equal(branch_row_update(f->md, &kid, &err), STATUS_OK);
	assert_int_equal(instance_row_find(f->md, "kid", &got, &err), STATUS_OK);
	assert_true(got.is_deleted);
	instance_row_done(&got);
	kid.is_purged = true;
	assert_int_equal(branch_row_update(f->md, &kid, &err), STATUS_OK);
	assert_int_equal(instance_row_find(f->md, "kid", &got, &err), STATUS_NOT_FOUND);
	assert_int_equal(instance_row_find_uid(f->md, "u-kid", &got, &err), STATUS_NOT_FOUND);
	assert_int_equal(branch_row_remove(f->md, kid.id, &err), STATUS_OK);
	int64_t count = -1;
	assert_int_equal(
	        statement_ask(f->md, "SELECT count(*) FROM instance WHERE 1 = ?", INTEGERS(1), &count, &err),
	        STATUS_OK);
	assert_int_equal(count, 0);
}

static void descendants_come_leaves_first(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct branch_row rows[4], got;
	static const char *const names[] = { "a", "b", "c", "d" };
	static const char *const uids[] = { "br-a", "br-b", "br-c", "br-d" };
	/* a, b of the branch; c of a; d of c, deleted */
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		rows[i] = new_branch(f->project.id, names[i], uids[i]);
		rows[i].source = i < 2 ? f->branch.id : i == 2 ? rows[0].id : rows[2].id;
		rows[i].delete_usec = i == 3 ? 1 : 0;
		assert_int_equal(branch_row_insert(f->md, &rows[i], &err), STATUS_OK);
	}
	CLEANUP(statement_done) struct statement st = { 0 };
	assert_int_equal(branch_row_list_descendants(f->md, f->branch.id, &st, &err), STATUS_OK);
	static const char *const expected[] = { "c", "b", "a" };
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		assert_int_equal(branch_row_next(&st, &got, &err), STATUS_OK);
		assert_string_equal(got.branch_id, expected[i]);
	}
	assert_int_equal(branch_row_next(&st, &got, &err), STATUS_NOT_FOUND);
}

static void failed_creations_are_found(void **state)
{
	struct fixture *f = *state;
	struct error err;
	CLEANUP(operation_row_done)
	struct operation_row row = { .id = "0123456789abcdef0123456789abcdef",
		.resource = "projects/p/branches/kid",
		.kind = "BRANCH_CREATE",
		.actor = "alice",
		.project = 1,
		.endpoint = 3,
		.create_usec = 5 };
	CLEANUP(operation_row_done) struct operation_row got = { 0 };
	bool is_open = false;
	assert_int_equal(operation_row_insert(f->md, &row, &err), STATUS_OK);
	assert_int_equal(operation_row_is_open(f->md, "BRANCH_CREATE", 3, &is_open, &err), STATUS_OK);
	assert_true(is_open);
	assert_int_equal(operation_row_is_open(f->md, "BRANCH_CREATE", 4, &is_open, &err), STATUS_OK);
	assert_false(is_open);
	assert_int_equal(operation_row_is_open(f->md, "ENDPOINT_UPDATE", 3, &is_open, &err), STATUS_OK);
	assert_false(is_open);
	assert_int_equal(
	        operation_row_find_failed_create(f->md, "alice", "kid", 0, &got, &err), STATUS_NOT_FOUND);
	row.finish_usec = 100;
	row.error = xstrdup("{}");
	assert_int_equal(operation_row_update(f->md, &row, &err), STATUS_OK);
	assert_int_equal(operation_row_find_failed_create(f->md, "alice", "kid", 100, &got, &err), STATUS_OK);
	assert_string_equal(got.id, row.id);
	operation_row_done(&got);
	assert_int_equal(
	        operation_row_find_failed_create(f->md, "alice", "kid", 101, &got, &err), STATUS_NOT_FOUND);
	assert_int_equal(
	        operation_row_find_failed_create(f->md, "bob", "kid", 0, &got, &err), STATUS_NOT_FOUND);
	assert_int_equal(
	        operation_row_find_failed_create(f->md, "alice", "id", 0, &got, &err), STATUS_NOT_FOUND);
	assert_int_equal(
	        operation_row_find_failed_create(f->md, "alice", "p", 0, &got, &err), STATUS_NOT_FOUND);
}

static void an_operation_keeps_its_plan(void **state)
{
	struct fixture *f = *state;
	struct error err;
	bool is_planned = true;
	CLEANUP(operation_row_done)
	struct operation_row row = { .id = "0123456789abcdef0123456789abcdef",
		.resource = "projects/p/branches/b",
		.kind = "BRANCH_RESET",
		.actor = "alice",
		.project = 1,
		.snapshot = 9,
		.create_usec = 5,
		.plan = xstrdup("{\"volume\":\"br-1-1\"}") };
	assert_int_equal(operation_row_insert(f->md, &row, &err), STATUS_OK);
	assert_int_equal(operation_row_plans_volume(f->md, "br-1-1", &is_planned, &err), STATUS_OK);
	assert_true(is_planned);
	assert_int_equal(operation_row_plans_volume(f->md, "br-1", &is_planned, &err), STATUS_OK);
	assert_false(is_planned);
	free(row.plan);
	row.plan = xstrdup("{\"volume\":\"br-1-1\",\"was_running\":true}");
	assert_int_equal(operation_row_update(f->md, &row, &err), STATUS_OK);
	CLEANUP(operation_row_done) struct operation_row got = { 0 };
	assert_int_equal(operation_row_find(f->md, row.id, &got, &err), STATUS_OK);
	assert_string_equal(got.plan, row.plan);
	assert_int_equal(got.snapshot, 9);
	row.finish_usec = 6;
	row.response = xstrdup("{}");
	assert_int_equal(operation_row_update(f->md, &row, &err), STATUS_OK);
	assert_int_equal(operation_row_plans_volume(f->md, "br-1-1", &is_planned, &err), STATUS_OK);
	assert_false(is_planned); /* it is over */
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
		TEST(a_branch_reads_as_written),
		TEST(snapshots_keep_the_roles_of_their_moment),
		TEST(snapshots_are_listed_counted_and_expire),
		TEST(instances_are_branches_with_names),
		TEST(descendants_come_leaves_first),
		TEST(failed_creations_are_found),
		TEST(an_operation_keeps_its_plan),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
