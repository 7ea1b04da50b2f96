/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "cli/table.h"

static void columns_align(void **state)
{
	(void)state;
	CLEANUP(table_done) struct table table = { 0 };
	CLEANUP(buffer_done) struct buffer out = { 0 };
	static const char *const cells[] = { "a", "", "x", "zoë", "", "", "longer than the title", "", "y" };
	table_add_column(&table, "NAME");
	table_add_column(&table, "NOBODY HAS IT");
	table_add_column(&table, "LAST");
	for (size_t i = 0; i < ARRAY_LEN(cells); i++)
		table_add_cell(&table, cells[i]);
	table_write(&table, &out);
	assert_string_equal(out.data, "NAME                   LAST\n"
	                              "a                      x\n"
	                              "zoë\n"
	                              "longer than the title  y\n");
}

static void empty_table_has_all_titles(void **state)
{
	(void)state;
	CLEANUP(table_done) struct table table = { 0 };
	CLEANUP(buffer_done) struct buffer out = { 0 };
	table_add_column(&table, "A");
	table_add_column(&table, "B");
	table_write(&table, &out);
	assert_string_equal(out.data, "A  B\n");
}

/* A name chosen by somebody else must not clear the screen or rewrite lines. */
static void terminal_controls_are_disarmed(void **state)
{
	(void)state;
	CLEANUP(table_done) struct table table = { 0 };
	CLEANUP(buffer_done) struct buffer out = { 0 };
	table_add_column(&table, "N");
	table_add_cell(&table, "a\x1b[2Jb\nc\x7f\xc2\x9b");
	table_write(&table, &out);
	assert_string_equal(out.data, "N\na?[2Jb?c???\n");
}

static void many_rows(void **state)
{
	(void)state;
	CLEANUP(table_done) struct table table = { 0 };
	CLEANUP(buffer_done) struct buffer out = { 0 };
	table_add_column(&table, "N");
	for (int i = 0; i < 1000; i++)
		table_add_cell(&table, "x");
	table_write(&table, &out);
	assert_int_equal(out.len, 2 * 1001);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_align),
		cmocka_unit_test(empty_table_has_all_titles),
		cmocka_unit_test(terminal_controls_are_disarmed),
		cmocka_unit_test(many_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
