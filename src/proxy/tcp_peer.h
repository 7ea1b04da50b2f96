/*
 * TCP peer: does the machine at the other end of a connection still answer? A process that ends is told of by its kernel; a machine
 * that loses power, or its network, is not.
 *
 * Two cases, since the kernel sends no keep-alive while bytes are under way:
 *   nothing is under way   keep-alive: the kernel asks, and ends the connection when nothing comes back
 *   bytes are under way    tcp_peer_is_silent(), asked now and then
 *
 * TCP_USER_TIMEOUT would do for both, but it also ends the connection of a peer that answers and reads nothing (its window stays
 * shut), and a client may take its time over a long result.
 */
#pragma once

#include <sys/socket.h>

#include "base/base.h"

/* 127.0.0.0/8 or ::1 */
bool tcp_address_is_loopback(const struct sockaddr *address);

/* Turns keep-alive on: a silent peer is given up after about silent_sec (1 to 3600). Accepted sockets have it from their listener. */
MUST_CHECK status tcp_peer_watch(int fd, int64_t silent_sec, struct error *err);

/* Were bytes or questions sent to it again and again, and did nothing come back for so long? */
bool tcp_peer_is_silent(int fd, int64_t silent_sec);
