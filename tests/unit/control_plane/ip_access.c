/* IP access lists: what the calls take and say, who is let in, and that nobody locks himself out. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>

#include "control_fixture.h"
#include "control_plane/api.h"
#include "control_plane/ip_access.h"
#include "http/request.h"
#include "http/response.h"

#define ADMIN "Bearer dapi00000000000000000000000000000000"
#define LISTS "/api/2.0/ip-access-lists"
#define CONF  "/api/2.0/workspace-conf"

static int changes;

static void note_change(void *owner)
{
	(void)owner;
	changes++;
}

static int set_up(void **state)
{
	int rc = control_fixture_set_up(state);
	struct control_fixture *f = *state;
	struct error err;
	changes = 0;
	assert_int_equal(
	        ip_access_open(f->services.md, note_change, NULL, &f->services.access, &err), STATUS_OK);
	return rc;
}

static int tear_down(void **state)
{
	struct control_fixture *f = *state;
	f->services.access = ip_access_free(f->services.access);
	return control_fixture_tear_down(state);
}

/* A call from an address, perhaps through a proxy; its status. *ret_body, when wanted, is the caller's. */
static int call_from(struct control_fixture *f, const char *peer, const char *forwarded_for,
        const char *method, const char *uri, const char *body, char **ret_body)
{
	struct http_request request = { .authorization = xstrdup(ADMIN) };
	CLEANUP(http_response_done) struct http_response response = { 0 };
	struct error err;
	(void)snprintf(request.method, sizeof request.method, "%s", method);
	(void)snprintf(request.peer, sizeof request.peer, "%s", peer);
	assert_int_equal(http_request_parse_uri(&request, uri, &err), STATUS_OK);
	request.is_forwarded = forwarded_for != NULL;
	request.forwarded_for = forwarded_for && *forwarded_for ? xstrdup(forwarded_for) : NULL;
	if (body)
		buffer_append_text(&request.body, body);
	api_handle(&f->services, &request, &response);
	http_request_done(&request);
	if (ret_body)
		*ret_body = xstrndup(response.body ? response.body : "", response.body_len);
	return response.status;
}

static int from(struct control_fixture *f, const char *peer)
{
	return call_from(f, peer, NULL, "GET", "/api/2.0/postgres/projects", NULL, NULL);
}

static int through(struct control_fixture *f, const char *forwarded_for)
{
	return call_from(f, "127.0.0.1", forwarded_for, "GET", "/api/2.0/postgres/projects", NULL, NULL);
}

static void create(struct control_fixture *f, const char *type, const char *addresses)
{
	CLEANUP(free_text)
	char *body =
	        xasprintf("{\"label\":\"l\",\"list_type\":\"%s\",\"ip_addresses\":[%s]}", type, addresses);
	assert_int_equal(call_from(f, "127.0.0.1", NULL, "POST", LISTS, body, NULL), 200);
}

static void enforce(struct control_fixture *f, const char *value)
{
	CLEANUP(free_text) char *body = xasprintf("{\"enableIpAccessLists\":\"%s\"}", value);
	assert_int_equal(call_from(f, "127.0.0.1", NULL, "PATCH", CONF, body, NULL), 204);
}

static void expect_from(struct control_fixture *f, const char *peer, const char *method, const char *uri,
        const char *body, int answer, const char *part)
{
	CLEANUP(free_text) char *text = NULL;
	int got = call_from(f, peer, NULL, method, uri, body, &text);
	if (got != answer || !strstr(text ? text : "", part))
		fail_msg("%s %s from %s: %d, %s", method, uri, peer, got, text ? text : "");
}

static void test_who_is_let_in(void **state)
{
	struct control_fixture *f = *state;
	create(f, "BLOCK", "\"198.51.100.7\",\"2001:db8:bad::/48\"");
	create(f, "ALLOW", "\"198.51.100.0/24\"");
	create(f, "ALLOW", "\"203.0.113.5\",\"2001:db8::/32\"");
	assert_int_equal(changes, 3);
	assert_int_equal(from(f, "192.0.2.1"), 200); /* they do not count yet */
	enforce(f, "true");
	assert_int_equal(changes, 4);
	assert_int_equal(from(f, "198.51.100.1"), 200);
	assert_int_equal(from(f, "198.51.100.7"), 403); /* blocked comes first */
	assert_int_equal(from(f, "203.0.113.5"), 200);
	assert_int_equal(from(f, "203.0.113.6"), 403);
	assert_int_equal(from(f, "2001:db8::1"), 200);
	assert_int_equal(from(f, "2001:db8:bad::1"), 403);
	assert_int_equal(from(f, "::ffff:203.0.113.5"), 200);
	assert_int_equal(from(f, "127.0.0.1"), 200);
	assert_int_equal(from(f, "::1"), 200);
	assert_int_equal(from(f, ""), 403);
	/* Everything but the health of the machine, before anybody is asked who he is. */
	static const char *const paths[] = { "/oidc/.well-known/oauth-authorization-server",
		"/oidc/jwks.json", "/.well-known/databricks-config", "/metrics", "/nowhere" };
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		assert_int_equal(call_from(f, "192.0.2.1", NULL, "GET", paths[i], NULL, NULL), 403);
	assert_int_equal(
	        call_from(f, "192.0.2.1", NULL, "POST", "/oidc/v1/token", "grant_type=x", NULL), 403);
	assert_int_not_equal(call_from(f, "192.0.2.1", NULL, "GET", "/healthz", NULL, NULL), 403);
	expect_from(f, "192.0.2.1", "GET", "/api/2.0/postgres/projects", NULL, 403, "\"PERMISSION_DENIED\"");
	expect_from(f, "192.0.2.1", "GET", "/api/2.0/postgres/projects", NULL, 403,
	        "Source IP address: 192.0.2.1 is blocked by the IP access lists of workspace: "
	        "1234567890123456");
	struct http_request big = { .method = "POST", .peer = "192.0.2.1", .authorization = xstrdup(ADMIN) };
	struct error err;
	assert_int_equal(http_request_parse_uri(&big, LISTS, &err), STATUS_OK);
	assert_int_equal(api_body_limit(&f->services, &big), 0); /* nothing of it is kept */
	http_request_done(&big);
	enforce(f, "false");
	assert_int_equal(from(f, "192.0.2.1"), 200);
}

static void test_proxies_in_between(void **state)
{
	struct control_fixture *f = *state;
	create(f, "ALLOW", "\"198.51.100.0/24\",\"2001:db8::/32\"");
	enforce(f, "true");
	static const struct {
		const char *forwarded_for;
		int answer;
	} table[] = {
		{ "198.51.100.1", 200 },
		{ "192.0.2.1", 403 },
		{ "198.51.100.1, 192.0.2.1", 403 }, /* only the last one was seen by the proxy */
		{ "192.0.2.1,198.51.100.1", 200 },
		{ " 198.51.100.1 ", 200 },
		{ "198.51.100.1:4711", 200 },
		{ "[2001:db8::1]:4711", 200 },
		{ "2001:db8::1", 200 },
		{ "[2001:db9::1]", 403 },
		{ "127.0.0.1",
		        403 }, /* two proxies on this machine: whom the first one has seen is not told */
		{ "198.51.100.1, ::1", 403 },
		{ "", 403 }, /* Via only: nobody knows */
		{ "unknown", 403 },
		{ "198.51.100.1,", 403 },
		{ "198.51.100.1, bogus", 403 },
		{ "[", 403 },
		{ "[198.51.100.1", 403 },
		{ "::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::",
		        403 },
	};
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (through(f, table[i].forwarded_for) != table[i].answer)
			fail_msg("\"%s\" is not answered %d", table[i].forwarded_for, table[i].answer);
	/* From elsewhere headers say nothing. */
	assert_int_equal(
	        call_from(f, "192.0.2.1", "198.51.100.1", "GET", "/api/2.0/postgres/projects", NULL, NULL),
	        403);
	assert_int_equal(
	        call_from(f, "198.51.100.1", "192.0.2.1", "GET", "/api/2.0/postgres/projects", NULL, NULL),
	        200);
}

#define LIST(type, addresses) "{\"label\":\"l\",\"list_type\":\"" type "\",\"ip_addresses\":[" addresses "]}"

static void test_nobody_locks_himself_out(void **state)
{
	struct control_fixture *f = *state;
	const char *me = "198.51.100.1";
	expect_from(f, me, "POST", LISTS, LIST("ALLOW", "\"203.0.113.5\""), 400, "\"INVALID_STATE\"");
	expect_from(f, me, "POST", LISTS, LIST("BLOCK", "\"198.51.100.0/24\""), 400,
	        "this would block your own IP address: 198.51.100.1");
	assert_int_equal(changes, 0);
	CLEANUP(free_text) char *made = NULL;
	assert_int_equal(
	        call_from(f, me, NULL, "POST", LISTS, LIST("ALLOW", "\"198.51.100.0/24\""), &made), 200);
	yyjson_doc *doc = yyjson_read(made, strlen(made), 0);
	const char *id = yyjson_get_str(yyjson_ptr_get(yyjson_doc_get_root(doc), "/ip_access_list/list_id"));
	CLEANUP(free_text) char *uri = xasprintf(LISTS "/%s", id ? id : "");
	yyjson_doc_free(doc);
	expect_from(f, me, "PATCH", CONF, "{\"enableIpAccessLists\":\"true\"}", 204, "");
	expect_from(f, me, "PATCH", uri, "{\"list_type\":\"BLOCK\"}", 400, "INVALID_STATE");
	expect_from(f, me, "PATCH", uri, "{\"ip_addresses\":[\"203.0.113.5\"]}", 400, "INVALID_STATE");
	expect_from(f, me, "PUT", uri, LIST("ALLOW", "\"203.0.113.5\""), 400, "INVALID_STATE");
	create(f, "ALLOW", "\"203.0.113.5\"");
	expect_from(f, me, "DELETE", uri, NULL, 400, "INVALID_STATE"); /* the other list would remain */
	expect_from(f, me, "PATCH", uri, "{\"enabled\":false}", 400, "INVALID_STATE");
	expect_from(f, "203.0.113.5", "DELETE", uri, NULL, 200, "{}");
	assert_int_equal(from(f, me), 403);
	/* This machine can do all that, and so can lock out everybody else. */
	create(f, "BLOCK", "\"0.0.0.0/0\",\"::/0\"");
	assert_int_equal(from(f, "203.0.113.5"), 403);
	assert_int_equal(from(f, "127.0.0.1"), 200);
	/* While lists do not count, who would be locked out can still put things right, but cannot switch them on. */
	enforce(f, "false");
	expect_from(f, me, "PATCH", CONF, "{\"enableIpAccessLists\":\"true\"}", 400, "INVALID_STATE");
	expect_from(f, me, "POST", LISTS, LIST("ALLOW", "\"198.51.100.1\""), 200, "list_id");
}

static void test_calls(void **state)
{
	struct control_fixture *f = *state;
	call_raw(f, "GET", LISTS, NULL, ADMIN);
	assert_int_equal(f->http_status, 200);
	assert_true(has(f, "/ip_access_lists") && !has(f, "/ip_access_lists/0"));
	call_raw(f, "POST", LISTS,
	        "{\"label\":\"office\",\"list_type\":\"ALLOW\",\"ip_addresses\":[\"198.51.100.77/24\",\"2001:"
	        "DB8::1\"]}",
	        ADMIN);
	assert_int_equal(f->http_status, 200);
	CLEANUP(free_text) char *uri = xasprintf(LISTS "/%s", text_at(f, "/ip_access_list/list_id"));
	assert_string_equal(
	        text_at(f, "/ip_access_list/ip_addresses/0"), "198.51.100.77/24"); /* as it was written */
	assert_int_equal(yyjson_get_int(yyjson_ptr_get(f->json, "/ip_access_list/address_count")), 2);
	assert_true(yyjson_get_bool(yyjson_ptr_get(f->json, "/ip_access_list/enabled")));
	assert_true(yyjson_get_sint(yyjson_ptr_get(f->json, "/ip_access_list/created_at")) > 1600000000000);
	assert_true(yyjson_get_sint(yyjson_ptr_get(f->json, "/ip_access_list/created_by")) > 0);
	call_raw(f, "PATCH", uri, "{\"enabled\":false}", ADMIN);
	assert_int_equal(f->http_status, 200);
	call_raw(f, "GET", uri, NULL, ADMIN);
	assert_string_equal(text_at(f, "/ip_access_list/label"), "office");
	assert_false(yyjson_get_bool(yyjson_ptr_get(f->json, "/ip_access_list/enabled")));
	call_raw(f, "PUT", uri,
	        "{\"label\":\"home\",\"list_type\":\"BLOCK\",\"enabled\":true,\"ip_addresses\":[\"203.0.113."
	        "5\"]}",
	        ADMIN);
	call_raw(f, "GET", LISTS, NULL, ADMIN);
	assert_string_equal(text_at(f, "/ip_access_lists/0/label"), "home");
	assert_string_equal(text_at(f, "/ip_access_lists/0/list_type"), "BLOCK");
	assert_true(has(f, "/ip_access_lists/0") && !has(f, "/ip_access_lists/1"));
	call_raw(f, "DELETE", uri, NULL, ADMIN);
	assert_int_equal(f->http_status, 200);
	call_raw(f, "DELETE", uri, NULL, ADMIN);
	expect_error(f, 404, "NOT_FOUND", "there is no IP access list");
	call_raw(f, "GET", CONF "?keys=enableIpAccessLists", NULL, ADMIN);
	assert_true(has(f, "/enableIpAccessLists") &&
	            yyjson_is_null(yyjson_ptr_get(f->json, "/enableIpAccessLists")));
	enforce(f, "true");
	call_raw(f, "GET", CONF "?keys=enableIpAccessLists,enableIpAccessLists", NULL, ADMIN);
	assert_string_equal(text_at(f, "/enableIpAccessLists"), "true");
	enforce(f, ""); /* Terraform */
	call_raw(f, "GET", CONF "?keys=enableIpAccessLists", NULL, ADMIN);
	assert_string_equal(text_at(f, "/enableIpAccessLists"), "false");
	call_raw(f, "GET", CONF "?keys=enableWebTerminal", NULL, ADMIN);
	expect_error(f, 400, "BAD_REQUEST", "Invalid keys");
	call_raw(f, "GET", CONF, NULL, ADMIN);
	expect_error(f, 400, "BAD_REQUEST", "parameter 'keys' is required");
}

static void test_bad_requests(void **state)
{
	struct control_fixture *f = *state;
	static const struct {
		const char *body, *message;
	} table[] = {
		{ "{}", "Field 'label' is required." },
		{ "{\"label\":\"l\",\"list_type\":\"ALLOW\"}", "Field 'ip_addresses' is required." },
		{ "{\"label\":\"\",\"list_type\":\"ALLOW\",\"ip_addresses\":[\"1.2.3.4\"]}",
		        "Field 'label' is required." },
		{ LIST("WHITELIST", "\"1.2.3.4\""), "Field 'list_type' must be ALLOW or BLOCK" },
		{ LIST("ALLOW", ""), "Field 'ip_addresses' must have at least one" },
		{ "{\"label\":\"l\",\"list_type\":\"ALLOW\",\"ip_addresses\":\"1.2.3.4\"}",
		        "Field 'ip_addresses' must be a list." },
		{ LIST("ALLOW", "\"1.2.3.4\",\"1.2.3\""), "Field 'ip_addresses[1]' must be an IP address" },
		{ LIST("ALLOW", "7"), "Field 'ip_addresses[0]' must be" },
		{ LIST("ALLOW", "\"1.2.3.4\\u0000\""), "Field 'ip_addresses[0]' must be" },
		{ "{\"label\":\"l\",\"list_type\":\"ALLOW\",\"enabled\":\"yes\",\"ip_addresses\":[\"1.2.3."
		  "4\"]}",
		        "Field 'enabled' must be" },
	};
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		call_raw(f, "POST", LISTS, table[i].body, ADMIN);
		expect_error(f, 400, "INVALID_PARAMETER_VALUE", table[i].message);
	}
	call_raw(f, "PATCH", CONF, "{\"enableIpAccessLists\":true}", ADMIN);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'enableIpAccessLists'");
	call_raw(
	        f, "PATCH", CONF, "{\"enableIpAccessLists\":\"true\",\"enableWebTerminal\":\"true\"}", ADMIN);
	expect_error(f, 400, "BAD_REQUEST", "Invalid keys");
	call_raw(f, "GET", CONF "?keys=enableIpAccessLists", NULL, ADMIN);
	assert_true(yyjson_is_null(yyjson_ptr_get(f->json, "/enableIpAccessLists"))); /* all or nothing */
	assert_int_equal(changes, 0);
	call_raw(f, "GET", LISTS, NULL, "Bearer nobody");
	assert_int_equal(f->http_status, 401);
}

static void test_there_is_an_end_to_addresses(void **state)
{
	struct control_fixture *f = *state;
	CLEANUP(buffer_done) struct buffer list = { 0 };
	for (int i = 0; i < IP_ACCESS_MAX - 1; i++)
		buffer_printf(&list, "%s\"10.0.%d.%d\"", i > 0 ? "," : "", i / 256, i % 256);
	create(f, "BLOCK", list.data);
	create(f, "BLOCK", "\"10.1.0.1\"");
	call_raw(f, "POST", LISTS, LIST("BLOCK", "\"10.1.0.2\""), ADMIN);
	expect_error(f, 400, "QUOTA_EXCEEDED", "all IP access lists together can have 1000 addresses");
	assert_int_equal(changes, 2);
}

/* What was committed is what a new process goes by. */
static void test_a_restart_changes_nothing(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	create(f, "ALLOW", "\"198.51.100.0/24\"");
	enforce(f, "true");
	f->services.access = ip_access_free(f->services.access);
	control_fixture_crash(f);
	assert_int_equal(ip_access_open(f->services.md, NULL, NULL, &f->services.access, &err), STATUS_OK);
	assert_int_equal(from(f, "198.51.100.1"), 200);
	assert_int_equal(from(f, "192.0.2.1"), 403);
	create(f, "BLOCK", "\"198.51.100.1\"");
	assert_int_equal(from(f, "198.51.100.1"), 403);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_who_is_let_in),
		TEST(test_proxies_in_between),
		TEST(test_nobody_locks_himself_out),
		TEST(test_calls),
		TEST(test_bad_requests),
		TEST(test_there_is_an_end_to_addresses),
		TEST(test_a_restart_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
