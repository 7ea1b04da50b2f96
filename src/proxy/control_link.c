#include "proxy/control_link.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#include "base/log.h"
#include "base/utf8.h"
#include "loop/line_channel.h"

#define TICK_MS 50u

struct control_question {
	struct control_question *prev, *next;
	struct control_link *link;
	int64_t id;
	char *text; /* the line that asks */
	control_answer_fn on_answer;
	void *owner;
	uint64_t deadline;    /* loop time; for an answer */
	uint64_t reach_until; /* loop time; to be asked on a connection at all */
	bool is_sent;         /* on the present connection */
};

struct control_link {
	uv_loop_t *loop;
	char *path;
	struct line_channel *channel; /* NULL while there is no connection */
	uv_timer_t timer;             /* runs while questions wait */
	struct control_question *first;
	int64_t last_id;
	uint64_t connections;
	void (*on_access)(void *owner);
	void *owner;
	bool is_closing, timer_is_closed;
	char reason[sizeof((struct error *)0)->message]; /* why there is no connection */
};

/* The link lives until its channel and its timer are gone. */
static void link_free_if_done(struct control_link *link)
{
	if (!link->is_closing || !link->timer_is_closed || link->channel)
		return;
	free(link->path);
	free(link);
}

static void question_remove(struct control_question *question)
{
	struct control_link *link = question->link;
	if (question->prev)
		question->prev->next = question->next;
	else
		link->first = question->next;
	if (question->next)
		question->next->prev = question->prev;
	free(question->text);
	free(question);
	if (!link->first)
		(void)uv_timer_stop(&link->timer);
}

void control_question_cancel(struct control_question *question)
{
	if (question)
		question_remove(question);
}

static void question_answer(struct control_question *question, const struct control_answer *answer)
{
	control_answer_fn on_answer = question->on_answer;
	void *owner = question->owner;
	question_remove(question);
	on_answer(owner, answer);
}

static void copy_text(yyjson_val *value, char *out, size_t size)
{
	const char *text = yyjson_get_str(value);
	(void)snprintf(out, size, "%s", text ? text : "");
}

/* False when the member is missing, not a text, or longer than out. */
static bool take_text(yyjson_val *object, const char *key, char *out, size_t size)
{
	yyjson_val *value = yyjson_obj_get(object, key);
	size_t len = yyjson_get_len(value);
	if (!yyjson_is_str(value) || len == 0 || len >= size || strlen(yyjson_get_str(value)) != len)
		return false;
	memcpy(out, yyjson_get_str(value), len + 1);
	return true;
}

static enum control_answer_kind kind_of(const char *code)
{
	static const struct {
		const char *code;
		enum control_answer_kind kind;
	} kinds[] = { { "NOT_FOUND", CONTROL_NOT_FOUND }, { "NOT_ALLOWED", CONTROL_NOT_ALLOWED },
		{ "DISABLED", CONTROL_DISABLED }, { "START_FAILED", CONTROL_START_FAILED },
		{ "SHUTTING_DOWN", CONTROL_SHUTTING_DOWN }, { "BUSY", CONTROL_BUSY },
		{ "REFUSED", CONTROL_REFUSED }, { "NOT_NOW", CONTROL_NOT_NOW } };
	for (size_t i = 0; code && i < ARRAY_LEN(kinds); i++)
		if (strcmp(code, kinds[i].code) == 0)
			return kinds[i].kind;
	return CONTROL_FAILED;
}

/* Without the member: a control that knows nothing but tokens. */
static bool take_login(yyjson_val *login, struct control_answer *ret)
{
	const char *method = yyjson_get_str(yyjson_obj_get(login, "method"));
	const char *verifier = yyjson_get_str(yyjson_obj_get(login, "verifier"));
	if (!login)
		return true;
	if (!method || (strcmp(method, "token") != 0 && strcmp(method, "password") != 0))
		return false;
	ret->endpoint.allows_passwords = yyjson_get_bool(yyjson_obj_get(login, "enabled"));
	ret->endpoint.refuses_tokens = yyjson_get_bool(yyjson_obj_get(login, "revoked"));
	ret->login.has_password = strcmp(method, "password") == 0;
	if (!ret->login.has_password || !ret->endpoint.allows_passwords)
		return true;
	ret->login.is_permitted = yyjson_get_bool(yyjson_obj_get(login, "permitted"));
	ret->login.is_fresh = yyjson_get_bool(yyjson_obj_get(login, "fresh"));
	copy_text(yyjson_obj_get(login, "reason"), ret->login.reason, sizeof ret->login.reason);
	return verifier && scram_verifier_parse(verifier, &ret->login.verifier);
}

static void answer_read(yyjson_val *root, struct control_answer *ret)
{
	yyjson_val *error = yyjson_obj_get(root, "error"), *endpoint = yyjson_obj_get(root, "endpoint"),
	           *socket_dir = yyjson_obj_get(root, "socket_dir");
	*ret = (struct control_answer){ .kind = CONTROL_FAILED };
	if (error) {
		ret->kind = kind_of(yyjson_get_str(yyjson_obj_get(error, "code")));
		copy_text(yyjson_obj_get(error, "message"), ret->message, sizeof ret->message);
		copy_text(yyjson_obj_get(error, "hint"), ret->hint, sizeof ret->hint);
		bool is_told = take_text(error, "sqlstate", ret->sqlstate, sizeof ret->sqlstate) &&
		               strlen(ret->sqlstate) == 5;
		if (ret->kind == CONTROL_REFUSED && !is_told)
			ret->kind = CONTROL_FAILED;
	} else if (endpoint && take_text(endpoint, "uid", ret->endpoint.uid, sizeof ret->endpoint.uid) &&
	           take_text(endpoint, "name", ret->endpoint.name, sizeof ret->endpoint.name) &&
	           take_login(yyjson_obj_get(root, "login"), ret) &&
	           (!socket_dir || take_text(root, "socket_dir", ret->socket_dir, sizeof ret->socket_dir))) {
		ret->endpoint.is_disabled = yyjson_get_bool(yyjson_obj_get(endpoint, "disabled"));
		ret->endpoint.is_read_only = yyjson_get_bool(yyjson_obj_get(endpoint, "read_only"));
		ret->endpoint.is_pooled = yyjson_get_bool(yyjson_obj_get(endpoint, "pooled"));
		(void)take_text(endpoint, "project", ret->endpoint.project, sizeof ret->endpoint.project);
		ret->endpoint.connections_max = yyjson_get_uint(yyjson_obj_get(endpoint, "connections_max"));
		ret->endpoint.pooled_connections_max =
		        yyjson_get_uint(yyjson_obj_get(endpoint, "pooled_connections_max"));
		ret->endpoint.project_connections_max =
		        yyjson_get_uint(yyjson_obj_get(endpoint, "project_connections_max"));
		ret->kind = CONTROL_OK;
	} else if (!endpoint && take_text(root, "socket_dir", ret->socket_dir, sizeof ret->socket_dir)) {
		ret->has_waited = yyjson_get_bool(yyjson_obj_get(root, "waited"));
		ret->kind = CONTROL_OK;
	} else if (yyjson_is_arr(yyjson_obj_get(root, "denied"))) {
		ret->denied = yyjson_obj_get(root, "denied");
		ret->kind = CONTROL_OK;
	} else if (yyjson_get_bool(yyjson_obj_get(root, "ok"))) {
		ret->kind = CONTROL_OK; /* of what was told */
	} else {
		(void)snprintf(
		        ret->message, sizeof ret->message, "control gave an answer that is not understood");
	}
}

static void link_on_line(void *owner, struct line_channel *channel, struct slice line)
{
	struct control_link *link = owner;
	if (link->is_closing || channel != link->channel)
		return;
	/* A reason quotes what Postgres said, which need not be UTF-8: others' questions must not be lost over it. */
	yyjson_doc *doc = yyjson_read((const char *)line.data, line.len, YYJSON_READ_ALLOW_INVALID_UNICODE);
	yyjson_val *root = yyjson_doc_get_root(doc), *id = yyjson_obj_get(root, "id");
	if (yyjson_equals_str(yyjson_obj_get(root, "event"), "access")) {
		yyjson_doc_free(doc);
		if (link->on_access)
			link->on_access(link->owner);
		return;
	}
	if (!yyjson_is_obj(root) || !yyjson_is_int(id)) {
		log_warning("control sent a line that is not an answer; connecting again");
		line_channel_close(channel);
		yyjson_doc_free(doc);
		return;
	}
	struct control_question *question = link->first;
	while (question && question->id != yyjson_get_sint(id))
		question = question->next;
	struct control_answer answer;
	if (question)
		answer_read(root, &answer);
	if (question && question->is_sent) { /* else: cancelled meanwhile */
		question_answer(question, &answer);
		OPENSSL_cleanse(&answer.login, sizeof answer.login);
	}
	yyjson_doc_free(doc);
}

static void link_on_close(void *owner, struct line_channel *channel, const char *reason)
{
	struct control_link *link = owner;
	assert(channel == link->channel);
	link->channel = NULL;
	(void)snprintf(link->reason, sizeof link->reason, "%s", reason);
	for (struct control_question *q = link->first; q; q = q->next) {
		q->is_sent = false;
		q->reach_until = uv_now(link->loop) + CONTROL_PATIENCE_MS;
	}
	link_free_if_done(link);
}

static const struct line_channel_events link_events = { .on_line = link_on_line, .on_close = link_on_close };

static bool link_connect(struct control_link *link)
{
	struct error err;
	if (link->channel)
		return true;
	if (line_channel_connect(link->loop, link->path, &link_events, link, &link->channel, &err) !=
	        STATUS_OK) {
		link->channel = NULL;
		(void)snprintf(link->reason, sizeof link->reason, "%s", err.message);
		return false;
	}
	link->connections++;
	return true;
}

static void link_send(struct control_link *link)
{
	if (!link_connect(link))
		return;
	for (struct control_question *q = link->first; q; q = q->next) {
		if (q->is_sent)
			continue;
		q->is_sent = true;
		line_channel_send(link->channel, q->text);
	}
}

/* The first question that waited too long; one at a time, since its owner may cancel others in its answer. */
static struct control_question *question_overdue(const struct control_link *link)
{
	uint64_t now = uv_now(link->loop);
	struct control_question *q = link->first;
	while (q && now < q->deadline && (q->is_sent || now < q->reach_until))
		q = q->next;
	return q;
}

static void link_tick(uv_timer_t *timer)
{
	struct control_link *link = timer->data;
	link_send(link);
	struct control_question *question;
	while ((question = question_overdue(link))) {
		struct control_answer answer = { .kind = CONTROL_UNREACHABLE };
		if (question->is_sent)
			(void)snprintf(
			        answer.message, sizeof answer.message, "control did not answer in time");
		else
			(void)snprintf(answer.message, sizeof answer.message,
			        "control cannot be reached: %.300s", link->reason);
		question_answer(question, &answer);
	}
}

struct control_link *control_link_open(
        uv_loop_t *loop, const char *socket_path, void (*on_access)(void *owner), void *owner)
{
	struct control_link *link = xcalloc(1, sizeof *link);
	*link = (struct control_link){
		.loop = loop, .path = xstrdup(socket_path), .on_access = on_access, .owner = owner
	};
	(void)uv_timer_init(loop, &link->timer);
	link->timer.data = link;
	return link;
}

static void link_timer_closed(uv_handle_t *handle)
{
	struct control_link *link = handle->data;
	link->timer_is_closed = true;
	link_free_if_done(link);
}

void control_link_close(struct control_link *link)
{
	assert(!link->first); /* C3 */
	link->is_closing = true;
	if (link->channel)
		line_channel_close(link->channel);
	uv_close((uv_handle_t *)&link->timer, link_timer_closed);
}

/* takes text */
static struct control_question *ask(struct control_link *link, int64_t id, char *text, uint64_t max_ms,
        control_answer_fn on_answer, void *owner)
{
	assert(!link->is_closing);
	struct control_question *q = xcalloc(1, sizeof *q);
	uint64_t now = uv_now(link->loop);
	*q = (struct control_question){ .link = link,
		.id = id,
		.text = text,
		.on_answer = on_answer,
		.owner = owner,
		.deadline = now + max_ms,
		.reach_until = now + CONTROL_PATIENCE_MS,
		.next = link->first };
	if (q->next)
		q->next->prev = q;
	link->first = q;
	if (!uv_is_active((uv_handle_t *)&link->timer))
		(void)uv_timer_start(&link->timer, link_tick, TICK_MS, TICK_MS);
	link_send(link);
	return q;
}

struct member {
	const char *name, *value; /* NULL: left out; what is not UTF-8 is the empty text */
};

/* The caller frees. */
static char *question_text(int64_t id, const char *op, const struct member *members, size_t count)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	(void)yyjson_mut_obj_add_sint(doc, root, "id", id);
	(void)yyjson_mut_obj_add_str(doc, root, "op", op);
	for (size_t i = 0; i < count; i++) {
		const char *value = members[i].value;
		bool is_text = value && utf8_valid_prefix(slice_from_text(value)) == strlen(value);
		if (value)
			(void)yyjson_mut_obj_add_str(doc, root, members[i].name, is_text ? value : "");
	}
	char *text = yyjson_mut_write(doc, 0, NULL);
	yyjson_mut_doc_free(doc);
	assert(text);
	return text;
}

struct control_question *control_ask_route(struct control_link *link, const char *uid, const char *address,
        const char *role, const char *client, control_answer_fn on_answer, void *owner)
{
	const struct member members[] = { { "uid", uid }, { "address", address }, { "role", role },
		{ "client", client } };
	int64_t id = ++link->last_id;
	char *text = question_text(id, "route", members, ARRAY_LEN(members));
	return ask(link, id, text, CONTROL_ROUTE_MAX_MS, on_answer, owner);
}

struct control_question *control_ask_open(struct control_link *link, const char *uid, const char *pooled_role,
        control_answer_fn on_answer, void *owner)
{
	const struct member members[] = { { "uid", uid }, { "pooled_role", pooled_role } };
	int64_t id = ++link->last_id;
	char *text = question_text(id, "open", members, ARRAY_LEN(members));
	return ask(link, id, text, CONTROL_OPEN_MAX_MS, on_answer, owner);
}

struct control_question *control_ask_access(struct control_link *link, const char *const *clients,
        size_t count, control_answer_fn on_answer, void *owner)
{
	int64_t id = ++link->last_id;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	(void)yyjson_mut_obj_add_sint(doc, root, "id", id);
	(void)yyjson_mut_obj_add_str(doc, root, "op", "access");
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "clients");
	for (size_t i = 0; i < count; i++)
		(void)yyjson_mut_arr_add_str(doc, list, clients[i]);
	char *text = yyjson_mut_write(doc, 0, NULL);
	yyjson_mut_doc_free(doc);
	assert(text);
	return ask(link, id, text, CONTROL_ROUTE_MAX_MS, on_answer, owner);
}

const char *control_answer_denied(const struct control_answer *answer, size_t i)
{
	return yyjson_get_str(yyjson_arr_get(answer->denied, i));
}

struct control_question *control_tell_report(
        struct control_link *link, struct yyjson_mut_doc *report, control_answer_fn on_answer, void *owner)
{
	int64_t id = ++link->last_id;
	yyjson_mut_val *root = yyjson_mut_doc_get_root(report);
	(void)yyjson_mut_obj_add_sint(report, root, "id", id);
	(void)yyjson_mut_obj_add_str(report, root, "op", "report");
	char *text = yyjson_mut_write(report, 0, NULL);
	assert(text);
	return ask(link, id, text, CONTROL_ROUTE_MAX_MS, on_answer, owner);
}

uint64_t control_link_connections(struct control_link *link)
{
	(void)link_connect(link);
	return link->connections;
}
