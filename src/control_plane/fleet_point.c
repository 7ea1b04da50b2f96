/*
 * Points and flushes of a compute that runs: each waits in its member's list until the compute is ready, is sent with a number of its own,
 * and is answered by that number. Numbers are never used twice, so a late answer to an old request is nobody's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "control_plane/fleet_internal.h"

#define POINT_MS 300000 /* a checkpoint of a busy compute takes its time */

static bool is_point(const struct waiter *waiter)
{
	return waiter->kind == WAIT_POINT || waiter->kind == WAIT_FLUSH;
}

/* Answers the request of that number; 0: all, 1 being the first number ever sent. */
static void answer(
        struct member *m, int64_t request, const struct fleet_point *point, const struct error *err)
{
	struct waiter_list others = STAILQ_HEAD_INITIALIZER(others);
	struct waiter *waiter;
	bool is_any_left = false;
	while ((waiter = STAILQ_FIRST(&m->waiters))) {
		STAILQ_REMOVE_HEAD(&m->waiters, link);
		if (is_point(waiter) && (request == 0 || waiter->request == request)) {
			if (point)
				waiter->point = *point;
			fleet_owe(m->fleet, waiter, err);
		} else {
			is_any_left = is_any_left || (is_point(waiter) && waiter->request > 0);
			STAILQ_INSERT_TAIL(&others, waiter, link);
		}
	}
	STAILQ_CONCAT(&m->waiters, &others);
	if (!is_any_left)
		(void)uv_timer_stop(&m->pointing);
}

static void expired(uv_timer_t *timer)
{
	struct member *m = member_of(timer->data);
	struct error err;
	error_fill(&err, STATUS_UNAVAILABLE, 0,
	        "the compute of endpoint \"%s\" did not make a restore point in %d s", m->uid,
	        POINT_MS / 1000);
	answer(m, 0, NULL, &err);
}

void member_send_points(struct member *m)
{
	bool is_any = false;
	struct waiter *waiter;
	STAILQ_FOREACH (waiter, &m->waiters, link) {
		if (!is_point(waiter) || waiter->request > 0)
			continue;
		waiter->request = ++m->fleet->last_request;
		CLEANUP(free_text)
		char *line = xasprintf("{\"do\":\"%s\",\"id\":%lld}",
		        waiter->kind == WAIT_POINT ? "point" : "flush", (long long)waiter->request);
		line_channel_send(m->channel, line);
		is_any = true;
	}
	if (is_any)
		(void)uv_timer_start(&m->pointing, expired, POINT_MS, 0);
}

/* It will be asked again when the compute runs again, or refused when it sleeps. */
static void put_back(struct member *m, int64_t request)
{
	struct waiter *waiter;
	STAILQ_FOREACH (waiter, &m->waiters, link)
		if (is_point(waiter) && waiter->request == request)
			waiter->request = 0;
}

void member_take_point(struct member *m, const struct fleet_point_report *report)
{
	bool has_failed = report->failure.code != STATUS_OK;
	/* On its way down, or up again after a crash, its Postgres went away under the question: that is no answer. */
	if (has_failed && m->seen.state != FLEET_RUNNING)
		put_back(m, report->id);
	else if (report->id > 0)
		answer(m, report->id, has_failed ? NULL : &report->point,
		        has_failed ? &report->failure : NULL);
}

void member_forget_points(struct member *m)
{
	struct waiter *waiter;
	STAILQ_FOREACH (waiter, &m->waiters, link)
		if (is_point(waiter))
			waiter->request = 0;
	(void)uv_timer_stop(&m->pointing);
}

void member_refuse_points(struct member *m)
{
	struct error err;
	error_fill(&err, STATUS_CONFLICT, 0, "the compute of endpoint \"%s\" is asleep", m->uid);
	answer(m, 0, NULL, &err);
}
