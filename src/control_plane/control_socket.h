/*
 * Control socket: run/control.sock, where the proxy and the CLI ask control (docs/architecture.md, "control.sock").
 * Knows lines and JSON; what the answers are comes from the table below.
 * Threads: the loop's.
 */
#pragma once

#include <uv.h>

#include "base/base.h"
#include "control_plane/fleet.h"
#include "data_directory/data_directory.h"

struct control_route {
	char uid[64], name[256], host[256], address[64]; /* address: "127.64.0.2" */
	bool is_disabled;
};

struct control_answers {
	/* By uid or by address, the other one is NULL. STATUS_NOT_FOUND when there is none. */
	status (*route)(void *owner, const char *uid, const char *address, struct control_route *ret, struct error *err);
	/* All computes have been suspended on request; control shall exit after the answer has left. */
	void (*on_shut_down)(void *owner);
};

struct control_socket;
MUST_CHECK status control_socket_open(uv_loop_t *loop, const struct data_directory *dd, struct fleet *fleet,
        const struct control_answers *answers, void *owner, struct control_socket **ret, struct error *err);
void control_socket_close(struct control_socket *socket); /* frees itself from the loop */
