/*
 * Applying a changed spec to a compute that runs: an apply waits in its member's list, is sent once the compute is ready
 * (all that wait as one), and is answered by the state that the supervisor tells then.
 */
#include <yyjson.h>

#include "base/buffer.h"
#include "base/file.h"
#include "control_plane/fleet_internal.h"

#define APPLY_MS       30000
#define SPEC_MAX_BYTES (16u << 20)

static status read_revision(struct member *m, int64_t *ret, struct error *err)
{
	CLEANUP(free_text) char *path = xasprintf("%s/spec.json", m->folder);
	CLEANUP(buffer_done) struct buffer content = { 0 };
	status st = file_read(path, SPEC_MAX_BYTES, &content, err);
	if (st != STATUS_OK)
		return st;
	yyjson_doc *doc = yyjson_read(content.data, content.len, 0);
	yyjson_val *revision = yyjson_obj_get(yyjson_doc_get_root(doc), "revision");
	bool is_good = yyjson_is_uint(revision) && yyjson_get_uint(revision) <= INT64_MAX;
	if (is_good)
		*ret = (int64_t)yyjson_get_uint(revision);
	yyjson_doc_free(doc);
	return is_good ? STATUS_OK : error_set(err, STATUS_INTERNAL, 0, "file \"%s\" has no revision", path);
}

/* Answers the applies that were sent and whose revision the supervisor has reached; with err, all that were sent. */
void member_answer_applies(struct member *m, const struct error *err)
{
	struct waiter_list others = STAILQ_HEAD_INITIALIZER(others);
	struct waiter *waiter;
	bool is_any_left = false;
	while ((waiter = STAILQ_FIRST(&m->waiters))) {
		STAILQ_REMOVE_HEAD(&m->waiters, link);
		bool was_sent = waiter->kind == WAIT_APPLY && waiter->revision >= 0;
		if (was_sent && (err || waiter->revision <= m->report.applied_revision)) {
			fleet_owe(m->fleet, waiter, err);
		} else {
			is_any_left = is_any_left || was_sent;
			STAILQ_INSERT_TAIL(&others, waiter, link);
		}
	}
	STAILQ_CONCAT(&m->waiters, &others);
	if (!is_any_left)
		(void)uv_timer_stop(&m->applying);
}

static void apply_expired(uv_timer_t *timer)
{
	struct member *m = member_of(timer->data);
	struct error err;
	error_fill(&err, STATUS_UNAVAILABLE, 0,
	        "the compute of endpoint \"%s\" did not apply its settings in %d s", m->uid, APPLY_MS / 1000);
	member_answer_applies(m, &err);
}

/* Sends all applies that were not sent yet as one. The supervisor answers with its state, applied or with a reason. */
void member_send_applies(struct member *m)
{
	bool is_any = false;
	struct waiter *waiter;
	STAILQ_FOREACH (waiter, &m->waiters, link)
		is_any = is_any || (waiter->kind == WAIT_APPLY && waiter->revision < 0);
	if (!is_any)
		return;
	struct error err;
	int64_t revision = 0;
	status st = m->fleet->events->write_spec(m->fleet->owner, m->uid, &err);
	if (st == STATUS_OK)
		st = read_revision(m, &revision, &err);
	STAILQ_FOREACH (waiter, &m->waiters, link)
		if (waiter->kind == WAIT_APPLY && waiter->revision < 0)
			waiter->revision = st == STATUS_OK ? revision : INT64_MAX;
	if (st != STATUS_OK) {
		member_answer_applies(m, &err);
		return;
	}
	line_channel_send(m->channel, "{\"do\":\"apply\"}");
	(void)uv_timer_start(&m->applying, apply_expired, APPLY_MS, 0);
}
