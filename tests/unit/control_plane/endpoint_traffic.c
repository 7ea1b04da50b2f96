/* What proxies tell adds up: through their restarts, through control's own limits, and whatever they send. */
#include "control_plane/endpoint_traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/file.h"
#include "control_plane/metrics_text.h"
#include "metadata/branch_row.h"
#include "metadata/endpoint_row.h"

struct scene {
	char folder[40];
	struct metadata *md;
	struct endpoint_traffic *traffic;
};

static void insert_endpoint(struct metadata *md, int64_t branch, const char *uid, int number)
{
	struct error err;
	struct endpoint_row row = {
		.branch = branch, .min_cu = 1, .max_cu = 1, .pg_settings = xstrdup("{}")
	};
	(void)snprintf(row.endpoint_id, sizeof row.endpoint_id, "e-%d", number);
	(void)snprintf(row.uid, sizeof row.uid, "%s", uid);
	(void)snprintf(row.address, sizeof row.address, "127.64.0.%d", number);
	assert_int_equal(endpoint_row_insert(md, &row, &err), STATUS_OK);
	endpoint_row_done(&row);
}

static int set_up(void **state)
{
	struct scene *scene = xcalloc(1, sizeof *scene);
	struct error err;
	strcpy(scene->folder, "/tmp/tarn-unit-XXXXXX");
	assert_non_null(mkdtemp(scene->folder));
	CLEANUP(free_text) char *path = xasprintf("%s/metadata.db", scene->folder);
	assert_int_equal(metadata_open(path, &scene->md, &err), STATUS_OK);
	struct project_row project = { .project_id = "shop",
		.uid = "u-1",
		.owner = "a@b",
		.display_name = xstrdup("Shop"),
		.pg_settings = xstrdup("{}"),
		.custom_tags = xstrdup("[]") };
	assert_int_equal(project_row_insert(scene->md, &project, &err), STATUS_OK);
	struct branch_row branch = { .project = project.id, .branch_id = "dev", .uid = "br-1" };
	assert_int_equal(branch_row_insert(scene->md, &branch, &err), STATUS_OK);
	project_row_done(&project);
	for (int i = 0; i < 4; i++) {
		char uid[] = { 'e', 'p', '-', (char)('a' + i), '\0' };
		insert_endpoint(scene->md, branch.id, uid, i);
	}
	scene->traffic = endpoint_traffic_create(3);
	*state = scene;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *scene = *state;
	struct error err;
	endpoint_traffic_free(scene->traffic);
	metadata_close(scene->md);
	assert_int_equal(tree_remove(scene->folder, &err), STATUS_OK);
	free(scene);
	return 0;
}

PRINTF_LIKE(3) static bool take(struct scene *scene, uint64_t reporter, const char *fmt, ...)
{
	char text[4096];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
	assert_non_null(doc);
	bool is_taken = endpoint_traffic_take(scene->traffic, reporter, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
	return is_taken;
}

/* A report of one endpoint, with the total of the same. */
static void tell(struct scene *scene, uint64_t reporter, const char *uid, unsigned life, const char *numbers)
{
	assert_true(take(scene, reporter,
	        "{\"total\":{\"life\":%u%s},\"now\":{},\"endpoints\":[{\"uid\":\"%s\",\"life\":%u%s}]}", life,
	        numbers, uid, life, numbers));
}

static char *metrics(struct scene *scene)
{
	struct buffer out = { 0 };
	endpoint_traffic_write(scene->traffic, scene->md, &out);
	return out.data;
}

static void expect(struct scene *scene, const char *line)
{
	CLEANUP(free_text) char *text = metrics(scene);
	CLEANUP(free_text) char *whole = xasprintf("\n%s\n", line);
	if (!strstr(text, whole))
		fail_msg("%s is not in\n%s", line, text);
}

#define A "endpoint=\"ep-a\",project=\"shop\",branch=\"dev\""

static void test_numbers_have_names(void **state)
{
	struct scene *scene = *state;
	assert_true(take(scene, 1,
	        "{\"total\":{\"life\":9,\"open\":3,\"opened\":10,\"unmatched_cancels\":4,\"refused\":{"
	        "\"protocol\":2,\"new\":1}},"
	        "\"now\":{\"sessions\":5,\"connections_max\":100,\"logging_in\":1,\"buffer_bytes\":32768},"
	        "\"endpoints\":[{\"uid\":\"ep-a\",\"life\":10,\"open\":3,\"waiting\":1,\"opened\":10,"
	        "\"received\":11,"
	        "\"sent\":12,\"logins\":7,\"login_ms\":1500,\"wakes\":3,\"wake_ms\":2250,\"cancels\":6,"
	        "\"refused\":{\"authentication\":5}}]}"));
	static const char *const lines[] = {
		"tarn_endpoint_connections{" A ",state=\"open\"} 3",
		"tarn_endpoint_connections{" A ",state=\"waiting\"} 1",
		"tarn_endpoint_connections_opened_total{" A "} 10",
		"tarn_endpoint_received_bytes_total{" A "} 11",
		"tarn_endpoint_sent_bytes_total{" A "} 12",
		"tarn_endpoint_cancel_requests_total{" A "} 6",
		"tarn_endpoint_login_duration_seconds_sum{" A "} 1.500",
		"tarn_endpoint_login_duration_seconds_count{" A "} 7",
		"tarn_endpoint_wake_duration_seconds_sum{" A "} 2.250",
		"tarn_endpoint_wake_duration_seconds_count{" A "} 3",
		"tarn_endpoint_refusals_total{" A ",reason=\"authentication\"} 5",
		"tarn_proxy_up 1",
		"tarn_proxy_sessions 5",
		"tarn_proxy_connections_max 100",
		"tarn_proxy_sessions_logging_in 1",
		"tarn_proxy_buffer_bytes 32768",
		"tarn_proxy_connections{state=\"open\"} 3",
		"tarn_proxy_connections_opened_total 10",
		"tarn_proxy_cancel_requests_total{result=\"unmatched\"} 4",
		"tarn_proxy_refusals_total{reason=\"protocol\"} 2",
		"tarn_proxy_refusals_total{reason=\"other\"} 1",
	};
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		expect(scene, lines[i]);
	assert_int_equal(endpoint_traffic_connections(scene->traffic, "ep-a"), 4);
	assert_int_equal(endpoint_traffic_connections(scene->traffic, "ep-b"), 0);
}

static void test_counters_survive_a_restart_of_the_proxy(void **state)
{
	struct scene *scene = *state;
	tell(scene, 1, "ep-a", 5, ",\"open\":2,\"opened\":7,\"received\":100");
	tell(scene, 1, "ep-a", 5, ",\"open\":1,\"opened\":8,\"received\":150");
	tell(scene, 1, "ep-a", 5, ",\"open\":1,\"opened\":8,\"received\":150"); /* twice */
	expect(scene, "tarn_endpoint_connections_opened_total{" A "} 8");
	endpoint_traffic_end(scene->traffic, 1);
	expect(scene, "tarn_endpoint_connections{" A ",state=\"open\"} 0");
	expect(scene, "tarn_endpoint_connections_opened_total{" A "} 8");
	expect(scene, "tarn_proxy_connections_opened_total 8");
	expect(scene, "tarn_proxy_up 0");

	tell(scene, 2, "ep-a", 6, ",\"open\":1,\"opened\":1");
	endpoint_traffic_end(scene->traffic, 1); /* the old one's, late: nothing of the new one's goes */
	expect(scene, "tarn_endpoint_connections{" A ",state=\"open\"} 1");
	expect(scene, "tarn_endpoint_connections_opened_total{" A "} 9");
	expect(scene, "tarn_endpoint_received_bytes_total{" A "} 150");
	expect(scene, "tarn_proxy_connections_opened_total 9");
	/* Whatever is told of the same life: never back. */
	tell(scene, 2, "ep-a", 6, "");
	expect(scene, "tarn_endpoint_connections_opened_total{" A "} 9");
}

static void test_only_so_many_have_their_own_numbers(void **state)
{
	struct scene *scene = *state;
	tell(scene, 1, "ep-a", 1, ",\"opened\":1,\"open\":1");
	tell(scene, 1, "ep-b", 2, ",\"opened\":1");
	tell(scene, 1, "ep-c", 3, ",\"opened\":1");
	tell(scene, 1, "ep-d", 4, ",\"opened\":1");
	CLEANUP(free_text) char *text = metrics(scene);
	assert_non_null(strstr(text, "ep-a")); /* has a connection */
	assert_null(strstr(text, "ep-b"));
	assert_non_null(strstr(text, "ep-d"));
	expect(scene, "tarn_proxy_connections_opened_total 4");
	/* All in use: the next one has to do without. */
	tell(scene, 1, "ep-c", 3, ",\"opened\":1,\"open\":1");
	tell(scene, 1, "ep-d", 4, ",\"opened\":1,\"open\":1");
	tell(scene, 1, "ep-b", 5, ",\"opened\":1,\"open\":1");
	CLEANUP(free_text) char *again = metrics(scene);
	assert_null(strstr(again, "ep-b"));
}

static void test_who_is_gone_is_forgotten(void **state)
{
	struct scene *scene = *state;
	tell(scene, 1, "ep-a", 1, ",\"opened\":1,\"open\":1");
	tell(scene, 1, "ep-unknown", 2, ",\"opened\":1,\"open\":1");
	assert_int_equal(endpoint_traffic_connections(scene->traffic, "ep-unknown"), 1);
	CLEANUP(free_text) char *text = metrics(scene);
	assert_null(strstr(text, "ep-unknown"));
	assert_non_null(strstr(text, "ep-a"));
	assert_int_equal(endpoint_traffic_connections(scene->traffic, "ep-unknown"), 0);
}

static void test_malformed_reports_change_nothing(void **state)
{
	struct scene *scene = *state;
	static const char *const bad[] = {
		"[]",
		"{}",
		"{\"total\":{\"life\":1},\"endpoints\":[]}",
		"{\"total\":{\"life\":1},\"now\":{}}",
		"{\"total\":{\"life\":0},\"now\":{},\"endpoints\":[]}",
		"{\"total\":{\"life\":1,\"open\":-1},\"now\":{},\"endpoints\":[]}",
		"{\"total\":{\"life\":1,\"open\":1.5},\"now\":{},\"endpoints\":[]}",
		"{\"total\":{\"life\":1},\"now\":{\"sessions\":\"1\"},\"endpoints\":[]}",
		"{\"total\":{\"life\":1},\"now\":{},\"endpoints\":[7]}",
		"{\"total\":{\"life\":1},\"now\":{},\"endpoints\":[{\"life\":1}]}",
		"{\"total\":{\"life\":1},\"now\":{},\"endpoints\":[{\"life\":1,\"uid\":\"\"}]}",
		"{\"total\":{\"life\":1},\"now\":{},\"endpoints\":[{\"life\":1,\"uid\":\"ep-a\\u0000\"}]}",
		"{\"total\":{\"life\":1},\"now\":{},\"endpoints\":[{\"life\":1,\"uid\":\"ep-\\\"\"}]}",
		"{\"total\":{\"life\":1},\"now\":{},\"endpoints\":[{\"uid\":\"ep-a\"}]}",
		"{\"total\":{\"life\":1},\"now\":{},\"endpoints\":[{\"life\":1,\"uid\":\"ep-a\",\"opened\":"
		"9007199254740993}]}",
		"{\"total\":{\"life\":1},\"now\":{},\"endpoints\":[{\"life\":1,\"uid\":\"ep-a\",\"open\":1},{"
		"}]}",
		"{\"total\":{\"life\":1},\"now\":{},\"endpoints\":[{\"life\":1,\"uid\":\"ep-a\",\"refused\":["
		"]}]}",
		"{\"total\":{\"life\":1},\"now\":{},\"endpoints\":[{\"life\":1,\"uid\":\"ep-a\",\"refused\":{"
		"\"limit\":true}}]}",
	};
	CLEANUP(free_text) char *before = metrics(scene);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_false(take(scene, 1, "%s", bad[i]));
		CLEANUP(free_text) char *after = metrics(scene);
		assert_string_equal(before, after);
	}
}

static void test_labels_are_escaped(void **unused)
{
	(void)unused;
	CLEANUP(buffer_done) struct buffer labels = { 0 };
	metrics_add_label(&labels, "a", "x\"y\\z\n\xff");
	metrics_add_label(&labels, "b", "");
	assert_string_equal(labels.data, "a=\"x\\\"y\\\\z\\n?\",b=\"\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_numbers_have_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		        test_counters_survive_a_restart_of_the_proxy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_only_so_many_have_their_own_numbers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_who_is_gone_is_forgotten, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_malformed_reports_change_nothing, set_up, tear_down),
		cmocka_unit_test(test_labels_are_escaped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
