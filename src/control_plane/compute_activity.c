#include "control_plane/compute_activity.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "metadata/endpoint_row.h"

#define STATE_DELAY_MS 200
#define USE_DELAY_MS   60000

/* One compute that has changed since it was last written. */
struct entry {
	struct entry *next;
	char uid[RESOURCE_ID_MAX + 1];
	bool was_running;
	int64_t since_usec, last_active_usec;
	bool is_dirty;
};

struct compute_activity {
	const struct services *services;
	struct entry *entries;
	uv_timer_t timer;
	int64_t due_usec; /* monotonic; 0: the timer is off */
};

static status write_all(struct compute_activity *activity, struct error *err)
{
	struct metadata *md = activity->services->md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, err);
	for (struct entry *e = activity->entries; e && st == STATUS_OK; e = e->next) {
		if (e->is_dirty)
			st = endpoint_row_note_activity(
			        md, e->uid, e->was_running, e->since_usec, e->last_active_usec, err);
	}
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

static void on_timer(uv_timer_t *timer);

static void schedule(struct compute_activity *activity, int64_t delay_ms)
{
	int64_t due = clock_monotonic_usec() + delay_ms * 1000;
	if (activity->due_usec != 0 && activity->due_usec <= due)
		return;
	activity->due_usec = due;
	(void)uv_timer_start(&activity->timer, on_timer, (uint64_t)delay_ms, 0);
}

static void flush(struct compute_activity *activity)
{
	bool is_dirty = false;
	for (struct entry *e = activity->entries; e; e = e->next)
		is_dirty = is_dirty || e->is_dirty;
	struct error err;
	if (!is_dirty)
		return;
	if (write_all(activity, &err) != STATUS_OK) {
		log_warning("could not note the activity of computes: %s", err.message);
		return;
	}
	for (struct entry *e = activity->entries; e; e = e->next)
		e->is_dirty = false;
}

static void on_timer(uv_timer_t *timer)
{
	struct compute_activity *activity = timer->data;
	activity->due_usec = 0;
	flush(activity);
}

struct compute_activity *compute_activity_create(const struct services *services)
{
	struct compute_activity *activity = xcalloc(1, sizeof *activity);
	activity->services = services;
	(void)uv_timer_init(services->loop, &activity->timer);
	activity->timer.data = activity;
	return activity;
}

void compute_activity_note(struct compute_activity *activity, const struct fleet_member *member)
{
	struct entry *e = activity->entries;
	while (e && strcmp(e->uid, member->uid) != 0)
		e = e->next;
	bool is_new = !e;
	if (is_new) {
		e = xcalloc(1, sizeof *e);
		(void)snprintf(e->uid, sizeof e->uid, "%s", member->uid);
		e->next = activity->entries;
		activity->entries = e;
	}
	/* On its way down it counts as running: if we die now, the supervisor's last words decide. */
	bool was_running = member->state != FLEET_ASLEEP;
	bool has_turned = is_new || e->was_running != was_running;
	if (!has_turned && e->last_active_usec == member->last_active_usec)
		return;
	if (has_turned)
		e->since_usec = member->since_usec;
	e->was_running = was_running;
	e->last_active_usec = member->last_active_usec;
	e->is_dirty = true;
	schedule(activity, has_turned ? STATE_DELAY_MS : USE_DELAY_MS);
}

static void on_closed(uv_handle_t *timer)
{
	struct compute_activity *activity = timer->data;
	while (activity->entries) {
		struct entry *e = activity->entries;
		activity->entries = e->next;
		free(e);
	}
	free(activity);
}

void compute_activity_close(struct compute_activity *activity)
{
	if (!activity)
		return;
	flush(activity);
	(void)uv_timer_stop(&activity->timer);
	uv_close((uv_handle_t *)&activity->timer, on_closed);
}
