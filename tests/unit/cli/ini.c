/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "cli/ini.h"

static void sections_keys_and_values(void **state)
{
	(void)state;
	static const char text[] = "\xef\xbb\xbf# ours\n"
	                           "host = https://one\r\n"
	                           "\n"
	                           "[ work ] ; the company's\n"
	                           "host: http://127.0.0.1:8080\n"
	                           "token=dapi#1;2 # a secret may have a # in it\n"
	                           "empty =\n"
	                           "quoted = \"a # b\" # c\n"
	                           "half = \"a\n"
	                           "[DEFAULT]\n"
	                           "token = t\n"
	                           "[work]\n"
	                           "empty = no longer\n"
	                           "[bare]";
	CLEANUP(ini_done) struct ini ini = { 0 };
	struct error err;
	assert_int_equal(ini_parse("f", slice_from_text(text), &ini, &err), STATUS_OK);
	assert_string_equal(ini_value(&ini, "DEFAULT", "host"), "https://one");
	assert_string_equal(ini_value(&ini, "DEFAULT", "token"), "t");
	assert_string_equal(ini_value(&ini, "work", "host"), "http://127.0.0.1:8080");
	assert_string_equal(ini_value(&ini, "work", "token"), "dapi#1;2");
	assert_string_equal(ini_value(&ini, "work", "quoted"), "a # b");
	assert_string_equal(ini_value(&ini, "work", "half"), "\"a");
	assert_string_equal(ini_value(&ini, "work", "empty"), "no longer");
	assert_null(ini_value(&ini, "bare", "host"));
	assert_null(ini_value(&ini, "work", "nothing"));
	assert_true(ini_has_section(&ini, "bare"));
	assert_true(ini_has_section(&ini, "DEFAULT"));
	assert_false(ini_has_section(&ini, "Work"));
}

static void nothing_is_fine(void **state)
{
	(void)state;
	CLEANUP(ini_done) struct ini ini = { 0 };
	struct error err;
	assert_int_equal(ini_parse("f", (struct slice){ 0 }, &ini, &err), STATUS_OK);
	assert_false(ini_has_section(&ini, "DEFAULT"));
}

static void refused(const char *text, size_t len, const char *words)
{
	CLEANUP(ini_done) struct ini ini = { 0 };
	struct error err;
	assert_int_equal(ini_parse("/home/me/.databrickscfg", (struct slice){ (const uint8_t *)text, len },
	                         &ini, &err),
	        STATUS_INVALID);
	assert_non_null(strstr(err.message, "\"/home/me/.databrickscfg\", line "));
	assert_non_null(strstr(err.message, words));
	assert_null(strstr(err.message, "secret"));
	assert_int_equal(ini.count, 0);
}

#define REFUSED(text, words) refused((text), sizeof(text) - 1, (words))

static void mistakes_are_named_by_their_line(void **state)
{
	(void)state;
	REFUSED("[a]\nhost = x\ntoken secret\n", "line 3 ");
	REFUSED("[a\n", "line 1: a section");
	REFUSED("[a] secret\n", "line 1: a section");
	REFUSED("\n[ ]\n", "line 2: the section has no name");
	REFUSED(" = secret\n", "line 1 has no key");
	REFUSED("a = b\nc = secret\x1b[2J\n", "line 2 has a control character");
	REFUSED("a = b\nc = d\0secret\n", "line 2 has a control character");
	char *long_text = xcalloc(INI_TEXT_MAX + 2, 1);
	memset(long_text, '\n', INI_TEXT_MAX + 1);
	CLEANUP(ini_done) struct ini ini = { 0 };
	struct error err;
	assert_int_equal(ini_parse("f", slice_from_text(long_text), &ini, &err), STATUS_LIMIT);
	free_text(&long_text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sections_keys_and_values),
		cmocka_unit_test(nothing_is_fine),
		cmocka_unit_test(mistakes_are_named_by_their_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
