/* The line of a session: complete, and nothing in it can be forged. */
#include "proxy/session_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct session_line whole = { .endpoint = "ep-a",
	.user = "app",
	.database = "db",
	.application = "psql",
	.client = "127.0.0.1:4711",
	.tls = "TLSv1.3",
	.login = "token",
	.seconds = 61.5,
	.login_seconds = 0.25,
	.was_wake = true,
	.received = 12,
	.sent = 3456789012345,
	.reason = "client closed" };

static void test_all_fields(void **unused)
{
	(void)unused;
	CLEANUP(buffer_done) struct buffer out = { 0 };
	session_line_write(&out, &whole);
	assert_string_equal(out.data,
	        "session ended: endpoint=ep-a user=\"app\" database=\"db\" application=\"psql\" "
	        "client=127.0.0.1:4711 tls=TLSv1.3 login=token seconds=61.500 login_seconds=0.250 wake=yes "
	        "received=12 sent=3456789012345 refused=- reason=\"client closed\"");
}

static void test_nothing_known(void **unused)
{
	(void)unused;
	CLEANUP(buffer_done) struct buffer out = { 0 };
	const struct session_line line = { .client = "[::1]:1", .login_seconds = -1, .refused = "protocol" };
	session_line_write(&out, &line);
	assert_string_equal(out.data,
	        "session ended: endpoint=- user=\"\" database=\"\" application=\"\" client=[::1]:1 tls=- "
	        "login=- "
	        "seconds=0.000 login_seconds=- wake=no received=0 sent=0 refused=protocol reason=\"\"");
}

/* Reads `name="…"` as any reader of such lines does: up to a quote that is not escaped. Returns what is behind. */
static const char *read_quoted(const char *at, const char *name, char value[1024])
{
	size_t len = strlen(name);
	assert_memory_equal(at, name, len);
	assert_memory_equal(at + len, "=\"", 2);
	for (at += len + 2; *at != '"'; at++) {
		assert_true((unsigned char)*at >= 0x20 && *at != 0x7f);
		if (*at == '\\')
			at++;
		*value++ = *at;
	}
	*value = '\0';
	return at + 1;
}

static void test_nothing_can_be_forged(void **unused)
{
	(void)unused;
	static const char *const nasty[] = { "x\" client=6.6.6.6:6 reason=\"", "\\", "\\\"", "\\\\\" tls=-",
		"a\nsession ended: endpoint=ep-b", "\x01\x7f\t", "\xff\xfe", "\xc3\xa4\xc3", "" };
	for (size_t i = 0; i < ARRAY_LEN(nasty); i++) {
		CLEANUP(buffer_done) struct buffer out = { 0 };
		struct session_line line = whole;
		char value[1024];
		line.user = line.database = line.application = line.reason = nasty[i];
		session_line_write(&out, &line);
		assert_null(strchr(out.data, '\n'));
		const char *at = strstr(out.data, "user=");
		at = read_quoted(at, "user", value);
		assert_int_equal(strlen(value), strlen(nasty[i]));
		at = read_quoted(at + 1, "database", value);
		at = read_quoted(at + 1, "application", value);
		const char *middle = " client=127.0.0.1:4711 tls=TLSv1.3 login=token ";
		assert_memory_equal(at, middle, strlen(middle));
		at = read_quoted(strstr(at, "refused=- ") + 10, "reason", value);
		assert_int_equal(*at, '\0');
	}
}

static void test_long_texts_are_cut(void **unused)
{
	(void)unused;
	CLEANUP(buffer_done) struct buffer out = { 0 };
	struct session_line line = whole;
	char text[5001], value[1024];
	memset(text, '"', sizeof text - 1);
	text[5000] = '\0';
	line.user = line.database = line.application = line.reason = text;
	session_line_write(&out, &line);
	assert_true(out.len < 2000 - 64); /* what the log keeps of a line */
	const char *end = read_quoted(strstr(out.data, "user="), "user", value);
	assert_int_equal(strlen(value), SESSION_TEXT_MAX);
	assert_memory_equal(end, " database=", 10);
	/* Inside a character: what is left of it is no UTF-8. */
	memset(text, 'a', 62);
	memcpy(text + 62, "\xc3\xa4", 3);
	out.len = 0;
	line.user = text;
	session_line_write(&out, &line);
	(void)read_quoted(strstr(out.data, "user="), "user", value);
	assert_int_equal(strlen(value), SESSION_TEXT_MAX);
	assert_int_equal(value[62], '?');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_fields),
		cmocka_unit_test(test_nothing_known),
		cmocka_unit_test(test_nothing_can_be_forged),
		cmocka_unit_test(test_long_texts_are_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
