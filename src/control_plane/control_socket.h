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
	bool is_disabled, is_read_only;
	bool is_pooled;   /* it was asked for by the address of its pooler */
	char project[64]; /* uid */
	/* How many clients may be connected: to the endpoint, directly and through its pooler, and to all of the project. */
	int64_t connections_max, pooled_connections_max, project_connections_max;
};

/* How a role logs in to an endpoint; the proxy decides by it (role_login.h). */
struct control_login {
	enum { LOGIN_TOKEN, LOGIN_PASSWORD } method;
	bool is_enabled; /* spec.enable_pg_native_login of the project: without it no password is accepted */
	bool is_revoked; /* LOGIN_TOKEN: no active identity has the name, or the role is being deleted: no token is good */
	bool is_permitted; /* false: the role may not log in, whatever password is shown */
	bool is_fresh; /* what Postgres, which runs, said after the question; else to be asked again once it runs */
	char verifier
	        [256]; /* of a password that is to be checked: always there, of no password if the role has none */
	char reason[128]; /* why no password is right; for the log, never for a client; empty: none */
};
typedef void (*control_login_fn)(void *arg, const struct control_login *login, const struct error *err);

struct control_answers {
	/*
	 * May a client come from that address at all? NULL: it is not known. On false the text says why not, for the client to read. NULL: everybody
	 * may.
	 */
	bool (*admits)(void *owner, const char *address, char *ret_why, size_t size);
	/* By uid or by address, the other one is NULL. STATUS_NOT_FOUND when there is none. */
	status (*route)(void *owner, const char *uid, const char *address, struct control_route *ret,
	        struct error *err);
	/*
	 * How `role` logs in to the endpoint; the empty name is nobody's. done is called once, from the loop, perhaps within the call, and also
	 * when the socket has been closed meanwhile; login is NULL on failure, else err. NULL: not known, and routes say nothing of it.
	 */
	void (*login)(void *owner, const char *uid, const char *role, control_login_fn done, void *arg);
	/*
	 * All computes have been suspended on request, and the answer is sent: control shall exit. control_socket_close()
	 * lets the answer leave before it closes the channel, so run the loop until it is empty.
	 */
	void (*on_shut_down)(void *owner);
	/*
	 * What a proxy has counted (endpoint_traffic.h); `connection` tells connections of the socket apart, and is never 0. False: malformed.
	 * NULL: nobody wants to know.
	 */
	bool (*report)(void *owner, uint64_t connection, yyjson_val *root);
	/* A connection over which reports came has ended. */
	void (*report_ended)(void *owner, uint64_t connection);
	/* More members of a compute for the answer to "status"; NULL: none. */
	void (*add_compute)(void *owner, const char *uid, yyjson_mut_doc *doc, yyjson_mut_val *compute);
	/* More members for the answer to "status"; NULL: none. */
	void (*add_status)(void *owner, yyjson_mut_doc *doc, yyjson_mut_val *root);
};

struct control_socket;
MUST_CHECK status control_socket_open(uv_loop_t *loop, const struct data_directory *dd, struct fleet *fleet,
        const struct control_answers *answers, void *owner, struct control_socket **ret, struct error *err);
/* Tells every proxy that other addresses are let in than before. */
void control_socket_announce_access(struct control_socket *socket);
/* Call it before fleet_abandon(). Frees itself from the loop, once the fleet has answered what it still owes. */
void control_socket_close(struct control_socket *socket);
