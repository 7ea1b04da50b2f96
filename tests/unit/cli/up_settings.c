/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "cli/up_settings.h"

static status parse(int argc, const char **argv, struct settings *ret, struct error *err)
{
	static const struct option known[] = { UP_SETTINGS_OPTIONS, { 0 } };
	CLEANUP(options_done) struct options options = { 0 };
	assert_int_equal(options_parse(argc, (char **)(uintptr_t)argv, known, &options, err), STATUS_OK);
	return up_settings_parse(&options, ret, err);
}

#define PARSE(settings, err, ...)                                                                            \
	parse((int)ARRAY_LEN(((const char *[]){ "up", __VA_ARGS__ })),                                       \
	        (const char *[]){ "up", __VA_ARGS__ }, (settings), (err))

static void what_is_given_is_filled_in(void **state)
{
	(void)state;
	CLEANUP(up_settings_done) struct settings changes = { 0 };
	struct error err;
	assert_int_equal(
	        PARSE(&changes, &err, "--api", "127.0.0.1:9090", "--pg-port", "6432", "--domain", "", "--set",
	                "projects=5", "--set=suspend_timeout_min_sec=1", "--postgres-user", "daemon"),
	        STATUS_OK);
	assert_string_equal(changes.api_address, "127.0.0.1");
	assert_int_equal(changes.api_port, 9090);
	assert_int_equal(changes.pg_port, 6432);
	assert_string_equal(changes.domain, ""); /* "none", as against NULL: keep */
	assert_string_equal(changes.postgres_user, "daemon");
	assert_int_equal(changes.projects, 5);
	assert_int_equal(changes.suspend_timeout_min_sec, 1);
	assert_int_equal(changes.branches_per_project, 0);
}

static void addresses(void **state)
{
	(void)state;
	struct settings changes = { 0 };
	struct error err;
	assert_int_equal(PARSE(&changes, &err, "--api", "[::1]:80"), STATUS_OK);
	assert_string_equal(changes.api_address, "::1");
	assert_int_equal(changes.api_port, 80);
	up_settings_done(&changes);
	changes = (struct settings){ 0 };
	static const char *const wrong[] = { "", "127.0.0.1", "8080", ":8080", "127.0.0.1:", "127.0.0.1:0",
		"127.0.0.1:65536", "127.0.0.1:80x", "::1:80", "[]:80" };
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (PARSE(&changes, &err, "--api", wrong[i]) != STATUS_INVALID)
			fail_msg("\"%s\" was accepted", wrong[i]);
		assert_null(changes.api_address);
	}
}

static void mistakes(void **state)
{
	static const char *const wrong[] = { "projects", "projects=", "projects=0", "projects=-1",
		"projects=x", "projects=99999999999", "project=5", "=5", "", "workspace_id=1" };
	(void)state;
	struct settings changes = { 0 };
	struct error err;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		if (PARSE(&changes, &err, "--set", wrong[i]) != STATUS_INVALID)
			fail_msg("\"%s\" was accepted", wrong[i]);
	assert_int_equal(PARSE(&changes, &err, "--pg-port", "0"), STATUS_INVALID);
	assert_int_equal(PARSE(&changes, &err, "--pg-port", "http"), STATUS_INVALID);
	assert_int_equal(PARSE(&changes, &err, "--postgres-user", ""), STATUS_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_given_is_filled_in),
		cmocka_unit_test(addresses),
		cmocka_unit_test(mistakes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
