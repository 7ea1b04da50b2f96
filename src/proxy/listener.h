/*
 * Listener: one listening TCP port.
 *
 * Without a domain every endpoint is a loopback address, and a listener on all of 127.0.0.0/8 is wanted that nothing
 * outside this machine reaches. The kernel has no such address to bind, so: 0.0.0.0, bound to the device "lo" (packets
 * that come in by any other device do not match the socket at all), and as a second fence connections to anything but
 * 127.0.0.0/8 or ::1 are closed before a byte is read. Where the kernel does not let us bind to a device, the second
 * fence stands alone, and the log says so.
 *
 * Invariants
 *   N1  at most ACCEPTS_PER_TURN connections per turn of the loop, so that a flood does not starve the sessions.
 *   N2  out of descriptors or memory: accepting pauses for ACCEPT_PAUSE_MS; the kernel queues meanwhile.
 * Threads: the loop's. With several loops each has a listener of its own (SO_REUSEPORT).
 */
#pragma once

#include <sys/socket.h>
#include <uv.h>

#include "base/base.h"

#define ACCEPTS_PER_TURN 32u
#define ACCEPT_PAUSE_MS  100u
#define LISTEN_BACKLOG   1024

enum listener_reach {
	LISTENER_LOOPBACK, /* this machine only */
	LISTENER_ANYWHERE,
};

struct listener_place {
	int family;          /* AF_INET or AF_INET6 */
	const char *address; /* of that family, as text; NULL: all within reach */
	enum listener_reach reach;
	int port;
	int64_t silent_sec; /* tcp_peer_watch() */
};

struct listener;
/* takes fd: non-blocking, close-on-exec, TCP_NODELAY and keep-alive are on */
typedef void (*listener_accept_fn)(void *owner, int fd, const struct sockaddr *peer);

/* STATUS_UNSUPPORTED: this machine has no such family. STATUS_CONFLICT: the port is taken. */
MUST_CHECK status listener_open(uv_loop_t *loop, const struct listener_place *place,
        listener_accept_fn on_accept, void *owner, struct listener **ret, struct error *err);
void listener_close(struct listener *listener); /* frees itself from the loop; NULL is fine */
