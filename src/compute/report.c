#include "compute/report.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>
#include <yyjson.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "loop/line_channel.h"

#define HUB_MAGIC       0x72687562u
#define LISTENERS_MAX   64   /* connections at a time; control has one */
#define FINISH_LIMIT_MS 2000 /* for one that does not read */
#define LINGER_MS       500  /* for the first one to come, when the end came before it */

struct listening {
	LIST_ENTRY(listening) link;
	struct report_hub *hub;
	struct line_channel *channel;
};

struct report_hub {
	uint32_t magic;
	uv_loop_t *loop;
	struct line_listener *listener; /* NULL when finishing */
	LIST_HEAD(, listening) channels;
	size_t count;
	uv_timer_t limit;
	const struct compute_report *report;
	const struct report_events *events;
	void *owner;
	bool has_had_one; /* somebody was connected, if only for a moment */
	bool is_finishing;
};

static struct report_hub *hub_of(void *p)
{
	struct report_hub *hub = p;
	assert(hub && hub->magic == HUB_MAGIC);
	return hub;
}

void compute_report_format(const struct compute_report *report, struct buffer *out)
{
	static const char *const states[] = { "starting", "ready", "suspending", "stopped", "failed" };
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_str(doc, root, "state", states[report->state]);
	if (report->reason[0])
		yyjson_mut_obj_add_str(doc, root, "reason", report->reason);
	yyjson_mut_obj_add_int(doc, root, "pid", getpid());
	if (report->postgres_pid > 0)
		yyjson_mut_obj_add_int(doc, root, "postgres_pid", report->postgres_pid);
	char time_text[CLOCK_TEXT_MAX];
	if (report->last_active_usec > 0) {
		clock_format_timestamp(report->last_active_usec, time_text);
		yyjson_mut_obj_add_str(doc, root, "last_active_time", time_text);
	}
	yyjson_mut_obj_add_int(doc, root, "applied_revision", report->applied_revision);
	yyjson_mut_val *timing = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_real(doc, timing, "prepare_ms", report->prepare_ms);
	yyjson_mut_obj_add_real(doc, timing, "postgres_ms", report->postgres_ms);
	yyjson_mut_obj_add_real(doc, timing, "reconcile_ms", report->reconcile_ms);
	yyjson_mut_obj_add_val(doc, root, "timing", timing);
	/* A reason quotes what Postgres said, which need not be UTF-8: never fail because of it. */
	size_t len;
	char *text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, &len);
	assert(text);
	buffer_append(out, text, len);
	free(text);
	yyjson_mut_doc_free(doc);
}

static void send_to(struct report_hub *hub, struct line_channel *channel)
{
	CLEANUP(buffer_done) struct buffer line = { 0 };
	compute_report_format(hub->report, &line);
	line_channel_send(channel, line.data);
}

static void take_line(void *owner, struct line_channel *channel, struct slice line)
{
	struct listening *one = owner;
	yyjson_doc *doc = yyjson_read((const char *)line.data, line.len, 0);
	yyjson_val *order = yyjson_obj_get(yyjson_doc_get_root(doc), "do");
	bool is_suspend = yyjson_equals_str(order, "suspend"), is_apply = yyjson_equals_str(order, "apply");
	bool is_known = yyjson_is_str(order);
	yyjson_doc_free(doc);
	if (is_suspend || is_apply)
		one->hub->events->on_order(one->hub->owner, is_suspend ? ORDER_SUSPEND : ORDER_APPLY);
	else if (!is_known)
		line_channel_close(channel); /* malformed; unknown orders of a newer control are left alone */
}

static void free_hub(uv_handle_t *handle)
{
	struct report_hub *hub = hub_of(handle->data);
	hub->magic = 0;
	const struct report_events *events = hub->events;
	void *owner = hub->owner;
	free(hub);
	events->on_finished(owner);
}

static void finish_if_done(struct report_hub *hub)
{
	if (!hub->listener && LIST_EMPTY(&hub->channels) && !uv_is_closing((uv_handle_t *)&hub->limit))
		uv_close((uv_handle_t *)&hub->limit, free_hub);
}

static void channel_closed(void *owner, struct line_channel *channel, const char *reason)
{
	(void)channel, (void)reason;
	struct listening *one = owner;
	struct report_hub *hub = hub_of(one->hub);
	LIST_REMOVE(one, link);
	hub->count--;
	free(one);
	finish_if_done(hub);
}

static const struct line_channel_events channel_events = { .on_line = take_line, .on_close = channel_closed };

static void limit_passed(uv_timer_t *timer);

/* The second half of finishing: what was sent may leave, then everything closes. */
static void close_down(struct report_hub *hub)
{
	if (!hub->listener)
		return;
	struct listening *one;
	line_listener_close(hub->listener);
	hub->listener = NULL;
	LIST_FOREACH (one, &hub->channels, link)
		line_channel_finish(one->channel);
	(void)uv_timer_start(&hub->limit, limit_passed, FINISH_LIMIT_MS, 0);
	finish_if_done(hub);
}

static void limit_passed(uv_timer_t *timer)
{
	struct report_hub *hub = hub_of(timer->data);
	if (hub->listener) {
		close_down(hub);
		return;
	}
	struct listening *one;
	LIST_FOREACH (one, &hub->channels, link)
		line_channel_close(one->channel);
}

static void take_connection(void *owner, int fd)
{
	struct report_hub *hub = hub_of(owner);
	struct listening *one = xcalloc(1, sizeof *one);
	struct error err = { 0 };
	one->hub = hub;
	if (hub->count >= LISTENERS_MAX ||
	        line_channel_wrap(hub->loop, fd, &channel_events, one, &one->channel, &err) != STATUS_OK) {
		log_warning("could not take a connection to the supervisor: %s", err.message);
		(void)close(fd);
		free(one);
		return;
	}
	LIST_INSERT_HEAD(&hub->channels, one, link);
	hub->count++;
	hub->has_had_one = true;
	send_to(hub, one->channel);
	if (hub->is_finishing)
		close_down(hub);
}

/* Only if the descriptor is really ours to use: the variable may come from anywhere. */
static int inherited_listener(void)
{
	const char *text = getenv("TARN_LISTEN_FD");
	int64_t fd;
	if (!text || !number_parse(slice_from_text(text), 3, 1000, &fd))
		return -1;
	(void)unsetenv("TARN_LISTEN_FD");
	return fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0 ? (int)fd : -1;
}

status report_hub_open(uv_loop_t *loop, const char *socket_path, const struct compute_report *report,
        const struct report_events *events, void *owner, struct report_hub **ret, struct error *err)
{
	struct report_hub *hub = xcalloc(1, sizeof *hub);
	*hub = (struct report_hub){
		.magic = HUB_MAGIC, .loop = loop, .report = report, .events = events, .owner = owner
	};
	LIST_INIT(&hub->channels);
	int fd = inherited_listener();
	status st =
	        fd >= 0 ? line_listener_adopt(loop, fd, take_connection, hub, &hub->listener, err)
	                : line_listener_bind(loop, socket_path, take_connection, hub, &hub->listener, err);
	if (st != STATUS_OK) {
		free(hub);
		return st;
	}
	(void)uv_timer_init(loop, &hub->limit);
	hub->limit.data = hub;
	*ret = hub;
	return STATUS_OK;
}

void report_hub_send(struct report_hub *hub)
{
	struct listening *one;
	LIST_FOREACH (one, &hub_of(hub)->channels, link)
		send_to(hub, one->channel);
}

void report_hub_finish(struct report_hub *hub)
{
	hub_of(hub)->is_finishing = true;
	if (hub->has_had_one)
		close_down(hub);
	else /* who waits in the queue of the socket is taken in the loop's next turns, and told */
		(void)uv_timer_start(&hub->limit, limit_passed, LINGER_MS, 0);
}
