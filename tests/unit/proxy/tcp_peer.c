/* TCP peer: what the kernel is told to do; that a machine really falls silent is shown by tests/system/other_machines.py. */
#include "proxy/tcp_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof value;
	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static int listen_at_loopback(struct sockaddr_in *ret, int64_t silent_sec)
{
	struct error err;
	socklen_t len = sizeof *ret;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	*ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(tcp_peer_watch(fd, silent_sec, &err), STATUS_OK);
	assert_int_equal(bind(fd, (struct sockaddr *)ret, sizeof *ret), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &len), 0);
	return fd;
}

static void check_times(int64_t silent_sec, int idle, int interval)
{
	struct sockaddr_in address;
	CLEANUP(close_fd) int listener = listen_at_loopback(&address, silent_sec);
	CLEANUP(close_fd) int client = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
	CLEANUP(close_fd) int accepted = accept(listener, NULL, NULL);
	assert_int_equal(option(accepted, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(option(accepted, IPPROTO_TCP, TCP_KEEPIDLE), idle);
	assert_int_equal(option(accepted, IPPROTO_TCP, TCP_KEEPINTVL), interval);
	assert_int_equal(option(accepted, IPPROTO_TCP, TCP_KEEPCNT), 3);
	assert_int_equal(option(accepted, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
}

static void test_accepted_sockets_are_watched(void **unused)
{
	(void)unused;
	check_times(60, 30, 10);
	check_times(1, 1, 1);
	check_times(3600, 1800, 600);
}

static void test_who_does_not_read_is_not_silent(void **unused)
{
	(void)unused;
	struct sockaddr_in address;
	CLEANUP(close_fd) int listener = listen_at_loopback(&address, 1);
	CLEANUP(close_fd) int client = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
	CLEANUP(close_fd) int accepted = accept(listener, NULL, NULL);
	assert_false(tcp_peer_is_silent(accepted, 0));
	/* Its window is shut, and it answers the probes of that. */
	static const char bytes[65536];
	while (send(accepted, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
	for (int i = 0; i < 15; i++) {
		assert_false(tcp_peer_is_silent(accepted, 1));
		(void)usleep(100000);
	}
	assert_false(tcp_peer_is_silent(-1, 0));
}

static void test_loopback_addresses(void **unused)
{
	(void)unused;
	static const struct {
		const char *text;
		bool is_loopback;
	} cases[] = { { "127.0.0.1", true }, { "127.255.1.2", true }, { "128.0.0.1", false },
		{ "10.0.0.1", false }, { "::1", true }, { "::2", false }, { "fe80::1", false } };
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct sockaddr_in in = { .sin_family = AF_INET };
		struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
		bool is_v4 = inet_pton(AF_INET, cases[i].text, &in.sin_addr) == 1;
		if (!is_v4)
			assert_int_equal(inet_pton(AF_INET6, cases[i].text, &in6.sin6_addr), 1);
		assert_int_equal(
		        tcp_address_is_loopback(is_v4 ? (struct sockaddr *)&in : (struct sockaddr *)&in6),
		        cases[i].is_loopback);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted_sockets_are_watched),
		cmocka_unit_test(test_who_does_not_read_is_not_silent),
		cmocka_unit_test(test_loopback_addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
