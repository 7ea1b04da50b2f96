#include "cli/psql_reach.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#define CONNECT_TIMEOUT_MS (10 * 1000)
#define LONGEST_PAUSE_SEC  10

/* 0, or the errno of why not. */
static int try_address(const struct addrinfo *address)
{
	CLEANUP(close_fd)
	int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
	        address->ai_protocol);
	if (fd < 0)
		return errno;
	if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	struct pollfd waiting = { .fd = fd, .events = POLLOUT };
	int problem = 0;
	socklen_t len = sizeof problem;
	if (poll(&waiting, 1, CONNECT_TIMEOUT_MS) <= 0)
		return ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &len) < 0 ? errno : problem;
}

static status try_host(const char *host, int port, struct error *err)
{
	const struct addrinfo wanted = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	CLEANUP(free_text) char *service = xasprintf("%d", port);
	struct addrinfo *found = NULL;
	int rc = getaddrinfo(host, service, &wanted, &found);
	if (rc != 0)
		return error_set(
		        err, STATUS_UNAVAILABLE, 0, "could not find host \"%s\": %s", host, gai_strerror(rc));
	int problem = ENOENT;
	for (const struct addrinfo *address = found; address && problem != 0; address = address->ai_next)
		problem = try_address(address);
	freeaddrinfo(found);
	if (problem != 0)
		return error_set(err, STATUS_UNAVAILABLE, problem,
		        "could not connect to host \"%s\", port %d", host, port);
	return STATUS_OK;
}

status psql_reach(const char *host, int port, int64_t attempts, struct error *err)
{
	int64_t pause_sec = 1;
	for (int64_t attempt = 1;; attempt++) {
		status st = try_host(host, port, err);
		if (st == STATUS_OK || attempt >= attempts)
			return st;
		(void)fprintf(stderr, "%s; tried %lld of %lld times, again in %lld s\n", err->message,
		        (long long)attempt, (long long)attempts, (long long)pause_sec);
		const struct timespec pause = { .tv_sec = pause_sec };
		(void)nanosleep(&pause, NULL);
		pause_sec = pause_sec * 2 < LONGEST_PAUSE_SEC ? pause_sec * 2 : LONGEST_PAUSE_SEC;
	}
}
