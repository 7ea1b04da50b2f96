/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "metadata/metadata.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "metadata/federation_policy_row.h"
#include "metadata/identity_row.h"
#include "metadata/operation_row.h"
#include "metadata/schema.h"
#include "metadata/token_row.h"

struct fixture {
	char folder[32];
	char *path;
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	strcpy(f->folder, "/tmp/tarn-unit-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->path = xasprintf("%s/metadata.db", f->folder);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct error err;
	assert_int_equal(tree_remove(f->folder, &err), STATUS_OK);
	free(f->path);
	free(f);
	return 0;
}

static struct metadata *open_it(const struct fixture *f)
{
	struct metadata *md = NULL;
	struct error err;
	if (metadata_open(f->path, &md, &err) != STATUS_OK)
		fail_msg("%s", err.message);
	return md;
}

static void run_raw(const struct fixture *f, const char *sql)
{
	sqlite3 *db;
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int64_t raw_number(const struct fixture *f, const char *sql)
{
	sqlite3 *db;
	sqlite3_stmt *st;
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	int64_t value = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(db);
	return value;
}

static void is_made_private_and_durable(void **state)
{
	struct fixture *f = *state;
	mode_t old = umask(0);
	struct metadata *md = open_it(f);
	(void)umask(old);
	struct stat st;
	static const char *const files[] = { "", "-wal", "-shm" };
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		CLEANUP(free_text) char *path = xasprintf("%s%s", f->path, files[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
	}
	CLEANUP(statement_done) struct statement query = { 0 };
	struct error err;
	assert_int_equal(statement_open(md,
	                         "SELECT journal_mode, (SELECT synchronous FROM pragma_synchronous),"
	                         " (SELECT foreign_keys FROM pragma_foreign_keys) FROM pragma_journal_mode",
	                         &query, &err),
	        STATUS_OK);
	assert_int_equal(statement_next(&query, &err), STATUS_OK);
	char mode[16];
	statement_text(&query, mode, sizeof mode);
	assert_string_equal(mode, "wal");
	assert_int_equal(statement_integer(&query), 2); /* FULL */
	assert_int_equal(statement_integer(&query), 1);
	statement_done(&query);
	metadata_close(md);
	assert_int_equal(raw_number(f, "PRAGMA user_version"), schema_version);
}

static void opens_again_with_all_it_held(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct metadata *md = open_it(f);
	int64_t number;
	struct transaction tx = { 0 };
	assert_int_equal(transaction_begin(md, &tx, &err), STATUS_OK);
	assert_int_equal(metadata_next_number(md, "n", 7, &number, &err), STATUS_OK);
	assert_int_equal(number, 7);
	assert_int_equal(metadata_next_number(md, "n", 7, &number, &err), STATUS_OK);
	assert_int_equal(number, 8);
	assert_int_equal(transaction_commit(&tx, &err), STATUS_OK);
	metadata_close(md);
	md = open_it(f);
	assert_int_equal(metadata_next_number(md, "n", 7, &number, &err), STATUS_OK);
	assert_int_equal(number, 9);
	metadata_close(md);
}

static void what_is_not_committed_is_gone(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct metadata *md = open_it(f);
	int64_t number;
	{
		CLEANUP(transaction_end) struct transaction tx = { 0 };
		assert_int_equal(transaction_begin(md, &tx, &err), STATUS_OK);
		assert_int_equal(metadata_next_number(md, "n", 1, &number, &err), STATUS_OK);
	}
	assert_int_equal(metadata_next_number(md, "n", 1, &number, &err), STATUS_OK);
	assert_int_equal(number, 1);
	metadata_close(md);
}

/* A crash between two migrations leaves the older version; the next start goes on from there. */
static void migrates_from_the_start_of_each_version(void **state)
{
	struct fixture *f = *state;
	for (size_t version = 0; version < schema_version; version++) {
		(void)unlink(f->path);
		run_raw(f, "PRAGMA user_version = 0");
		for (size_t i = 0; i < version; i++)
			run_raw(f, schema_migrations[i]);
		CLEANUP(free_text) char *set = xasprintf("PRAGMA user_version = %zu", version);
		run_raw(f, set);
		metadata_close(open_it(f));
		assert_int_equal(raw_number(f, "PRAGMA user_version"), schema_version);
	}
}

/* A branch of version 1 keeps its volume, which had its uid for a name. */
static void old_branches_keep_their_volumes(void **state)
{
	struct fixture *f = *state;
	run_raw(f, schema_migrations[0]);
	run_raw(f, "INSERT INTO project(project_id, uid, owner, create_usec, update_usec, display_name, "
	           "pg_version,"
	           " history_retention_usec, min_cu, max_cu, pg_settings, enable_pg_native_login, "
	           "default_branch_uid,"
	           " custom_tags, next_timeline) VALUES ('p', 'u', 'o', 1, 1, 'p', 17, 1, 1, 1, '{}', 0, "
	           "'br-1', '[]', 2);"
	           "INSERT INTO branch(project, branch_id, uid, create_usec, update_usec, is_protected, "
	           "is_ready,"
	           " state_change_usec, timeline, revision) VALUES (1, 'production', 'br-1', 1, 1, 0, 1, 1, "
	           "0, 1),"
	           " (1, 'dev', 'br-2', 1, 1, 0, 1, 1, 2, 1);"
	           "PRAGMA user_version = 1");
	metadata_close(open_it(f));
	assert_int_equal(
	        raw_number(f, "SELECT count(*) FROM branch WHERE volume_id = uid AND next_volume = 1"), 2);
	assert_int_equal(raw_number(f, "PRAGMA user_version"), schema_version);
}

static void refuses_a_newer_version_untouched(void **state)
{
	struct fixture *f = *state;
	metadata_close(open_it(f));
	run_raw(f, "PRAGMA user_version = 999");
	struct metadata *md = NULL;
	struct error err;
	assert_int_equal(metadata_open(f->path, &md, &err), STATUS_UNSUPPORTED);
	assert_non_null(strstr(err.message, "999"));
	assert_null(md);
	assert_int_equal(raw_number(f, "PRAGMA user_version"), 999);
}

static void refuses_what_is_no_database(void **state)
{
	struct fixture *f = *state;
	struct error err;
	CLEANUP(buffer_done) struct buffer junk = { 0 };
	for (int i = 0; i < 1000; i++)
		buffer_append_text(&junk, "not a database ");
	assert_int_equal(file_replace_durably(f->path, buffer_slice(&junk), 0600, &err), STATUS_OK);
	struct metadata *md = NULL;
	assert_int_equal(metadata_open(f->path, &md, &err), STATUS_CORRUPT);
	assert_null(md);
}

static void knows_a_token_by_its_hash_only(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct metadata *md = open_it(f);
	int64_t id, again;
	struct identity_row row;
	struct token_row token;
	assert_int_equal(identity_row_ensure_admin(md, "alice@example.com", 5, &id, &err), STATUS_OK);
	assert_int_equal(identity_row_ensure_admin(md, "alice@example.com", 6, &again, &err), STATUS_OK);
	assert_int_equal(id, again);
	assert_int_equal(token_row_set_admin_file(md, id, "aa", 5, &err), STATUS_OK);
	assert_int_equal(token_row_set_admin_file(md, id, "aa", 6, &err), STATUS_OK);
	assert_int_equal(token_row_find(md, "aa", &token, &err), STATUS_OK);
	assert_int_equal(identity_row_get(md, token.identity, &row, &err), STATUS_OK);
	assert_string_equal(row.login, "alice@example.com");
	assert_true(row.is_admin);
	assert_true(row.is_active);
	/* A new token in the file replaces the old one. */
	assert_int_equal(token_row_set_admin_file(md, id, "bb", 6, &err), STATUS_OK);
	assert_int_equal(token_row_find(md, "aa", &token, &err), STATUS_NOT_FOUND);
	assert_int_equal(token_row_find(md, "bb", &token, &err), STATUS_OK);
	assert_int_equal(token_row_find(md, "", &token, &err), STATUS_NOT_FOUND);
	/* What goes with an identity. */
	assert_int_equal(identity_row_remove(md, id, &err), STATUS_OK);
	assert_int_equal(token_row_find(md, "bb", &token, &err), STATUS_NOT_FOUND);
	metadata_close(md);
}

static struct identity_row add_identity(struct metadata *md, enum identity_kind kind, const char *login)
{
	struct error err;
	struct identity_row row = { .kind = kind, .is_active = true, .create_usec = 1 };
	(void)snprintf(row.login, sizeof row.login, "%s", login);
	(void)snprintf(row.display_name, sizeof row.display_name, "%s", login);
	assert_int_equal(identity_row_insert(md, &row, &err), STATUS_OK);
	return row;
}

/* A group with the name of a user would let its members log in to Postgres as him. */
static void one_name_means_one_identity(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct metadata *md = open_it(f);
	struct identity_row alice = add_identity(md, IDENTITY_USER, "alice@example.com"), row = alice;
	assert_int_equal(identity_row_insert(md, &row, &err), STATUS_EXISTS);
	row.kind = IDENTITY_GROUP;
	assert_int_equal(identity_row_insert(md, &row, &err), STATUS_EXISTS);
	(void)snprintf(row.login, sizeof row.login, "ALICE@example.com");
	assert_int_equal(identity_row_insert(md, &row, &err), STATUS_EXISTS);
	assert_int_equal(identity_row_find(md, IDENTITY_USER, "Alice@Example.com", &row, &err), STATUS_OK);
	assert_string_equal(row.login, "alice@example.com");
	assert_int_equal(
	        identity_row_find(md, IDENTITY_GROUP, "alice@example.com", &row, &err), STATUS_NOT_FOUND);
	assert_int_equal(identity_row_find_exactly(md, "Alice@Example.com", &row, &err), STATUS_NOT_FOUND);
	assert_int_equal(identity_row_find_exactly(md, "alice@example.com", &row, &err), STATUS_OK);
	metadata_close(md);
}

static void groups_know_their_members(void **state)
{
	struct fixture *f = *state;
	struct error err;
	bool is_member;
	struct metadata *md = open_it(f);
	struct identity_row alice = add_identity(md, IDENTITY_USER, "alice@example.com"), row;
	struct identity_row team = add_identity(md, IDENTITY_GROUP, "team");
	struct identity_row users;
	assert_int_equal(identity_row_find(md, IDENTITY_GROUP, GROUP_USERS, &users, &err), STATUS_OK);
	assert_int_equal(group_has_member(md, users.id, alice.id, &is_member, &err), STATUS_OK);
	assert_true(is_member);
	assert_int_equal(group_has_member(md, users.id, team.id, &is_member, &err), STATUS_OK);
	assert_false(is_member);
	assert_int_equal(group_add_member(md, team.id, alice.id, &err), STATUS_OK);
	assert_int_equal(group_add_member(md, team.id, alice.id, &err), STATUS_OK);
	CLEANUP(statement_done) struct statement st = { 0 };
	assert_int_equal(group_list_members(md, team.id, &st, &err), STATUS_OK);
	assert_int_equal(identity_row_next(&st, &row, &err), STATUS_OK);
	assert_int_equal(row.id, alice.id);
	assert_false(row.is_admin);
	assert_int_equal(identity_row_next(&st, &row, &err), STATUS_NOT_FOUND);
	statement_done(&st);
	assert_int_equal(group_remove_member(md, team.id, alice.id, &err), STATUS_OK);
	assert_int_equal(group_has_member(md, team.id, alice.id, &is_member, &err), STATUS_OK);
	assert_false(is_member);
	metadata_close(md);
}

static int64_t add_policy(struct metadata *md, int64_t principal, const char *id, const char *issuer)
{
	struct error err;
	CLEANUP(federation_policy_row_done)
	struct federation_policy_row row = { .principal = principal, .create_usec = 1, .update_usec = 1 };
	(void)snprintf(row.policy_id, sizeof row.policy_id, "%s", id);
	row.issuer = xstrdup(issuer);
	row.audiences = xstrdup("[]");
	status st = federation_policy_row_insert(md, &row, &err);
	assert_true(st == STATUS_OK || st == STATUS_EXISTS);
	return st == STATUS_OK ? row.id : 0;
}

static bool token_is_there(struct metadata *md, const char *hash)
{
	struct error err;
	struct token_row token;
	return token_row_find(md, hash, &token, &err) == STATUS_OK;
}

static void add_token_by(struct metadata *md, int64_t identity, int64_t policy, const char *hash)
{
	struct error err;
	struct token_row token = {
		.identity = identity, .kind = TOKEN_ACCESS, .policy = policy, .create_usec = 1
	};
	(void)snprintf(token.hash, sizeof token.hash, "%s", hash);
	assert_int_equal(token_row_insert(md, &token, &err), STATUS_OK);
}

/* What was got by a policy goes with it, and a policy with its principal. */
static void policies_are_of_a_principal_or_of_the_account(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct metadata *md = open_it(f);
	struct identity_row alice = add_identity(md, IDENTITY_USER, "alice@example.com");
	struct identity_row robot = add_identity(md, IDENTITY_SERVICE_PRINCIPAL, "1-2-3");
	int64_t of_all = add_policy(md, 0, "a", "https://a"),
	        of_robot = add_policy(md, robot.id, "a", "https://a");
	assert_true(of_all > 0 && of_robot > 0);
	assert_int_equal(add_policy(md, 0, "a", "https://b"), 0);
	assert_true(add_policy(md, 0, "b", "https://b") > 0);
	CLEANUP(federation_policy_row_done) struct federation_policy_row row = { 0 };
	{
		CLEANUP(statement_done) struct statement st = { 0 };
		assert_int_equal(
		        federation_policy_row_list_of_issuer(md, 0, "https://a", &st, &err), STATUS_OK);
		assert_int_equal(federation_policy_row_next(&st, &row, &err), STATUS_OK);
		assert_int_equal(row.id, of_all);
		struct federation_policy_row none;
		assert_int_equal(federation_policy_row_next(&st, &none, &err), STATUS_NOT_FOUND);
	}
	add_token_by(md, alice.id, of_all, "aa");
	add_token_by(md, alice.id, 0, "bb");
	add_token_by(md, robot.id, of_robot, "cc");
	row.subject_claim = xstrdup("email");
	assert_int_equal(federation_policy_row_update(md, &row, &err), STATUS_OK);
	assert_false(token_is_there(md, "aa"));
	assert_true(token_is_there(md, "bb") && token_is_there(md, "cc"));
	federation_policy_row_done(&row);
	assert_int_equal(federation_policy_row_find(md, 0, "a", &row, &err), STATUS_OK);
	assert_string_equal(row.subject_claim, "email");
	assert_null(row.subject);
	add_token_by(md, alice.id, of_all, "dd");
	assert_int_equal(federation_policy_row_remove(md, of_all, &err), STATUS_OK);
	assert_false(token_is_there(md, "dd"));
	assert_int_equal(identity_row_remove(md, robot.id, &err), STATUS_OK);
	assert_false(token_is_there(md, "cc"));
	struct federation_policy_row gone;
	assert_int_equal(federation_policy_row_find(md, robot.id, "a", &gone, &err), STATUS_NOT_FOUND);
	metadata_close(md);
}

/* The administrator of a version 2 file keeps his token and his rights. */
static void old_administrators_stay(void **state)
{
	struct fixture *f = *state;
	struct error err;
	run_raw(f, schema_migrations[0]);
	run_raw(f, schema_migrations[1]);
	run_raw(f, "INSERT INTO identity(login, kind, display_name, is_admin, create_usec)"
	           " VALUES ('alice@example.com', 'USER', 'Alice', 1, 5), ('bob@example.com', 'USER', 'Bob', "
	           "0, 6);"
	           "INSERT INTO api_token(hash, identity, source, create_usec) VALUES ('aa', 1, "
	           "'admin.token', 5);"
	           "PRAGMA user_version = 2");
	struct metadata *md = open_it(f);
	struct identity_row row;
	struct token_row token;
	assert_int_equal(token_row_find(md, "aa", &token, &err), STATUS_OK);
	assert_int_equal(token.kind, TOKEN_ADMIN_FILE);
	assert_int_equal(identity_row_get(md, token.identity, &row, &err), STATUS_OK);
	assert_string_equal(row.display_name, "Alice");
	assert_true(row.is_admin && row.is_active);
	assert_int_equal(identity_row_find(md, IDENTITY_USER, "bob@example.com", &row, &err), STATUS_OK);
	assert_false(row.is_admin);
	metadata_close(md);
}

static void operations_end_once_and_are_forgotten_late(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct metadata *md = open_it(f);
	struct operation_row op = { .id = "one",
		.resource = "projects/p",
		.kind = "PROJECT_CREATE",
		.actor = "a",
		.project = 1,
		.create_usec = 10 };
	assert_int_equal(operation_row_insert(md, &op, &err), STATUS_OK);
	struct operation_row twin = op;
	assert_int_equal(operation_row_insert(md, &twin, &err), STATUS_EXISTS);
	op.finish_usec = 20;
	op.response = xstrdup("{}");
	assert_int_equal(operation_row_update(md, &op, &err), STATUS_OK);
	/* A second end changes nothing. */
	op.finish_usec = 30;
	op.error = op.response;
	op.response = NULL;
	assert_int_equal(operation_row_update(md, &op, &err), STATUS_OK);
	operation_row_done(&op);
	assert_int_equal(operation_row_find(md, "one", &op, &err), STATUS_OK);
	assert_int_equal(op.finish_usec, 20);
	assert_string_equal(op.response, "{}");
	assert_null(op.error);
	operation_row_done(&op);
	assert_int_equal(operation_row_forget(md, 20, &err), STATUS_OK);
	assert_int_equal(operation_row_find(md, "one", &op, &err), STATUS_OK);
	operation_row_done(&op);
	assert_int_equal(operation_row_forget(md, 21, &err), STATUS_OK);
	assert_int_equal(operation_row_find(md, "one", &op, &err), STATUS_NOT_FOUND);
	metadata_close(md);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(is_made_private_and_durable),
		TEST(opens_again_with_all_it_held),
		TEST(what_is_not_committed_is_gone),
		TEST(migrates_from_the_start_of_each_version),
		TEST(policies_are_of_a_principal_or_of_the_account),
		TEST(old_administrators_stay),
		TEST(one_name_means_one_identity),
		TEST(groups_know_their_members),
		TEST(old_branches_keep_their_volumes),
		TEST(refuses_a_newer_version_untouched),
		TEST(refuses_what_is_no_database),
		TEST(knows_a_token_by_its_hash_only),
		TEST(operations_end_once_and_are_forgotten_late),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
