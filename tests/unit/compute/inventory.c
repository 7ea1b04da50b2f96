/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "compute/inventory.h"

/* By SQL in a database of another encoding names can be made that are no UTF-8. */
static void names_that_are_no_text_are_left_out(void **state)
{
	(void)state;
	struct error err;
	struct inventory_role roles[] = { { .oid = 1, .name = "app" }, { .oid = 2, .name = "\xe9" },
		{ .oid = 3, .name = "\xc3\xa9" } };
	struct inventory_database databases[] = { { .oid = 4, .name = "shop", .owner = "\xe9" },
		{ .oid = 5, .name = "sh\xf6p", .owner = "app" } };
	const struct inventory_file file = { .volume_id = "br-a",
		.stamp = 1,
		.inventory = { roles, ARRAY_LEN(roles), databases, ARRAY_LEN(databases) } };
	CLEANUP(inventory_file_done) struct inventory_file again = { 0 };
	CLEANUP(buffer_done) struct buffer text = { 0 };
	inventory_format(&file, &text);
	assert_int_equal(inventory_parse(buffer_slice(&text), &again, &err), STATUS_OK);
	assert_int_equal(again.inventory.role_count, 2);
	assert_string_equal(again.inventory.roles[0].name, "app");
	assert_string_equal(again.inventory.roles[1].name, "\xc3\xa9");
	assert_int_equal(again.inventory.database_count, 1);
	assert_string_equal(again.inventory.databases[0].name, "shop");
	assert_string_equal(again.inventory.databases[0].owner, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names_that_are_no_text_are_left_out) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
