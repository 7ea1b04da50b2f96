/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "page_store/retention.h"

#define SEC  USEC_PER_SEC
#define HOUR (3600 * SEC)
#define DAY  (24 * HOUR)
#define NOW  (1795375728 * SEC)

/* "x" stays, "-" goes. */
static void decided(const struct retention *retention, const struct retention_point *points, size_t count,
        const char *expected)
{
	bool keep[64];
	char text[65] = { 0 };
	assert_true(count < sizeof keep && strlen(expected) == count);
	retention_decide(retention, points, count, keep);
	for (size_t i = 0; i < count; i++)
		text[i] = keep[i] ? 'x' : '-';
	assert_string_equal(text, expected);
}

static void the_window_can_be_reached(void **state)
{
	(void)state;
	struct retention week = { .now_usec = NOW, .window_usec = 7 * DAY };
	/* Far apart in work, so that only the window decides. */
	const struct retention_point points[] = {
		{ NOW - 9 * DAY, 0 },
		{ NOW - 8 * DAY, 1000 * SEC },
		{ NOW - 7 * DAY, 2000 * SEC },
		{ NOW - 6 * DAY, 3000 * SEC },
		{ NOW - 1 * SEC, 4000 * SEC },
	};
	decided(&week, points, 5, "--xxx");
	week.window_usec++;
	decided(&week, points, 5, "-xxxx");
	week.window_usec = 30 * DAY; /* none is that old */
	decided(&week, points, 5, "xxxxx");
	week.window_usec = 0;
	decided(&week, points, 5, "----x");
	decided(&week, points, 1, "x");
	bool untouched = true;
	retention_decide(&week, points, 0, &untouched);
	assert_true(untouched);
}

static void work_between_neighbours_decides(void **state)
{
	(void)state;
	struct retention week = { .now_usec = NOW, .window_usec = 7 * DAY };
	const struct retention_point young[] = { /* one second of work each */
		{ NOW - 500 * SEC, 0 }, { NOW - 400 * SEC, 1 * SEC }, { NOW - 300 * SEC, 2 * SEC },
		{ NOW - 200 * SEC, 3 * SEC }, { NOW - 100 * SEC, 4 * SEC }, { NOW, 5 * SEC }
	};
	decided(&week, young, 6, "x-x-xx");
	struct retention_point old[6];
	for (size_t i = 0; i < 6; i++)
		old[i] = (struct retention_point){ young[i].time_usec - 2 * HOUR, young[i].replay_usec * 10 };
	decided(&week, old, 6, "x-x-xx"); /* 20 s */
	for (size_t i = 0; i < 6; i++)
		old[i] = (struct retention_point){ young[i].time_usec - 2 * DAY, young[i].replay_usec * 60 };
	decided(&week, old, 6, "x-x-xx"); /* 2 min */
	/* One that is too far from both neighbours stays, and nobody is idle for free. */
	const struct retention_point idle[] = { { NOW - 500 * SEC, 7 }, { NOW - 400 * SEC, 7 },
		{ NOW - 300 * SEC, 7 }, { NOW - 200 * SEC, 9 * SEC }, { NOW, 20 * SEC } };
	decided(&week, idle, 5, "x-xxx");
	/* A sum that went down is none. */
	const struct retention_point odd[] = { { NOW - 500 * SEC, 9 * SEC }, { NOW - 400 * SEC, 0 },
		{ NOW - 300 * SEC, 1 }, { NOW, 2 } };
	decided(&week, odd, 4, "xx-x");
}

static void too_many_are_thinned_from_the_oldest_on(void **state)
{
	(void)state;
	struct retention week = { .now_usec = NOW, .window_usec = 7 * DAY, .points_max = 7 };
	struct retention_point points[10];
	for (int i = 0; i < 10; i++)
		points[i] = (struct retention_point){ NOW - (10 - i) * HOUR, i * 1000 * SEC };
	decided(&week, points, 10, "x-x-x-xxxx");
	week.points_max = 3;
	decided(&week, points, 10, "x-------xx");
	week.points_max = 1; /* the ends always stay */
	decided(&week, points, 10, "x--------x");
	bool keep[1000];
	struct retention_point many[1000];
	for (int i = 0; i < 1000; i++)
		many[i] = (struct retention_point){ NOW - (1000 - i) * 60 * SEC, i * 1000 * SEC };
	week.points_max = 0;
	retention_decide(&week, many, 1000, keep);
	size_t kept = 0;
	for (int i = 0; i < 1000; i++)
		kept += keep[i];
	assert_int_equal(kept, RETENTION_POINTS_MAX);
}

static int64_t budget(int64_t age)
{
	return age < HOUR ? 2 * SEC : age < DAY ? 20 * SEC : 120 * SEC;
}

/* R1 to R3 for random histories, looked at again and again while they get older. */
static void check_one(unsigned seed)
{
	struct retention_point points[200];
	size_t count = 1 + (size_t)rand_r(&seed) % 200;
	int64_t time = 0, replay = 0, window = (rand_r(&seed) % 10) * DAY;
	for (size_t i = 0; i < count; i++) {
		time += (int64_t)(rand_r(&seed) % 3600) * SEC;
		replay += (int64_t)(rand_r(&seed) % 4000000) * (rand_r(&seed) % 20 == 0 ? 100 : 1);
		points[i] = (struct retention_point){ time, replay };
	}
	for (int round = 0; round < 5; round++) {
		struct retention retention = { .now_usec = time, .window_usec = window };
		bool keep[200];
		retention_decide(&retention, points, count, keep);
		size_t first = 0, last = 0, kept = 0;
		while (!keep[first])
			first++;
		for (size_t i = 0; i < count; i++)
			if (keep[i]) {
				last = i;
				kept++;
			}
		assert_int_equal(last, count - 1);
		assert_true(first == 0 || points[first].time_usec <= time - window);
		assert_true(first + 1 == count || points[first + 1].time_usec > time - window);
		for (size_t a = first, b; a < count - 1; a = b) {
			for (b = a + 1; !keep[b]; b++)
				;
			int64_t work = points[b].replay_usec - points[a].replay_usec;
			if (b > a + 1 && work > budget(time - points[b].time_usec))
				fail_msg("seed %u: %zu and %zu are too far apart", seed, a, b);
		}
		/* What stayed is decided on again, later: nothing of R1 and R2 may get lost by the first time. */
		size_t left = 0;
		for (size_t i = 0; i < count; i++)
			if (keep[i])
				points[left++] = points[i];
		count = left;
		time += (int64_t)(rand_r(&seed) % 86400) * SEC;
	}
}

static void random_histories(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 2000; seed++)
		check_one(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_window_can_be_reached),
		cmocka_unit_test(work_between_neighbours_decides),
		cmocka_unit_test(too_many_are_thinned_from_the_oldest_on),
		cmocka_unit_test(random_histories),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
