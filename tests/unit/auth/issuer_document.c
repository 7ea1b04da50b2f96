/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "auth/issuer_document.h"

#define ISSUER "https://idp.example.com/tenant"

static void knows_where_the_document_is(void **state)
{
	(void)state;
	static const char *const pairs[][2] = {
		{ "https://idp.example.com", "https://idp.example.com/.well-known/openid-configuration" },
		{ "https://idp.example.com/", "https://idp.example.com/.well-known/openid-configuration" },
		{ ISSUER, ISSUER "/.well-known/openid-configuration" },
	};
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		CLEANUP(free_text) char *url = issuer_document_url(pairs[i][0]);
		assert_string_equal(url, pairs[i][1]);
	}
}

static void wants_issuers_that_can_be_trusted(void **state)
{
	(void)state;
	struct error err;
	static const char *const good[] = { ISSUER, "https://10.0.0.1:8443/realms/a", "http://127.0.0.1:9000",
		"http://localhost", "http://[::1]:80/x", "https://a.b/%7Euser" };
	static const char *const bad[] = { "", "idp.example.com", "http://idp.example.com", "http://10.0.0.1",
		"file:///etc/passwd", "ftp://idp.example.com", "https://", "https:///x", ISSUER "?a=b",
		ISSUER "#a", "https://user@idp.example.com", "https://user:word@idp.example.com",
		"https://idp.example.com:0", "https://idp.example.com:99999",
		"https://idp.example.com\\@evil.example", "https://a b/", "https://a/\n", "https://a/%zz",
		"http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://[::2]/",
		"https://[::1", "https://[1]/", "HTTPS://idp.example.com" };
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		if (issuer_check(good[i], &err) != STATUS_OK)
			fail_msg("%s %s", good[i], err.message);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (issuer_check(bad[i], &err) != STATUS_INVALID)
			fail_msg("%s was accepted", bad[i]);
	CLEANUP(free_text) char *keys = xasprintf("%s/keys?tenant=a&p=b", ISSUER);
	assert_int_equal(issuer_keys_url_check(keys, &err), STATUS_OK);
	assert_int_equal(issuer_check(keys, &err), STATUS_INVALID);
}

static void finds_the_keys_of_the_issuer_only(void **state)
{
	(void)state;
	static const struct {
		const char *issuer, *document, *keys_url; /* NULL: refused */
	} cases[] = {
		{ ISSUER, "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"https://keys.example.net/k?p=1\"}",
		        "https://keys.example.net/k?p=1" },
		{ "http://127.0.0.1:9",
		        "{\"jwks_uri\":\"http://127.0.0.1:9/k\",\"issuer\":\"http://127.0.0.1:9\"}",
		        "http://127.0.0.1:9/k" },
		{ ISSUER, "{\"issuer\":\"" ISSUER "/\",\"jwks_uri\":\"https://a/k\"}", NULL },
		{ ISSUER, "{\"issuer\":\"https://evil.example\",\"jwks_uri\":\"https://a/k\"}", NULL },
		{ ISSUER, "{\"issuer\":\"" ISSUER "\\u0000\",\"jwks_uri\":\"https://a/k\"}", NULL },
		{ ISSUER, "{\"jwks_uri\":\"https://a/k\"}", NULL },
		{ ISSUER, "{\"issuer\":\"" ISSUER "\"}", NULL },
		{ ISSUER, "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":7}", NULL },
		{ ISSUER, "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"http://idp.example.com/k\"}", NULL },
		{ ISSUER, "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"file:///etc/passwd\"}", NULL },
		{ ISSUER, "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"https://a/k\\u0000\"}", NULL },
		/* Into this machine. */
		{ ISSUER, "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"http://127.0.0.1:8080/k\"}", NULL },
		{ ISSUER, "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"https://localhost/k\"}", NULL },
		{ ISSUER, "[]", NULL },
		{ ISSUER, "", NULL },
		{ ISSUER, "<html>", NULL },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err;
		CLEANUP(free_text) char *url = NULL;
		status st = issuer_document_parse(
		        slice_from_text(cases[i].document), cases[i].issuer, &url, &err);
		if (cases[i].keys_url) {
			assert_int_equal(st, STATUS_OK);
			assert_string_equal(url, cases[i].keys_url);
		} else if (st != STATUS_INVALID || url) {
			fail_msg("%s was accepted", cases[i].document);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_where_the_document_is),
		cmocka_unit_test(wants_issuers_that_can_be_trusted),
		cmocka_unit_test(finds_the_keys_of_the_issuer_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
