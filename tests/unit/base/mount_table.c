/* What is mounted where, and how it goes away. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mount_table.h"

static void mounts_are_found_and_detached(void **state)
{
	(void)state;
	char folder[] =
	        "/tmp/tarn unit\\XXXXXX"; /* a blank and a backslash, which the kernel's list escapes */
	assert_non_null(mkdtemp(folder));
	bool is_there = true;
	struct error err;
	assert_int_equal(mount_table_find(folder, &is_there, &err), STATUS_OK);
	assert_false(is_there);
	assert_int_equal(mount_table_find("/proc", &is_there, &err), STATUS_OK);
	assert_true(is_there);
	assert_int_equal(mount_table_detach(folder, &err), STATUS_OK); /* none is fine */
	if (mount("none", folder, "tmpfs", 0, NULL) < 0 || mount("none", folder, "tmpfs", 0, NULL) < 0) {
		assert_int_equal(rmdir(folder), 0);
		print_message("skipped: cannot mount here\n");
		skip();
	}
	CLEANUP(free_text) char *path = xasprintf("%s/open", folder);
	CLEANUP(close_fd) int busy = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(busy >= 0);
	assert_int_equal(mount_table_find(folder, &is_there, &err), STATUS_OK);
	assert_true(is_there);
	assert_int_equal(mount_table_detach(folder, &err), STATUS_OK); /* both, though one is in use */
	assert_int_equal(mount_table_find(folder, &is_there, &err), STATUS_OK);
	assert_false(is_there);
	assert_int_equal(rmdir(folder), 0);
}

static void all_below_a_folder_go(void **state)
{
	(void)state;
	char folder[] = "/tmp/tarn unit\\XXXXXX";
	assert_non_null(mkdtemp(folder));
	CLEANUP(free_text) char *one = xasprintf("%s/one", folder);
	CLEANUP(free_text) char *two = xasprintf("%s/two", folder);
	CLEANUP(free_text) char *beside = xasprintf("%s.beside", folder);
	struct error err;
	size_t count = 7;
	bool is_there = false;
	assert_int_equal(mkdir(one, 0700), 0);
	assert_int_equal(mkdir(two, 0700), 0);
	assert_int_equal(mkdir(beside, 0700), 0);
	assert_int_equal(mount_table_detach_below(folder, &count, &err), STATUS_OK);
	assert_int_equal(count, 0);
	bool can_mount = mount("none", one, "tmpfs", 0, NULL) == 0;
	if (can_mount) {
		assert_int_equal(mount("none", two, "tmpfs", 0, NULL), 0);
		assert_int_equal(mount("none", two, "tmpfs", 0, NULL), 0);
		assert_int_equal(mount("none", beside, "tmpfs", 0, NULL), 0);
		assert_int_equal(mount_table_detach_below(folder, &count, &err), STATUS_OK);
		assert_int_equal(count, 3);
		assert_int_equal(mount_table_find(two, &is_there, &err), STATUS_OK);
		assert_false(is_there);
		assert_int_equal(mount_table_find(beside, &is_there, &err), STATUS_OK);
		assert_true(is_there); /* its name begins like the folder's */
		assert_int_equal(mount_table_detach(beside, &err), STATUS_OK);
	}
	assert_int_equal(rmdir(one), 0);
	assert_int_equal(rmdir(two), 0);
	assert_int_equal(rmdir(beside), 0);
	assert_int_equal(rmdir(folder), 0);
	if (!can_mount)
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mounts_are_found_and_detached),
		cmocka_unit_test(all_below_a_folder_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
