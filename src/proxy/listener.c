#include "proxy/listener.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>

#include "base/log.h"
#include "proxy/tcp_peer.h"

#define LISTENER_MAGIC 0x6c737472u

struct listener {
	uint32_t magic;
	uv_poll_t poll;
	uv_timer_t pause;
	unsigned handles;
	int fd;
	enum listener_reach reach;
	listener_accept_fn on_accept;
	void *owner;
};

static struct listener *listener_of(void *p)
{
	struct listener *listener = p;
	assert(listener && listener->magic == LISTENER_MAGIC);
	return listener;
}

static bool is_within_reach(const struct listener *listener, int fd)
{
	struct sockaddr_storage local = { 0 };
	socklen_t len = sizeof local;
	return listener->reach == LISTENER_ANYWHERE ||
	       (getsockname(fd, (struct sockaddr *)&local, &len) == 0 &&
	               tcp_address_is_loopback((struct sockaddr *)&local));
}

static void listener_ready(uv_poll_t *poll, int poll_status, int events);

static void listener_resume(uv_timer_t *timer)
{
	struct listener *listener = listener_of(timer->data);
	(void)uv_poll_start(&listener->poll, UV_READABLE, listener_ready);
}

static void listener_ready(uv_poll_t *poll, int poll_status, int events)
{
	(void)poll_status, (void)events;
	struct listener *listener = listener_of(poll->data);
	for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
		struct sockaddr_storage peer = { 0 };
		socklen_t len = sizeof peer;
		int fd = accept4(listener->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0 && is_within_reach(listener, fd)) {
			listener->on_accept(listener->owner, fd, (struct sockaddr *)&peer);
			continue;
		}
		if (fd >= 0) {
			close_fd(&fd);
			continue;
		}
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) { /* N2 */
			log_warning("could not accept a connection: %s; pausing", strerror(errno));
			(void)uv_poll_stop(poll);
			(void)uv_timer_start(&listener->pause, listener_resume, ACCEPT_PAUSE_MS, 0);
			return;
		}
		/* The others (accept(2)) are errors of one connection that is gone already. */
	}
}

static status set(int fd, int level, int option, int value, struct error *err)
{
	if (setsockopt(fd, level, option, &value, sizeof value) < 0)
		return error_set(
		        err, STATUS_IO, errno, "could not set option %d of a listening socket", option);
	return STATUS_OK;
}

/* Linux hands these down to accepted sockets, which saves five system calls a connection. */
static status set_options(int fd, const struct listener_place *place, struct error *err)
{
	const struct {
		int level, option, value;
	} options[] = {
		{ SOL_SOCKET, SO_REUSEADDR, 1 },
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ IPPROTO_IPV6, IPV6_V6ONLY, 1 },
	};
	size_t count = ARRAY_LEN(options) - (place->family == AF_INET6 ? 0 : 1);
	for (size_t i = 0; i < count; i++) {
		status st = set(fd, options[i].level, options[i].option, options[i].value, err);
		if (st != STATUS_OK)
			return st;
	}
	return tcp_peer_watch(fd, place->silent_sec, err);
}

static status bind_to(int fd, const struct listener_place *place, struct error *err)
{
	bool is_loopback_only = place->reach == LISTENER_LOOPBACK, is_v6 = place->family == AF_INET6;
	int port = place->port;
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	void *address = is_v6 ? (void *)&in6.sin6_addr : (void *)&in.sin_addr;
	if (place->address && inet_pton(place->family, place->address, address) != 1)
		return error_set(err, STATUS_INVALID, 0, "\"%s\" is no address", place->address);
	if (!place->address && is_loopback_only && is_v6)
		in6.sin6_addr = in6addr_loopback;
	if (!place->address && is_loopback_only && !is_v6 &&
	        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof "lo") < 0)
		log_warning("could not bind port %d to the device \"lo\": %s; connections from outside are "
		            "closed "
		            "after they were accepted",
		        port, strerror(errno));
	int rc = is_v6 ? bind(fd, (struct sockaddr *)&in6, sizeof in6)
	               : bind(fd, (struct sockaddr *)&in, sizeof in);
	if (rc == 0 && listen(fd, LISTEN_BACKLOG) == 0)
		return STATUS_OK;
	int sys_errno = errno;
	if (sys_errno == EADDRNOTAVAIL && is_v6 && !place->address)
		return error_set(err, STATUS_UNSUPPORTED, sys_errno, "could not listen on IPv6");
	status st = error_set(err, sys_errno == EADDRINUSE ? STATUS_CONFLICT : STATUS_IO, sys_errno,
	        "could not listen on port %d%s%s for Postgres clients", port,
	        place->address ? " of address " : "", place->address ? place->address : "");
	if (sys_errno == EADDRINUSE)
		error_hint(err,
		        "Stop the server that has this port (often a PostgreSQL of the system), or choose "
		        "another one with --pg-port.");
	else if (sys_errno == EACCES)
		error_hint(err, "Choose a port above 1023 with --pg-port.");
	else if (sys_errno == EADDRNOTAVAIL)
		error_hint(err, "This machine has no such address: choose others with --pg-address.");
	return st;
}

static void listener_closed(uv_handle_t *handle)
{
	struct listener *listener = listener_of(handle->data);
	if (--listener->handles > 0)
		return;
	close_fd(&listener->fd);
	listener->magic = 0;
	free(listener);
}

void listener_close(struct listener *listener)
{
	if (!listener)
		return;
	uv_close((uv_handle_t *)&listener_of(listener)->poll, listener_closed);
	uv_close((uv_handle_t *)&listener->pause, listener_closed);
}

status listener_open(uv_loop_t *loop, const struct listener_place *place, listener_accept_fn on_accept,
        void *owner, struct listener **ret, struct error *err)
{
	CLEANUP(close_fd) int fd = socket(place->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(err, errno == EAFNOSUPPORT ? STATUS_UNSUPPORTED : STATUS_IO, errno,
		        "could not create a listening socket");
	status st = set_options(fd, place, err);
	if (st == STATUS_OK)
		st = bind_to(fd, place, err);
	if (st != STATUS_OK)
		return st;
	struct listener *listener = xcalloc(1, sizeof *listener);
	*listener = (struct listener){ .magic = LISTENER_MAGIC,
		.fd = fd,
		.reach = place->reach,
		.on_accept = on_accept,
		.owner = owner,
		.handles = 2 };
	int rc = uv_poll_init(loop, &listener->poll, fd);
	if (rc < 0) {
		free(listener);
		return error_set(err, STATUS_IO, -rc, "could not watch a listening socket");
	}
	(void)TAKE_FD(fd);
	(void)uv_timer_init(loop, &listener->pause);
	listener->poll.data = listener->pause.data = listener;
	rc = uv_poll_start(&listener->poll, UV_READABLE, listener_ready);
	if (rc < 0) {
		listener_close(listener);
		return error_set(err, STATUS_IO, -rc, "could not watch a listening socket");
	}
	*ret = listener;
	return STATUS_OK;
}
