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

/* That dead ones go is shown by a test of the whole (system/up_and_down.py): it takes a file system of ours. */
static void what_lives_below_a_folder_stays(void **state)
{
	(void)state;
	char folder[] = "/tmp/tarn unit\\XXXXXX";
	assert_non_null(mkdtemp(folder));
	CLEANUP(free_text) char *one = xasprintf("%s/one", folder);
	struct error err;
	size_t count = 7;
	bool is_there = false;
	assert_int_equal(mkdir(one, 0700), 0);
	assert_int_equal(mount_table_detach_dead(folder, "tmpfs", &count, &err), STATUS_OK);
	assert_int_equal(count, 0);
	assert_int_equal(mount_table_detach_dead("/there/is/none", "tmpfs", &count, &err), STATUS_OK);
	bool can_mount = mount("none", one, "tmpfs", 0, NULL) == 0;
	if (can_mount) {
		assert_int_equal(mount_table_detach_dead(folder, "tmpfs", &count, &err), STATUS_OK);
		assert_int_equal(count, 0);
		assert_int_equal(mount_table_find(one, &is_there, &err), STATUS_OK);
		assert_true(is_there);
		assert_int_equal(mount_table_detach(one, &err), STATUS_OK);
	}
	assert_int_equal(rmdir(one), 0);
	assert_int_equal(rmdir(folder), 0);
	if (!can_mount)
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mounts_are_found_and_detached),
		cmocka_unit_test(what_lives_below_a_folder_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
