#include "proxy/tcp_peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#define PROBES 3 /* half of the time before the first of them, a sixth between two */

/* Repeats without an answer; one alone may be under way right now. */
#define REPEATS_MIN 2

bool tcp_address_is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
	return address->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

status tcp_peer_watch(int fd, int64_t silent_sec, struct error *err)
{
	const struct {
		int level, option;
		int64_t value;
	} options[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, silent_sec / 2 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, silent_sec / 2 / PROBES },
		{ IPPROTO_TCP, TCP_KEEPCNT, PROBES },
	};
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		int value = options[i].value > 1 ? (int)options[i].value : 1;
		if (setsockopt(fd, options[i].level, options[i].option, &value, sizeof value) < 0)
			return error_set(err, STATUS_IO, errno, "could not set up keep-alive of a socket");
	}
	return STATUS_OK;
}

bool tcp_peer_is_silent(int fd, int64_t silent_sec)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof info;
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       info.tcpi_retransmits + info.tcpi_probes >= REPEATS_MIN &&
	       info.tcpi_last_ack_recv >= silent_sec * 1000;
}
