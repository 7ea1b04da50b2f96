/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "base/random.h"
#include "page_store/crc32c.h"

static void known_values(void **state)
{
	(void)state;
	/* RFC 3720, appendix B.4 */
	uint8_t zeros[32] = { 0 }, ones[32], rising[32];
	memset(ones, 0xff, sizeof ones);
	for (size_t i = 0; i < sizeof rising; i++)
		rising[i] = (uint8_t)i;
	assert_int_equal(crc32c(zeros, 32), 0x8a9136aau);
	assert_int_equal(crc32c(ones, 32), 0x62a8ab43u);
	assert_int_equal(crc32c(rising, 32), 0x46dd794eu);
	assert_int_equal(crc32c("123456789", 9), 0xe3069283u);
	assert_int_equal(crc32c("", 0), 0);
}

static void both_forms_agree(void **state)
{
	(void)state;
	uint8_t bytes[300];
	random_bytes(bytes, sizeof bytes);
	for (size_t start = 0; start < 9; start++)
		for (size_t len = 0; len <= sizeof bytes - start; len += 7)
			assert_int_equal(crc32c(bytes + start, len), crc32c_portable(bytes + start, len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values),
		cmocka_unit_test(both_forms_agree),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
