/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "http/request.h"

static status parse(struct http_request *request, const char *uri, struct error *err)
{
	*request = (struct http_request){ 0 };
	return http_request_parse_uri(request, uri, err);
}

static void splits_and_decodes(void **state)
{
	(void)state;
	struct error err;
	CLEANUP(http_request_done) struct http_request r;
	assert_int_equal(
	        parse(&r, "/api/2.0/a%2Fb/%C3%BC?mask=spec.a%2Cspec.b&x=1+2&empty=&bare&x=second", &err),
	        STATUS_OK);
	assert_int_equal(r.segment_count, 4);
	assert_string_equal(r.segments[0], "api");
	assert_string_equal(r.segments[2], "a/b");
	assert_string_equal(r.segments[3], "\xc3\xbc");
	assert_string_equal(http_request_query(&r, "mask"), "spec.a,spec.b");
	assert_string_equal(http_request_query(&r, "x"), "1 2");
	assert_string_equal(http_request_query(&r, "empty"), "");
	assert_string_equal(http_request_query(&r, "bare"), "");
	assert_null(http_request_query(&r, "absent"));
	assert_string_equal(r.path, "/api/2.0/a%2Fb/%C3%BC");
}

/* Go appends a bare "?" to every GET and DELETE. */
static void trailing_question_mark_is_no_query(void **state)
{
	(void)state;
	struct error err;
	CLEANUP(http_request_done) struct http_request r;
	assert_int_equal(parse(&r, "/api/2.0/postgres/projects?", &err), STATUS_OK);
	assert_int_equal(r.segment_count, 4);
	assert_int_equal(r.query_count, 0);
}

static void absolute_form_loses_its_authority(void **state)
{
	(void)state;
	struct error err;
	CLEANUP(http_request_done) struct http_request r;
	assert_int_equal(parse(&r, "http://127.0.0.1:8080/a/b?c=d", &err), STATUS_OK);
	assert_int_equal(r.segment_count, 2);
	assert_string_equal(r.segments[1], "b");
}

static void refuses_what_is_not_text(void **state)
{
	(void)state;
	static const char *const bad[] = { "/a%", "/a%4", "/a%zz", "/a%00b", "/%ff", "/%c0%af", "/%ed%a0%80",
		"/a?b=%00", "/a?%=1", "/a?b=%f5%80%80%80", "a", "" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct error err;
		CLEANUP(http_request_done) struct http_request r;
		if (parse(&r, bad[i], &err) != STATUS_INVALID)
			fail_msg("accepted %s", bad[i]);
	}
}

static void has_limits(void **state)
{
	(void)state;
	struct error err;
	CLEANUP(buffer_done) struct buffer uri = { 0 };
	for (int i = 0; i <= HTTP_SEGMENTS_MAX; i++)
		buffer_append_text(&uri, "/a");
	CLEANUP(http_request_done) struct http_request deep;
	assert_int_equal(parse(&deep, uri.data, &err), STATUS_LIMIT);

	buffer_consume(&uri, uri.len);
	buffer_append_text(&uri, "/?a");
	for (int i = 0; i < HTTP_QUERY_MAX; i++)
		buffer_append_text(&uri, "&a");
	CLEANUP(http_request_done) struct http_request wide;
	assert_int_equal(parse(&wide, uri.data, &err), STATUS_LIMIT);

	buffer_consume(&uri, uri.len);
	while (uri.len <= HTTP_URI_MAX)
		buffer_append_text(&uri, "/aaaaaaaaa");
	CLEANUP(http_request_done) struct http_request lengthy;
	assert_int_equal(parse(&lengthy, uri.data, &err), STATUS_LIMIT);
}

static void cleans_text_for_json(void **state)
{
	(void)state;
	char text[] = "a\xffz\xc3\xbc\xe2\x82";
	utf8_clean(text);
	assert_string_equal(text, "a?z\xc3\xbc??");
	assert_int_equal(utf8_count(slice_from_text("\xc3\xbc\xf0\x9f\x98\x80x")), 3);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_and_decodes),
		cmocka_unit_test(trailing_question_mark_is_no_query),
		cmocka_unit_test(absolute_form_loses_its_authority),
		cmocka_unit_test(refuses_what_is_not_text),
		cmocka_unit_test(has_limits),
		cmocka_unit_test(cleans_text_for_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
