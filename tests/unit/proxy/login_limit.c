/* Failed logins are counted by who made them, and nobody else pays. */
#include "proxy/login_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/clock.h"

#define MAX 6 /* a minute: one more every ten seconds */

static struct login_attempt attempt(const char *address, const char *role)
{
	struct login_attempt found;
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	if (inet_pton(AF_INET, address, &v4.sin_addr) == 1) {
		login_attempt_from((struct sockaddr *)&v4, &found);
	} else {
		assert_int_equal(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
		login_attempt_from((struct sockaddr *)&v6, &found);
	}
	login_attempt_for(&found, "ep-a", role);
	return found;
}

static int64_t wait_of(struct login_limit *limit, const char *address, const char *role, int64_t now)
{
	struct login_attempt who = attempt(address, role);
	return login_limit_wait(limit, &who, now);
}

static void note(struct login_limit *limit, const char *address, const char *role, int times, int64_t now)
{
	struct login_attempt who = attempt(address, role);
	for (int i = 0; i < times; i++)
		login_limit_note(limit, &who, now);
}

static void test_one_role_from_one_address(void **unused)
{
	(void)unused;
	struct login_limit *limit = login_limit_create(MAX);
	note(limit, "10.0.0.1", "app", MAX - 1, 0);
	assert_int_equal(wait_of(limit, "10.0.0.1", "app", 0), 0);
	note(limit, "10.0.0.1", "app", 1, 0);
	assert_int_equal(wait_of(limit, "10.0.0.1", "app", 0), 10 + 1); /* rounded up */
	/* Not another role, address or endpoint. */
	assert_int_equal(wait_of(limit, "10.0.0.1", "other", 0), 0);
	assert_int_equal(wait_of(limit, "10.0.0.2", "app", 0), 0);
	struct login_attempt elsewhere = attempt("10.0.0.1", "app");
	login_attempt_for(&elsewhere, "ep-b", "app");
	assert_int_equal(login_limit_wait(limit, &elsewhere, 0), 0);
	/* Time heals. */
	assert_int_equal(wait_of(limit, "10.0.0.1", "app", 11 * USEC_PER_SEC), 0);
	note(limit, "10.0.0.1", "app", 1, 11 * USEC_PER_SEC);
	assert_true(wait_of(limit, "10.0.0.1", "app", 11 * USEC_PER_SEC) > 0);
	login_limit_free(limit);
}

static void test_many_roles_from_one_address(void **unused)
{
	(void)unused;
	struct login_limit *limit = login_limit_create(MAX);
	for (int i = 0; i < MAX * LOGIN_LIMIT_ADDRESS_FACTOR; i++) {
		char role[16];
		(void)snprintf(role, sizeof role, "role%d", i);
		assert_int_equal(wait_of(limit, "10.0.0.1", role, 0), 0);
		note(limit, "10.0.0.1", role, 1, 0);
	}
	assert_true(wait_of(limit, "10.0.0.1", "fresh", 0) > 0);
	assert_int_equal(wait_of(limit, "10.0.0.2", "fresh", 0), 0);
	login_limit_free(limit);
}

/* Behind 127.0.0.1 is everybody: one who tries many names locks nobody else. */
static void test_this_machine(void **unused)
{
	(void)unused;
	static const char *const addresses[] = { "127.0.0.1", "127.64.0.2", "::1" };
	for (size_t a = 0; a < ARRAY_LEN(addresses); a++) {
		struct login_limit *limit = login_limit_create(MAX);
		for (int i = 0; i < MAX * LOGIN_LIMIT_ADDRESS_FACTOR * 2; i++) {
			char role[16];
			(void)snprintf(role, sizeof role, "role%d", i);
			note(limit, addresses[a], role, 1, 0);
		}
		assert_int_equal(wait_of(limit, addresses[a], "fresh", 0), 0);
		note(limit, addresses[a], "app", MAX, 0);
		assert_true(wait_of(limit, addresses[a], "app", 0) > 0);
		login_limit_free(limit);
	}
	assert_false(attempt("10.0.0.1", "r").is_loopback);
	assert_false(attempt("2001:db8::1", "r").is_loopback);
	assert_false(attempt("::ffff:10.0.0.1", "r").is_loopback);
}

static void test_ipv6(void **unused)
{
	(void)unused;
	struct login_limit *limit = login_limit_create(MAX);
	note(limit, "2001:db8::1", "app", MAX, 0);
	assert_true(wait_of(limit, "2001:db8::ffff:2", "app", 0) > 0); /* of the same /64 */
	assert_int_equal(wait_of(limit, "2001:db8:0:1::1", "app", 0), 0);
	/* IPv4 in IPv6 is that address, not one network of all. */
	note(limit, "::ffff:10.0.0.1", "app", MAX, 0);
	assert_true(wait_of(limit, "10.0.0.1", "app", 0) > 0);
	assert_int_equal(wait_of(limit, "::ffff:10.0.0.2", "app", 0), 0);
	login_limit_free(limit);
	assert_null(login_limit_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_role_from_one_address),
		cmocka_unit_test(test_many_roles_from_one_address),
		cmocka_unit_test(test_this_machine),
		cmocka_unit_test(test_ipv6),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
