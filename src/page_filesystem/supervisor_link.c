#include "page_filesystem/supervisor_link.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>
#include <yyjson.h>

#include "loop/line_channel.h"

#define MAGIC 0x736c6e6bu

struct supervisor_link {
	uint32_t magic;
	struct line_channel *channel;
	const struct supervisor_link_events *events;
	void *owner;
};

static struct supervisor_link *link_of(void *p)
{
	struct supervisor_link *link = p;
	assert(link && link->magic == MAGIC);
	return link;
}

static const char *code_name(status code)
{
	static const char *const names[] = {
		[STATUS_OK] = "OK",
		[STATUS_INVALID] = "INVALID",
		[STATUS_NOT_FOUND] = "NOT_FOUND",
		[STATUS_EXISTS] = "EXISTS",
		[STATUS_DENIED] = "DENIED",
		[STATUS_CONFLICT] = "CONFLICT",
		[STATUS_LIMIT] = "LIMIT",
		[STATUS_UNSUPPORTED] = "UNSUPPORTED",
		[STATUS_UNAVAILABLE] = "UNAVAILABLE",
		[STATUS_CORRUPT] = "CORRUPT",
		[STATUS_IO] = "IO",
		[STATUS_NO_SPACE] = "NO_SPACE",
		[STATUS_NO_MEMORY] = "NO_MEMORY",
		[STATUS_INTERNAL] = "INTERNAL",
	};
	return (size_t)code < ARRAY_LEN(names) ? names[code] : "INTERNAL";
}

/* ---- requests ---- */

static enum link_action action_of(yyjson_val *name)
{
	static const char *const names[] = {
		[LINK_CUT] = "cut", [LINK_LOOK] = "look", [LINK_SYNC] = "sync", [LINK_UNMOUNT] = "unmount"
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (yyjson_equals_str(name, names[i]))
			return (enum link_action)i;
	return LINK_UNKNOWN;
}

static void free_document(yyjson_doc **document)
{
	yyjson_doc_free(*document);
}

status link_request_parse(struct slice line, struct link_request *ret, struct error *err)
{
	/* Without the in-situ flag the parser only reads; its parameter is not const for that flag's sake. */
	CLEANUP(free_document)
	yyjson_doc *document = yyjson_read((const char *)line.data, line.len, 0);
	yyjson_val *root = yyjson_doc_get_root(document);
	yyjson_val *id = yyjson_obj_get(root, "id"), *action = yyjson_obj_get(root, "do");
	if (!yyjson_is_obj(root) || !yyjson_is_str(action) || !yyjson_is_int(id) ||
	        (yyjson_is_uint(id) && yyjson_get_uint(id) > INT64_MAX))
		return error_set(err, STATUS_INVALID, 0, "the line is no request");
	*ret = (struct link_request){ .id = yyjson_get_sint(id), .action = action_of(action) };
	return STATUS_OK;
}

static void on_line(void *owner, struct line_channel *channel, struct slice line)
{
	struct supervisor_link *link = link_of(owner);
	struct link_request request;
	struct error err;
	if (link_request_parse(line, &request, &err) != STATUS_OK) {
		line_channel_close(channel);
		return;
	}
	if (request.action == LINK_UNKNOWN) {
		error_fill(&err, STATUS_INVALID, 0, "there is no such request");
		supervisor_link_answer_error(link, request.id, &err);
		return;
	}
	link->events->on_request(link->owner, &request);
}

static void on_channel_close(void *owner, struct line_channel *channel, const char *reason)
{
	struct supervisor_link *link = link_of(owner);
	(void)channel;
	link->events->on_close(link->owner, reason);
	link->magic = 0;
	free(link);
}

status supervisor_link_open(uv_loop_t *loop, int fd, const struct supervisor_link_events *events, void *owner,
        struct supervisor_link **ret, struct error *err)
{
	static const struct line_channel_events channel_events = { .on_line = on_line,
		.on_close = on_channel_close };
	struct supervisor_link *link = xcalloc(1, sizeof *link);
	*link = (struct supervisor_link){ .magic = MAGIC, .events = events, .owner = owner };
	status st = line_channel_wrap(loop, fd, &channel_events, link, &link->channel, err);
	if (st != STATUS_OK) {
		free(link);
		return st;
	}
	*ret = link;
	return STATUS_OK;
}

void supervisor_link_finish(struct supervisor_link *link)
{
	line_channel_finish(link_of(link)->channel);
}

/* ---- answers ---- */

struct answer {
	yyjson_mut_doc *document;
	yyjson_mut_val *root;
};

static struct answer answer_begin(void)
{
	yyjson_mut_doc *document = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(document);
	yyjson_mut_doc_set_root(document, root);
	return (struct answer){ document, root };
}

static struct answer answer_to(int64_t id)
{
	struct answer answer = answer_begin();
	yyjson_mut_obj_add_sint(answer.document, answer.root, "id", id);
	return answer;
}

static void add_uint(struct answer *answer, const char *name, uint64_t value)
{
	yyjson_mut_obj_add_uint(answer->document, answer->root, name, value);
}

static void add_int(struct answer *answer, const char *name, int64_t value)
{
	yyjson_mut_obj_add_sint(answer->document, answer->root, name, value);
}

static void add_error(struct answer *answer, const struct error *error)
{
	yyjson_mut_val *object = yyjson_mut_obj(answer->document);
	yyjson_mut_obj_add_str(answer->document, object, "code", code_name(error->code));
	yyjson_mut_obj_add_str(answer->document, object, "message", error->message);
	if (*error->hint)
		yyjson_mut_obj_add_str(answer->document, object, "hint", error->hint);
	yyjson_mut_obj_add_val(answer->document, answer->root, "error", object);
}

/* A text that is no UTF-8 (a file's name in a message) does not keep the line from being said. */
static void answer_send(struct supervisor_link *link, struct answer *answer)
{
	CLEANUP(free_text)
	char *text = yyjson_mut_write(answer->document, YYJSON_WRITE_ALLOW_INVALID_UNICODE, NULL);
	yyjson_mut_doc_free(answer->document);
	if (text)
		line_channel_send(link_of(link)->channel, text);
	else
		line_channel_close(
		        link_of(link)->channel); /* no memory: whoever waits shall not wait for ever */
}

void supervisor_link_say_mounted(struct supervisor_link *link)
{
	struct answer answer = answer_begin();
	yyjson_mut_obj_add_str(answer.document, answer.root, "state", "mounted");
	add_int(&answer, "pid", getpid());
	answer_send(link, &answer);
}

void supervisor_link_say_failed(struct supervisor_link *link, const struct error *error)
{
	struct answer answer = answer_begin();
	yyjson_mut_obj_add_str(answer.document, answer.root, "state", "failed");
	add_error(&answer, error);
	answer_send(link, &answer);
}

void supervisor_link_answer_cut(struct supervisor_link *link, int64_t id, const struct image_cut *cut)
{
	struct answer answer = answer_to(id);
	yyjson_mut_val *layers = yyjson_mut_arr(answer.document);
	for (size_t i = 0; i < cut->layer_count; i++) {
		yyjson_mut_val *layer = yyjson_mut_arr_add_obj(answer.document, layers);
		yyjson_mut_obj_add_str(answer.document, layer, "store", cut->layers[i].store);
		yyjson_mut_obj_add_str(answer.document, layer, "id", cut->layers[i].id);
		yyjson_mut_obj_add_uint(answer.document, layer, "version", cut->layers[i].version);
	}
	yyjson_mut_obj_add_val(answer.document, answer.root, "layers", layers);
	add_uint(&answer, "pages", cut->pages);
	add_int(&answer, "pause_usec", cut->pause_usec);
	add_int(&answer, "logical_bytes", cut->logical_bytes);
	answer_send(link, &answer);
}

void supervisor_link_answer_look(struct supervisor_link *link, int64_t id, const struct link_look *look)
{
	struct answer answer = answer_to(id);
	add_int(&answer, "logical_bytes", look->usage.logical_bytes);
	add_uint(&answer, "open_pages", look->usage.open_pages);
	add_uint(&answer, "unsynced_pages", look->usage.unsynced_pages);
	add_uint(&answer, "depth", look->usage.depth);
	add_uint(&answer, "pages_checked", look->housekeeping.pages_checked);
	add_uint(&answer, "pages_bad", look->housekeeping.pages_bad);
	yyjson_mut_obj_add_str(answer.document, answer.root, "first_bad", look->housekeeping.first_bad);
	add_uint(&answer, "folds", look->housekeeping.folds);
	yyjson_mut_obj_add_str(answer.document, answer.root, "housekeeping_error", look->housekeeping.error);
	add_uint(&answer, "reads", look->count.reads);
	add_uint(&answer, "writes", look->count.writes);
	add_uint(&answer, "syncs", look->count.syncs);
	add_uint(&answer, "other_requests", look->count.others);
	add_uint(&answer, "read_bytes", look->count.read_bytes);
	add_uint(&answer, "written_bytes", look->count.written_bytes);
	answer_send(link, &answer);
}

void supervisor_link_answer_done(struct supervisor_link *link, int64_t id)
{
	struct answer answer = answer_to(id);
	answer_send(link, &answer);
}

void supervisor_link_answer_error(struct supervisor_link *link, int64_t id, const struct error *error)
{
	struct answer answer = answer_to(id);
	add_error(&answer, error);
	answer_send(link, &answer);
}
