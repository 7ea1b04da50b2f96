/* The loopback address of a pooler follows from that of its endpoint, and the other way round. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "control_plane/endpoint_address.h"

static void there_and_back(void **state)
{
	(void)state;
	static const struct {
		const char *endpoint, *pooler;
	} pairs[] = { { "127.64.0.2", "127.128.0.2" }, { "127.64.1.254", "127.128.1.254" },
		{ "127.127.255.254", "127.191.255.254" } };
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		char address[ADDRESS_MAX + 1];
		assert_true(endpoint_address_to_pooler(pairs[i].endpoint, address));
		assert_string_equal(address, pairs[i].pooler);
		assert_true(endpoint_address_from_pooler(pairs[i].pooler, address));
		assert_string_equal(address, pairs[i].endpoint);
	}
}

static void others_are_neither(void **state)
{
	(void)state;
	static const char *const addresses[] = { "127.0.0.1", "127.63.255.255", "127.192.0.0", "10.0.0.1", "",
		"::1", "127.64.0", "127.64.0.2x", "ep-a", "255.255.255.255", "0.0.0.0" };
	for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
		char address[ADDRESS_MAX + 1];
		assert_false(endpoint_address_to_pooler(addresses[i], address));
		assert_false(endpoint_address_from_pooler(addresses[i], address));
	}
	char address[ADDRESS_MAX + 1];
	assert_false(endpoint_address_from_pooler("127.64.0.2", address)); /* an endpoint's own */
	assert_false(endpoint_address_to_pooler("127.128.0.2", address));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(others_are_neither),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
