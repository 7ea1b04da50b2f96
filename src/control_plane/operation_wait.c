#include "control_plane/operation_wait.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "http/server.h"

/* A request whose client has gone does not come again; what it waited for is forgotten then. */
#define FORGET_SEC 60

struct operation_wait {
	LIST_ENTRY(operation_wait) link;
	char trace_id[HTTP_TRACE_ID_LEN + 1];
	char operation_id[OPERATION_ID_LEN + 1];
	struct http_hold *hold; /* NULL: released */
	int64_t release_usec;   /* monotonic */
};

struct operation_waits {
	LIST_HEAD(, operation_wait) list;
};

struct operation_waits *operation_waits_create(struct services *services)
{
	struct operation_waits *waits = xcalloc(1, sizeof *waits);
	LIST_INIT(&waits->list);
	services->waits = waits;
	return waits;
}

static void forget(struct operation_wait *wait)
{
	LIST_REMOVE(wait, link);
	free(wait);
}

static void forget_old(struct operation_waits *waits)
{
	struct operation_wait *wait, *next;
	int64_t now = clock_monotonic_usec();
	for (wait = LIST_FIRST(&waits->list); wait; wait = next) {
		next = LIST_NEXT(wait, link);
		if (!wait->hold && now - wait->release_usec > FORGET_SEC * USEC_PER_SEC)
			forget(wait);
	}
}

void operation_waits_close(struct operation_waits *waits)
{
	if (!waits)
		return;
	struct operation_wait *wait;
	while ((wait = LIST_FIRST(&waits->list))) {
		struct http_hold *hold = wait->hold;
		forget(wait);
		if (hold)
			http_release(hold); /* the server is closed: nothing comes of it */
	}
	free(waits);
}

void operation_waits_end(struct operation_waits *waits, const char *operation_id)
{
	struct operation_wait *wait;
	if (!waits)
		return;
	forget_old(waits);
	/* An operation is waited for by the one request that began it; releasing may answer it, which takes it off the list. */
	LIST_FOREACH (wait, &waits->list, link) {
		if (wait->hold && strcmp(wait->operation_id, operation_id) == 0) {
			struct http_hold *hold = wait->hold;
			wait->hold = NULL;
			wait->release_usec = clock_monotonic_usec();
			http_release(hold);
			return;
		}
	}
}

bool operation_wait_find(struct call *call, struct operation_row *ret)
{
	struct operation_wait *wait;
	struct error err;
	if (!call->services->waits)
		return false;
	LIST_FOREACH (wait, &call->services->waits->list, link) {
		if (strcmp(wait->trace_id, call->request->trace_id) != 0)
			continue;
		status st = operation_row_find(call->services->md, wait->operation_id, ret, &err);
		forget(wait);
		if (st == STATUS_OK)
			call->operation = xasprintf("%s/operations/%s", ret->resource, ret->id);
		return st == STATUS_OK;
	}
	return false;
}

bool operation_wait_begin(struct call *call, const struct operation_row *operation)
{
	call_note_operation(call, operation);
	if (!call->services->waits || !http_can_hold(call->request))
		return true;
	struct operation_wait *wait = xcalloc(1, sizeof *wait);
	(void)snprintf(wait->trace_id, sizeof wait->trace_id, "%s", call->request->trace_id);
	memcpy(wait->operation_id, operation->id, sizeof wait->operation_id);
	wait->hold = http_hold(call->request);
	LIST_INSERT_HEAD(&call->services->waits->list, wait, link);
	call->is_held = true;
	return false;
}

bool operation_wait_check(struct call *call, const struct operation_row *operation)
{
	if (!operation->error)
		return true;
	yyjson_doc *doc = yyjson_read(operation->error, strlen(operation->error), 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	const char *code = yyjson_get_str(yyjson_obj_get(root, "error_code"));
	const char *message = yyjson_get_str(yyjson_obj_get(root, "message"));
	(void)api_fail(&call->error, api_code_of(code ? code : ""), "%s", message ? message : "it failed");
	yyjson_doc_free(doc);
	return false;
}
