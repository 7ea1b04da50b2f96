/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "compute/replay_estimate.h"

static void more_work_takes_longer(void **state)
{
	(void)state;
	struct replay_speed speed;
	replay_speed_begin(&speed);
	const struct replay_work nothing = { 0 },
	                         some = { .wal_bytes = 10 << 20, .records = 140000, .pages = 25000 };
	assert_int_equal(replay_estimate_usec(&speed, &nothing), 0);
	int64_t base = replay_estimate_usec(&speed, &some);
	/* 19,000 TPC-B transactions: 1 to 4 s (replay_estimate.c). */
	assert_in_range(base, USEC_PER_SEC, 4 * USEC_PER_SEC);
	struct replay_work more = some;
	more.records *= 2;
	assert_true(replay_estimate_usec(&speed, &more) > base);
	more = some;
	more.pages *= 2;
	assert_true(replay_estimate_usec(&speed, &more) > base);
	more = some;
	/* 18 times as many bytes, of full-page images, are no 18 times as much work (architecture.md, 3.3). */
	more.wal_bytes *= 18;
	assert_true(replay_estimate_usec(&speed, &more) < 2 * base);
}

static void learns_from_what_it_sees(void **state)
{
	(void)state;
	struct replay_speed speed;
	replay_speed_begin(&speed);
	const struct replay_work work = { .wal_bytes = 100 << 20, .records = 100000, .pages = 10000 };
	int64_t real = 3 * replay_estimate_usec(&speed, &work);
	for (int i = 0; i < 20; i++)
		replay_speed_learn(&speed, &work, real);
	int64_t learned = replay_estimate_usec(&speed, &work);
	assert_true(learned > real * 99 / 100 && learned < real * 101 / 100);
	assert_int_equal(speed.recoveries, 20);
	double mb_s = 100.0 / ((double)real / 1e6);
	assert_true(fabs(speed.mb_s - mb_s) < mb_s / 50);
}

static void short_recoveries_weigh_little(void **state)
{
	(void)state;
	struct replay_speed speed;
	replay_speed_begin(&speed);
	const struct replay_work tiny = { .wal_bytes = 5000, .records = 20, .pages = 3 };
	replay_speed_learn(&speed, &tiny, 50000);
	assert_true(speed.factor < 1.1);
	/* What makes no sense changes nothing. */
	struct replay_speed same = speed;
	replay_speed_learn(&speed, &(struct replay_work){ 0 }, 1000000);
	replay_speed_learn(&speed, &tiny, 0);
	replay_speed_learn(&speed, &tiny, -5);
	assert_true(speed.factor == same.factor && speed.mb_s == same.mb_s);
}

static void reads_what_it_writes(void **state)
{
	(void)state;
	CLEANUP(buffer_done) struct buffer text = { 0 };
	const struct replay_speed speed = { .factor = 0.8312, .mb_s = 140.5, .recoveries = 12 };
	struct replay_speed read;
	struct error err;
	replay_speed_format(&speed, &text);
	assert_string_equal(
	        text.data, "{\"version\":1,\"factor\":0.8312,\"mb_s\":140.5,\"recoveries\":12}\n");
	assert_int_equal(replay_speed_parse(buffer_slice(&text), &read, &err), STATUS_OK);
	assert_true(read.factor == speed.factor && read.mb_s == speed.mb_s && read.recoveries == 12);
}

static void refuses_nonsense(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"",
		"[]",
		"{\"version\":2,\"factor\":1,\"mb_s\":1,\"recoveries\":1}",
		"{\"version\":1,\"factor\":0,\"mb_s\":1,\"recoveries\":1}",
		"{\"version\":1,\"factor\":1e9,\"mb_s\":1,\"recoveries\":1}",
		"{\"version\":1,\"factor\":\"1\",\"mb_s\":1,\"recoveries\":1}",
		"{\"version\":1,\"factor\":1,\"mb_s\":-1,\"recoveries\":1}",
		"{\"version\":1,\"factor\":1,\"mb_s\":1,\"recoveries\":-1}",
		"{\"version\":1,\"factor\":1,\"mb_s\":1}",
		"{\"version\":1,\"factor\":1,\"mb_s\":1,\"recoveries\":1",
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct replay_speed speed;
		struct error err;
		if (replay_speed_parse(slice_from_text(texts[i]), &speed, &err) != STATUS_CORRUPT)
			fail_msg("taken: %s", texts[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(more_work_takes_longer),
		cmocka_unit_test(learns_from_what_it_sees),
		cmocka_unit_test(short_recoveries_weigh_little),
		cmocka_unit_test(reads_what_it_writes),
		cmocka_unit_test(refuses_nonsense),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
