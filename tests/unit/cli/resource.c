/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "cli/resource.h"

static void names_fit_their_forms(void **state)
{
	(void)state;
	assert_true(resource_name_fits("projects/PROJECT", "projects/p"));
	assert_true(resource_name_fits(endpoint_resource.name_form, "projects/p/branches/b/endpoints/e"));
	assert_false(resource_name_fits("projects/PROJECT", "projects/"));
	assert_false(resource_name_fits("projects/PROJECT", "projects"));
	assert_false(resource_name_fits("projects/PROJECT", "projects/p/"));
	assert_false(resource_name_fits("projects/PROJECT", "/projects/p"));
	assert_false(resource_name_fits("projects/PROJECT", "project/p"));
	assert_false(resource_name_fits("projects/PROJECT", "projectsx/p"));
	assert_false(resource_name_fits("projects/PROJECT", "projects/p/branches/b"));
	assert_false(resource_name_fits("projects/PROJECT", ""));
	assert_false(resource_name_fits(branch_resource.name_form, "projects//branches/b"));
	assert_string_equal(resource_id("projects/p/branches/b"), "b");
	assert_string_equal(resource_id("b"), "b");
}

static char *table_of(const struct resource *resource, const char *json)
{
	yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
	assert_non_null(doc);
	struct buffer out = { 0 };
	resource_table_write(resource, yyjson_doc_get_root(doc), &out);
	yyjson_doc_free(doc);
	return out.data;
}

static void branches_as_a_table(void **state)
{
	(void)state;
	CLEANUP(free_text)
	char *table = table_of(&branch_resource,
	        "[{\"name\":\"projects/p/branches/production\",\"create_time\":\"2026-08-01T10:00:00.123Z\","
	        "\"status\":{\"current_state\":\"READY\",\"default\":true,\"is_protected\":false}},"
	        "{\"name\":\"projects/p/branches/dev\",\"create_time\":\"2026-08-01T11:00:00Z\","
	        "\"status\":{\"current_state\":\"INIT\",\"pending_state\":\"READY\",\"default\":false,"
	        "\"source_branch\":\"projects/p/branches/production\",\"source_branch_lsn\":\"0/1A\"}}]");
	assert_string_equal(table,
	        "NAME                            STATE          DEFAULT  SOURCE              CREATED\n"
	        "projects/p/branches/production  READY          yes                          2026-08-01 "
	        "10:00:00Z\n"
	        "projects/p/branches/dev         INIT -> READY           production at 0/1A  2026-08-01 "
	        "11:00:00Z\n");
}

/* The answer of another server, or of a newer one: wrong types are empty cells, not crashes. */
static void strange_answers(void **state)
{
	static const struct resource *const all[] = { &project_resource, &branch_resource, &endpoint_resource,
		&database_resource, &role_resource };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		CLEANUP(free_text)
		char *table = table_of(all[i], "[{},1,null,\"x\",{\"name\":5,\"status\":[]},{\"name\":\"\","
		                               "\"create_time\":\"2026\",\"status\":"
		                               "{\"hosts\":1,\"membership_roles\":[1,null],\"pg_version\":"
		                               "\"x\",\"current_state\":{}}}]");
		assert_non_null(table);
		CLEANUP(free_text) char *none = table_of(all[i], "[]");
		assert_memory_equal(none, "NAME", 4);
	}
}

static void endpoint_cells(void **state)
{
	(void)state;
	CLEANUP(free_text)
	char *table = table_of(&endpoint_resource,
	        "[{\"name\":\"projects/p/branches/b/endpoints/primary\",\"status\":{\"endpoint_type\":"
	        "\"ENDPOINT_TYPE_READ_WRITE\",\"current_state\":\"IDLE\",\"disabled\":true,"
	        "\"autoscaling_limit_min_cu\":0.5,\"autoscaling_limit_max_cu\":4,\"hosts\":{\"host\":\"127."
	        "64.0.2\"}}}]");
	assert_non_null(strstr(table, "READ_WRITE  IDLE (disabled)  0.5-4  never    127.64.0.2\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_fit_their_forms),
		cmocka_unit_test(branches_as_a_table),
		cmocka_unit_test(strange_answers),
		cmocka_unit_test(endpoint_cells),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
