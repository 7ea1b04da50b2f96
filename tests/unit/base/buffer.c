#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include "base/buffer.h"

static void grows_and_stays_terminated(void **state)
{
	(void)state;
	struct buffer buf = { 0 };
	assert_int_equal(buffer_slice(&buf).len, 0);
	char expected[10001] = "";
	for (int i = 0; i < 1000; i++) {
		buffer_append_text(&buf, "0123456789");
		memcpy(expected + i * 10, "0123456789", 11);
		assert_int_equal(buf.len, (i + 1) * 10);
		assert_true(buf.capacity > buf.len);
		assert_int_equal(buf.data[buf.len], '\0');
	}
	assert_string_equal(buf.data, expected);
	buffer_done(&buf);
	assert_null(buf.data);
	assert_int_equal(buf.len + buf.capacity, 0);
	buffer_done(&buf); /* twice is fine */
}

static void takes_bytes_and_nothing(void **state)
{
	(void)state;
	struct buffer buf = { 0 };
	buffer_append(&buf, NULL, 0);
	assert_int_equal(buf.len, 0);
	assert_string_equal(buf.data, "");
	buffer_append(&buf, "a\0b", 3);
	assert_int_equal(buf.len, 3);
	assert_memory_equal(buf.data, "a\0b\0", 4);
	buffer_done(&buf);
}

static void prints(void **state)
{
	(void)state;
	struct buffer buf = { 0 };
	buffer_printf(&buf, "%s-%d", "x", 5);
	buffer_printf(&buf, "%s", "");
	buffer_printf(&buf, "%500d", 7);
	assert_int_equal(buf.len, 503);
	assert_memory_equal(buf.data, "x-5 ", 4);
	assert_int_equal(buf.data[502], '7');
	assert_int_equal(buf.data[503], '\0');
	buffer_done(&buf);
}

static void consumes_from_the_front(void **state)
{
	(void)state;
	struct buffer buf = { 0 };
	buffer_consume(&buf, 0); /* of an empty one */
	buffer_append_text(&buf, "hello world");
	buffer_consume(&buf, 0);
	buffer_consume(&buf, 6);
	assert_string_equal(buf.data, "world");
	assert_int_equal(buf.len, 5);
	buffer_consume(&buf, 5);
	assert_int_equal(buf.len, 0);
	assert_string_equal(buf.data, "");
	buffer_append_text(&buf, "again");
	assert_string_equal(buf.data, "again");
	buffer_done(&buf);
}

static void reserves_without_changing(void **state)
{
	(void)state;
	struct buffer buf = { 0 };
	buffer_append_text(&buf, "abc");
	buffer_reserve(&buf, 100000);
	assert_true(buf.capacity >= 100004);
	assert_string_equal(buf.data, "abc");
	const char *before = buf.data;
	buffer_reserve(&buf, 100000);
	assert_ptr_equal(buf.data, before);
	buffer_done(&buf);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_stays_terminated),
		cmocka_unit_test(takes_bytes_and_nothing),
		cmocka_unit_test(prints),
		cmocka_unit_test(consumes_from_the_front),
		cmocka_unit_test(reserves_without_changing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
