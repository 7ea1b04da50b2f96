/* Wakefulness: held while sessions have much to say, let go by itself, and never where that is not allowed. */
#include "proxy/wakefulness.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/idle_states.h"
#include "proxy_fixture.h"

static bool is_allowed(void)
{
	CLEANUP(close_fd) int fd = open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC);
	return fd >= 0;
}

static void note_batches(struct wakefulness *wakefulness, unsigned batches)
{
	for (unsigned i = 0; i < batches * IDLE_STATES_BATCH; i++)
		wakefulness_note(wakefulness);
}

static void test_held_and_let_go(void **unused)
{
	(void)unused;
	uv_loop_t loop;
	assert_int_equal(uv_loop_init(&loop), 0);
	struct wakefulness *wakefulness = wakefulness_open(&loop, 1);
	assert_false(wakefulness_is_held(wakefulness));
	note_batches(wakefulness, 2);
	assert_int_equal(wakefulness_is_held(wakefulness), is_allowed());
	/* The loop ends when the timer does, which is when nothing has been said for a while. */
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_false(wakefulness_is_held(wakefulness));
	note_batches(wakefulness, 2);
	assert_int_equal(wakefulness_is_held(wakefulness), is_allowed());
	wakefulness_close(wakefulness);
	fixture_loop_finish(&loop);
}

static void test_never(void **unused)
{
	(void)unused;
	uv_loop_t loop;
	assert_int_equal(uv_loop_init(&loop), 0);
	struct wakefulness *wakefulness = wakefulness_open(&loop, 1000000000);
	note_batches(wakefulness, 20);
	assert_false(wakefulness_is_held(wakefulness));
	wakefulness_close(wakefulness);
	fixture_loop_finish(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held_and_let_go),
		cmocka_unit_test(test_never),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
