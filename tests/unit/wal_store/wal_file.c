/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "wal_store/wal_file.h"

static void names_are_those_of_postgres(void **state)
{
	(void)state;
	char name[WAL_FILE_NAME_MAX];
	wal_segment_name(1, 1, 16u << 20, name);
	assert_string_equal(name, "000000010000000000000001");
	wal_segment_name(0xab, 0x1ff, 16u << 20, name); /* 256 segments of 16 MB in each id */
	assert_string_equal(name, "000000AB00000001000000FF");
	wal_segment_name(3, 0x1234, 1u << 20, name); /* 4096 of 1 MB */
	assert_string_equal(name, "000000030000000100000234");
	wal_segment_name(UINT32_MAX, (UINT64_MAX >> 30), 1u << 30, name);
	assert_string_equal(name, "FFFFFFFFFFFFFFFF00000003");
	wal_history_name(10, name);
	assert_string_equal(name, "0000000A.history");
}

static void only_files_of_the_timeline(void **state)
{
	(void)state;
	assert_true(wal_file_is_of_timeline("0000000B0000000000000007", 11));
	assert_true(wal_file_is_of_timeline("0000000B0000000000000007.partial", 11));
	assert_true(wal_file_is_of_timeline("0000000B.history", 11));
	assert_false(wal_file_is_of_timeline("0000000A.history", 11));
	assert_false(wal_file_is_of_timeline("0000000A0000000000000007", 11));
	assert_false(wal_file_is_of_timeline("archive_status", 11));
	assert_false(wal_file_is_of_timeline("0000000B", 11));
	assert_false(wal_file_is_of_timeline("", 11));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_those_of_postgres),
		cmocka_unit_test(only_files_of_the_timeline),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
