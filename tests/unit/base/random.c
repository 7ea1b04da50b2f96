#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include "base/random.h"

static void identifiers_have_their_form(void **state)
{
	(void)state;
	char uuid[UUID_TEXT_LEN + 1], other[UUID_TEXT_LEN + 1], hex[17];
	for (int i = 0; i < 200; i++) {
		random_uuid(uuid);
		random_uuid(other);
		assert_int_equal(strlen(uuid), UUID_TEXT_LEN);
		assert_int_equal(strspn(uuid, "0123456789abcdef-"), UUID_TEXT_LEN);
		assert_true(uuid[8] == '-' && uuid[13] == '-' && uuid[18] == '-' && uuid[23] == '-');
		assert_int_equal(uuid[14], '4');
		assert_non_null(strchr("89ab", uuid[19]));
		assert_string_not_equal(uuid, other);
		random_hex(hex, 16);
		assert_int_equal(strspn(hex, "0123456789abcdef"), 16);
		assert_int_equal(hex[16], '\0');
	}
	random_hex(hex, 0);
	assert_string_equal(hex, "");
	bytes_to_hex((const uint8_t *)"\x00\xff\x1a", 3, hex);
	assert_string_equal(hex, "00ff1a");
}

/* Every bit of every byte is used: 4096 draws that never set one would be a fault. */
static void all_bits_vary(void **state)
{
	(void)state;
	uint64_t seen = 0, never = UINT64_MAX;
	for (int i = 0; i < 4096; i++) {
		uint64_t value = random_u64();
		seen |= value;
		never &= value;
	}
	assert_true(seen == UINT64_MAX && never == 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(identifiers_have_their_form),
		cmocka_unit_test(all_bits_vary),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
