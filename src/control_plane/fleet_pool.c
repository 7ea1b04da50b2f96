/*
 * Who wants to use the pooler of a compute that runs: each waits in its member's list. One question is with the supervisor at a time, and has all
 * the names that waited when it was sent: many clients that come at once cost as few questions as there are turns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#include "control_plane/fleet_internal.h"

#define POOL_MS        20000 /* its first question starts the pooler */
#define POOL_ROLES_MAX 1000  /* in one question */

/* Answers those that were asked for in the present question; with report NULL, all, by err. */
static void answer(struct member *m, const struct fleet_pool_report *report, const struct error *err)
{
	struct waiter_list others = STAILQ_HEAD_INITIALIZER(others);
	struct waiter *waiter;
	while ((waiter = STAILQ_FIRST(&m->waiters))) {
		STAILQ_REMOVE_HEAD(&m->waiters, link);
		if (waiter->kind != WAIT_POOL || (report && waiter->request != report->id)) {
			STAILQ_INSERT_TAIL(&others, waiter, link);
			continue;
		}
		struct error refusal;
		const struct error *verdict = err;
		for (size_t i = 0; report && !err && i < report->refused_count; i++) {
			if (strcmp(report->refused[i].role, waiter->role) != 0)
				continue;
			error_fill(&refusal, STATUS_DENIED, 0, "%s", report->refused[i].message);
			verdict = &refusal;
		}
		fleet_owe(m->fleet, waiter, verdict);
	}
	STAILQ_CONCAT(&m->waiters, &others);
}

static void expired(uv_timer_t *timer)
{
	struct member *m = member_of(timer->data);
	struct error err;
	const struct fleet_pool_report overdue = { .id = m->pool_request };
	m->pool_request = 0;
	error_fill(&err, STATUS_UNAVAILABLE, 0, "the pooler of endpoint \"%s\" did not answer in %d s",
	        m->uid, POOL_MS / 1000);
	answer(m, &overdue, &err);
	fleet_need_step(m);
}

static bool is_asked(yyjson_mut_val *roles, const char *role)
{
	size_t i, max;
	yyjson_mut_val *item;
	yyjson_mut_arr_foreach(roles, i, max, item) if (yyjson_mut_equals_str(item, role)) return true;
	return false;
}

void member_send_pools(struct member *m)
{
	struct waiter *waiter;
	if (m->pool_request != 0)
		return;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc), *roles = yyjson_mut_arr(doc);
	yyjson_mut_doc_set_root(doc, root);
	int64_t request = m->fleet->last_request + 1;
	STAILQ_FOREACH (waiter, &m->waiters, link) {
		if (waiter->kind != WAIT_POOL)
			continue;
		bool is_new = !is_asked(roles, waiter->role);
		if (is_new && yyjson_mut_arr_size(roles) == POOL_ROLES_MAX)
			continue;
		if (is_new)
			(void)yyjson_mut_arr_add_str(doc, roles, waiter->role);
		waiter->request = request;
	}
	if (yyjson_mut_arr_size(roles) > 0) {
		(void)yyjson_mut_obj_add_str(doc, root, "do", "pool");
		(void)yyjson_mut_obj_add_sint(doc, root, "id", request);
		(void)yyjson_mut_obj_add_val(doc, root, "roles", roles);
		CLEANUP(free_text) char *line = yyjson_mut_write(doc, 0, NULL);
		m->fleet->last_request = m->pool_request = request;
		if (line) /* names are UTF-8, as all that comes from control's socket */
			line_channel_send(m->channel, line);
		(void)uv_timer_start(&m->pooling, expired, POOL_MS, 0);
	}
	yyjson_mut_doc_free(doc);
}

void member_take_pool(struct member *m, const struct fleet_pool_report *report)
{
	if (report->id != m->pool_request)
		return; /* it came too late, and was answered */
	m->pool_request = 0;
	(void)uv_timer_stop(&m->pooling);
	answer(m, report, report->failure.code == STATUS_OK ? NULL : &report->failure);
	fleet_need_step(m); /* who came meanwhile */
}

void member_forget_pools(struct member *m)
{
	m->pool_request = 0;
	(void)uv_timer_stop(&m->pooling);
}

void member_refuse_pools(struct member *m)
{
	struct error err;
	member_forget_pools(m);
	error_fill(&err, STATUS_CONFLICT, 0, "the compute of endpoint \"%s\" is asleep", m->uid);
	answer(m, NULL, &err);
}
