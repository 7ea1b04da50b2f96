/* Greeting: the same verdict whatever the portions in which a server's words arrive. */
#include "pgwire/greeting.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define AUTH_OK "R\0\0\0\x08\0\0\0\0"
#define KEY     "K\0\0\0\x0c\0\0\0\7\1\2\3\4"
#define STATUS                                                                                               \
	"S\0\0\0\x0b"                                                                                        \
	"TimeZ\0\0" /* name, and an empty value */
#define READY "Z\0\0\0\5I"
#define ERROR                                                                                                \
	"E\0\0\0\x13"                                                                                        \
	"SFATAL\0C57P03\0\0"

/* Feeds in portions of `portion` bytes; *ret_taken is how many belonged to the greeting. */
static struct greeting feed(const char *data, size_t len, size_t portion, size_t *ret_taken)
{
	struct greeting greeting = { 0 };
	*ret_taken = 0;
	for (size_t at = 0; at < len; at += portion) {
		size_t n = len - at < portion ? len - at : portion;
		*ret_taken += greeting_feed(&greeting, (struct slice){ (const uint8_t *)data + at, n });
	}
	return greeting;
}

static void check_in_portions(const char *data, size_t len, enum greeting_state state)
{
	for (size_t portion = 1; portion <= len; portion++) {
		size_t taken;
		struct greeting greeting = feed(data, len, portion, &taken);
		assert_int_equal(greeting.state, state);
	}
}
#define CHECK(text, state) check_in_portions(text, sizeof text - 1, state)

static void test_whole_greeting(void **unused)
{
	(void)unused;
	static const char text[] = AUTH_OK STATUS KEY READY "T\0\0\0\4";
	size_t greeting_len = sizeof text - 1 - 5;
	for (size_t portion = 1; portion < sizeof text; portion++) {
		size_t taken;
		struct greeting greeting = feed(text, sizeof text - 1, portion, &taken);
		assert_int_equal(greeting.state, GREETING_READY);
		assert_true(greeting.has_key);
		assert_int_equal(greeting.key.pid, 7);
		assert_int_equal(greeting.key.secret, 0x01020304);
		assert_int_equal(taken, greeting_len);
	}
}

static void test_half_ways(void **unused)
{
	(void)unused;
	CHECK(AUTH_OK, GREETING_SETTING_UP);
	CHECK("R\0\0\0\x08\0\0\0", GREETING_WAITING);
	CHECK(AUTH_OK KEY, GREETING_SETTING_UP);
	CHECK(AUTH_OK READY, GREETING_READY);
	CHECK("N\0\0\0\7x\0\0" AUTH_OK, GREETING_SETTING_UP);
}

static void test_refusals(void **unused)
{
	(void)unused;
	static const char early[] = ERROR, late[] = AUTH_OK STATUS "E\0\0\0\x16"
	                                                           "SFATAL\0C3D000\0Mx\0\0";
	size_t taken;
	for (size_t portion = 1; portion < sizeof early; portion++) {
		struct greeting greeting = feed(early, sizeof early - 1, portion, &taken);
		assert_int_equal(greeting.state, GREETING_REFUSED);
		assert_string_equal(greeting.sqlstate, "57P03");
	}
	struct greeting greeting = feed(late, sizeof late - 1, 3, &taken);
	assert_int_equal(greeting.state, GREETING_REFUSED);
	assert_string_equal(greeting.sqlstate, "3D000");
	/* Without a SQLSTATE, still a refusal. */
	greeting = feed("E\0\0\0\5", 6, 1, &taken);
	assert_int_equal(greeting.state, GREETING_REFUSED);
	assert_string_equal(greeting.sqlstate, "");
}

static void test_long_messages(void **unused)
{
	(void)unused;
	/* A notice far longer than what is kept, then an error that is, too: its SQLSTATE is at the beginning. */
	CLEANUP(buffer_done) struct buffer text = { 0 };
	static const char fill[5000] = { 0 };
	buffer_append(&text, AUTH_OK, 9);
	buffer_append(&text, "N", 1);
	wire_append_be32(&text, 4 + sizeof fill);
	buffer_append(&text, fill, sizeof fill);
	buffer_append(&text, "E", 1);
	wire_append_be32(&text, 4 + 14 + sizeof fill);
	buffer_append(&text, "SFATAL\0C53300\0M", 15);
	buffer_append(&text, fill, sizeof fill - 1);
	for (size_t portion = 1; portion < 6000; portion += 97) {
		size_t taken;
		struct greeting greeting = feed(text.data, text.len, portion, &taken);
		assert_int_equal(greeting.state, GREETING_REFUSED);
		assert_string_equal(greeting.sqlstate, "53300");
		greeting = feed(text.data, text.len - 1, portion, &taken);
		assert_int_equal(greeting.state, GREETING_SETTING_UP); /* not before the message is whole */
	}
}

static void test_unexpected(void **unused)
{
	(void)unused;
	CHECK("R\0\0\0\x08\0\0\0\3", GREETING_UNEXPECTED); /* it asks for a password */
	CHECK("R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0", GREETING_UNEXPECTED);
	CHECK(AUTH_OK AUTH_OK, GREETING_UNEXPECTED);
	CHECK("R\0\0\0\4", GREETING_UNEXPECTED);
	CHECK(READY, GREETING_UNEXPECTED); /* ready, and nobody was let in */
	CHECK(KEY, GREETING_UNEXPECTED);
	CHECK(STATUS, GREETING_UNEXPECTED);
	CHECK(AUTH_OK "K\0\0\0\x0b\0\0\0\7\1\2\3", GREETING_UNEXPECTED);
	CHECK(AUTH_OK "K\0\0\0\x0d\0\0\0\7\1\2\3\4\5", GREETING_UNEXPECTED);
	CHECK(AUTH_OK "T\0\0\0\4", GREETING_UNEXPECTED); /* rows before ReadyForQuery */
	CHECK("R\0\0\0\3", GREETING_UNEXPECTED);
	CHECK("Ecould not fork new process", GREETING_UNEXPECTED); /* the old form, without a length */
	CHECK("HTTP/1.1 200", GREETING_UNEXPECTED);
	CHECK("\0", GREETING_UNEXPECTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_greeting),
		cmocka_unit_test(test_half_ways),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_long_messages),
		cmocka_unit_test(test_unexpected),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
