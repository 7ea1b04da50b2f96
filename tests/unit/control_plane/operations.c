/* What all calls have in common: they are audited, counted and limited. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <glob.h>
#include <stdlib.h>

#include "base/file.h"
#include "control_fixture.h"
#include "control_plane/api.h"
#include "control_plane/audit_trail.h"
#include "control_plane/health.h"
#include "control_plane/metrics.h"
#include "control_plane/metrics_access.h"
#include "control_plane/request_limit.h"
#include "metadata/branch_row.h"

#define GOOD "Bearer dapi00000000000000000000000000000000"

static int set_up(void **state)
{
	struct error err;
	int failed = control_fixture_set_up(state);
	struct control_fixture *f = *state;
	static char access[] = "loopback";
	struct settings *settings = &f->dd.settings;
	settings->audit_file_mb = settings->audit_total_mb = settings->audit_retention_days = 10;
	settings->requests_per_sec = 1000;
	settings->failures_per_min = 5;
	settings->metrics_access = access;
	f->services.metrics = metrics_create();
	f->services.limits = request_limits_create(settings);
	f->services.health = health_create();
	assert_int_equal(audit_trail_open(&f->loop, &f->dd, &f->services.audit, &err), STATUS_OK);
	assert_int_equal(metrics_access_prepare(&f->dd, &err), STATUS_OK);
	return failed;
}

static int tear_down(void **state)
{
	struct control_fixture *f = *state;
	audit_trail_close(f->services.audit);
	f->services.audit = NULL;
	metrics_free(f->services.metrics);
	request_limits_free(f->services.limits);
	health_free(f->services.health);
	return control_fixture_tear_down(state);
}

/* The lines of the trail, parsed; each belongs to the caller. */
struct lines {
	yyjson_doc *docs[64];
	size_t count;
};

static void read_lines(const struct control_fixture *f, struct lines *ret)
{
	CLEANUP(free_text) char *pattern = xasprintf("%s/audit/*.jsonl", f->folder);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct error err;
	glob_t found;
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	assert_int_equal(found.gl_pathc, 1);
	assert_int_equal(file_read(found.gl_pathv[0], 1 << 20, &text, &err), STATUS_OK);
	globfree(&found);
	*ret = (struct lines){ 0 };
	for (char *line = text.data, *end; line && (end = strchr(line, '\n')); line = end + 1) {
		yyjson_doc *doc = yyjson_read(line, (size_t)(end - line), 0);
		assert_non_null(doc);
		assert_true(ret->count < ARRAY_LEN(ret->docs));
		ret->docs[ret->count++] = doc;
	}
}

static void lines_done(struct lines *lines)
{
	for (size_t i = 0; i < lines->count; i++)
		yyjson_doc_free(lines->docs[i]);
}

static const char *field(const struct lines *lines, size_t i, const char *pointer)
{
	assert_true(i < lines->count);
	const char *text = yyjson_get_str(yyjson_doc_ptr_get(lines->docs[i], pointer));
	return text ? text : "";
}

static int64_t number(const struct lines *lines, size_t i, const char *pointer)
{
	assert_true(i < lines->count);
	return yyjson_get_sint(yyjson_doc_ptr_get(lines->docs[i], pointer));
}

static void every_change_is_audited(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p&secret=hunter2",
	        "{\"spec\":{\"display_name\":\"hunter2\"}}");
	call_api(f, "GET", "/projects/p", NULL);
	call_api(f, "POST", "/projects?project_id=p", "{}");
	expect_error(f, 409, "ALREADY_EXISTS", "");
	call_raw(f, "GET", "/api/2.0/postgres/projects", NULL, "Bearer nonsense");
	call_raw(f, "DELETE", "/api/2.0/postgres/projects/p?purge=true", NULL, NULL);
	call_api(f, "PUT", "/nowhere", "{}");
	call_api(f, "POST", "/credentials",
	        "{\"endpoint\":\"projects/p/branches/production/endpoints/primary\"}");
	assert_int_equal(f->http_status, 200);

	CLEANUP(lines_done) struct lines lines;
	read_lines(f, &lines);
	assert_int_equal(lines.count, 7);
	size_t i = 0;
	assert_string_equal(field(&lines, i, "/event"), "call");
	assert_int_equal(number(&lines, i, "/version"), 1);
	assert_string_equal(field(&lines, i, "/login"), "alice@example.com");
	assert_string_equal(field(&lines, i, "/method"), "POST");
	assert_string_equal(field(&lines, i, "/resource"), "projects");
	assert_string_equal(field(&lines, i, "/parameters/project_id"), "p");
	assert_string_equal(field(&lines, i, "/parameters/secret"), "");
	assert_string_equal(field(&lines, i, "/trace_id"), "0123456789abcdef0123456789abcdef");
	assert_string_equal(field(&lines, i, "/address"), "127.0.0.1");
	assert_string_equal(field(&lines, i, "/user_agent"), "unit ??"
	                                                     "?/1"); /* not UTF-8 as it came */
	assert_int_equal(number(&lines, i, "/status"), 200);
	assert_int_equal(strncmp(field(&lines, i, "/operation"), "projects/p/operations/", 22), 0);
	CLEANUP(free_text) char *operation = xstrdup(field(&lines, i, "/operation"));

	i++; /* how it ended */
	assert_string_equal(field(&lines, i, "/event"), "operation");
	assert_string_equal(field(&lines, i, "/kind"), "PROJECT_CREATE");
	assert_string_equal(field(&lines, i, "/operation"), operation);
	assert_string_equal(field(&lines, i, "/result"), "done");
	assert_string_equal(field(&lines, i, "/login"), "alice@example.com");

	i++; /* refused: by what it asked for, by who asked, for where it went */
	assert_int_equal(number(&lines, i, "/status"), 409);
	assert_string_equal(field(&lines, i, "/error_code"), "ALREADY_EXISTS");
	i++;
	assert_int_equal(number(&lines, i, "/status"), 401);
	assert_string_equal(field(&lines, i, "/method"), "GET");
	assert_string_equal(field(&lines, i, "/login"), "");
	i++;
	assert_int_equal(number(&lines, i, "/status"), 401);
	assert_string_equal(field(&lines, i, "/method"), "DELETE");
	assert_string_equal(field(&lines, i, "/resource"), "projects/p");
	assert_string_equal(field(&lines, i, "/parameters/purge"), "true");
	i++;
	assert_int_equal(number(&lines, i, "/status"), 404);
	assert_string_equal(field(&lines, i, "/resource"), "nowhere");
	i++; /* a secret was given out: that, but not which */
	assert_string_equal(field(&lines, i, "/resource"), "credentials");

	CLEANUP(free_text) char *pattern = xasprintf("%s/audit/*.jsonl", f->folder);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct error err;
	glob_t found;
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	assert_int_equal(file_read(found.gl_pathv[0], 1 << 20, &text, &err), STATUS_OK);
	globfree(&found);
	assert_null(strstr(text.data, "hunter2"));
	assert_null(strstr(text.data, "dapi"));
	assert_null(strstr(text.data, "eyJ"));
}

static const char *metrics_of(struct control_fixture *f, const char *host, const char *authorization)
{
	static char text[256 << 10];
	struct error err;
	CLEANUP(http_request_done) struct http_request request = { .method = "GET", .peer = "127.0.0.1" };
	CLEANUP(http_response_done) struct http_response response = { 0 };
	assert_int_equal(http_request_parse_uri(&request, "/metrics", &err), STATUS_OK);
	request.authorization = authorization ? xstrdup(authorization) : NULL;
	request.host = host ? xstrdup(host) : NULL;
	api_handle(&f->services, &request, &response);
	f->http_status = response.status;
	assert_true(response.body_len < sizeof text);
	memcpy(text, response.body, response.body_len);
	text[response.body_len] = '\0';
	return text;
}

static const char *metrics(struct control_fixture *f, const char *authorization)
{
	return metrics_of(f, "127.0.0.1:8080", authorization);
}

static void expect_line(const char *text, const char *line)
{
	CLEANUP(free_text) char *whole = xasprintf("\n%s\n", line);
	if (!strstr(text, whole))
		fail_msg("no \"%s\" in:\n%s", line, text);
}

static void calls_and_operations_are_counted(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", "{}");
	perform(f, "PATCH", "/projects/p?update_mask=spec.display_name",
	        "{\"spec\":{\"display_name\":\"x\"}}");
	call_api(f, "GET", "/projects/p", NULL);
	call_api(f, "GET", "/projects/other", NULL);
	call_api(f, "GET", "/no/such/path", NULL);
	call_raw(f, "BREW", "/coffee", NULL, NULL);
	const char *text = metrics(f, NULL);
	assert_int_equal(f->http_status, 200);
	expect_line(text, "tarn_http_requests_total{method=\"POST\",route=\"/api/2.0/postgres/"
	                  "projects\",code=\"200\"} 1");
	expect_line(text, "tarn_http_requests_total{method=\"GET\",route=\"/api/2.0/postgres/projects/"
	                  "{}\",code=\"200\"} 1");
	expect_line(text, "tarn_http_requests_total{method=\"GET\",route=\"/api/2.0/postgres/projects/"
	                  "{}\",code=\"404\"} 1");
	expect_line(text, "tarn_http_requests_total{method=\"GET\",route=\"\",code=\"404\"} 1");
	expect_line(text, "tarn_http_requests_total{method=\"OTHER\",route=\"\",code=\"404\"} 1");
	expect_line(text, "tarn_http_request_duration_seconds_count{method=\"GET\",route=\"/api/2.0/postgres/"
	                  "projects/{}\"} 2");
	expect_line(text, "tarn_operations_total{kind=\"PROJECT_CREATE\",result=\"done\"} 1");
	expect_line(text, "tarn_operations_total{kind=\"PROJECT_UPDATE\",result=\"done\"} 1");
	expect_line(text, "tarn_operations_total{kind=\"PROJECT_UPDATE\",result=\"failed\"} 0");
	expect_line(text, "tarn_operations_open 0");
	expect_line(text, "tarn_projects 1");
	expect_line(text, "tarn_branches 1");
	expect_line(text, "tarn_endpoints 1");
	expect_line(text, "tarn_computes{state=\"running\"} 1");
	assert_null(strstr(text, "coffee"));
}

static void poolers_are_told_of_while_they_run(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", "{}");
	const char *text = metrics(f, NULL);
	expect_line(text, "tarn_pooler_clients_ended_total 42");
	assert_null(strstr(text, "tarn_pooler_clients{"));

	call_api(f, "GET", "/projects/p/branches/production/endpoints/primary", NULL);
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));
	machine_set_poolers(&(struct fleet_pooler){ .pid = 1,
	        .connections = 185,
	        .clients = 64,
	        .waiting = 3,
	        .longest_wait_usec = 1500000,
	        .servers_active = 5,
	        .servers_idle = 6,
	        .queries = 7,
	        .wait_usec = 250000 });
	text = metrics(f, NULL);
	static const struct {
		const char *name, *label, *value;
	} lines[] = { { "tarn_pooler_clients", "", "64" }, { "tarn_pooler_clients_waiting", "", "3" },
		{ "tarn_pooler_longest_wait_seconds", "", "1.5" },
		{ "tarn_pooler_connections", ",state=\"active\"", "5" },
		{ "tarn_pooler_connections", ",state=\"idle\"", "6" },
		{ "tarn_pooler_connections_max", "", "185" }, { "tarn_pooler_queries_total", "", "7" },
		{ "tarn_pooler_wait_seconds_total", "", "0.25" } };
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		CLEANUP(free_text)
		char *line = xasprintf(
		        "%s{endpoint=\"%s\"%s} %s", lines[i].name, uid, lines[i].label, lines[i].value);
		expect_line(text, line);
	}
	/* One head for each name, also where it has several lines. */
	const char *head = strstr(text, "# TYPE tarn_pooler_connections gauge");
	assert_non_null(head);
	assert_null(strstr(head + 1, "# TYPE tarn_pooler_connections gauge"));
}

static void metrics_want_a_token_from_outside(void **state)
{
	struct control_fixture *f = *state;
	static char token_only[] = "token";
	struct error err;
	CLEANUP(free_text) char *path = xasprintf("%s/metrics.token", f->folder);
	CLEANUP(buffer_done) struct buffer token = { 0 };
	assert_int_equal(file_read(path, 100, &token, &err), STATUS_OK);
	assert_int_equal(token.len, 33);
	token.data[32] = '\0';
	CLEANUP(free_text) char *good = xasprintf("Bearer %s", token.data);
	static const char *const own[] = { "localhost:8080", "LOCALHOST", "[::1]:8080", "127.0.0.1", NULL };
	static const char *const foreign[] = { "evil.example:8080", "localhost.evil.example" };
	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		(void)metrics_of(f, own[i], NULL);
		assert_int_equal(f->http_status, 200);
	}
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++) { /* by DNS rebinding */
		(void)metrics_of(f, foreign[i], NULL);
		if (f->http_status != 401)
			fail_msg("%s: %d", foreign[i], f->http_status);
		(void)metrics_of(f, foreign[i], good);
		assert_int_equal(f->http_status, 200);
	}
	f->dd.settings.metrics_access = token_only;
	(void)metrics(f, NULL);
	assert_int_equal(f->http_status, 401);
	(void)metrics(f, "Bearer ffffffffffffffffffffffffffffffff");
	assert_int_equal(f->http_status, 401);
	(void)metrics(f, good);
	assert_int_equal(f->http_status, 200);
	(void)metrics(f, GOOD); /* an administrator's */
	assert_int_equal(f->http_status, 200);
	call_raw(f, "GET", "/api/2.0/postgres/projects", NULL, good); /* it is good for nothing else */
	expect_error(f, 401, "UNAUTHENTICATED", "");
}

static void bad_tokens_are_limited_and_good_ones_are_not(void **state)
{
	struct control_fixture *f = *state;
	for (int i = 0; i < 5; i++) {
		call_raw(f, "GET", "/api/2.0/postgres/projects", NULL, "Bearer nonsense");
		expect_error(f, 401, "UNAUTHENTICATED", "");
	}
	call_raw(f, "GET", "/api/2.0/postgres/projects", NULL, "Bearer nonsense");
	expect_error(f, 429, "REQUEST_LIMIT_EXCEEDED",
	        "too many failed attempts to authenticate: at most 5 per minute");
	assert_in_range(f->retry_after, 1, 12);
	call_api(f, "GET", "/projects", NULL);
	assert_int_equal(f->http_status, 200);
	assert_int_equal(request_limits_refused(f->services.limits), 1);
	for (int i = 0; i < 20; i++)
		call_raw(f, "GET", "/api/2.0/postgres/projects", NULL, "Bearer nonsense");
	CLEANUP(lines_done) struct lines lines;
	read_lines(f, &lines); /* a flood is one piece of news */
	size_t limited = 0;
	for (size_t i = 0; i < lines.count; i++)
		limited += number(&lines, i, "/status") == 429;
	assert_int_equal(limited, 1);
}

static void requests_are_limited_by_identity(void **state)
{
	struct control_fixture *f = *state;
	int served = 0;
	request_limits_free(f->services.limits);
	f->dd.settings.requests_per_sec = 1;
	f->services.limits = request_limits_create(&f->dd.settings);
	for (;; served++) { /* five at once, and one more in every second that passes */
		call_api(f, "GET", "/projects", NULL);
		if (f->http_status == 429)
			break;
	}
	expect_error(
	        f, 429, "REQUEST_LIMIT_EXCEEDED", "too many requests of this identity: at most 1 per second");
	assert_int_equal(f->retry_after, 1);
	assert_true(served >= 5);
	call_raw(f, "GET", "/healthz", NULL, NULL); /* others are not touched */
	assert_int_equal(f->http_status, 200);
}

static void bodies_are_for_those_who_may(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	static const struct {
		const char *path, *authorization;
		size_t max;
	} cases[] = {
		{ "/api/2.0/postgres/projects", GOOD, HTTP_BODY_MAX },
		{ "/api/2.0/postgres/projects", "Bearer x", 0 },
		{ "/api/2.0/postgres/projects", NULL, 0 },
		{ "/oidc/v1/token", NULL, 65536 },
		{ "/nowhere", GOOD, 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(http_request_done) struct http_request request = { .method = "POST" };
		assert_int_equal(http_request_parse_uri(&request, cases[i].path, &err), STATUS_OK);
		request.authorization = cases[i].authorization ? xstrdup(cases[i].authorization) : NULL;
		assert_int_equal(api_body_limit(&f->services, &request), cases[i].max);
	}
}

/* What a list costs is counted in statements, since the clock of a test tells nothing: none is prepared twice, none goes over all rows. */
static void lists_are_cheap_whatever_else_there_is(void **state)
{
	struct control_fixture *f = *state;
	enum { PROJECTS = 8 };
	f->dd.settings.projects = PROJECTS;
	for (int i = 0; i < PROJECTS; i++) {
		CLEANUP(free_text) char *path = xasprintf("/projects?project_id=p%d", i);
		perform(f, "POST", path, "{}");
	}
	static const struct {
		const char *path;
		uint64_t statements; /* at most */
	} lists[] = {
		{ "/projects", 3 + 2 * PROJECTS },
		{ "/projects?page_size=3", 3 + 2 * 3 },
		{ "/projects/p5/branches", 4 },
		{ "/projects/p5/branches/production/endpoints", 5 },
		{ "/projects/p5/branches/production/databases", 8 },
		{ "/projects/p5/branches/production/roles", 8 },
		{ "/projects/p5/snapshots", 4 },
		{ "/projects/p5", 5 },
	};
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct metadata_numbers before, after;
		call_api(f, "GET", lists[i].path, NULL);
		if (f->http_status == 0) /* held: the fixture does not wait for Postgres */
			continue;
		assert_int_equal(f->http_status, 200);
		metadata_look(f->services.md, &before);
		call_api(f, "GET", lists[i].path, NULL);
		metadata_look(f->services.md, &after);
		uint64_t opened = after.opened - before.opened;
		if (opened > lists[i].statements)
			fail_msg("%s runs %llu statements", lists[i].path, (unsigned long long)opened);
		if (after.prepared != before.prepared)
			fail_msg("%s prepares statements each time", lists[i].path);
		if (after.full_scan_steps != before.full_scan_steps)
			fail_msg("%s goes over %llu rows that it does not want", lists[i].path,
			        (unsigned long long)(after.full_scan_steps - before.full_scan_steps));
	}
}

/* The same for a mutation and the housekeeper's list, which is one statement for all. */
static void changes_go_over_no_table(void **state)
{
	struct control_fixture *f = *state;
	struct metadata_numbers before, after;
	struct error err;
	f->dd.settings.projects = 8;
	for (int i = 0; i < 6; i++) {
		CLEANUP(free_text) char *path = xasprintf("/projects?project_id=p%d", i);
		metadata_look(f->services.md, &before);
		perform(f, "POST", path, "{}");
	}
	metadata_look(f->services.md, &after); /* of the last one */
	assert_in_range(after.full_scan_steps - before.full_scan_steps, 0,
	        6); /* how many projects there are is counted */
	assert_int_equal(after.prepared, before.prepared);
	metadata_look(f->services.md, &before);
	CLEANUP(statement_done) struct statement st = { 0 };
	struct branch_upkeep upkeep;
	int count = 0;
	assert_int_equal(branch_row_list_upkeep(f->services.md, &st, &err), STATUS_OK);
	while (branch_upkeep_next(&st, &upkeep, &err) == STATUS_OK)
		count++;
	assert_int_equal(count, 6);
	metadata_look(f->services.md, &after);
	assert_int_equal(after.opened - before.opened, 1);
}

static void health_is_told_without_a_token(void **state)
{
	struct control_fixture *f = *state;
	call_raw(f, "GET", "/healthz", NULL, NULL);
	assert_int_equal(f->http_status, 200);
	assert_string_equal(text_at(f, "/status"), "ok");
	call_raw(f, "GET", "/readyz", NULL, NULL);
	assert_int_equal(f->http_status, 200);
	assert_true(yyjson_get_bool(yyjson_ptr_get(f->json, "/ready")));
	static const char *const checks[] = { "metadata", "reconciler", "disk", "proxy", "audit" };
	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		CLEANUP(free_text) char *pointer = xasprintf("/checks/%s/ok", checks[i]);
		yyjson_val *ok = yyjson_ptr_get(f->json, pointer);
		assert_true(yyjson_is_bool(ok));
		assert_true(
		        yyjson_get_bool(ok) == (strcmp(checks[i], "proxy") != 0)); /* there is none here */
	}
	f->machine->is_shutting_down = true; /* then no operation begins any more */
	call_raw(f, "GET", "/readyz", NULL, NULL);
	assert_int_equal(f->http_status, 503);
	assert_false(yyjson_get_bool(yyjson_ptr_get(f->json, "/checks/reconciler/ok")));
	f->machine->is_shutting_down = false;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(every_change_is_audited),
		TEST(calls_and_operations_are_counted),
		TEST(poolers_are_told_of_while_they_run),
		TEST(metrics_want_a_token_from_outside),
		TEST(bad_tokens_are_limited_and_good_ones_are_not),
		TEST(requests_are_limited_by_identity),
		TEST(bodies_are_for_those_who_may),
		TEST(lists_are_cheap_whatever_else_there_is),
		TEST(changes_go_over_no_table),
		TEST(health_is_told_without_a_token),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
