/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "http/connection_table.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

#define NOW (1000 * USEC_PER_SEC)

struct fixture {
	struct connection_table table;
	int ours[8], theirs[8];
	struct http_connection *connections[8];
	size_t count;
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	connection_table_begin(&f->table);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	for (size_t i = 0; i < f->count; i++) {
		connection_table_remove(&f->table, f->connections[i]);
		assert_int_equal(close(f->ours[i]) | close(f->theirs[i]), 0);
	}
	assert_int_equal(f->table.count, 0);
	assert_true(TAILQ_EMPTY(&f->table.connections) && LIST_EMPTY(&f->table.peers));
	free(f);
	return 0;
}

static size_t add(struct fixture *f, const char *address, enum connection_state st, int64_t since_usec)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
	if (!is_v4)
		assert_int_equal(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
	const struct sockaddr *peer = is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
	size_t i = f->count++;
	f->ours[i] = pair[0];
	f->theirs[i] = pair[1];
	f->connections[i] = connection_table_add(&f->table, pair[0], peer, since_usec);
	connection_set_state(f->connections[i], st, since_usec);
	return i;
}

/* Which one was shut down: its other end sees it. */
static void expect_gone(struct fixture *f, size_t expected)
{
	for (size_t i = 0; i < f->count; i++) {
		char byte;
		bool has_ended = recv(f->theirs[i], &byte, 1, MSG_DONTWAIT) == 0;
		if (has_ended != (i == expected))
			fail_msg("connection %zu is %s", i, has_ended ? "gone" : "there");
		assert_true(f->connections[i]->is_given_up == has_ended);
	}
}

static void writes_addresses(void **state)
{
	struct fixture *f = *state;
	assert_string_equal(
	        connection_peer(f->connections[add(f, "10.0.0.1", CONNECTION_NEW, NOW)]), "10.0.0.1");
	assert_string_equal(
	        connection_peer(f->connections[add(f, "::ffff:10.0.0.1", CONNECTION_NEW, NOW)]), "10.0.0.1");
	assert_string_equal(
	        connection_peer(f->connections[add(f, "2001:db8::1", CONNECTION_NEW, NOW)]), "2001:db8::1");
	assert_ptr_equal(f->connections[0]->peer, f->connections[1]->peer);
}

static void who_has_most_gives_up_the_oldest_that_rests(void **state)
{
	struct fixture *f = *state;
	add(f, "10.0.0.2", CONNECTION_IDLE, NOW - 900 * USEC_PER_SEC); /* old, but his only one */
	add(f, "10.0.0.1", CONNECTION_READING, NOW - 50 * USEC_PER_SEC);
	add(f, "10.0.0.1", CONNECTION_IDLE, NOW - 20 * USEC_PER_SEC);
	size_t oldest = add(f, "10.0.0.1", CONNECTION_NEW, NOW - 25 * USEC_PER_SEC);
	add(f, "10.0.0.1", CONNECTION_ANSWERING, NOW - 59 * USEC_PER_SEC);
	size_t newcomer = add(f, "10.0.0.3", CONNECTION_NEW, NOW);
	connection_table_give_up_one(&f->table, f->connections[newcomer], NOW);
	expect_gone(f, oldest);
}

static void slow_senders_go_when_nobody_rests(void **state)
{
	struct fixture *f = *state;
	add(f, "10.0.0.1", CONNECTION_NEW, NOW - USEC_PER_SEC / 2);
	add(f, "10.0.0.1", CONNECTION_ANSWERING, NOW - 30 * USEC_PER_SEC);
	add(f, "10.0.0.1", CONNECTION_HELD, NOW - 30 * USEC_PER_SEC);
	size_t newcomer = add(f, "10.0.0.1", CONNECTION_NEW, NOW);
	connection_table_give_up_one(&f->table, f->connections[newcomer], NOW);
	expect_gone(f, 0);
	f->connections[0]->is_given_up = false; /* as if the next came; it has been seen */
	assert_int_equal(f->table.given_up, 1);
}

static void what_is_answered_stays(void **state)
{
	struct fixture *f = *state;
	add(f, "10.0.0.1", CONNECTION_ANSWERING, NOW - 30 * USEC_PER_SEC);
	add(f, "10.0.0.1", CONNECTION_HELD, NOW - 30 * USEC_PER_SEC);
	size_t newcomer = add(f, "10.0.0.2", CONNECTION_NEW, NOW);
	connection_table_give_up_one(&f->table, f->connections[newcomer], NOW);
	expect_gone(f, newcomer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(writes_addresses),
		TEST(who_has_most_gives_up_the_oldest_that_rests),
		TEST(slow_senders_go_when_nobody_rests),
		TEST(what_is_answered_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
