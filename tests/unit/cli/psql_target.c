/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "cli/psql_target.h"

static const struct option known[] = { { .name = "project" }, { .name = "branch" }, { .name = "endpoint" },
	{ .name = "autoscaling", .is_switch = true }, { .name = "provisioned", .is_switch = true }, { 0 } };

static status parse(int argc, const char **argv, struct psql_target *ret, struct error *err)
{
	CLEANUP(options_done) struct options options = { 0 };
	assert_int_equal(options_parse(argc, (char **)(uintptr_t)argv, known, &options, err), STATUS_OK);
	return psql_target_parse(&options, ret, err);
}

#define PARSE(target, err, ...)                                                                              \
	parse((int)ARRAY_LEN(((const char *[]){ "psql", __VA_ARGS__ })),                                     \
	        (const char *[]){ "psql", __VA_ARGS__ }, (target), (err))

static void paths_and_flags(void **state)
{
	(void)state;
	struct psql_target target = { 0 };
	struct error err;
	assert_int_equal(PARSE(&target, &err, "projects/p/branches/b/endpoints/e"), STATUS_OK);
	assert_string_equal(target.project, "p");
	assert_string_equal(target.branch, "b");
	assert_string_equal(target.endpoint, "e");
	psql_target_done(&target);
	assert_int_equal(PARSE(&target, &err, "projects/p/branches/b", "--endpoint", "e"), STATUS_OK);
	assert_string_equal(target.branch, "b");
	assert_string_equal(target.endpoint, "e");
	psql_target_done(&target);
	assert_int_equal(PARSE(&target, &err, "--project", "projects/p", "--branch", "b"), STATUS_OK);
	assert_string_equal(target.project, "p");
	assert_string_equal(target.branch, "b");
	assert_null(target.endpoint);
	psql_target_done(&target);
	assert_int_equal(PARSE(&target, &err, "projects/p", "--project", "p"), STATUS_OK);
	psql_target_done(&target);
}

static void a_name_is_an_instance(void **state)
{
	(void)state;
	struct psql_target target = { 0 };
	struct error err;
	assert_int_equal(PARSE(&target, &err, "demo"), STATUS_OK);
	assert_true(target.is_instance);
	assert_string_equal(target.instance, "demo");
	psql_target_done(&target);
	assert_int_equal(PARSE(&target, &err, "--provisioned"), STATUS_OK);
	assert_true(target.is_instance);
	assert_null(target.instance);
	psql_target_done(&target);
	assert_int_equal(PARSE(&target, &err, "projects/demo", "--autoscaling"), STATUS_OK);
	assert_false(target.is_instance);
	psql_target_done(&target);
}

static void contradictions_and_mistakes(void **state)
{
	(void)state;
	struct psql_target target = { 0 };
	struct error err;
	assert_int_equal(PARSE(&target, &err, "projects/p", "--project", "q"), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "projects/p/branches/b", "--branch", "c"), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "--branch", "b"), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "--endpoint", "e"), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "demo", "--autoscaling"), STATUS_INVALID);
	assert_non_null(strstr(err.message, "--project demo"));
	assert_int_equal(PARSE(&target, &err, "demo", "--project", "p"), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "demo/branches/b"), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "--provisioned", "--autoscaling"), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "--provisioned", "--branch", "b"), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "--provisioned", "projects/p"), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "projects/p/branches"), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "projects//branches/b"), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "projects/p/branches/b/endpoints/e/x"), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "--project", ""), STATUS_INVALID);
	assert_int_equal(PARSE(&target, &err, "--project", "p", "--branch", "a/b"), STATUS_INVALID);
	assert_null(target.project);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_and_flags),
		cmocka_unit_test(a_name_is_an_instance),
		cmocka_unit_test(contradictions_and_mistakes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
