/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "http/router.h"

static const struct http_route routes[] = {
	{ "GET", "/projects", "list" },
	{ "POST", "/projects", "create" },
	{ "GET", "/projects/special", "special" },
	{ "GET", "/projects/{}", "get" },
	{ "GET", "/projects/{}/branches/{}", "branch" },
};

static enum http_match_result find(
        const char *method, const char *uri, struct http_request *r, struct http_match *match, char *allow)
{
	struct error err;
	*r = (struct http_request){ 0 };
	assert_int_equal(http_request_parse_uri(r, uri, &err), STATUS_OK);
	strcpy(r->method, method);
	return http_route_find(routes, ARRAY_LEN(routes), r, match, allow);
}

static void finds_the_first_that_fits(void **state)
{
	(void)state;
	char allow[HTTP_ALLOW_MAX];
	struct http_match match;
	CLEANUP(http_request_done) struct http_request a;
	assert_int_equal(find("GET", "/projects/special", &a, &match, allow), HTTP_MATCH_FOUND);
	assert_string_equal(match.route->target, "special");
	CLEANUP(http_request_done) struct http_request b;
	assert_int_equal(find("GET", "/projects/p/branches/b", &b, &match, allow), HTTP_MATCH_FOUND);
	assert_string_equal(match.route->target, "branch");
	assert_int_equal(match.parameter_count, 2);
	assert_string_equal(match.parameters[0], "p");
	assert_string_equal(match.parameters[1], "b");
}

static void tells_wrong_path_from_wrong_method(void **state)
{
	(void)state;
	static const struct {
		const char *method, *uri;
		enum http_match_result result;
	} cases[] = {
		{ "DELETE", "/projects", HTTP_MATCH_NO_METHOD },
		{ "get", "/projects", HTTP_MATCH_NO_METHOD },
		{ "GET", "/projects/", HTTP_MATCH_NO_PATH },
		{ "GET", "//projects", HTTP_MATCH_NO_PATH },
		{ "GET", "/", HTTP_MATCH_NO_PATH },
		{ "GET", "/projects/p/branches", HTTP_MATCH_NO_PATH },
		{ "GET", "/projects/p/branches/b/c", HTTP_MATCH_NO_PATH },
		/* an encoded slash is no separator */
		{ "GET", "/projects/p%2Fbranches%2Fb/x", HTTP_MATCH_NO_PATH },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char allow[HTTP_ALLOW_MAX];
		struct http_match match;
		CLEANUP(http_request_done) struct http_request r;
		if (find(cases[i].method, cases[i].uri, &r, &match, allow) != cases[i].result)
			fail_msg("%s %s", cases[i].method, cases[i].uri);
		if (cases[i].result == HTTP_MATCH_NO_METHOD)
			assert_string_equal(allow, "GET, POST");
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_first_that_fits),
		cmocka_unit_test(tells_wrong_path_from_wrong_method),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
