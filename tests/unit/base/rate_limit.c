/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "base/rate_limit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define SEC USEC_PER_SEC

static void gives_the_burst_then_the_rate(void **state)
{
	(void)state;
	struct rate_limit *limit = rate_limit_create(2, 10);
	int64_t now = 5 * SEC;
	for (int i = 0; i < 10; i++)
		assert_int_equal(rate_limit_take(limit, "a", now), 0);
	assert_in_range(rate_limit_take(limit, "a", now), SEC / 2, SEC / 2 + 1);
	assert_int_equal(rate_limit_take(limit, "b", now), 0); /* others have their own */
	now += SEC / 2 + 1;
	assert_int_equal(rate_limit_look(limit, "a", now), 0);
	assert_int_equal(rate_limit_look(limit, "a", now), 0); /* looking takes nothing */
	assert_int_equal(rate_limit_take(limit, "a", now), 0);
	assert_true(rate_limit_take(limit, "a", now) > 0);
	now += 3600 * SEC; /* no more than the burst is saved up */
	for (int i = 0; i < 10; i++)
		assert_int_equal(rate_limit_take(limit, "a", now), 0);
	assert_true(rate_limit_take(limit, "a", now) > 0);
	assert_true(rate_limit_take(limit, "a", now - SEC) > 0); /* a clock that goes back gives nothing */
	rate_limit_free(limit);
}

/* The wait that is told is long enough, and not much longer. */
static void tells_the_truth(void **state)
{
	(void)state;
	static const double rates[] = { 0.01, 1, 3, 500, 1000000 };
	for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
		struct rate_limit *limit = rate_limit_create(rates[i], 1);
		assert_int_equal(rate_limit_take(limit, "a", 0), 0);
		int64_t wait = rate_limit_take(limit, "a", 0);
		assert_true(wait > 0 && (double)wait <= 1e6 / rates[i] + 2);
		assert_int_equal(rate_limit_take(limit, "a", wait), 0);
		rate_limit_free(limit);
	}
}

static void a_flood_of_keys_is_bounded(void **state)
{
	(void)state;
	struct rate_limit *limit = rate_limit_create(1, 1);
	assert_int_equal(rate_limit_take(limit, "busy", 0), 0);
	for (int i = 0; i < 20000; i++) {
		char key[200];
		(void)snprintf(key, sizeof key, "%0*d", i % 190 + 6, i);
		(void)rate_limit_take(limit, key, 0);
		assert_true(rate_limit_keys(limit) <= RATE_LIMIT_KEYS_MAX);
		if (i % 1000 == 0) /* who keeps coming is not forgotten */
			assert_true(rate_limit_take(limit, "busy", 0) > 0);
	}
	assert_int_equal(rate_limit_keys(limit), RATE_LIMIT_KEYS_MAX);
	rate_limit_free(limit);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_the_burst_then_the_rate),
		cmocka_unit_test(tells_the_truth),
		cmocka_unit_test(a_flood_of_keys_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
