/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "base/file.h"
#include "data_directory/settings_file.h"

static char folder[] = "/tmp/tarn-unit-XXXXXX";
static char *path;

static int set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	path = xasprintf("%s/settings.json", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	struct error err;
	free(path);
	return tree_remove(folder, &err) == STATUS_OK ? 0 : -1;
}

static status read_text(const char *text, size_t len, struct settings *ret, struct error *err)
{
	assert_int_equal(file_replace_durably(path, (struct slice){ (const uint8_t *)text, len }, 0644, err),
	        STATUS_OK);
	return settings_file_read(path, ret, err);
}

static void what_is_written_is_read(void **state)
{
	(void)state;
	CLEANUP(settings_done) struct settings settings = { 0 }, again = { 0 };
	struct error err;
	settings_set_defaults(&settings);
	settings.workspace_id = xstrdup("1234567890123456");
	settings.domain = xstrdup("db.example.com");
	settings.pg_address = xstrdup("10.0.0.1,fd00::1");
	settings.tls_certificate = xstrdup("/etc/tarn.crt");
	settings.tls_key = xstrdup("/etc/tarn.key");
	settings.tls_root = xstrdup("/etc/root.crt");
	settings.postgres_user = xstrdup("tarn");
	settings.projects = 7;
	settings.pg_port = 6432;
	assert_int_equal(settings_file_write(path, &settings, &err), STATUS_OK);
	assert_int_equal(settings_file_read(path, &again, &err), STATUS_OK);
	assert_true(settings_equal(&settings, &again));
	again.projects = 8;
	assert_false(settings_equal(&settings, &again));
	again.projects = 7;
	free_text(&again.domain);
	assert_false(settings_equal(&settings, &again));
}

static void missing_members_have_their_defaults(void **state)
{
	(void)state;
	static const char text[] =
	        "{\"format_version\":1,\"workspace_id\":\"1234567890123456\",\"later\":{}}";
	CLEANUP(settings_done) struct settings settings = { 0 };
	struct error err;
	assert_int_equal(read_text(text, sizeof text - 1, &settings, &err), STATUS_OK);
	assert_string_equal(settings.api_address, "127.0.0.1");
	assert_int_equal(settings.api_port, 8080);
	assert_int_equal(settings.pg_port, 5432);
	assert_null(settings.domain);
	assert_null(settings.postgres_user);
	assert_string_equal(settings.admin_login, "admin@localhost");
	assert_int_equal(settings.suspend_timeout_min_sec, 60);
	assert_int_equal(settings.branches_per_project, 500);
	assert_int_equal(settings.projects, 1000);
	assert_int_equal(settings.deleted_retention_sec, 604800);
	assert_int_equal(settings.polling_requests_per_sec, 2000);
}

static void a_newer_version_is_refused_before_anything_else(void **state)
{
	(void)state;
	static const char text[] = "{\"format_version\":2,\"api_port\":\"not even a number\"}";
	struct settings settings;
	struct error err;
	assert_int_equal(read_text(text, sizeof text - 1, &settings, &err), STATUS_UNSUPPORTED);
	assert_non_null(strstr(err.message, "newer Tarn"));
	assert_true(err.hint[0] != '\0');
}

#define HEAD "{\"format_version\":1,\"workspace_id\":\"1234567890123456\","

static void wrong_files_are_refused(void **state)
{
	static const struct {
		const char *text, *why;
		status code;
	} wrong[] = {
		{ "", "not valid JSON", STATUS_CORRUPT },
		{ "{", "not valid JSON", STATUS_CORRUPT },
		{ "[]", "not a JSON object", STATUS_CORRUPT },
		{ "{}", "format_version", STATUS_CORRUPT },
		{ "{\"format_version\":0}", "format_version", STATUS_CORRUPT },
		{ "{\"format_version\":\"1\"}", "format_version", STATUS_CORRUPT },
		{ "{\"format_version\":1}", "workspace_id", STATUS_INVALID },
		{ HEAD "\"api_port\":\"8080\"}", "api_port", STATUS_INVALID },
		{ HEAD "\"api_port\":0}", "api_port", STATUS_INVALID },
		{ HEAD "\"api_port\":65536}", "api_port", STATUS_INVALID },
		{ HEAD "\"api_port\":-1}", "api_port", STATUS_INVALID },
		{ HEAD "\"api_port\":5432}", "must differ", STATUS_INVALID },
		{ HEAD "\"pg_port\":99999999999999999999}", "pg_port", STATUS_INVALID },
		{ HEAD "\"api_address\":\"localhost\"}", "api_address", STATUS_INVALID },
		{ HEAD "\"api_address\":null}", "api_address", STATUS_INVALID },
		{ HEAD "\"api_address\":\"127.0.0.1\\u0000x\"}", "api_address", STATUS_INVALID },
		{ HEAD "\"domain\":\"Not A Domain\"}", "domain", STATUS_INVALID },
		{ HEAD "\"domain\":\"a..b\"}", "domain", STATUS_INVALID },
		{ HEAD "\"domain\":\"\"}", "domain", STATUS_INVALID },
		{ HEAD "\"postgres_user\":\"a b\"}", "postgres_user", STATUS_INVALID },
		{ HEAD "\"admin_login\":\"cloud_admin\"}", "admin_login", STATUS_INVALID },
		{ HEAD "\"admin_login\":\"pg_monitor\"}", "admin_login", STATUS_INVALID },
		{ HEAD "\"admin_login\":\"a\\\"b\"}", "admin_login", STATUS_INVALID },
		{ HEAD "\"projects\":0}", "projects", STATUS_INVALID },
		{ HEAD "\"projects\":1000001}", "projects", STATUS_INVALID },
		{ HEAD "\"projects\":1.5}", "projects", STATUS_INVALID },
		{ HEAD "\"silent_client_sec\":3601}", "silent_client_sec", STATUS_INVALID },
		{ HEAD "\"pg_address\":\"10.0.0.1\"}", "needs a \"domain\"", STATUS_INVALID },
		{ HEAD "\"domain\":\"d\",\"pg_address\":\"10.0.0.1,\"}", "pg_address", STATUS_INVALID },
		{ HEAD "\"domain\":\"d\",\"pg_address\":\"localhost\"}", "pg_address", STATUS_INVALID },
		{ HEAD "\"domain\":\"d\",\"pg_address\":\"10.0.0.1, ::1\"}", "pg_address", STATUS_INVALID },
		{ HEAD "\"tls_certificate\":\"/a\",\"tls_key\":\"/b\"}", "needs a \"domain\"",
		        STATUS_INVALID },
		{ HEAD "\"domain\":\"d\",\"tls_certificate\":\"/a\"}", "\"tls_key\" is missing",
		        STATUS_INVALID },
		{ HEAD "\"domain\":\"d\",\"tls_key\":\"/a\"}", "\"tls_certificate\" is missing",
		        STATUS_INVALID },
		{ HEAD "\"domain\":\"d\",\"tls_root\":\"/a\"}", "tls_root", STATUS_INVALID },
		{ HEAD "\"domain\":\"d\",\"tls_certificate\":\"a\",\"tls_key\":\"/b\"}", "whole path",
		        STATUS_INVALID },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct settings settings;
		struct error err;
		status st = read_text(wrong[i].text, strlen(wrong[i].text), &settings, &err);
		if (st != wrong[i].code || !strstr(err.message, wrong[i].why) || !strstr(err.message, path))
			fail_msg("%s: code %d, \"%s\"", wrong[i].text, (int)st, err.message);
	}
}

static void changes_keep_what_they_do_not_name(void **state)
{
	(void)state;
	CLEANUP(settings_done) struct settings settings = { 0 };
	settings_set_defaults(&settings);
	settings.domain = xstrdup("db.example.com");
	char address[] = "127.0.0.2", none[] = "";
	settings_change(&settings, &(struct settings){ .api_address = address, .projects = 3 });
	assert_string_equal(settings.api_address, "127.0.0.2");
	assert_string_equal(settings.domain, "db.example.com");
	assert_int_equal(settings.projects, 3);
	assert_int_equal(settings.api_port, 8080);
	settings_change(&settings, &(struct settings){ .domain = none });
	assert_null(settings.domain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(missing_members_have_their_defaults),
		cmocka_unit_test(a_newer_version_is_refused_before_anything_else),
		cmocka_unit_test(wrong_files_are_refused),
		cmocka_unit_test(changes_keep_what_they_do_not_name),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
