/*
 * Control socket: run/control.sock, where the proxy and the CLI ask control (docs/architecture.md, "control.sock").
 * Knows lines and JSON; what the answers are comes from the table below.
 *
 * Invariants
 *   S1  every request with an id is answered once, unless its client has gone or the socket is closed.
 *   S2  a line that is not a request closes that client's channel and nobody else's.
 *   S3  a client that goes away while its open waits changes nothing for the compute or for other clients.
 * Threads: the loop's.
 */
#pragma once

#include <uv.h>
#include <yyjson.h>

#include "base/base.h"
#include "control_plane/fleet.h"
#include "data_directory/data_directory.h"

/* More clients are closed at once; a client with more requests waiting is closed. */
#define CONTROL_CLIENTS_MAX 256
#define CONTROL_PENDING_MAX 20000

struct control_route {
	char uid[64], name[256], host[256], address[64]; /* address: "127.64.0.2" */
	bool is_disabled;
};

struct control_answers {
	/* By uid or by address, the other one is NULL. STATUS_NOT_FOUND when there is none. */
	status (*route)(void *owner, const char *uid, const char *address, struct control_route *ret,
	        struct error *err);
	/*
	 * All computes have been suspended on request, and the answer is sent: control shall exit. control_socket_close()
	 * lets the answer leave before it closes the channel, so run the loop until it is empty.
	 */
	void (*on_shut_down)(void *owner);
	/* More members for the answer to "status"; NULL: none. */
	void (*add_status)(void *owner, yyjson_mut_doc *doc, yyjson_mut_val *root);
};

struct control_socket;
MUST_CHECK status control_socket_open(uv_loop_t *loop, const struct data_directory *dd, struct fleet *fleet,
        const struct control_answers *answers, void *owner, struct control_socket **ret, struct error *err);
/* Call it before fleet_abandon(). Frees itself from the loop, once the fleet has answered what it still owes. */
void control_socket_close(struct control_socket *socket);
