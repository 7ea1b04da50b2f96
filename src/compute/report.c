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
#define TICKETS_MAX     1000 /* of one connection */
#define FINISH_LIMIT_MS 2000 /* for one that does not read */
#define LINGER_MS       500  /* for the first one to come, when the end came before it */

/* A question that has no answer yet. */
struct ticket {
	LIST_ENTRY(ticket) link;
	uint64_t number;
	int64_t id; /* the asker's */
	enum report_order order;
};

struct listening {
	LIST_ENTRY(listening) link;
	struct report_hub *hub;
	struct line_channel *channel;
	LIST_HEAD(, ticket) tickets;
	size_t ticket_count;
};

struct report_hub {
	uint32_t magic;
	uv_loop_t *loop;
	struct line_listener *listener; /* NULL when finishing */
	LIST_HEAD(, listening) channels;
	size_t count;
	uint64_t last_ticket;
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

static void add_storage(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct storage_report *storage)
{
	if (storage->points <= 0 && !storage->alarm[0])
		return;
	yyjson_mut_val *object = yyjson_mut_obj(doc);
	if (storage->points >= 0)
		yyjson_mut_obj_add_int(doc, object, "points", storage->points);
	if (storage->newest_lsn > 0) {
		char text[LSN_TEXT_MAX];
		lsn_format(storage->newest_lsn, text);
		yyjson_mut_obj_add_strcpy(doc, object, "newest_lsn", text);
	}
	yyjson_mut_obj_add_int(doc, object, "replay_estimate_ms", storage->replay_estimate_usec / 1000);
	yyjson_mut_obj_add_int(doc, object, "point_cost_ms", storage->point_cost_usec / 1000);
	yyjson_mut_obj_add_int(doc, object, "replay_speed_mb_s", (int64_t)storage->replay_speed_mb_s);
	yyjson_mut_obj_add_int(doc, object, "depth", storage->depth);
	yyjson_mut_obj_add_int(doc, object, "open_pages", storage->open_pages);
	yyjson_mut_obj_add_int(doc, object, "logical_bytes", storage->logical_bytes);
	yyjson_mut_obj_add_str(doc, object, "alarm", storage->alarm);
	yyjson_mut_obj_add_val(doc, root, "storage", object);
}

/* There is nothing to tell before somebody has used it. */
static void add_pooler(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct pooler_seen *seen)
{
	const struct pooler_counts *counts = &seen->counts;
	if (seen->connections == 0)
		return;
	const struct {
		const char *name;
		int64_t value;
	} members[] = {
		{ "pid", seen->pid },
		{ "connections", seen->connections },
		{ "clients", counts->clients },
		{ "waiting", counts->waiting },
		{ "longest_wait_usec", counts->longest_wait_usec },
		{ "servers_active", counts->servers_active },
		{ "servers_idle", counts->servers_idle },
		{ "transactions", counts->transactions },
		{ "queries", counts->queries },
		{ "wait_usec", counts->wait_usec },
		{ "received_bytes", counts->received_bytes },
		{ "sent_bytes", counts->sent_bytes },
		{ "clients_ended", seen->clients_ended },
	};
	yyjson_mut_val *object = yyjson_mut_obj_add_obj(doc, root, "pooler");
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		yyjson_mut_obj_add_int(doc, object, members[i].name, members[i].value);
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
	if (report->pagefs_pid > 0)
		yyjson_mut_obj_add_int(doc, root, "pagefs_pid", report->pagefs_pid);
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
	add_storage(doc, root, &report->storage);
	add_pooler(doc, root, &report->pooler);
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

/* ---- questions ---- */

static void send_answer(struct line_channel *channel, yyjson_mut_doc *doc)
{
	size_t len;
	char *text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, &len);
	assert(text);
	line_channel_send(channel, text);
	free(text);
	yyjson_mut_doc_free(doc);
}

/* {"point":{"id":7, …}}, or "pool": the inner object is for the caller to fill. */
static yyjson_mut_doc *begin_answer(enum report_order order, int64_t id, yyjson_mut_val **ret_inner)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	*ret_inner = yyjson_mut_obj_add_obj(doc, root, order == ORDER_POOL ? "pool" : "point");
	yyjson_mut_obj_add_int(doc, *ret_inner, "id", id);
	return doc;
}

static void send_error(
        struct line_channel *channel, enum report_order order, int64_t id, const struct error *err)
{
	static const char *const codes[] = {
		[STATUS_INVALID] = "INVALID",
		[STATUS_NOT_FOUND] = "NOT_FOUND",
		[STATUS_CONFLICT] = "CONFLICT",
		[STATUS_LIMIT] = "LIMIT",
		[STATUS_UNSUPPORTED] = "UNSUPPORTED",
		[STATUS_UNAVAILABLE] = "UNAVAILABLE",
		[STATUS_CORRUPT] = "CORRUPT",
		[STATUS_IO] = "IO",
		[STATUS_NO_SPACE] = "NO_SPACE",
	};
	const char *code = (size_t)err->code < ARRAY_LEN(codes) ? codes[err->code] : NULL;
	yyjson_mut_val *inner;
	yyjson_mut_doc *doc = begin_answer(order, id, &inner);
	yyjson_mut_val *error = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_str(doc, error, "code", code ? code : "INTERNAL");
	yyjson_mut_obj_add_str(doc, error, "message", err->message);
	if (err->hint[0])
		yyjson_mut_obj_add_str(doc, error, "hint", err->hint);
	yyjson_mut_obj_add_val(doc, inner, "error", error);
	send_answer(channel, doc);
}

/* Takes the ticket off its connection; NULL when that is gone. */
static struct line_channel *redeem(
        struct report_hub *hub, uint64_t number, enum report_order *ret_order, int64_t *ret_id)
{
	struct listening *one;
	struct ticket *ticket;
	LIST_FOREACH (one, &hub->channels, link)
		LIST_FOREACH (ticket, &one->tickets, link)
			if (ticket->number == number) {
				*ret_id = ticket->id;
				*ret_order = ticket->order;
				LIST_REMOVE(ticket, link);
				one->ticket_count--;
				free(ticket);
				return one->channel;
			}
	return NULL;
}

void report_hub_answer_point(struct report_hub *hub, uint64_t ticket, const struct report_point *point)
{
	int64_t id;
	enum report_order order;
	struct line_channel *channel = redeem(hub_of(hub), ticket, &order, &id);
	if (!channel)
		return;
	char lsn[LSN_TEXT_MAX];
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = begin_answer(order, id, &object);
	lsn_format(point->lsn, lsn);
	yyjson_mut_obj_add_uint(doc, object, "number", point->number);
	yyjson_mut_obj_add_str(doc, object, "lsn", lsn);
	yyjson_mut_obj_add_uint(doc, object, "timeline", point->timeline);
	yyjson_mut_obj_add_int(doc, object, "time_usec", point->time_usec);
	send_answer(channel, doc);
}

void report_hub_answer_pool(struct report_hub *hub, uint64_t ticket, const char *socket_folder,
        const struct pooler_verdict *verdicts, size_t count)
{
	int64_t id;
	enum report_order order;
	struct line_channel *channel = redeem(hub_of(hub), ticket, &order, &id);
	if (!channel)
		return;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = begin_answer(order, id, &object);
	yyjson_mut_obj_add_strcpy(doc, object, "socket_dir", socket_folder);
	yyjson_mut_val *refused = yyjson_mut_obj_add_arr(doc, object, "refused");
	for (size_t i = 0; i < count; i++) {
		if (!verdicts[i].err)
			continue;
		yyjson_mut_val *one = yyjson_mut_arr_add_obj(doc, refused);
		yyjson_mut_obj_add_strcpy(doc, one, "role", verdicts[i].role);
		yyjson_mut_obj_add_strcpy(doc, one, "message", verdicts[i].err->message);
	}
	send_answer(channel, doc);
}

void report_hub_answer_error(struct report_hub *hub, uint64_t ticket, const struct error *err)
{
	int64_t id;
	enum report_order order;
	struct line_channel *channel = redeem(hub_of(hub), ticket, &order, &id);
	if (channel)
		send_error(channel, order, id, err);
}

/* The number of a new ticket; 0 when it was refused. */
static uint64_t take_ticket(struct listening *one, enum report_order order, int64_t id)
{
	struct report_hub *hub = one->hub;
	struct error err;
	if (hub->is_finishing || one->ticket_count >= TICKETS_MAX) {
		error_fill(&err, hub->is_finishing ? STATUS_UNAVAILABLE : STATUS_LIMIT, 0,
		        hub->is_finishing ? "the compute is not running" : "too many questions at once");
		send_error(one->channel, order, id, &err);
		return 0;
	}
	struct ticket *ticket = xcalloc(1, sizeof *ticket);
	*ticket = (struct ticket){ .number = ++hub->last_ticket, .id = id, .order = order };
	LIST_INSERT_HEAD(&one->tickets, ticket, link);
	one->ticket_count++;
	return ticket->number;
}

/* False when they are not a list of names. */
static bool take_pool(struct listening *one, int64_t id, yyjson_val *roles)
{
	const char *names[POOLER_ROLES_MAX];
	size_t count = yyjson_arr_size(roles), i, max;
	yyjson_val *role;
	if (!yyjson_is_arr(roles) || count > POOLER_ROLES_MAX)
		return false;
	yyjson_arr_foreach(roles, i, max, role)
	{
		names[i] = yyjson_get_str(role);
		if (!names[i] || strlen(names[i]) != yyjson_get_len(role) ||
		        yyjson_get_len(role) > POOLER_USER_NAME_MAX)
			return false;
	}
	struct report_hub *hub = one->hub;
	uint64_t ticket = take_ticket(one, ORDER_POOL, id);
	if (ticket != 0)
		hub->events->on_pool(hub->owner, ticket, names, count);
	return true;
}

/* False for a line that is malformed; unknown orders of a newer control are left alone. */
static bool take_order(struct listening *one, yyjson_val *root)
{
	static const char *const names[] = { "suspend", "apply", "point", "flush", "pool" };
	struct report_hub *hub = one->hub;
	yyjson_val *order = yyjson_obj_get(root, "do"), *id = yyjson_obj_get(root, "id");
	size_t which = 0;
	while (which < ARRAY_LEN(names) && !yyjson_equals_str(order, names[which]))
		which++;
	bool is_question = which == ORDER_POINT || which == ORDER_FLUSH || which == ORDER_POOL;
	if (!yyjson_is_str(order) || (is_question && !yyjson_is_int(id)))
		return false;
	if (which == ORDER_POOL)
		return take_pool(one, yyjson_get_sint(id), yyjson_obj_get(root, "roles"));
	uint64_t ticket = is_question ? take_ticket(one, (enum report_order)which, yyjson_get_sint(id)) : 0;
	if (which < ARRAY_LEN(names) && !hub->is_finishing && (ticket != 0 || !is_question))
		hub->events->on_order(hub->owner, (enum report_order)which, ticket);
	return true;
}

static void take_line(void *owner, struct line_channel *channel, struct slice line)
{
	yyjson_doc *doc = yyjson_read((const char *)line.data, line.len, 0);
	bool is_good = take_order(owner, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
	if (!is_good)
		line_channel_close(channel);
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
	struct ticket *ticket;
	while ((ticket = LIST_FIRST(&one->tickets))) {
		LIST_REMOVE(ticket, link);
		free(ticket);
	}
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
	LIST_INIT(&one->tickets);
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
