#include "proxy/wakefulness.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/idle_states.h"

#define LOOK_MS 500u

struct wakefulness {
	uv_timer_t look; /* runs while processors are held */
	struct idle_states *states;
	unsigned noted; /* of the present batch */
};

static void wakefulness_look(uv_timer_t *timer)
{
	struct wakefulness *wakefulness = timer->data;
	idle_states_look(wakefulness->states, clock_monotonic_usec());
	if (!idle_states_are_held(wakefulness->states))
		(void)uv_timer_stop(timer);
}

struct wakefulness *wakefulness_open(uv_loop_t *loop, int64_t bursts_per_sec)
{
	struct wakefulness *wakefulness = xcalloc(1, sizeof *wakefulness);
	wakefulness->states = idle_states_new(bursts_per_sec);
	(void)uv_timer_init(loop, &wakefulness->look);
	wakefulness->look.data = wakefulness;
	return wakefulness;
}

static void wakefulness_closed(uv_handle_t *handle)
{
	struct wakefulness *wakefulness = handle->data;
	idle_states_free(wakefulness->states);
	free(wakefulness);
}

void wakefulness_close(struct wakefulness *wakefulness)
{
	uv_close((uv_handle_t *)&wakefulness->look, wakefulness_closed);
}

void wakefulness_note(struct wakefulness *wakefulness)
{
	if (++wakefulness->noted < IDLE_STATES_BATCH)
		return;
	wakefulness->noted = 0;
	idle_states_note(wakefulness->states, clock_monotonic_usec());
	if (idle_states_are_held(wakefulness->states) && !uv_is_active((uv_handle_t *)&wakefulness->look))
		(void)uv_timer_start(&wakefulness->look, wakefulness_look, LOOK_MS, LOOK_MS);
}

bool wakefulness_is_held(const struct wakefulness *wakefulness)
{
	return idle_states_are_held(wakefulness->states);
}
