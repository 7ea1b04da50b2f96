/* Points and flushes of computes, and what their volumes say of themselves. */
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
}

static void await_failure(struct fixture *f, struct outcome *o, status code, const char *text)
{
	fixture_await(f, o);
	assert_true(o->has_failed);
	assert_int_equal(o->err.code, code);
	if (!strstr(o->err.message, text))
		fail_msg("\"%s\" is not in \"%s\"", text, o->err.message);
}

static void open_ok(struct fixture *f, const char *uid)
{
	struct outcome o = { 0 };
	fixture_open(f, uid, &o);
	await_ok(f, &o);
	outcome_clear(&o);
}

static void each_asker_gets_his_own_answer(void **state)
{
	struct fixture *f = *state;
	struct outcome a = { 0 }, b = { 0 }, c = { 0 };
	fixture_script(f, "ep-a", GOOD);
	open_ok(f, "ep-a");
	fixture_point(f, "ep-a", &a);
	fixture_flush(f, "ep-a", &b);
	fixture_point(f, "ep-a", &c);
	await_ok(f, &a);
	await_ok(f, &b);
	await_ok(f, &c);
	assert_int_equal(a.point.number, 1);
	assert_int_equal(a.point.lsn, 0x1001);
	assert_int_equal(a.point.timeline, 3);
	assert_int_equal(a.point.time_usec, 1795375728453065);
	assert_int_equal(b.point.number, 0);
	assert_int_equal(b.point.lsn, 0x1002);
	assert_int_equal(c.point.number, 2);
	assert_string_equal(a.uid, "ep-a");
	outcome_clear(&a), outcome_clear(&b), outcome_clear(&c);
}

static void nobody_is_woken_for_a_point(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", GOOD);
	fixture_point(f, "ep-a", &o);
	await_failure(f, &o, STATUS_CONFLICT, "is asleep");
	fixture_flush(f, "ep-unknown", &o);
	await_failure(f, &o, STATUS_NOT_FOUND, "is not known");
	assert_int_equal(fixture_starts(f, "ep-a"), 0);
	outcome_clear(&o);
}

static void a_point_waits_for_the_start(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 }, point = { 0 };
	fixture_script(f, "ep-a", "lock say:starting until:go say:ready serve");
	fixture_open(f, "ep-a", &o);
	fixture_await_state(f, "ep-a", FLEET_STARTING);
	fixture_point(f, "ep-a", &point);
	fixture_turn(f);
	assert_int_equal(point.calls, 0);
	fixture_write(f, "ep-a", "go", "");
	await_ok(f, &o);
	await_ok(f, &point);
	outcome_clear(&o), outcome_clear(&point);
}

static void a_start_that_fails_answers_the_points(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 }, point = { 0 };
	fixture_script(f, "ep-a", "lock say:starting heard reason:no_luck until:go say:failed exit:0");
	fixture_open(f, "ep-a", &o);
	fixture_await_state(f, "ep-a", FLEET_STARTING);
	fixture_point(f, "ep-a", &point);
	fixture_write(f, "ep-a", "go", "");
	await_failure(f, &o, STATUS_UNAVAILABLE, "no luck");
	await_failure(f, &point, STATUS_CONFLICT, "is asleep");
	outcome_clear(&o), outcome_clear(&point);
}

static void a_refusal_is_told_with_its_kind(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", "lock refuse_point say:ready serve");
	open_ok(f, "ep-a");
	fixture_point(f, "ep-a", &o);
	await_failure(f, &o, STATUS_NO_SPACE, "the disk is full");
	outcome_clear(&o);
}

/* A suspension for inactivity ends Postgres' sessions, the one that makes the point among them: the point was not refused, it came too late. */
static void a_suspension_is_no_failure(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a",
	        "lock ignore_point say:ready until:asked say:suspending "
	        "raw:{\"point\":{\"id\":1,\"error\":{\"code\":\"UNAVAILABLE\",\"message\":\"FATAL:"
	        "terminating\"}}} "
	        "until:go file:stopped say:stopped exit:0");
	open_ok(f, "ep-a");
	fixture_point(f, "ep-a", &o);
	fixture_await_state(f, "ep-a", FLEET_STOPPING);
	for (int i = 0; i < 20; i++)
		fixture_turn(f);
	assert_int_equal(o.calls, 0);
	fixture_write(f, "ep-a", "go", "");
	await_failure(f, &o, STATUS_CONFLICT, "is asleep");
	outcome_clear(&o);
}

/* It falls asleep, or dies, with the question open. */
static void an_end_answers_too(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 }, suspend = { 0 };
	fixture_script(f, "ep-a", "lock ignore_point say:ready serve\nlock say:ready serve");
	open_ok(f, "ep-a");
	fixture_point(f, "ep-a", &o);
	fixture_await_file(f, "ep-a", "asked");
	fixture_suspend(f, "ep-a", &suspend);
	await_ok(f, &suspend);
	await_failure(f, &o, STATUS_CONFLICT, "is asleep");
	outcome_clear(&o), outcome_clear(&suspend);

	/* One that serves and is killed is started again, and then asked again. */
	fixture_script(
	        f, "ep-b", "lock ignore_point say:ready until:asked wait:50 kill\nlock say:ready serve");
	open_ok(f, "ep-b");
	fixture_point(f, "ep-b", &o);
	await_ok(f, &o);
	assert_int_equal(fixture_starts(f, "ep-b"), 2);
	assert_int_equal(
	        o.point.lsn, 0x1003); /* with a new number: an answer to the old one would be nobody's */
	outcome_clear(&o);
}

static void a_lost_connection_is_no_answer(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", "lock ignore_point say:ready until:asked drop until:go serve");
	open_ok(f, "ep-a");
	fixture_point(f, "ep-a", &o);
	fixture_await_file(f, "ep-a", "asked");
	fixture_write(f, "ep-a", "go", "");
	for (int i = 0; i < 20; i++)
		fixture_turn(f);
	assert_int_equal(o.calls, 0);
	CLEANUP(free_text) char *asked = fixture_read(f, "ep-a", "asked");
	while (!strstr(asked, "\"id\":2")) { /* it is asked again */
		fixture_turn(f);
		free(asked);
		asked = fixture_read(f, "ep-a", "asked");
	}
	struct outcome suspend = { 0 };
	fixture_suspend(f, "ep-a", &suspend);
	await_ok(f, &suspend);
	await_failure(f, &o, STATUS_CONFLICT, "is asleep");
	outcome_clear(&o), outcome_clear(&suspend);
}

/* Computes run on; who asked this control for a point is told that it ends. */
static void control_s_end_answers_it(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", "lock ignore_point say:ready serve");
	open_ok(f, "ep-a");
	fixture_point(f, "ep-a", &o);
	fixture_await_file(f, "ep-a", "asked");
	fixture_new_fleet(f);
	await_failure(f, &o, STATUS_UNAVAILABLE, "control is ending");
	assert_int_equal(fleet_register(f->fleet, "ep-a", true, &err), STATUS_OK);
	fixture_await_state(f, "ep-a", FLEET_RUNNING);
	fixture_suspend(f, "ep-a", &o);
	await_ok(f, &o);
	outcome_clear(&o);
}

static void the_storage_line_is_kept(void **state)
{
	struct fixture *f = *state;
	fixture_script(f, "ep-a",
	        "lock heard "
	        "raw:{\"state\":\"ready\",\"storage\":{\"points\":12,\"newest\x5flsn\":\"0/"
	        "AB\",\"depth\":5}} "
	        "serve");
	open_ok(f, "ep-a");
	assert_true(fleet_look(f->fleet, "ep-a")->storage.is_known);
	assert_int_equal(fleet_look(f->fleet, "ep-a")->storage.points, 12);
	assert_int_equal(fleet_look(f->fleet, "ep-a")->storage.depth, 5);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(each_asker_gets_his_own_answer),
		TEST(nobody_is_woken_for_a_point),
		TEST(a_point_waits_for_the_start),
		TEST(a_start_that_fails_answers_the_points),
		TEST(a_refusal_is_told_with_its_kind),
		TEST(a_suspension_is_no_failure),
		TEST(an_end_answers_too),
		TEST(a_lost_connection_is_no_answer),
		TEST(control_s_end_answers_it),
		TEST(the_storage_line_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
