/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_plane/compute_fields.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "control_plane/pg_settings.h"

static const struct settings limits = { .suspend_timeout_min_sec = 60,
	.suspend_timeout_max_sec = 604800,
	.cu_max = 112,
	.autoscale_cu_max = 64,
	.autoscale_cu_spread = 16 };

static bool read_json(
        const char *json, enum compute_fields_form form, struct compute_fields *ret, struct api_error *error)
{
	yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
	if (!doc)
		fail_msg("bad test input %s", json);
	bool is_good = compute_fields_read(yyjson_doc_get_root(doc), "spec", form, &limits, ret, error);
	yyjson_doc_free(doc);
	return is_good;
}

/* The table of checklist 16. */
static void sizes(void **state)
{
	(void)state;
	static const struct {
		double min, max;
		bool is_good;
	} cases[] = { { 0.5, 16, true }, { 0.5, 17, false }, { 4, 20, true }, { 8, 24, true },
		{ 8, 25, false }, { 16, 32, true }, { 40, 40, true }, { 56, 72, false }, { 72, 72, true },
		{ 112, 112, true }, { 113, 113, false }, { 1.5, 1.5, false }, { 2, 1, false },
		{ 48, 64, true }, { 49, 65, false }, { 0, 0, false }, { -1, 1, false }, { 1, 1e300, false },
		{ 0.5, 0.5, true }, { 0.25, 1, false } };
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct api_error error;
		if (compute_size_check(cases[i].min, cases[i].max, &limits, "spec", &error) !=
		        cases[i].is_good)
			fail_msg("%g-%g", cases[i].min, cases[i].max);
	}
}

/* Checklist 17, and what clients send for "never". */
static void suspension(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		bool is_good, is_set;
		int64_t usec;
	} cases[] = {
		{ "{}", true, false, 0 },
		{ "{\"suspend_timeout_duration\":\"60s\"}", true, true, 60 * USEC_PER_SEC },
		{ "{\"suspend_timeout_duration\":\"59s\"}", false, false, 0 },
		{ "{\"suspend_timeout_duration\":\"604800s\"}", true, true, 604800 * USEC_PER_SEC },
		{ "{\"suspend_timeout_duration\":\"604801s\"}", false, false, 0 },
		{ "{\"suspend_timeout_duration\":\"-60s\"}", false, false, 0 },
		{ "{\"suspend_timeout_duration\":\"5m\"}", false, false, 0 },
		{ "{\"suspend_timeout_duration\":300}", false, false, 0 },
		{ "{\"suspend_timeout_duration\":\"0s\"}", true, true, 0 },
		{ "{\"no_suspension\":true}", true, true, 0 },
		{ "{\"no_suspension\":false}", true, false, 0 },
		{ "{\"no_suspension\":false,\"suspend_timeout_duration\":\"300s\"}", true, true,
		        300 * USEC_PER_SEC },
		{ "{\"no_suspension\":true,\"suspend_timeout_duration\":\"300s\"}", false, false, 0 },
		{ "{\"no_suspension\":\"true\"}", false, false, 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(compute_fields_done) struct compute_fields fields = { 0 };
		struct api_error error;
		if (read_json(cases[i].json, COMPUTE_FIELDS_ENDPOINT, &fields, &error) != cases[i].is_good)
			fail_msg("%s", cases[i].json);
		assert_int_equal(fields.suspension.is_set, cases[i].is_set);
		assert_int_equal(fields.suspension.usec, cases[i].usec);
	}
}

static void groups(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		int code; /* -1: good */
	} cases[] = {
		{ "{\"group\":{\"min\":0,\"max\":0}}", -1 }, /* Go */
		{ "{\"group\":{\"min\":1,\"max\":1,\"enable_readable_secondaries\":false}}", -1 },
		{ "{\"group\":{\"min\":\"1\",\"max\":\"1\"}}", -1 },
		{ "{\"group\":{\"min\":1,\"max\":2}}", API_INVALID_PARAMETER },
		{ "{\"group\":{\"min\":5,\"max\":5}}", API_INVALID_PARAMETER },
		{ "{\"group\":{\"min\":2,\"max\":2}}", API_NOT_IMPLEMENTED },
		{ "{\"group\":{\"min\":1,\"max\":1,\"enable_readable_secondaries\":true}}",
		        API_INVALID_PARAMETER },
		{ "{\"group\":[]}", API_INVALID_PARAMETER },
		{ "{\"group\":{\"min\":1.5}}", API_INVALID_PARAMETER },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(compute_fields_done) struct compute_fields fields = { 0 };
		struct api_error error;
		bool is_good = read_json(cases[i].json, COMPUTE_FIELDS_ENDPOINT, &fields, &error);
		if (is_good != (cases[i].code < 0) || (!is_good && (int)error.code != cases[i].code))
			fail_msg("%s", cases[i].json);
	}
}

static void settings(void **state)
{
	(void)state;
	CLEANUP(compute_fields_done) struct compute_fields fields = { 0 };
	struct api_error error;
	assert_true(read_json("{\"settings\":{\"pg_settings\":{\"work_mem\":\"8MB\",\"app.b\":\"\"}}}",
	        COMPUTE_FIELDS_ENDPOINT, &fields, &error));
	assert_true(fields.has_pg_settings);
	assert_string_equal(fields.pg_settings, "{\"work_mem\":\"8MB\",\"app.b\":\"\"}");
	compute_fields_done(&fields);
	assert_true(read_json("{\"settings\":{}}", COMPUTE_FIELDS_ENDPOINT, &fields, &error));
	assert_string_equal(fields.pg_settings, "{}");
	compute_fields_done(&fields);
	assert_true(read_json(
	        "{\"pg_settings\":{\"work_mem\":\"8MB\"}}", COMPUTE_FIELDS_DEFAULTS, &fields, &error));
	assert_string_equal(fields.pg_settings, "{\"work_mem\":\"8MB\"}");
	static const char *const bad[] = { "{\"\":\"\"}", "{\"Work\":\"\"}", "{\"a-b\":\"\"}",
		"{\"1a\":\"\"}", "{\".a\":\"\"}", "{\"a\":1}", "{\"a\":null}", "{\"a\":\"x\\ny\"}",
		"{\"a\":\"x\\ry\"}", "{\"a\":\"\\u0000\"}", "{\"a\\u0000b\":\"\"}",
		"{\"a\":\"1\",\"a\":\"2\"}", "{\"fsync\":\"off\"}", "[]" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CLEANUP(free_text) char *json = xasprintf("{\"pg_settings\":%s}", bad[i]);
		CLEANUP(compute_fields_done) struct compute_fields refused = { 0 };
		if (read_json(json, COMPUTE_FIELDS_DEFAULTS, &refused, &error))
			fail_msg("accepted %s", json);
	}
}

static void dangerous_settings_are_refused(void **state)
{
	(void)state;
	static const char *const bad[] = { "listen_addresses", "port", "shared_preload_libraries",
		"session_preload_libraries", "local_preload_libraries", "data_directory", "hba_file",
		"ident_file", "config_file", "unix_socket_directories", "unix_socket_group", "ssl",
		"ssl_cert_file", "ssl_passphrase_command", "archive_command", "archive_library",
		"archive_mode", "restore_command", "archive_cleanup_command", "recovery_end_command",
		"recovery_target", "primary_conninfo", "wal_level", "fsync", "full_page_writes",
		"log_directory", "logging_collector", "log_destination", "dynamic_library_path",
		"cluster_name", "max_connections", "external_pid_file", "krb_server_keyfile", "jit_provider",
		"zero_damaged_pages", "allow_system_table_mods", "oauth_validator_libraries",
		"synchronous_standby_names" };
	static const char *const good[] = { "work_mem", "maintenance_work_mem", "statement_timeout",
		"log_statement", "log_min_duration_statement", "random_page_cost", "search_path", "timezone",
		"pg_stat_statements.track", "max_parallel_workers", "autovacuum_naptime",
		"default_transaction_isolation", "jit", "commit_delay", "synchronous_commit",
		"idle_in_transaction_session_timeout" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (pg_setting_is_allowed(bad[i]))
			fail_msg("%s", bad[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		if (!pg_setting_is_allowed(good[i]))
			fail_msg("%s", good[i]);
	}
}

static void settings_are_bounded(void **state)
{
	(void)state;
	struct api_error error;
	CLEANUP(buffer_done) struct buffer json = { 0 };
	buffer_append_text(&json, "{\"pg_settings\":{\"a0\":\"\"");
	for (int i = 1; i < PG_SETTINGS_MAX; i++)
		buffer_printf(&json, ",\"a%d\":\"\"", i);
	CLEANUP(free_text) char *most = xasprintf("%s}}", json.data);
	CLEANUP(compute_fields_done) struct compute_fields fields = { 0 };
	assert_true(read_json(most, COMPUTE_FIELDS_DEFAULTS, &fields, &error));
	CLEANUP(free_text) char *more = xasprintf("%s,\"b\":\"\"}}", json.data);
	CLEANUP(compute_fields_done) struct compute_fields refused = { 0 };
	assert_false(read_json(more, COMPUTE_FIELDS_DEFAULTS, &refused, &error));
	char value[PG_SETTING_VALUE_MAX + 2];
	memset(value, 'v', sizeof value - 1);
	value[sizeof value - 1] = '\0';
	CLEANUP(free_text) char *lengthy = xasprintf("{\"pg_settings\":{\"a\":\"%s\"}}", value);
	assert_false(read_json(lengthy, COMPUTE_FIELDS_DEFAULTS, &refused, &error));
}

static void masks_decide_what_changes(void **state)
{
	(void)state;
	static const struct compute_bits bits = {
		.min_cu = 1, .max_cu = 2, .suspension = 4, .pg_settings = 8
	};
	static char none[] = "{}";
	static const struct compute_values defaults = {
		.min_cu = 1, .max_cu = 1, .suspend_usec = 9, .pg_settings = none
	};
	struct compute_values values = {
		.min_cu = 2, .max_cu = 4, .suspend_usec = 5, .pg_settings = xstrdup("{\"a\":\"b\"}")
	};
	CLEANUP(compute_fields_done) struct compute_fields fields = { 0 };
	struct api_error error;
	assert_true(read_json("{\"autoscaling_limit_max_cu\":8}", COMPUTE_FIELDS_ENDPOINT, &fields, &error));
	struct update_mask spec = { .present = 15 }, leaf = { .fields = 4 | 8 }, max_only = { .fields = 2 };
	assert_true(
	        compute_values_update(&values, &fields, &spec, &bits, &defaults, &limits, "spec", &error));
	assert_true(values.min_cu == 2 && values.max_cu == 8 && values.suspend_usec == 5);
	assert_string_equal(values.pg_settings, "{\"a\":\"b\"}");
	assert_true(
	        compute_values_update(&values, &fields, &leaf, &bits, &defaults, &limits, "spec", &error));
	assert_true(values.max_cu == 8 && values.suspend_usec == 9);
	assert_string_equal(values.pg_settings, "{}");
	/* The size that would result is refused, and nothing changes. */
	struct compute_fields nothing = { 0 };
	assert_false(compute_values_update(
	        &values, &nothing, &max_only, &bits, &defaults, &limits, "spec", &error));
	assert_true(values.min_cu == 2 && values.max_cu == 8);
	free(values.pg_settings);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(suspension),
		cmocka_unit_test(groups),
		cmocka_unit_test(settings),
		cmocka_unit_test(dangerous_settings_are_refused),
		cmocka_unit_test(settings_are_bounded),
		cmocka_unit_test(masks_decide_what_changes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
