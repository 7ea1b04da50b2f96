/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "compute/activity.h"
#include "base/clock.h"

#define SEC     USEC_PER_SEC
#define NOW     (1000000 * SEC)
#define TIMEOUT (60 * SEC)

static struct activity begun_at(int64_t when)
{
	struct activity activity;
	activity_begin(&activity, when);
	return activity;
}

static void nobody_came(void **state)
{
	(void)state;
	struct activity activity = begun_at(NOW);
	struct activity_sight nobody = { .sessions_begun = 7 }; /* counted in earlier lives of the server */
	assert_int_equal(activity_judge(&activity, &nobody, TIMEOUT, NOW + TIMEOUT - 1), ACTIVITY_STAY);
	assert_int_equal(activity_judge(&activity, &nobody, TIMEOUT, NOW + TIMEOUT), ACTIVITY_SUSPEND);
	assert_int_equal(activity.last_active_usec, NOW);
}

static void never_without_a_timeout(void **state)
{
	(void)state;
	struct activity activity = begun_at(NOW);
	struct activity_sight nobody = { 0 };
	assert_int_equal(activity_judge(&activity, &nobody, 0, NOW + 1000000 * TIMEOUT), ACTIVITY_STAY);
}

static void a_busy_compute_stays(void **state)
{
	(void)state;
	struct activity activity = begun_at(NOW);
	struct activity_sight busy = {
		.is_busy = true, .clients = 1, .sessions_begun = 1, .last_change_usec = NOW
	};
	assert_int_equal(activity_judge(&activity, &busy, TIMEOUT, NOW + 10 * TIMEOUT), ACTIVITY_STAY);
	assert_int_equal(activity.last_active_usec, NOW + 10 * TIMEOUT);
	/* Even with a timeout of nothing: what runs is never cut off. */
	assert_int_equal(activity_judge(&activity, &busy, 1, NOW + 10 * TIMEOUT + 1), ACTIVITY_STAY);
}

static void an_idle_client_counts_from_its_last_query(void **state)
{
	(void)state;
	struct activity activity = begun_at(NOW);
	struct activity_sight idle = {
		.clients = 1, .sessions_begun = 1, .last_change_usec = NOW + 10 * SEC
	};
	assert_int_equal(activity_judge(&activity, &idle, TIMEOUT, NOW + 20 * SEC), ACTIVITY_STAY);
	assert_int_equal(activity.last_active_usec, NOW + 10 * SEC);
	assert_int_equal(activity_judge(&activity, &idle, TIMEOUT, NOW + 69 * SEC), ACTIVITY_STAY);
	assert_int_equal(activity_judge(&activity, &idle, TIMEOUT, NOW + 70 * SEC), ACTIVITY_SUSPEND);
}

/* Guards against suspending between two looks that both saw nobody, while short sessions came and went. */
static void a_session_between_two_looks_counts(void **state)
{
	(void)state;
	struct activity activity = begun_at(NOW);
	struct activity_sight before = { .sessions_begun = 7 }, after = { .sessions_begun = 8 };
	(void)activity_judge(&activity, &before, TIMEOUT, NOW + 55 * SEC);
	assert_int_equal(activity_judge(&activity, &after, TIMEOUT, NOW + 60 * SEC), ACTIVITY_STAY);
	assert_int_equal(activity.last_active_usec, NOW + 60 * SEC);
	assert_int_equal(activity_judge(&activity, &after, TIMEOUT, NOW + 119 * SEC), ACTIVITY_STAY);
	assert_int_equal(activity_judge(&activity, &after, TIMEOUT, NOW + 120 * SEC), ACTIVITY_SUSPEND);
}

static void one_that_left_counts_now_one_that_came_by_its_start(void **state)
{
	(void)state;
	struct activity activity = begun_at(NOW);
	struct activity_sight one = { .clients = 1, .sessions_begun = 1, .last_change_usec = NOW };
	(void)activity_judge(&activity, &one, TIMEOUT, NOW + 5 * SEC);
	assert_int_equal(activity.last_active_usec, NOW);
	struct activity_sight two = { .clients = 2, .sessions_begun = 2, .last_change_usec = NOW + 7 * SEC };
	(void)activity_judge(&activity, &two, TIMEOUT, NOW + 10 * SEC);
	assert_int_equal(activity.last_active_usec, NOW + 7 * SEC);
	struct activity_sight left = { .clients = 1, .sessions_begun = 2, .last_change_usec = NOW };
	(void)activity_judge(&activity, &left, TIMEOUT, NOW + 15 * SEC);
	assert_int_equal(activity.last_active_usec, NOW + 15 * SEC);
}

/* The pooler closes what nobody uses: it says how many, and that keeps nobody awake. */
static void connections_that_the_pooler_closes_are_no_activity(void **state)
{
	(void)state;
	struct activity activity = begun_at(NOW);
	struct activity_sight open = {
		.clients = 5, .sessions_begun = 5, .last_change_usec = NOW + SEC, .pooled_queries = 9
	};
	(void)activity_judge(&activity, &open, TIMEOUT, NOW + 5 * SEC);
	/* Told before they are missed, since the pooler is looked at after Postgres; and missed later. */
	struct activity_sight told = open, missed = open;
	told.pooled_ended = missed.pooled_ended = 3;
	missed.clients = 2;
	(void)activity_judge(&activity, &told, TIMEOUT, NOW + 50 * SEC);
	(void)activity_judge(&activity, &missed, TIMEOUT, NOW + 55 * SEC);
	assert_int_equal(activity.last_active_usec, NOW + SEC);
	assert_int_equal(activity_judge(&activity, &missed, TIMEOUT, NOW + SEC + TIMEOUT), ACTIVITY_SUSPEND);

	/* One more than the pooler has closed: that was somebody. */
	activity = begun_at(NOW);
	(void)activity_judge(&activity, &open, TIMEOUT, NOW + 5 * SEC);
	missed.clients = 1;
	(void)activity_judge(&activity, &missed, TIMEOUT, NOW + 55 * SEC);
	assert_int_equal(activity.last_active_usec, NOW + 55 * SEC);

	/* They were used before they were closed, which their last change does not show any more. */
	activity = begun_at(NOW);
	(void)activity_judge(&activity, &open, TIMEOUT, NOW + 5 * SEC);
	missed.clients = 2;
	missed.pooled_queries = 10;
	(void)activity_judge(&activity, &missed, TIMEOUT, NOW + 55 * SEC);
	assert_int_equal(activity.last_active_usec, NOW + 55 * SEC);

	/* What was closed in an earlier life of Postgres excuses nobody in this one. */
	activity = begun_at(NOW);
	struct activity_sight first = { .clients = 1, .sessions_begun = 1, .pooled_ended = 100 },
	                      left = first;
	left.clients = 0;
	(void)activity_judge(&activity, &first, TIMEOUT, NOW + 5 * SEC);
	(void)activity_judge(&activity, &left, TIMEOUT, NOW + 10 * SEC);
	assert_int_equal(activity.last_active_usec, NOW + 10 * SEC);
}

static void reset_counters_tell_nothing(void **state)
{
	(void)state;
	struct activity activity = begun_at(NOW);
	struct activity_sight before = { .sessions_begun = 700 }, after = { .sessions_begun = 0 };
	(void)activity_judge(&activity, &before, TIMEOUT, NOW + SEC);
	assert_int_equal(activity_judge(&activity, &after, TIMEOUT, NOW + TIMEOUT), ACTIVITY_SUSPEND);
}

static void a_clock_that_jumps(void **state)
{
	(void)state;
	struct activity activity = begun_at(NOW);
	struct activity_sight nobody = { 0 };
	/* Back: one more timeout from there, not the hours until the old time comes again. */
	assert_int_equal(activity_judge(&activity, &nobody, TIMEOUT, NOW - 3600 * SEC), ACTIVITY_STAY);
	assert_int_equal(
	        activity_judge(&activity, &nobody, TIMEOUT, NOW - 3600 * SEC + TIMEOUT), ACTIVITY_SUSPEND);
	/* A change from the future, as the server's clock may see it, is now. */
	activity = begun_at(NOW);
	struct activity_sight future = { .clients = 1, .last_change_usec = NOW + 999 * SEC };
	(void)activity_judge(&activity, &future, TIMEOUT, NOW + SEC);
	assert_int_equal(activity.last_active_usec, NOW + SEC);
}

static void looks_are_rare_but_in_time(void **state)
{
	(void)state;
	struct activity activity = begun_at(NOW);
	assert_int_equal(activity_next_look_usec(&activity, 0, NOW), 60 * SEC);
	assert_int_equal(activity_next_look_usec(&activity, 86400 * SEC, NOW), 5 * SEC);
	assert_int_equal(activity_next_look_usec(&activity, 8 * SEC, NOW), 2 * SEC);
	assert_int_equal(activity_next_look_usec(&activity, SEC, NOW), SEC / 4);
	/* At the moment it is due, not a whole interval later. */
	assert_int_equal(activity_next_look_usec(&activity, TIMEOUT, NOW + TIMEOUT - SEC), SEC);
	assert_int_equal(activity_next_look_usec(&activity, TIMEOUT, NOW + 2 * TIMEOUT), SEC / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_came),
		cmocka_unit_test(never_without_a_timeout),
		cmocka_unit_test(a_busy_compute_stays),
		cmocka_unit_test(an_idle_client_counts_from_its_last_query),
		cmocka_unit_test(a_session_between_two_looks_counts),
		cmocka_unit_test(one_that_left_counts_now_one_that_came_by_its_start),
		cmocka_unit_test(connections_that_the_pooler_closes_are_no_activity),
		cmocka_unit_test(reset_counters_tell_nothing),
		cmocka_unit_test(a_clock_that_jumps),
		cmocka_unit_test(looks_are_rare_but_in_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
