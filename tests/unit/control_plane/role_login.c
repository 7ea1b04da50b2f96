/* How roles log in: fresh rows for few inventories, and the same answer for names that are nobody's. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_fixture.h"

#include <stdio.h>

#include "auth/scram_verifier.h"
#include "base/clock.h"
#include "control_plane/role_login.h"
#include "metadata/identity_row.h"

#define APP                                                                                                  \
	"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"          \
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define QUESTIONS 100

struct answer {
	struct control_login login;
	status code;
	int count;
};

static char uid[64], project_uid[64];

static void take_answer(void *arg, const struct control_login *login, const struct error *err)
{
	struct answer *answer = arg;
	answer->count++;
	answer->code = login ? STATUS_OK : err->code;
	if (login)
		answer->login = *login;
}

static void wait_for(struct control_fixture *f, const struct answer *answer)
{
	for (int64_t end = clock_monotonic_usec() + 30 * USEC_PER_SEC; answer->count == 0;) {
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
		assert_true(clock_monotonic_usec() < end);
	}
	assert_int_equal(answer->count, 1);
}

static struct control_login ask(struct control_fixture *f, const char *role)
{
	struct answer answer = { 0 };
	role_login_ask(&f->services, uid, role, take_answer, &answer);
	wait_for(f, &answer);
	assert_int_equal(answer.code, STATUS_OK);
	return answer.login;
}

static int inventories(const struct control_fixture *f)
{
	return f->machine->done[STEP_LOOK];
}

static struct inventory_role *add(const char *name, bool login, const char *verifier)
{
	struct inventory_role *role = machine_add_role(name);
	role->login = login;
	(void)snprintf(role->verifier, sizeof role->verifier, "%s", verifier);
	return role;
}

static void begin(struct control_fixture *f, bool is_on)
{
	CLEANUP(free_text)
	char *body = xasprintf("{\"spec\":{\"enable_pg_native_login\":%s}}", is_on ? "true" : "false");
	perform(f, "POST", "/projects?project_id=p", body);
	call_api(f, "GET", "/projects/p", NULL);
	(void)snprintf(project_uid, sizeof project_uid, "%s", text_at(f, "/uid"));
	call_api(f, "GET", "/projects/p/branches/production/endpoints/primary", NULL);
	(void)snprintf(uid, sizeof uid, "%s", text_at(f, "/uid"));
	assert_int_equal(machine_state(uid), FLEET_RUNNING);
}

static void expect_mock(const struct control_login *login, const char *reason)
{
	struct scram_verifier verifier;
	assert_int_equal(login->method, LOGIN_PASSWORD);
	assert_true(login->is_enabled && login->is_permitted);
	assert_string_equal(login->reason, reason);
	assert_true(scram_verifier_parse(login->verifier, &verifier));
	assert_int_equal(strlen(login->verifier), strlen(APP));
}

static void what_each_kind_of_role_is_asked_for(void **state)
{
	struct control_fixture *f = *state;
	begin(f, true);
	(void)add("app", true, APP);
	(void)add("app@example.com", true, APP);
	(void)add("locked", false, APP);
	(void)add("bare", true, "");
	(void)add("old", true, "md5d41d8cd98f00b204e9800998ecf8427e");
	add("expired", true, APP)->valid_until_usec = 1;
	add("lasting", true, APP)->valid_until_usec = clock_wall_usec() + 3600 * USEC_PER_SEC;
	add("team", true, "")->identity = INVENTORY_GROUP;
	add("gone", false, "")->identity = INVENTORY_USER;
	add("both", true, APP)->identity = INVENTORY_USER;
	static const char *const with_password[] = { "app", "app@example.com", "lasting", "locked" };
	for (size_t i = 0; i < ARRAY_LEN(with_password); i++) {
		struct control_login login = ask(f, with_password[i]);
		assert_int_equal(login.method, LOGIN_PASSWORD);
		assert_true(login.is_enabled && login.is_fresh);
		assert_int_equal(login.is_permitted, strcmp(with_password[i], "locked") != 0);
		assert_string_equal(login.verifier, APP);
		assert_string_equal(login.reason, "");
	}
	static const char *const with_token[] = { "alice@example.com", "team", "gone", "nobody@example.com",
		"12345678-1234-1234-1234-123456789012" };
	for (size_t i = 0; i < ARRAY_LEN(with_token); i++) {
		struct control_login login = ask(f, with_token[i]);
		assert_int_equal(login.method, LOGIN_TOKEN);
		assert_string_equal(login.verifier, "");
		/* Only she is an identity; who has been one may still have tokens. */
		assert_int_equal(login.is_revoked, i > 0);
	}
	static const char *const mocked[][2] = { { "nobody", "the role does not exist" },
		{ "", "the role does not exist" }, { "cloud_admin", "the role does not exist" },
		{ "databricks_superuser", "the role does not exist" }, { "bare", "the role has no password" },
		{ "old", "the role's password is not kept as a SCRAM verifier" },
		{ "expired", "the role's password has expired" },
		{ "both", "the identity has been deactivated or deleted" } };
	for (size_t i = 0; i < ARRAY_LEN(mocked); i++) {
		struct control_login login = ask(f, mocked[i][0]), again = ask(f, mocked[i][0]);
		expect_mock(&login, mocked[i][1]);
		assert_string_equal(login.verifier, again.verifier);
		assert_string_not_equal(login.verifier, APP);
		for (size_t j = 0; j < i; j++) {
			struct control_login other = ask(f, mocked[j][0]);
			assert_string_not_equal(login.verifier, other.verifier);
		}
	}
}

static status put_identity(struct control_fixture *f, struct identity_row *row, struct error *err)
{
	struct metadata *md = f->services.md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = row->id == 0 ? identity_row_insert(md, row, err) : identity_row_update(md, row, err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

/* Whoever is logged in can set a password for himself; it must not outlive what he may do. */
static void an_identitys_password_ends_with_it(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	struct identity_row carol = { .kind = IDENTITY_USER,
		.login = "carol@example.com",
		.display_name = "Carol",
		.is_active = true,
		.create_usec = 1 };
	begin(f, true);
	struct inventory_role *role = add(carol.login, true, APP);
	for (int i = 0; i < 2; i++) {
		role->identity = i == 0 ? INVENTORY_USER : INVENTORY_PLAIN;
		for (carol.is_active = true;; carol.is_active = false) {
			assert_int_equal(put_identity(f, &carol, &err), STATUS_OK);
			struct control_login login = ask(f, carol.login);
			if (!carol.is_active) {
				expect_mock(&login, "the identity has been deactivated or deleted");
				assert_string_not_equal(login.verifier, APP);
				break;
			}
			assert_int_equal(login.method, LOGIN_PASSWORD);
			assert_string_equal(login.verifier, APP);
		}
	}
}

static void nothing_is_told_where_it_is_off(void **state)
{
	struct control_fixture *f = *state;
	begin(f, false);
	(void)add("app", true, APP);
	(void)add("app@example.com", true, APP);
	static const char *const names[] = { "app", "nobody", "locked" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct control_login login = ask(f, names[i]);
		assert_int_equal(login.method, LOGIN_PASSWORD);
		assert_false(login.is_enabled);
		assert_string_equal(login.verifier, "");
		assert_string_equal(login.reason, "");
	}
	/* Identities pay nothing: Postgres is not asked. */
	int before = inventories(f);
	static const char *const identities[] = { "alice@example.com", "app@example.com",
		"nobody@example.com" };
	for (size_t i = 0; i < ARRAY_LEN(identities); i++)
		assert_int_equal(ask(f, identities[i]).method, LOGIN_TOKEN);
	assert_int_equal(inventories(f), before);
	/* A group that SQL has just made. */
	add("team", true, "")->identity = INVENTORY_GROUP;
	assert_int_equal(ask(f, "team").method, LOGIN_TOKEN);
	/* At once for the next question. */
	perform(f, "PATCH", "/projects/p?update_mask=spec.enable_pg_native_login",
	        "{\"spec\":{\"enable_pg_native_login\":true}}");
	assert_string_equal(ask(f, "app").verifier, APP);
}

static void an_answer_is_not_older_than_its_question(void **state)
{
	struct control_fixture *f = *state;
	begin(f, true);
	struct inventory_role *role = add("app", true, APP);
	for (int i = 0; i < 20; i++) {
		char verifier[SCRAM_VERIFIER_MAX + 1], secret[8];
		(void)snprintf(secret, sizeof secret, "%d", i);
		scram_verifier_mock(slice_from_text(secret), "x", verifier);
		struct answer earlier = { 0 }, later = { 0 };
		/* One is being taken when the password changes, and the second question comes behind that. */
		role_login_ask(&f->services, uid, "app", take_answer, &earlier);
		(void)snprintf(role->verifier, sizeof role->verifier, "%s", verifier);
		role_login_ask(&f->services, uid, "app", take_answer, &later);
		wait_for(f, &later);
		assert_int_equal(earlier.count, 1);
		assert_string_equal(later.login.verifier, verifier);
		assert_true(later.login.is_fresh);
	}
}

static void a_storm_of_questions_is_few_inventories(void **state)
{
	struct control_fixture *f = *state;
	struct answer answers[QUESTIONS] = { 0 };
	begin(f, true);
	(void)add("app", true, APP);
	int before = inventories(f);
	for (int i = 0; i < QUESTIONS; i++)
		role_login_ask(&f->services, uid, i % 2 ? "app" : "nobody", take_answer, &answers[i]);
	for (int i = 0; i < QUESTIONS; i++) {
		wait_for(f, &answers[i]);
		assert_true(answers[i].login.is_fresh);
	}
	/* The one that was begun for the first question, and one for all the others. */
	assert_int_equal(inventories(f) - before, 2);
}

static void a_sleeping_compute_is_not_woken(void **state)
{
	struct control_fixture *f = *state;
	begin(f, true);
	(void)add("app", true, APP);
	assert_true(ask(f, "app").is_fresh);
	int before = inventories(f), opens = f->machine->done[STEP_OPEN];
	machine_set_state(uid, FLEET_ASLEEP);
	struct control_login login = ask(f, "app"), nobody = ask(f, "nobody");
	assert_false(login.is_fresh);
	assert_string_equal(login.verifier, APP);
	expect_mock(&nobody, "the role does not exist");
	assert_int_equal(inventories(f), before);
	assert_int_equal(f->machine->done[STEP_OPEN], opens);
}

static void a_compute_between_two_states_is_waited_for(void **state)
{
	struct control_fixture *f = *state;
	struct answer first = { 0 }, second = { 0 };
	begin(f, true);
	(void)add("app", true, APP);
	machine_set_state(uid, FLEET_STARTING);
	role_login_ask(&f->services, uid, "app", take_answer, &first);
	role_login_ask(&f->services, uid, "app", take_answer, &second);
	for (int i = 0; i < 5; i++)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(first.count, 0);
	int before = inventories(f);
	machine_set_state(uid, FLEET_RUNNING);
	wait_for(f, &first);
	wait_for(f, &second);
	assert_true(first.login.is_fresh && second.login.is_fresh);
	assert_int_equal(inventories(f) - before, 1);

	struct answer third = { 0 };
	machine_set_state(uid, FLEET_STOPPING);
	role_login_ask(&f->services, uid, "app", take_answer, &third);
	for (int i = 0; i < 5; i++)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(third.count, 0);
	machine_set_state(uid, FLEET_ASLEEP);
	wait_for(f, &third);
	assert_false(third.login.is_fresh);
}

static void one_that_cannot_be_asked_is_asked_again(void **state)
{
	struct control_fixture *f = *state;
	begin(f, true);
	(void)add("app", true, APP);
	f->machine->fail_with[STEP_LOOK] = STATUS_UNAVAILABLE;
	f->machine->fail_times[STEP_LOOK] = 3;
	struct control_login login = ask(f, "app");
	assert_true(login.is_fresh);
	assert_string_equal(login.verifier, APP);
	assert_int_equal(f->machine->fail_times[STEP_LOOK], 0);
}

static void what_is_gone_is_not_found(void **state)
{
	struct control_fixture *f = *state;
	struct answer answer = { 0 };
	begin(f, true);
	role_login_ask(&f->services, "ep-none", "app", take_answer, &answer);
	assert_int_equal(answer.count, 1);
	assert_int_equal(answer.code, STATUS_NOT_FOUND);
}

static void branches_mock_alike_and_projects_do_not(void **state)
{
	struct control_fixture *f = *state;
	begin(f, true);
	struct control_login here = ask(f, "nobody");
	perform(f, "POST", "/projects/p/branches?branch_id=b", "{\"spec\":{\"no_expiry\":true}}");
	call_api(f, "GET", "/projects/p/branches/b/endpoints/primary", NULL);
	(void)snprintf(uid, sizeof uid, "%s", text_at(f, "/uid"));
	assert_string_equal(ask(f, "nobody").verifier, here.verifier);
	perform(f, "POST", "/projects?project_id=q", "{\"spec\":{\"enable_pg_native_login\":true}}");
	call_api(f, "GET", "/projects/q/branches/production/endpoints/primary", NULL);
	(void)snprintf(uid, sizeof uid, "%s", text_at(f, "/uid"));
	assert_string_not_equal(ask(f, "nobody").verifier, here.verifier);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, control_fixture_set_up, control_fixture_tear_down)

/* By the operation that is open, so that nothing has to be taken back when the deletion fails, or control dies. */
static void nobody_logs_in_as_a_role_that_is_being_deleted(void **state)
{
	struct control_fixture *f = *state;
	begin(f, true);
	(void)add("app", true, APP);
	perform(f, "POST", "/projects/p/branches/production/databases?database_id=d",
	        "{\"spec\":{\"postgres_database\":\"d\",\"role\":\"projects/p/branches/production/roles/"
	        "alice\"}}");
	assert_true(ask(f, "app").is_permitted);
	static const char *const names[] = { "app", "alice@example.com" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		CLEANUP(free_text)
		char *path = xasprintf("/projects/p/branches/production/roles/%s", i == 0 ? "app" : "alice");
		f->machine->fail_with[STEP_CHANGE] = STATUS_UNAVAILABLE;
		f->machine->fail_times[STEP_CHANGE] = 100;
		CLEANUP(free_text) char *name = begin_operation(f, "DELETE", path, NULL);
		int changes = f->machine->done[STEP_CHANGE];
		while (f->machine->done[STEP_CHANGE] == changes)
			(void)uv_run(&f->loop, UV_RUN_NOWAIT);
		struct control_login login = ask(f, names[i]);
		assert_true(login.method == LOGIN_TOKEN ? login.is_revoked : !login.is_permitted);
		control_fixture_crash(f);
		login = ask(f, names[i]);
		assert_true(login.method == LOGIN_TOKEN ? login.is_revoked : !login.is_permitted);
		assert_true(ask(f, names[1 - i]).is_permitted && !ask(f, names[1 - i]).is_revoked);
		finish_operation(f, name);
		assert_string_equal(text_at(f, "/error/error_code"), "UNAVAILABLE");
		f->machine->fail_times[STEP_CHANGE] = 0;
		login = ask(f, names[i]);
		assert_true(login.is_permitted && !login.is_revoked);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_each_kind_of_role_is_asked_for),
		TEST(an_identitys_password_ends_with_it),
		TEST(nothing_is_told_where_it_is_off),
		TEST(an_answer_is_not_older_than_its_question),
		TEST(a_storm_of_questions_is_few_inventories),
		TEST(a_sleeping_compute_is_not_woken),
		TEST(a_compute_between_two_states_is_waited_for),
		TEST(one_that_cannot_be_asked_is_asked_again),
		TEST(what_is_gone_is_not_found),
		TEST(branches_mock_alike_and_projects_do_not),
		TEST(nobody_logs_in_as_a_role_that_is_being_deleted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
