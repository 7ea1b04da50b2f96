/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "control_plane/branch_inventory.h"
#include "metadata/database_row.h"
#include "metadata/role_row.h"
#include "metadata/statement.h"

#define BRANCH   "/projects/p/branches/production"
#define ROLES    BRANCH "/roles"
#define DBS      BRANCH "/databases"
#define ALIKE    100 /* what a page has */
#define IS_PLAIN "{\"spec\":{\"postgres_role\":\"app\"}}"
#define OF_ALICE                                                                                             \
	"{\"spec\":{\"postgres_database\":\"shop\",\"role\":\"projects/p/branches/production/roles/"         \
	"alice\"}}"

static void run_some(struct control_fixture *f, int turns)
{
	for (int i = 0; i < turns; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

static size_t count(struct control_fixture *f, const char *path, const char *key)
{
	call_api(f, "GET", path, NULL);
	return yyjson_arr_size(yyjson_obj_get(f->json, key));
}

static void every_change_survives_a_crash_after_every_turn(void **state)
{
	struct control_fixture *f = *state;
	static const struct {
		const char *method, *path, *body;
		size_t roles, databases; /* afterwards */
	} steps[] = {
		{ "POST", ROLES "?role_id=app", IS_PLAIN, 2, 1 },
		{ "PATCH", ROLES "/app?update_mask=spec.attributes.createdb",
		        "{\"spec\":{\"attributes\":{\"createdb\":true}}}", 2, 1 },
		{ "POST", DBS "?database_id=shop", OF_ALICE, 2, 2 },
		{ "PATCH", DBS "/shop?update_mask=spec",
		        "{\"spec\":{\"postgres_database\":\"renamed\",\"role\":\"projects/p/branches/"
		        "production/roles/app\"}}",
		        2, 2 },
		{ "DELETE", DBS "/shop", NULL, 2, 1 },
		{ "DELETE", ROLES "/app", NULL, 1, 1 },
	};
	perform(f, "POST", "/projects?project_id=p", NULL);
	for (int turns = 0; turns < 12; turns++) {
		for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
			CLEANUP(free_text)
			char *name = begin_operation(f, steps[i].method, steps[i].path, steps[i].body);
			run_some(f, turns);
			control_fixture_crash(f);
			finish_operation(f, name);
			if (!has(f, "/response"))
				fail_msg("%s %s after %d turns: %s", steps[i].method, steps[i].path, turns,
				        text_at(f, "/error/message"));
			assert_int_equal(count(f, ROLES, "roles"), steps[i].roles);
			assert_int_equal(count(f, DBS, "databases"), steps[i].databases);
		}
	}
}

static void a_change_that_fails_leaves_nothing(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	static const struct {
		enum machine_step step;
		status code;
		int times;
		const char *error_code;
	} failures[] = {
		{ STEP_OPEN, STATUS_UNAVAILABLE, 1, "UNAVAILABLE" },
		{ STEP_CHANGE, STATUS_INVALID, 1, "INVALID_PARAMETER_VALUE" },
		{ STEP_CHANGE, STATUS_UNAVAILABLE, 100, "UNAVAILABLE" },
	};
	for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
		f->machine->fail_with[failures[i].step] = failures[i].code;
		f->machine->fail_times[failures[i].step] = failures[i].times;
		CLEANUP(free_text) char *role = begin_operation(f, "POST", ROLES "?role_id=app", IS_PLAIN);
		finish_operation(f, role);
		f->machine->fail_times[failures[i].step] = 0;
		assert_string_equal(text_at(f, "/error/error_code"), failures[i].error_code);
		assert_int_equal(count(f, ROLES, "roles"), 1);
		/* The name is free again. */
		perform(f, "POST", ROLES "?role_id=app", IS_PLAIN);
		perform(f, "DELETE", ROLES "/app", NULL);
	}
	/* One that passes is tried again, and what the first try did is its own. */
	f->machine->fail_with[STEP_LOOK] = STATUS_UNAVAILABLE;
	f->machine->fail_times[STEP_LOOK] = 2;
	perform(f, "POST", ROLES "?role_id=app", IS_PLAIN);
	assert_int_equal(count(f, ROLES, "roles"), 2);
}

static void what_is_there_is_not_taken_for_ones_own(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	(void)machine_add_role("app"); /* by SQL, and not seen yet */
	CLEANUP(free_text) char *role = begin_operation(f, "POST", ROLES "?role_id=mine", IS_PLAIN);
	finish_operation(f, role);
	assert_string_equal(text_at(f, "/error/error_code"), "ALREADY_EXISTS");
	(void)machine_add_database("shop", "alice@example.com");
	CLEANUP(free_text) char *database = begin_operation(f, "POST", DBS "?database_id=mine", OF_ALICE);
	finish_operation(f, database);
	assert_string_equal(text_at(f, "/error/error_code"), "ALREADY_EXISTS");
}

static struct inventory_role plain(int64_t oid, const char *name)
{
	struct inventory_role role = { .oid = oid, .login = true };
	(void)snprintf(role.name, sizeof role.name, "%s", name);
	return role;
}

static int64_t production(struct control_fixture *f)
{
	struct error err;
	struct project_row project = { 0 };
	struct branch_row branch;
	assert_int_equal(project_row_find(f->services.md, "p", &project, &err), STATUS_OK);
	assert_int_equal(branch_row_find(f->services.md, project.id, "production", &branch, &err), STATUS_OK);
	project_row_done(&project);
	return branch.id;
}

static void absorb_at(struct control_fixture *f, uint64_t ticket, struct inventory_role *roles,
        size_t role_count, struct inventory_database *databases, size_t database_count)
{
	struct error err;
	const struct inventory inventory = { roles, role_count, databases, database_count };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	assert_int_equal(transaction_begin(f->services.md, &tx, &err), STATUS_OK);
	assert_int_equal(
	        branch_inventory_absorb(&f->services, production(f), ticket, &inventory, 7, &err), STATUS_OK);
	assert_int_equal(transaction_commit(&tx, &err), STATUS_OK);
}

static void absorb(struct control_fixture *f, struct inventory_role *roles, size_t role_count,
        struct inventory_database *databases, size_t database_count)
{
	absorb_at(f, branch_inventory_ticket(), roles, role_count, databases, database_count);
}

static const char *id_of(struct control_fixture *f, const char *name)
{
	static struct role_row row;
	struct error err;
	if (role_row_find_name(f->services.md, production(f), name, &row, &err) != STATUS_OK)
		return "";
	return row.role_id;
}

static void ids_follow_the_roles(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	struct inventory_role first[] = { plain(100, "A b"), plain(101, "x"), plain(102, "a_b") };
	absorb(f, first, 3, NULL, 0);
	assert_string_equal(id_of(f, "A b"), "a-b");
	assert_string_equal(id_of(f, "a_b"), "a-b-2");
	assert_string_equal(id_of(f, "alice@example.com"), ""); /* dropped */
	/* Two exchange their names: each keeps its id. */
	struct inventory_role exchanged[] = { plain(100, "x"), plain(101, "A b"), plain(102, "a_b") };
	absorb(f, exchanged, 3, NULL, 0);
	assert_string_equal(id_of(f, "x"), "a-b");
	assert_string_equal(id_of(f, "A b"), "x");
	/* Dropped and made anew under its name: it is the same to a client. */
	struct inventory_role anew[] = { plain(101, "A b"), plain(102, "a_b"), plain(200, "x") };
	absorb(f, anew, 3, NULL, 0);
	assert_string_equal(id_of(f, "x"), "a-b");
	/* A name without a letter, one that is no text, and a service principal. */
	struct inventory_role odd[] = { plain(300, "123"), plain(301, "\xff\xfe"),
		plain(302, "0f3c8a7e-1111-2222-3333-444455556666"), plain(303, "☃") };
	odd[2].identity = INVENTORY_SERVICE_PRINCIPAL;
	absorb(f, odd, 4, NULL, 0);
	assert_string_equal(id_of(f, "123"), "role-123");
	assert_string_equal(
	        id_of(f, "0f3c8a7e-1111-2222-3333-444455556666"), "sp-0f3c8a7e-1111-2222-3333-444455556666");
	assert_string_equal(id_of(f, "☃"), "role");
	assert_int_equal(count(f, ROLES, "roles"), 3);
}

static void databases_follow_their_owners(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	struct inventory_role roles[] = { plain(100, "a"), plain(101, "b") };
	struct inventory_database databases[] = { { .oid = 200, .name = "one", .owner = "a" },
		{ .oid = 201, .name = "two", .owner = "cloud_admin" } };
	absorb(f, roles, 2, databases, 2);
	call_api(f, "GET", DBS "/one", NULL);
	assert_string_equal(text_at(f, "/status/role"), "projects/p/branches/production/roles/a");
	call_api(f, "GET", DBS "/two", NULL);
	assert_false(has(f, "/status/role")); /* the system's is nobody's to name */
	struct inventory_database exchanged[] = { { .oid = 200, .name = "two", .owner = "b" },
		{ .oid = 201, .name = "one", .owner = "a" } };
	absorb(f, roles, 2, exchanged, 2);
	call_api(f, "GET", DBS "/one", NULL);
	assert_string_equal(text_at(f, "/status/postgres_database"), "two");
	assert_string_equal(text_at(f, "/status/role"), "projects/p/branches/production/roles/b");
}

/* It may be a job's, which waited behind a newer one, or the file of a supervisor that suspended while a role was made. */
static void an_older_inventory_is_not_taken(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	uint64_t older = branch_inventory_ticket();
	struct inventory_role roles[] = { plain(100, "a"), plain(101, "b") };
	absorb(f, roles, 2, NULL, 0);
	absorb_at(f, older, roles, 1, NULL, 0);
	assert_string_equal(id_of(f, "b"), "b");
	absorb(f, roles, 1, NULL, 0);
	assert_string_equal(id_of(f, "b"), "");
}

/* By a renaming with SQL, while the operation waits for its turn: no inventory may fail for that, since operations end with one. */
static void a_name_that_was_taken_meanwhile_is_told(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	struct inventory_role roles[] = { plain(100, "a"), plain(101, "other") };
	struct inventory_database databases[] = { { .oid = 200, .name = "other", .owner = "a" } };
	absorb(f, roles, 2, databases, 1);
	CLEANUP(free_text) char *role = begin_operation(f, "POST", ROLES "?role_id=mine", IS_PLAIN);
	CLEANUP(free_text)
	char *database = begin_operation(f, "POST", DBS "?database_id=mine",
	        "{\"spec\":{\"postgres_database\":\"shop\",\"role\":\"projects/p/branches/production/roles/"
	        "a\"}}");
	(void)snprintf(roles[1].name, sizeof roles[1].name, "app");
	(void)snprintf(databases[0].name, sizeof databases[0].name, "shop");
	absorb(f, roles, 2, databases, 1);
	assert_string_equal(id_of(f, "app"), "other");
	finish_operation(f, role);
	assert_string_equal(text_at(f, "/error/error_code"), "ALREADY_EXISTS");
	finish_operation(f, database);
	assert_string_equal(text_at(f, "/error/error_code"), "ALREADY_EXISTS");
}

/* 0: there is none. */
static int64_t oid_in_postgres(const char *database)
{
	CLEANUP(inventory_done) struct inventory inventory = { 0 };
	struct error err;
	assert_int_equal(inventory_take("", &inventory, &err), STATUS_OK);
	for (size_t i = 0; i < inventory.database_count; i++) {
		if (strcmp(inventory.databases[i].name, database) == 0)
			return inventory.databases[i].oid;
	}
	return 0;
}

/* Control dies when the database is dropped and, in most rounds, nothing is recorded; somebody makes another one under its name by SQL. */
static void a_deletion_is_not_done_twice(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	for (int round = 0; round < 8; round++) {
		perform(f, "POST", DBS "?database_id=shop", OF_ALICE);
		CLEANUP(free_text) char *name = begin_operation(f, "DELETE", DBS "/shop", NULL);
		while (oid_in_postgres("shop") != 0)
			(void)uv_run(&f->loop, UV_RUN_NOWAIT);
		control_fixture_crash(f);
		int64_t oid = machine_add_database("shop", "alice@example.com")->oid;
		finish_operation(f, name);
		assert_true(has(f, "/response"));
		assert_int_equal(oid_in_postgres("shop"), oid);
		/* Seen with the next change, if the deletion had ended before the crash. */
		perform(f, "PATCH", DBS "/databricks-postgres?update_mask=spec", "{\"spec\":{}}");
		assert_int_equal(count(f, DBS, "databases"), 2);
		perform(f, "DELETE", DBS "/shop", NULL);
		assert_int_equal(oid_in_postgres("shop"), 0);
	}
}

#define TURNS 12 /* how far they lead depends on the machine */
enum way { WAY_CRASH = TURNS, WAY_LOST, WAYS };

/*
 * A change in Postgres of which nobody has heard: control dies after so many turns, or when the change was just made (WAY_CRASH); or the answer is
 * lost and it goes on (WAY_LOST). The caller meddles then, by SQL, and finishes the operation.
 */
static char *begin_unheard(
        struct control_fixture *f, int way, const char *method, const char *path, const char *body)
{
	int answers = f->machine->done[STEP_ANSWER];
	f->machine->fail_with[STEP_ANSWER] = STATUS_UNAVAILABLE;
	f->machine->fail_times[STEP_ANSWER] = way == WAY_LOST;
	char *name = begin_operation(f, method, path, body);
	if (way < TURNS)
		run_some(f, way);
	while (way >= TURNS && f->machine->done[STEP_ANSWER] == answers)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	if (way != WAY_LOST)
		control_fixture_crash(f);
	return name;
}

static void finish_well(struct control_fixture *f, const char *name)
{
	finish_operation(f, name);
	if (!has(f, "/response"))
		fail_msg("%s", text_at(f, "/error/message"));
}

/* Postgres knows for which operation it was changed: what somebody has made of it since stays. */
static void what_was_done_is_not_done_again(void **state)
{
	struct control_fixture *f = *state;
	int meddled = 0;
	perform(f, "POST", "/projects?project_id=p", NULL);
	for (int way = 0; way < WAYS; way++) {
		CLEANUP(free_text)
		char *create = begin_unheard(f, way, "POST", ROLES "?role_id=app", IS_PLAIN);
		struct inventory_role *role = machine_find_role("app");
		bool is_done = role != NULL;
		if (is_done)
			role->bypassrls = true;
		meddled += is_done;
		finish_well(f, create);
		assert_int_equal(machine_find_role("app")->bypassrls, is_done);

		CLEANUP(free_text)
		char *update =
		        begin_unheard(f, way, "PATCH", ROLES "/app?update_mask=spec.attributes.createdb",
		                "{\"spec\":{\"attributes\":{\"createdb\":true}}}");
		role = machine_find_role("app");
		is_done = role->createdb;
		role->createdb = false;
		meddled += is_done;
		finish_well(f, update);
		assert_int_equal(machine_find_role("app")->createdb, !is_done);

		CLEANUP(free_text)
		char *make = begin_unheard(f, way, "POST", DBS "?database_id=shop", OF_ALICE);
		struct inventory_database *database = machine_find_database("shop");
		is_done = database != NULL;
		if (is_done)
			strcpy(database->name, "other");
		meddled += is_done;
		finish_well(f, make);
		assert_int_equal(machine_find_database("other") != NULL, is_done);
		assert_int_equal(machine_find_database("shop") != NULL, !is_done);
		perform(f, "PATCH", DBS "/databricks-postgres?update_mask=spec",
		        "{\"spec\":{}}"); /* a look */
		assert_int_equal(count(f, DBS, "databases"), 2);

		CLEANUP(free_text)
		char *rename = begin_unheard(f, way, "PATCH", DBS "/shop?update_mask=spec",
		        "{\"spec\":{\"postgres_database\":\"renamed\",\"role\":\"projects/p/branches/"
		        "production/roles/app\"}}");
		database = machine_find_database("renamed");
		is_done = database != NULL;
		if (is_done)
			strcpy(database->name, "third");
		meddled += is_done;
		finish_well(f, rename);
		assert_int_equal(machine_find_database("third") != NULL, is_done);
		assert_string_equal(machine_find_database(is_done ? "third" : "renamed")->owner, "app");
		perform(f, "DELETE", DBS "/shop", NULL);
		perform(f, "DELETE", ROLES "/app", NULL);
	}
	assert_true(meddled >= 8); /* four in each of the last two ways */
}

static void what_was_made_and_dropped_is_not_made_again(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	CLEANUP(free_text) char *name = begin_unheard(f, WAY_LOST, "POST", ROLES "?role_id=app", IS_PLAIN);
	machine_drop_role("app");
	finish_operation(f, name);
	assert_string_equal(text_at(f, "/error/error_code"), "NOT_FOUND");
	assert_null(machine_find_role("app"));
	assert_int_equal(count(f, ROLES, "roles"), 1);
}

/* Between two attempts of which the first did nothing: in the second, too, it is somebody else's. */
static void what_came_between_attempts_is_not_taken_for_ones_own(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	for (int i = 0; i < 2; i++) {
		int changes = f->machine->done[STEP_CHANGE];
		f->machine->fail_with[STEP_CHANGE] = STATUS_UNAVAILABLE;
		f->machine->fail_times[STEP_CHANGE] = 1;
		CLEANUP(free_text)
		char *name =
		        begin_operation(f, "POST", i == 0 ? ROLES "?role_id=app" : DBS "?database_id=shop",
		                i == 0 ? IS_PLAIN : OF_ALICE);
		while (f->machine->done[STEP_CHANGE] == changes)
			(void)uv_run(&f->loop, UV_RUN_NOWAIT);
		if (i == 0)
			machine_add_role("app")->createdb = true;
		else
			(void)machine_add_database("shop", "app");
		finish_operation(f, name);
		assert_string_equal(text_at(f, "/error/error_code"), "ALREADY_EXISTS");
	}
	assert_true(machine_find_role("app")->createdb && !machine_find_role("app")->login);
	assert_string_equal(machine_find_database("shop")->owner, "app");
}

/* An operation that a version began which noted nothing in Postgres: what is there is taken for its own, as that version did. */
static void what_an_older_version_began_goes_on(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	perform(f, "POST", "/projects?project_id=p", NULL);
	static const struct {
		const char *path, *body;
	} changes[] = { { ROLES "?role_id=app", IS_PLAIN }, { DBS "?database_id=shop", OF_ALICE } };
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		CLEANUP(free_text) char *name = begin_operation(f, "POST", changes[i].path, changes[i].body);
		assert_int_equal(statement_do(f->services.md,
		                         "UPDATE operation SET step = 'begun 0' WHERE finish_usec IS NULL",
		                         NULL, 0, &err),
		        STATUS_OK);
		if (i == 0)
			(void)machine_add_role("app");
		else
			(void)machine_add_database("shop", "alice@example.com");
		control_fixture_crash(f);
		finish_well(f, name);
	}
	assert_true(machine_find_role("app")->login);
}

static void a_password_of_sql_is_not_ours(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", ROLES "?role_id=app", IS_PLAIN);
	call_api(f, "POST", ROLES "/app/password", "{}");
	assert_int_equal(f->http_status, 200);
	assert_int_equal(strlen(text_at(f, "/password")), 24);
	struct inventory_role changed = plain(500, "app");
	(void)snprintf(changed.verifier, sizeof changed.verifier, "SCRAM-SHA-256$4096:a$b:c");
	absorb(f, &changed, 1, NULL, 0);
	call_api(f, "POST", ROLES "/app/password", "{}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "the password of role 'app' is not known here");
}

/* They are looked for at random soon: one after another, thousands of names of one id would take their number cubed. */
static void names_of_one_id_are_not_counted_through(void **state)
{
	struct control_fixture *f = *state;
	struct inventory_role *roles = xcalloc(ALIKE, sizeof *roles);
	perform(f, "POST", "/projects?project_id=p", NULL);
	for (int i = 0; i < ALIKE; i++) {
		roles[i] = (struct inventory_role){ .oid = 500 + i, .login = true };
		for (int bit = 0; bit < 10; bit++)
			roles[i].name[bit] = i >> bit & 1 ? '!' : '?';
	}
	absorb(f, roles, ALIKE, NULL, 0);
	free(roles);
	call_api(f, "GET", ROLES, NULL);
	yyjson_val *list = yyjson_obj_get(f->json, "roles"), *item;
	size_t i, max;
	int in_order = 0;
	assert_int_equal(yyjson_arr_size(list), ALIKE);
	yyjson_arr_foreach(list, i, max, item)
	{
		char expected[24] = "role";
		if (i > 0)
			(void)snprintf(expected, sizeof expected, "role-%zu", i + 1);
		in_order += yyjson_equals_str(yyjson_obj_get(item, "role_id"), expected);
	}
	assert_in_range(in_order, 9, ALIKE / 2);
}

static void count_answer(void *arg, bool is_fresh)
{
	assert_false(is_fresh);
	++*(int *)arg;
}

/* Anybody who can reach the port makes logins happen, and the file can have megabytes. */
static void what_a_sleeping_compute_left_is_read_once(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	struct branch_row branch;
	perform(f, "POST", "/projects?project_id=p", NULL);
	settle(f);
	call_api(f, "GET", BRANCH "/endpoints/primary", NULL);
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));
	machine_set_state(uid, FLEET_ASLEEP);
	CLEANUP(free_text) char *computes = xasprintf("%s/computes", f->folder);
	CLEANUP(free_text) char *folder = xasprintf("%s/%s", computes, uid);
	CLEANUP(free_text) char *path = xasprintf("%s/inventory.json", folder);
	(void)mkdir(computes, 0700);
	assert_int_equal(mkdir(folder, 0700), 0);
	int answers = 0;
	assert_int_equal(branch_row_get(f->services.md, production(f), &branch, &err), STATUS_OK);
	branch_inventory_ask(f->services.inventory, production(f), count_answer, &answers);
	int reads = f->machine->done[STEP_READ];
	for (int files = 1; files <= 2; files++) {
		assert_int_equal(file_replace_durably(path, slice_from_text("{}"), 0600, &err), STATUS_OK);
		machine_leave_inventory(branch.volume_id, INT64_C(4000000000000000) + files);
		for (int i = 0; i < 3; i++)
			branch_inventory_ask(f->services.inventory, production(f), count_answer, &answers);
		assert_int_equal(f->machine->done[STEP_READ], reads + files);
	}
	assert_int_equal(answers, 7);
}

/* ---- metadata that cannot be written ---- */

static void note_answer(void *arg, bool is_fresh)
{
	*(int *)arg = is_fresh ? 1 : -1;
}

static bool look_at_postgres(struct control_fixture *f)
{
	int answer = 0;
	branch_inventory_ask(f->services.inventory, production(f), note_answer, &answer);
	while (answer == 0)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	return answer == 1;
}

static void set_full(struct control_fixture *f, bool is_full)
{
	struct error err;
	assert_int_equal(statement_do(f->services.md,
	                         is_full ? "PRAGMA query_only = 1" : "PRAGMA query_only = 0", NULL, 0, &err),
	        STATUS_OK);
}

static void expect_not_shown(struct control_fixture *f, const char *path)
{
	f->holds = 1; /* it has been held for what Postgres says */
	call_api(f, "GET", path, NULL);
	f->holds = 0;
	expect_error(f, 500, "INTERNAL_ERROR",
	        "what Postgres says of the roles and databases cannot be noted, so they cannot be shown: "
	        "metadata: ");
}

static void what_cannot_be_noted_is_not_shown_as_it_was(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	assert_true(look_at_postgres(f));
	(void)machine_add_role("by_sql");
	set_full(f, true);
	assert_false(look_at_postgres(f));
	expect_not_shown(f, ROLES);
	expect_not_shown(f, ROLES "/alice");
	expect_not_shown(f, DBS);
	assert_false(look_at_postgres(f));
	expect_not_shown(f, ROLES);
	set_full(f, false);
	assert_true(look_at_postgres(f));
	f->holds = 1;
	assert_int_equal(count(f, ROLES, "roles"), 2);
	f->holds = 0;
}

/* What a supervisor has left is tried again with every question, and when there is nothing, nothing more can be known. */
static void nor_is_what_a_supervisor_has_left(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	struct branch_row branch;
	perform(f, "POST", "/projects?project_id=p", NULL);
	assert_int_equal(branch_row_get(f->services.md, production(f), &branch, &err), STATUS_OK);
	(void)machine_add_role("by_sql");
	machine_leave_inventory(branch.volume_id, INT64_C(4000000000000000));
	set_full(f, true);
	branch_inventory_take_over(&f->services, &branch, "ep");
	expect_not_shown(f, ROLES);
	set_full(f, false);
	branch_inventory_take_over(&f->services, &branch, "ep");
	assert_int_equal(count(f, ROLES, "roles"), 2);
	(void)machine_add_role("late");
	machine_leave_inventory(branch.volume_id, INT64_C(4000000000000001));
	set_full(f, true);
	branch_inventory_take_over(&f->services, &branch, "ep");
	expect_not_shown(f, ROLES);
	machine_leave_inventory("", 0);
	branch_inventory_take_over(&f->services, &branch, "ep");
	assert_int_equal(count(f, ROLES, "roles"), 2);
	set_full(f, false);
}

/* It was never in the rows: an older one is newer than what is. */
static void an_inventory_that_was_rolled_back_overtakes_nobody(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	perform(f, "POST", "/projects?project_id=p", NULL);
	struct inventory_role roles[] = { plain(100, "a"), plain(101, "b") };
	const struct inventory newer = { .roles = roles, .role_count = 2 };
	uint64_t older = branch_inventory_ticket();
	for (int i = 0; i < 2; i++) {
		CLEANUP(transaction_end) struct transaction tx = { 0 };
		assert_int_equal(transaction_begin(f->services.md, &tx, &err), STATUS_OK);
		assert_int_equal(branch_inventory_absorb(&f->services, production(f),
		                         branch_inventory_ticket(), &newer, 7, &err),
		        STATUS_OK);
	}
	absorb_at(f, older, roles, 1, NULL, 0);
	assert_string_equal(id_of(f, "a"), "a");
	assert_string_equal(id_of(f, "b"), "");
}

/* ---- branches from before there were markers: only the rows know what a role stands for ---- */

static void absorb_unmarked(struct control_fixture *f, struct inventory_role *roles, size_t role_count)
{
	struct error err;
	const struct inventory inventory = {
		.roles = roles, .role_count = role_count, .lacks_markers = true
	};
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	assert_int_equal(transaction_begin(f->services.md, &tx, &err), STATUS_OK);
	assert_int_equal(branch_inventory_absorb(
	                         &f->services, production(f), branch_inventory_ticket(), &inventory, 7, &err),
	        STATUS_OK);
	assert_int_equal(transaction_commit(&tx, &err), STATUS_OK);
}

/* As a version without inventories left them. */
static void forget_oids(struct control_fixture *f)
{
	struct error err;
	assert_int_equal(statement_do(f->services.md, "UPDATE role SET oid = 0", NULL, 0, &err), STATUS_OK);
}

static void expect_role(struct control_fixture *f, const char *id, const char *identity, const char *method)
{
	CLEANUP(free_text) char *path = xasprintf(ROLES "/%s", id);
	call_api(f, "GET", path, NULL);
	assert_string_equal(text_at(f, "/status/identity_type"), identity);
	assert_string_equal(text_at(f, "/status/auth_method"), method);
}

#define IS_USER   "USER", "LAKEBASE_OAUTH_V1"
#define IS_NOBODY "IDENTITY_TYPE_UNSPECIFIED", "PG_PASSWORD_SCRAM_SHA_256"

static void a_branch_without_markers_keeps_what_its_roles_stand_for(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	forget_oids(f);
	struct inventory_role roles[] = { plain(100, "alice@example.com"), plain(101, "app"),
		plain(102, "0f3c8a7e-1111-2222-3333-444455556666") };
	roles[2].identity = INVENTORY_SERVICE_PRINCIPAL; /* databricks_auth has made it there */
	for (int i = 0; i < 2; i++) {                    /* by its name, then by its oid */
		absorb_unmarked(f, roles, 3);
		expect_role(f, "alice", IS_USER);
		expect_role(f, "app", IS_NOBODY);
		expect_role(f, "sp-0f3c8a7e-1111-2222-3333-444455556666", "SERVICE_PRINCIPAL",
		        "LAKEBASE_OAUTH_V1");
	}
	/* By SQL nobody becomes one: neither by being made anew under the name, nor by taking it. */
	roles[0].oid = 103;
	absorb_unmarked(f, roles, 1);
	expect_role(f, "alice", IS_NOBODY);
	/* With markers, the one that is missing tells. */
	perform(f, "POST", ROLES "?role_id=bob",
	        "{\"spec\":{\"postgres_role\":\"bob\",\"identity_type\":\"USER\"}}");
	expect_role(f, "bob", IS_USER);
	struct inventory_role bob = plain(104, "bob");
	absorb(f, &bob, 1, NULL, 0);
	expect_role(f, "bob", IS_NOBODY);
}

static void a_name_that_is_waited_for_makes_nobody_an_identity(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	CLEANUP(free_text)
	char *name = begin_operation(f, "POST", ROLES "?role_id=bob",
	        "{\"spec\":{\"postgres_role\":\"bob\",\"identity_type\":\"USER\"}}");
	struct inventory_role roles[] = { plain(100, "bob") };
	absorb_unmarked(f, roles, 1);
	expect_role(f, "bob", IS_NOBODY);
	finish_operation(f, name);
}

static void the_next_change_writes_the_markers(void **state)
{
	struct control_fixture *f = *state;
	static const struct {
		const char *method, *path, *body;
		bool is_nobody; /* alice, afterwards */
	} changes[] = {
		{ "POST", ROLES "?role_id=app", IS_PLAIN, false },
		{ "PATCH", ROLES "/alice?update_mask=spec.attributes.createdb",
		        "{\"spec\":{\"attributes\":{\"createdb\":true}}}", false },
		{ "POST", ROLES "?role_id=alice&replace_existing=true",
		        "{\"spec\":{\"postgres_role\":\"alice@example.com\",\"auth_method\":\"NO_LOGIN\"}}",
		        true },
	};
	perform(f, "POST", "/projects?project_id=p", NULL);
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		machine_forget_markers();
		forget_oids(f);
		/* Without them nothing is changed. */
		f->machine->fail_with[STEP_MARK] = STATUS_UNAVAILABLE;
		f->machine->fail_times[STEP_MARK] = 100;
		CLEANUP(free_text)
		char *name = begin_operation(f, changes[i].method, changes[i].path, changes[i].body);
		finish_operation(f, name);
		assert_string_equal(text_at(f, "/error/error_code"), "UNAVAILABLE");
		assert_false(machine_has_markers());
		f->machine->fail_times[STEP_MARK] = 1; /* it passes */
		perform(f, changes[i].method, changes[i].path, changes[i].body);
		assert_true(machine_has_markers());
		if (changes[i].is_nobody)
			expect_role(f, "alice", "IDENTITY_TYPE_UNSPECIFIED", "NO_LOGIN");
		else
			expect_role(f, "alice", IS_USER);
	}
}

static void looking_writes_the_markers(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	machine_forget_markers();
	forget_oids(f);
	assert_true(look_at_postgres(f)); /* finds out that there are none */
	expect_role(f, "alice", IS_USER);
	f->machine->fail_with[STEP_MARK] = STATUS_UNAVAILABLE;
	f->machine->fail_times[STEP_MARK] = 1;
	assert_true(look_at_postgres(f));
	expect_role(f, "alice", IS_USER);
	assert_false(machine_has_markers());
	assert_true(look_at_postgres(f));
	assert_true(machine_has_markers());
	assert_true(look_at_postgres(f));
	expect_role(f, "alice", IS_USER);
	assert_int_equal(f->machine->done[STEP_MARK], 2); /* once */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, control_fixture_set_up, control_fixture_tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(what_a_sleeping_compute_left_is_read_once),
		TEST(every_change_survives_a_crash_after_every_turn),
		TEST(a_change_that_fails_leaves_nothing),
		TEST(what_is_there_is_not_taken_for_ones_own),
		TEST(ids_follow_the_roles),
		TEST(databases_follow_their_owners),
		TEST(an_older_inventory_is_not_taken),
		TEST(a_name_that_was_taken_meanwhile_is_told),
		TEST(a_deletion_is_not_done_twice),
		TEST(what_was_done_is_not_done_again),
		TEST(what_was_made_and_dropped_is_not_made_again),
		TEST(what_came_between_attempts_is_not_taken_for_ones_own),
		TEST(what_an_older_version_began_goes_on),
		TEST(a_password_of_sql_is_not_ours),
		TEST(names_of_one_id_are_not_counted_through),
		TEST(what_cannot_be_noted_is_not_shown_as_it_was),
		TEST(nor_is_what_a_supervisor_has_left),
		TEST(an_inventory_that_was_rolled_back_overtakes_nobody),
		TEST(a_branch_without_markers_keeps_what_its_roles_stand_for),
		TEST(a_name_that_is_waited_for_makes_nobody_an_identity),
		TEST(the_next_change_writes_the_markers),
		TEST(looking_writes_the_markers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
