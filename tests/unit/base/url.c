/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "base/url.h"

static void takes_addresses_apart(void **state)
{
	(void)state;
	static const struct {
		const char *text, *host;
		int port;
		bool is_https, is_loopback, has_query;
	} cases[] = {
		{ "https://example.com", "example.com", 443, true, false, false },
		{ "https://Example.com/a/b?c=d&e=%2F", "Example.com", 443, true, false, true },
		{ "http://127.0.0.1:8080/x", "127.0.0.1", 8080, false, true, false },
		{ "http://127.3.2.1", "127.3.2.1", 80, false, true, false },
		{ "https://LocalHost:1?", "LocalHost", 1, true, true, true },
		{ "http://[::1]:65535/", "::1", 65535, false, true, false },
		{ "https://[2001:db8::1]", "2001:db8::1", 443, true, false, false },
		{ "https://a_b-c.d./~x/@:!$&'()*+,;=/", "a_b-c.d.", 443, true, false, false },
		/* Written otherwise they may lead to this machine as well: that is seen when they are connected to. */
		{ "https://2130706433", "2130706433", 443, true, false, false },
		{ "https://127.1", "127.1", 443, true, false, false },
		{ "https://localhost.", "localhost.", 443, true, false, false },
		{ "https://127.0.0.1.example", "127.0.0.1.example", 443, true, false, false },
		{ "https://[::ffff:127.0.0.1]", "::ffff:127.0.0.1", 443, true, false, false },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct url url;
		struct error err;
		if (url_parse(cases[i].text, &url, &err) != STATUS_OK)
			fail_msg("%s %s", cases[i].text, err.message);
		assert_string_equal(url.host, cases[i].host);
		assert_int_equal(url.port, cases[i].port);
		assert_int_equal(url.is_https, cases[i].is_https);
		assert_int_equal(url.is_loopback, cases[i].is_loopback);
		assert_int_equal(url.has_query, cases[i].has_query);
	}
}

static void refuses_what_can_be_read_in_two_ways(void **state)
{
	(void)state;
	static const char *const texts[] = { "", "https", "https:", "https:/a", "https://", "https:///a",
		"//a", "a", " https://a", "https://a ", "ftp://a", "file:///a", "HTTP://a", "https://a#",
		"https://a/#b", "https://u@a", "https://u:p@a/", "https://@a", "https://a@b", "https://a\\b",
		"https://a/b\\c", "https://.a", "https://-a", "https://a:", "https://a:0", "https://a:65536",
		"https://a:+1", "https://a:1x", "https://a:1 ", "https://a/\t", "https://a/%", "https://a/%1",
		"https://a/%g1", "https://a/\"", "https://a/<", "https://a/\x80", "https://[", "https://[]",
		"https://[::1", "https://[::1%eth0]", "https://[::1]a", "https://[g]", "https://[127.0.0.1]",
		"https://\xc3\xa9" };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct url url;
		struct error err;
		if (url_parse(texts[i], &url, &err) != STATUS_INVALID)
			fail_msg("\"%s\" was accepted", texts[i]);
		assert_true(err.message[0] != '\0');
	}
	char text[URL_MAX + 2] = "https://a/";
	struct url url;
	struct error err;
	memset(text + 10, 'x', URL_MAX - 10);
	assert_int_equal(url_parse(text, &url, &err), STATUS_OK);
	text[URL_MAX] = 'x';
	assert_int_equal(url_parse(text, &url, &err), STATUS_INVALID);
	memset(text + 8, 'h', URL_HOST_MAX + 1);
	text[8 + URL_HOST_MAX + 1] = '\0';
	assert_int_equal(url_parse(text, &url, &err), STATUS_INVALID);
	text[8 + URL_HOST_MAX] = '\0';
	assert_int_equal(url_parse(text, &url, &err), STATUS_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_addresses_apart),
		cmocka_unit_test(refuses_what_can_be_read_in_two_ways),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
