#include "proxy/traffic_report.h"

#include <assert.h>
#include <stdlib.h>
#include <yyjson.h>

struct traffic_report {
	uv_timer_t timer;
	struct traffic *traffic;
	struct control_link *control;
	traffic_look_fn look;
	void *owner;
	struct control_question *question; /* the report that is on its way */
	uint64_t connection;               /* that control was told everything on */
	struct proxy_gauges gauges;
	bool gauges_have_changed; /* since they were told */
};

static void add_number(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name, uint64_t value)
{
	if (value > 0)
		(void)yyjson_mut_obj_add_uint(doc, object, name, value);
}

static void add_numbers(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct traffic_numbers *numbers)
{
	const struct {
		const char *name;
		uint64_t value;
	} members[] = {
		{ "waiting", numbers->waiting },
		{ "open", numbers->open },
		{ "opened", numbers->opened },
		{ "received", numbers->received },
		{ "sent", numbers->sent },
		{ "logins", numbers->logins },
		{ "login_ms", numbers->login_ms },
		{ "wakes", numbers->wakes },
		{ "wake_ms", numbers->wake_ms },
		{ "cancels", numbers->cancels },
		{ "unmatched_cancels", numbers->unmatched_cancels },
	};
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		add_number(doc, object, members[i].name, members[i].value);
	yyjson_mut_val *refused = NULL;
	for (int i = 0; i < REFUSAL_REASONS; i++) {
		if (numbers->refused[i] == 0)
			continue;
		if (!refused)
			refused = yyjson_mut_obj_add_obj(doc, object, "refused");
		add_number(doc, refused, refusal_reason_name((enum refusal_reason)i), numbers->refused[i]);
	}
}

static yyjson_mut_val *add_part(yyjson_mut_doc *doc, yyjson_mut_val *part, uint64_t life)
{
	(void)yyjson_mut_obj_add_uint(doc, part, "life", life);
	return part;
}

/* Entries that are written down are on their way from then on. */
static yyjson_mut_doc *write_report(struct traffic_report *report)
{
	struct traffic *traffic = report->traffic;
	const struct proxy_gauges *gauges = &report->gauges;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_val *total =
	        add_part(doc, yyjson_mut_obj_add_obj(doc, root, "total"), traffic_life(traffic));
	add_numbers(doc, total, traffic_total(traffic));
	yyjson_mut_val *now = yyjson_mut_obj_add_obj(doc, root, "now");
	add_number(doc, now, "sessions", gauges->sessions);
	add_number(doc, now, "connections_max", gauges->connections_max);
	add_number(doc, now, "logging_in", gauges->logging_in);
	add_number(doc, now, "buffer_bytes", gauges->buffer_bytes);
	yyjson_mut_val *endpoints = yyjson_mut_obj_add_arr(doc, root, "endpoints");
	struct traffic_entry *entry;
	for (size_t i = 0; i < TRAFFIC_REPORT_ENDPOINTS && (entry = traffic_next(traffic)); i++) {
		yyjson_mut_val *part = add_part(doc, yyjson_mut_arr_add_obj(doc, endpoints), entry->life);
		(void)yyjson_mut_obj_add_str(doc, part, "uid", entry->uid);
		add_numbers(doc, part, &entry->numbers);
	}
	return doc;
}

static void report_send(struct traffic_report *report);

static void on_answer(void *owner, const struct control_answer *answer)
{
	struct traffic_report *report = owner;
	report->question = NULL;
	if (answer->kind != CONTROL_OK) {
		traffic_note_lost(report->traffic); /* it is tried again with the next tick */
		return;
	}
	traffic_note_told(report->traffic);
	report_send(report);
}

static void report_send(struct traffic_report *report)
{
	if (!report->gauges_have_changed && !traffic_has_changed(report->traffic))
		return;
	yyjson_mut_doc *doc = write_report(report);
	report->question = control_tell_report(report->control, doc, on_answer, report);
	report->gauges_have_changed = false;
	yyjson_mut_doc_free(doc);
}

static void report_tick(uv_timer_t *timer)
{
	struct traffic_report *report = timer->data;
	if (report->question)
		return;
	struct proxy_gauges gauges = { 0 };
	report->look(report->owner, &gauges);
	uint64_t connection = control_link_connections(report->control);
	if (connection != report->connection)
		traffic_forget_told(report->traffic);
	if (memcmp(&gauges, &report->gauges, sizeof gauges) != 0)
		report->gauges_have_changed = true;
	report->connection = connection;
	report->gauges = gauges;
	report_send(report);
}

struct traffic_report *traffic_report_open(uv_loop_t *loop, struct traffic *traffic,
        struct control_link *control, traffic_look_fn look, void *owner)
{
	struct traffic_report *report = xcalloc(1, sizeof *report);
	*report = (struct traffic_report){
		.traffic = traffic, .control = control, .look = look, .owner = owner
	};
	(void)uv_timer_init(loop, &report->timer);
	report->timer.data = report;
	(void)uv_timer_start(&report->timer, report_tick, 0, TRAFFIC_REPORT_MS);
	return report;
}

static void report_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void traffic_report_close(struct traffic_report *report)
{
	if (!report)
		return;
	control_question_cancel(TAKE_PTR(report->question));
	uv_close((uv_handle_t *)&report->timer, report_closed);
}
