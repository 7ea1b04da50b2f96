#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/idle_states.h"

/* Only root may; without it nothing is held, and nothing else changes. */
static bool is_allowed(void)
{
	CLEANUP(close_fd) int fd = open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC);
	return fd >= 0;
}

static void held_while_there_is_much_to_do(void **state)
{
	(void)state;
	struct idle_states *states = idle_states_new(2000);
	int64_t now = 1000 * USEC_PER_SEC;
	idle_states_note(states, now); /* the first batch says nothing of how fast they come */
	assert_false(idle_states_are_held(states));
	now += USEC_PER_SEC; /* 256 a second */
	idle_states_note(states, now);
	assert_false(idle_states_are_held(states));
	now += USEC_PER_SEC / 10; /* 2560 a second */
	idle_states_note(states, now);
	assert_int_equal(idle_states_are_held(states), is_allowed());
	idle_states_look(states, now + USEC_PER_SEC / 4);
	assert_int_equal(idle_states_are_held(states), is_allowed());
	idle_states_look(states, now + USEC_PER_SEC);
	assert_false(idle_states_are_held(states));
	idle_states_note(states, now + 2 * USEC_PER_SEC);
	assert_false(idle_states_are_held(states));
	idle_states_note(states, now + 2 * USEC_PER_SEC + 1000);
	assert_int_equal(idle_states_are_held(states), is_allowed());
	idle_states_begin(states, now + 5 * USEC_PER_SEC);
	assert_int_equal(idle_states_are_held(states), is_allowed());
	idle_states_look(states, now + 6 * USEC_PER_SEC);
	assert_false(idle_states_are_held(states));
	assert_null(idle_states_free(states));
}

static void never(void **state)
{
	(void)state;
	struct idle_states *states = idle_states_new(1000000000);
	idle_states_begin(states, USEC_PER_SEC);
	assert_false(idle_states_are_held(states));
	for (int64_t now = USEC_PER_SEC; now < USEC_PER_SEC + 1000; now += 10)
		idle_states_note(states, now);
	assert_false(idle_states_are_held(states));
	assert_null(idle_states_free(states));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(held_while_there_is_much_to_do),
		cmocka_unit_test(never),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
