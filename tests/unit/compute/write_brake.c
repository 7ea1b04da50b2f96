/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "compute/write_brake.h"

#define GB (INT64_C(1) << 30)
#define MB (INT64_C(1) << 20)

/* Judges this many free bytes of a disk of 20 GB: the limit is 1 GiB. */
static void judged(struct write_brake *brake, int64_t free_bytes, enum brake_level level, int delay_usec)
{
	(void)write_brake_judge(brake, free_bytes, 20 * GB);
	assert_int_equal(brake->level, level);
	assert_int_equal(brake->commit_delay_usec, delay_usec);
}

static void slows_stops_and_lets_go(void **state)
{
	(void)state;
	struct write_brake brake = { 0 };
	judged(&brake, 10 * GB, BRAKE_OFF, 0);
	judged(&brake, 2 * GB, BRAKE_OFF, 0);
	judged(&brake, 2 * GB - 1, BRAKE_SLOW, 1000);
	judged(&brake, GB + 512 * MB, BRAKE_SLOW, 20000);
	judged(&brake, GB + 1, BRAKE_SLOW, 100000);
	judged(&brake, GB - 1, BRAKE_STOP, 100000);
	judged(&brake, 256 * MB - 1, BRAKE_HARD, 100000);
	judged(&brake, 0, BRAKE_HARD, 100000);
	/* Back with a margin of a quarter. */
	judged(&brake, 319 * MB, BRAKE_HARD, 100000);
	judged(&brake, 321 * MB, BRAKE_STOP, 100000);
	judged(&brake, GB + 255 * MB, BRAKE_STOP, 100000);
	judged(&brake, GB + 257 * MB, BRAKE_SLOW, 50000);
	judged(&brake, 2 * GB + 511 * MB, BRAKE_SLOW, 1000);
	judged(&brake, 2 * GB + 513 * MB, BRAKE_OFF, 0);
}

static void from_one_end_to_the_other_at_once(void **state)
{
	(void)state;
	struct write_brake brake = { 0 };
	judged(&brake, 0, BRAKE_HARD, 100000);
	judged(&brake, 20 * GB, BRAKE_OFF, 0);
}

static void a_large_disk_has_a_share_as_limit(void **state)
{
	(void)state;
	struct write_brake brake = { 0 };
	assert_true(write_brake_judge(&brake, 19 * GB, 1000 * GB));
	assert_int_equal(brake.level, BRAKE_STOP);
	assert_false(write_brake_judge(&brake, 19 * GB, 1000 * GB)); /* nothing new */
}

static void small_changes_are_no_reload(void **state)
{
	(void)state;
	struct write_brake brake = { 0 };
	int changes = 0;
	for (int64_t free_bytes = 3 * GB; free_bytes > 0; free_bytes -= MB)
		changes += write_brake_judge(&brake, free_bytes, 20 * GB);
	assert_int_equal(changes, 7); /* five delays, stop, hard */
}

static void looks_again_before_the_disk_is_full(void **state)
{
	(void)state;
	struct write_brake brake = { 0 };
	for (int64_t free_bytes = 20 * GB; free_bytes > 0; free_bytes -= 10 * MB) {
		(void)write_brake_judge(&brake, free_bytes, 20 * GB);
		int64_t wait = write_brake_next_look_ms(&brake, free_bytes, 20 * GB);
		assert_in_range(wait, 200, 5000);
		/* At 1 GiB/s something is left. */
		if (brake.level == BRAKE_OFF)
			assert_true(free_bytes - wait * MB > 0);
	}
}

static void says_what_is(void **state)
{
	(void)state;
	char text[200];
	struct write_brake brake = { 0 };
	write_brake_describe(&brake, 3 * GB, 20 * GB, text, sizeof text);
	assert_string_equal(text, "");
	(void)write_brake_judge(&brake, GB + MB, 20 * GB);
	write_brake_describe(&brake, GB + MB, 20 * GB, text, sizeof text);
	assert_string_equal(
	        text, "the disk is nearly full: 1025 MB are free; commits are delayed until 2560 MB are");
	(void)write_brake_judge(&brake, 700 * MB, 20 * GB);
	write_brake_describe(&brake, 700 * MB, 20 * GB, text, sizeof text);
	assert_string_equal(text,
	        "the disk is nearly full: 700 MB are free; new transactions are read-only until 1280 MB are");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slows_stops_and_lets_go),
		cmocka_unit_test(from_one_end_to_the_other_at_once),
		cmocka_unit_test(a_large_disk_has_a_share_as_limit),
		cmocka_unit_test(small_changes_are_no_reload),
		cmocka_unit_test(looks_again_before_the_disk_is_full),
		cmocka_unit_test(says_what_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
