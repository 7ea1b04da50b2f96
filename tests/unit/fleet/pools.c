/* Who wants to use the pooler of a compute: asked together, answered one by one. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fleet_fixture.h"

#define GOOD "lock say:starting wait:10 say:ready serve"

static void await_ok(struct fixture *f, struct outcome *o)
{
	fixture_await(f, o);
	if (o->has_failed)
		fail_msg("%s", o->err.message);
	outcome_clear(o);
}

static void await_failure(struct fixture *f, struct outcome *o, status code, const char *text)
{
	fixture_await(f, o);
	assert_true(o->has_failed);
	assert_int_equal(o->err.code, code);
	if (!strstr(o->err.message, text))
		fail_msg("\"%s\" is not in \"%s\"", text, o->err.message);
	outcome_clear(o);
}

static void open_ok(struct fixture *f, const char *uid)
{
	struct outcome o = { 0 };
	fixture_open(f, uid, &o);
	await_ok(f, &o);
}

/* The file is there as soon as the supervisor has been asked. */
static void await_question(struct fixture *f, const char *uid, const char *question)
{
	fixture_await_file(f, uid, "pooled");
	for (;;) {
		CLEANUP(free_text) char *asked = fixture_read(f, uid, "pooled");
		if (strstr(asked, question))
			return;
		fixture_turn(f);
	}
}

static void each_gets_the_verdict_on_his_role(void **state)
{
	struct fixture *f = *state;
	struct outcome a = { 0 }, b = { 0 }, c = { 0 };
	fixture_script(f, "ep-a", GOOD);
	open_ok(f, "ep-a");
	fixture_pool(f, "ep-a", "app", &a);
	fixture_pool(f, "ep-a", "nobody", &b);
	fixture_pool(f, "ep-a", "o\"neil \xc3\xa4", &c);
	await_ok(f, &a);
	await_failure(f, &b, STATUS_DENIED, "role \"nobody\" does not exist");
	await_ok(f, &c);
	/* One question for all who came in the same turn, each name once. */
	fixture_pool(f, "ep-a", "app", &a);
	fixture_pool(f, "ep-a", "app", &b);
	await_ok(f, &a);
	await_ok(f, &b);
	CLEANUP(free_text) char *asked = fixture_read(f, "ep-a", "pooled");
	assert_string_equal(asked,
	        "{\"do\":\"pool\",\"id\":1,\"roles\":[\"app\",\"nobody\",\"o\\\"neil \xc3\xa4\"]}\n"
	        "{\"do\":\"pool\",\"id\":2,\"roles\":[\"app\"]}\n");
}

static void who_comes_while_one_is_asked_waits_for_the_next(void **state)
{
	struct fixture *f = *state;
	struct outcome first = { 0 }, late = { 0 }, suspend = { 0 };
	fixture_script(f, "ep-a",
	        "lock ignore_pool say:ready until:go raw:{\"pool\":{\"id\":1,\"refused\":[]}} serve");
	open_ok(f, "ep-a");
	fixture_pool(f, "ep-a", "app", &first);
	await_question(f, "ep-a", "\"app\"");
	fixture_pool(f, "ep-a", "late", &late);
	for (int i = 0; i < 20; i++)
		fixture_turn(f);
	CLEANUP(free_text) char *asked = fixture_read(f, "ep-a", "pooled");
	assert_null(strstr(asked, "late"));
	fixture_write(f, "ep-a", "go", "");
	await_ok(f, &first);
	assert_int_equal(late.calls, 0); /* that answer was not to his question */
	await_question(f, "ep-a", "{\"do\":\"pool\",\"id\":2,\"roles\":[\"late\"]}");
	fixture_suspend(f, "ep-a", &suspend);
	await_ok(f, &suspend);
	await_failure(f, &late, STATUS_CONFLICT, "is asleep");
}

static void nobody_is_woken_for_it(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", GOOD);
	fixture_pool(f, "ep-a", "app", &o);
	await_failure(f, &o, STATUS_CONFLICT, "is asleep");
	fixture_pool(f, "ep-unknown", "app", &o);
	await_failure(f, &o, STATUS_NOT_FOUND, "is not known");
	fixture_pool(f, "ep-a", "0123456789012345678901234567890123456789012345678901234567890123", &o);
	await_failure(f, &o, STATUS_DENIED, "does not exist");
	assert_int_equal(fixture_starts(f, "ep-a"), 0);
}

static void a_machine_without_one_is_told_of(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", "lock refuse_pool say:ready serve");
	open_ok(f, "ep-a");
	fixture_pool(f, "ep-a", "app", &o);
	fixture_await(f, &o);
	assert_string_equal(o.err.hint, "Install it.");
	await_failure(f, &o, STATUS_UNSUPPORTED, "no PgBouncer");
}

static void a_lost_connection_is_no_answer(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 }, suspend = { 0 };
	fixture_script(f, "ep-a", "lock ignore_pool say:ready until:pooled drop serve");
	open_ok(f, "ep-a");
	fixture_pool(f, "ep-a", "app", &o);
	await_question(f, "ep-a", "\"id\":2"); /* it is asked again */
	assert_int_equal(o.calls, 0);
	fixture_suspend(f, "ep-a", &suspend);
	await_ok(f, &suspend);
	await_failure(f, &o, STATUS_CONFLICT, "is asleep");
}

static void control_s_end_answers_it(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", "lock ignore_pool say:ready serve");
	open_ok(f, "ep-a");
	fixture_pool(f, "ep-a", "app", &o);
	fixture_await_file(f, "ep-a", "pooled");
	fixture_new_fleet(f);
	await_failure(f, &o, STATUS_UNAVAILABLE, "control is ending");
	assert_int_equal(fleet_register(f->fleet, "ep-a", true, &err), STATUS_OK);
	fixture_await_state(f, "ep-a", FLEET_RUNNING);
	fixture_suspend(f, "ep-a", &o);
	await_ok(f, &o);
}

/* A script has a blank for each '_': these members have none in their names. */
static void what_poolers_tell_is_kept(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a",
	        "lock heard "
	        "raw:{\"state\":\"ready\",\"pooler\":{\"pid\":7,\"connections\":90,\"clients\":12,"
	        "\"waiting\":2}} "
	        "until:go raw:{\"state\":\"ready\",\"pooler\":{\"connections\":90}} serve");
	open_ok(f, "ep-a");
	const struct fleet_pooler *pooler = &fleet_look(f->fleet, "ep-a")->pooler;
	assert_int_equal(pooler->pid, 7);
	assert_int_equal(pooler->clients, 12);
	assert_int_equal(pooler->waiting, 2);
	fixture_write(f, "ep-a", "go", "");
	while (fleet_look(f->fleet, "ep-a")->pooler.pid != 0)
		fixture_turn(f);
	assert_int_equal(fleet_look(f->fleet, "ep-a")->pooler.connections, 90);
	fixture_suspend(f, "ep-a", &o);
	await_ok(f, &o);
	assert_int_equal(fleet_look(f->fleet, "ep-a")->pooler.connections, 0);
	assert_int_equal(fleet_pooler_clients_ended(f->fleet), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(each_gets_the_verdict_on_his_role),
		TEST(who_comes_while_one_is_asked_waits_for_the_next),
		TEST(nobody_is_woken_for_it),
		TEST(a_machine_without_one_is_told_of),
		TEST(a_lost_connection_is_no_answer),
		TEST(control_s_end_answers_it),
		TEST(what_poolers_tell_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
