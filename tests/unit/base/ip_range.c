/* IP ranges: what is taken, what is refused, and who is in. */
#include "base/ip_range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/random.h"

static bool has(const char *range, const char *address)
{
	struct ip_range r;
	struct ip_address a;
	assert_true(ip_range_parse(range, &r));
	assert_true(ip_address_parse(address, &a));
	return ip_range_has(&r, &a);
}

static void test_who_is_in(void **unused)
{
	(void)unused;
	static const struct {
		const char *range, *address;
		bool is_in;
	} table[] = {
		{ "192.0.2.1", "192.0.2.1", true },
		{ "192.0.2.1", "192.0.2.2", false },
		{ "192.0.2.0/24", "192.0.2.255", true },
		{ "192.0.2.0/24", "192.0.3.0", false },
		{ "192.0.2.77/24", "192.0.2.1", true }, /* bits behind the prefix do not count */
		{ "192.0.2.128/25", "192.0.2.127", false },
		{ "192.0.2.128/25", "192.0.2.128", true },
		{ "10.0.0.0/9", "10.127.255.255", true },
		{ "10.0.0.0/9", "10.128.0.0", false },
		{ "0.0.0.0/0", "255.255.255.255", true },
		{ "0.0.0.0/0", "2001:db8::1", false },
		{ "192.0.2.1/32", "::ffff:192.0.2.1", true }, /* the same client through an IPv6 socket */
		{ "::ffff:192.0.2.0/120", "192.0.2.9", true },
		{ "2001:db8::/32", "2001:db8:ffff::1", true },
		{ "2001:db8::/32", "2001:db9::1", false },
		{ "2001:db8::1", "2001:DB8:0:0::1", true },
		{ "2001:db8::/127", "2001:db8::2", false },
		{ "::/0", "2001:db8::1", true },
		{ "::/0", "192.0.2.1", false },
		{ "::/0", "::ffff:192.0.2.1", false },
		{ "::ffff:0:0/96", "192.0.2.1", true },
		{ "::1", "::1", true },
	};
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (has(table[i].range, table[i].address) != table[i].is_in)
			fail_msg("%s in %s", table[i].address, table[i].range);
}

static void test_what_is_no_range(void **unused)
{
	(void)unused;
	static const char *const bad[] = { "", " ", "192.0.2", "192.0.2.1.1", "192.0.2.256", "192.0.2.01",
		"192.0.2.1 ", " 192.0.2.1", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2.0/+8",
		"192.0.2.0/08", "192.0.2.0/8/8", "192.0.2.0/255.255.255.0", "192.0.2.0/ 8", "/8",
		"2001:db8::/129", "2001:db8:::1", "2001:db8::g", "fe80::1%eth0", "[::1]", "::1/", "localhost",
		"0x7f.0.0.1", "2130706433", "1.2.3.4\n",
		"00000000000000000000000000000000000000000000000000192.0.2.1", "192.0.2.1,192.0.2.2", "*" };
	struct ip_range range;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (ip_range_parse(bad[i], &range))
			fail_msg("\"%s\" was taken", bad[i]);
	struct ip_address address;
	assert_false(ip_address_parse("192.0.2.0/24", &address));
}

static void test_loopback(void **unused)
{
	(void)unused;
	static const char *const in[] = { "127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1" };
	static const char *const out[] = { "126.0.0.1", "128.0.0.1", "::2", "::", "::127.0.0.1",
		"2001:db8::1" };
	struct ip_address address;
	for (size_t i = 0; i < ARRAY_LEN(in); i++)
		assert_true(ip_address_parse(in[i], &address) && ip_address_is_loopback(&address));
	for (size_t i = 0; i < ARRAY_LEN(out); i++)
		assert_true(ip_address_parse(out[i], &address) && !ip_address_is_loopback(&address));
}

/* A slow model for IPv4: numbers. */
static void test_a_slow_model_agrees(void **unused)
{
	(void)unused;
	for (int i = 0; i < 20000; i++) {
		uint32_t a = (uint32_t)random_u64(), b = (uint32_t)random_u64();
		unsigned prefix = (unsigned)(random_u64() % 33);
		if (random_u64() % 2) /* near by */
			b = a ^ (uint32_t)(1u << (random_u64() % 32));
		char range[64], address[32];
		(void)snprintf(range, sizeof range, "%u.%u.%u.%u/%u", a >> 24, a >> 16 & 255, a >> 8 & 255,
		        a & 255, prefix);
		(void)snprintf(address, sizeof address, "%u.%u.%u.%u", b >> 24, b >> 16 & 255, b >> 8 & 255,
		        b & 255);
		bool is_in = prefix == 0 || a >> (32 - prefix) == b >> (32 - prefix);
		if (has(range, address) != is_in)
			fail_msg("%s in %s", address, range);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_is_in),
		cmocka_unit_test(test_what_is_no_range),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_a_slow_model_agrees),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
