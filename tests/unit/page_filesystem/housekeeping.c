/* Housekeeping over an image of the test's own: these functions are what a real image has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "page_filesystem/housekeeping.h"

struct image {
	atomic_size_t depth;
	atomic_size_t depth_min; /* to which it can be folded */
	atomic_int folds, scrubs, broken_errno, times_broken;
	atomic_bool is_slow, fold_fails, is_busy;
	atomic_uint_fast64_t requests, pages_bad;
};

void image_look(struct image *image, struct image_usage *ret)
{
	*ret = (struct image_usage){ .depth = image->depth, .broken_errno = image->broken_errno };
}

static void pause_for(int64_t msec)
{
	const struct timespec time = { .tv_sec = msec / 1000, .tv_nsec = msec % 1000 * 1000000 };
	(void)nanosleep(&time, NULL);
}

status image_fold_step(struct image *image, bool *ret_done, struct error *err)
{
	if (image->fold_fails)
		return error_set(err, STATUS_IO, 0, "the fold failed");
	if (image->is_slow)
		pause_for(1500);
	*ret_done = image->depth <= image->depth_min;
	if (!*ret_done) {
		image->depth--;
		image->folds++;
	}
	return STATUS_OK;
}

status image_scrub_step(
        struct image *image, uint64_t budget_pages, struct image_scrub *ret, struct error *err)
{
	(void)err;
	*ret = (struct image_scrub){
		.pages_checked = budget_pages, .pages_bad = image->pages_bad, .is_round_over = true
	};
	(void)snprintf(ret->first_bad, sizeof ret->first_bad, "page %d", (int)image->scrubs);
	image->scrubs++;
	return STATUS_OK;
}

/* The test's image stands for the operations, too. */
struct operations_count operations_count(const struct operations *operations)
{
	struct image *image = (struct image *)(uintptr_t)operations;
	if (image->is_busy)
		image->requests += 100000;
	return (struct operations_count){ .reads = image->requests };
}

void operations_tick(struct operations *operations)
{
	(void)operations;
}

static void on_broken(void *owner, int broken_errno)
{
	struct image *image = owner;
	assert_int_equal(broken_errno, 5);
	image->times_broken++;
}

static struct housekeeping *start(struct image *image)
{
	struct housekeeping *hk;
	struct error err;
	assert_int_equal(housekeeping_start(image, (struct operations *)image, on_broken, image, &hk, &err),
	        STATUS_OK);
	return hk;
}

static void stop(struct housekeeping *hk)
{
	assert_true(housekeeping_stop(hk, 10000000));
	assert_null(housekeeping_free(hk));
}

#define WAIT_UNTIL(condition)                                                                                \
	do {                                                                                                 \
		for (int i_ = 0; !(condition) && i_ < 1000; i_++)                                            \
			pause_for(10);                                                                       \
		assert_true(condition);                                                                      \
	} while (0)

static void test_folds_when_idle(void **state)
{
	(void)state;
	struct image image = { .depth = 5, .depth_min = 3 };
	struct housekeeping *hk = start(&image);
	WAIT_UNTIL(image.folds == 2);
	assert_int_equal(housekeeping_look(hk).folds, 2);
	image.depth = 4; /* a cut, after which there is something to fold again */
	WAIT_UNTIL(image.folds == 3);
	stop(hk);
}

static void test_folds_under_load_only_what_it_must(void **state)
{
	(void)state;
	struct image image = { .depth = 15, .depth_min = 2, .is_busy = true };
	struct housekeeping *hk = start(&image);
	WAIT_UNTIL(image.folds == 4);
	pause_for(800);
	assert_int_equal(image.folds, 4); /* depth 11: it can wait */
	image.is_busy = false;
	WAIT_UNTIL(image.folds == 5);
	stop(hk);
}

static void test_a_failing_fold_is_told_and_left_alone(void **state)
{
	(void)state;
	struct image image = { .depth = 5, .depth_min = 3, .fold_fails = true };
	struct housekeeping *hk = start(&image);
	WAIT_UNTIL(strstr(housekeeping_look(hk).error, "the fold failed"));
	image.fold_fails = false;
	pause_for(600);
	assert_int_equal(image.folds, 0); /* not at once again */
	stop(hk);
}

static void test_damage_is_reported(void **state)
{
	(void)state;
	struct image image = { .depth = 1, .pages_bad = 2 };
	struct housekeeping *hk = start(&image);
	WAIT_UNTIL(image.scrubs == 1);
	WAIT_UNTIL(housekeeping_look(hk).pages_bad == 2);
	assert_string_equal(housekeeping_look(hk).first_bad, "page 0");
	pause_for(600);
	assert_int_equal(image.scrubs, 1); /* one round a day */
	stop(hk);
}

static void test_a_broken_image_is_told_of_once(void **state)
{
	(void)state;
	struct image image = { .depth = 5, .depth_min = 1, .broken_errno = 5 };
	struct housekeeping *hk = start(&image);
	WAIT_UNTIL(image.times_broken == 1);
	pause_for(600);
	assert_int_equal(image.times_broken, 1);
	assert_int_equal(image.folds, 0);
	stop(hk);
}

static void test_stop_does_not_wait_for_ever(void **state)
{
	(void)state;
	struct image image = { .depth = 5, .depth_min = 1, .is_slow = true };
	struct housekeeping *hk = start(&image);
	pause_for(700); /* a step has begun */
	assert_false(housekeeping_stop(hk, 1000));
	stop(hk);
	assert_int_equal(image.folds, 1); /* no second step */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_folds_when_idle),
		cmocka_unit_test(test_folds_under_load_only_what_it_must),
		cmocka_unit_test(test_a_failing_fold_is_told_and_left_alone),
		cmocka_unit_test(test_damage_is_reported),
		cmocka_unit_test(test_a_broken_image_is_told_of_once),
		cmocka_unit_test(test_stop_does_not_wait_for_ever),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
