/* Which role each name of the pooler means. What asks Postgres is tried in tests/system/pooler.py. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "compute/pooler_roles.h"

static void arrays_hold_any_name(void **state)
{
	(void)state;
	CLEANUP(buffer_done) struct buffer array = { 0 };
	pooler_roles_append_element(&array, "app");
	pooler_roles_append_element(&array, "a\"b\\c,{}");
	pooler_roles_append_element(&array, "");
	pooler_roles_append_element(&array, "NULL");
	pooler_roles_append_element(&array, "line\nbreak 'x'");
	buffer_append_text(&array, "}");
	assert_string_equal(array.data, "{\"app\",\"a\\\"b\\\\c,{}\",\"\",\"NULL\",\"line\nbreak 'x'\"}");
}

static void each_name_has_one_entry(void **state)
{
	(void)state;
	CLEANUP(pooler_roles_done) struct pooler_roles roles = { 0 };
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 100; i++) {
			char name[16];
			(void)snprintf(name, sizeof name, "role %d", i);
			pooler_roles_enter(&roles, name)->known += (uint32_t)(i % 3);
		}
		assert_int_equal(roles.count, 100);
	}
	assert_int_equal(pooler_roles_find(&roles, "role 8")->known, 4);
	assert_null(pooler_roles_find(&roles, "Role 8"));

	/* Those that nobody was let in as are forgotten. */
	pooler_roles_tidy(&roles);
	assert_int_equal(roles.count, 66);
	assert_null(pooler_roles_find(&roles, "role 9"));
	assert_int_equal(pooler_roles_find(&roles, "role 98")->known, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arrays_hold_any_name),
		cmocka_unit_test(each_name_has_one_entry),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
