/*
 * Supervisor link: the lines between pagefs and the supervisor who started it (docs/architecture.md, "pagefs"), as JSON.
 *
 * A line that is no request closes the link; a request that is not known is answered with an error. After on_close no callback comes, and
 * the link frees itself.
 *
 * Threads: the loop's.
 */
#pragma once

#include <uv.h>

#include "base/base.h"
#include "page_filesystem/housekeeping.h"
#include "page_filesystem/operations.h"
#include "page_store/image.h"

enum link_action { LINK_CUT, LINK_LOOK, LINK_SYNC, LINK_UNMOUNT, LINK_UNKNOWN };

struct link_request {
	int64_t id;
	enum link_action action;
};

/* STATUS_INVALID: no request. An action that is not known is LINK_UNKNOWN. */
MUST_CHECK status link_request_parse(struct slice line, struct link_request *ret, struct error *err);

struct supervisor_link;

struct supervisor_link_events {
	void (*on_request)(void *owner, const struct link_request *request); /* never LINK_UNKNOWN */
	void (*on_close)(void *owner, const char *reason);
};

/* Takes fd on success. `events` is borrowed for ever. */
MUST_CHECK status supervisor_link_open(uv_loop_t *loop, int fd, const struct supervisor_link_events *events,
        void *owner, struct supervisor_link **ret, struct error *err);
void supervisor_link_say_mounted(struct supervisor_link *link);
void supervisor_link_say_failed(struct supervisor_link *link, const struct error *error);

struct link_look {
	struct image_usage usage;
	struct housekeeping_report housekeeping;
	struct operations_count count;
};
void supervisor_link_answer_cut(struct supervisor_link *link, int64_t id, const struct image_cut *cut);
void supervisor_link_answer_look(struct supervisor_link *link, int64_t id, const struct link_look *look);
void supervisor_link_answer_done(struct supervisor_link *link, int64_t id);
void supervisor_link_answer_error(struct supervisor_link *link, int64_t id, const struct error *error);
/* Closes when everything said has left. */
void supervisor_link_finish(struct supervisor_link *link);
