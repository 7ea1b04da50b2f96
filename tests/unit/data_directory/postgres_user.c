/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "data_directory/postgres_user.h"

static char folder[] = "/tmp/tarn-unit-XXXXXX";

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	struct error err;
	return tree_remove(folder, &err) == STATUS_OK ? 0 : -1;
}

static void unknown_user_is_refused_with_the_command(void **state)
{
	(void)state;
	struct error err;
	assert_int_equal(postgres_user_check("no-such-user-here", "/tmp", &err), STATUS_NOT_FOUND);
	assert_non_null(strstr(err.hint, "useradd --system no-such-user-here"));
}

static void root_is_refused(void **state)
{
	(void)state;
	struct error err;
	assert_int_equal(postgres_user_check("root", "/tmp", &err), STATUS_INVALID);
}

static void only_root_can_become_another(void **state)
{
	(void)state;
	struct error err;
	if (geteuid() == 0)
		skip(); /* root may */
	assert_int_equal(postgres_user_check("daemon", "/tmp", &err), STATUS_DENIED);
	assert_int_equal(postgres_user_check(NULL, folder, &err), STATUS_OK);
}

/* A folder in the middle of the path that cannot be entered is named, wherever it is. */
static void closed_folder_is_named(void **state)
{
	(void)state;
	struct error err;
	if (geteuid() != 0)
		skip(); /* needs another user */
	CLEANUP(free_text) char *closed = xasprintf("%s/closed", folder);
	CLEANUP(free_text) char *below = xasprintf("%s/below", closed);
	assert_int_equal(chmod(folder, 0711), 0);
	assert_int_equal(folder_make(closed, 0700, &err), STATUS_OK);
	assert_int_equal(folder_make(below, 0711, &err), STATUS_OK);
	assert_int_equal(postgres_user_check("daemon", below, &err), STATUS_DENIED);
	assert_non_null(strstr(err.message, closed));
	assert_non_null(strstr(err.hint, "chmod o+x"));
	assert_int_equal(chmod(closed, 0711), 0);
	assert_int_equal(postgres_user_check("daemon", below, &err), STATUS_OK);
	/* The owner's bit counts for the owner, not the others' one. */
	const struct passwd *user = getpwnam("daemon");
	assert_int_equal(chown(closed, user->pw_uid, user->pw_gid), 0);
	assert_int_equal(chmod(closed, 0611), 0);
	assert_int_equal(postgres_user_check("daemon", below, &err), STATUS_DENIED);
	assert_int_equal(chmod(closed, 0700), 0);
	assert_int_equal(postgres_user_check("daemon", below, &err), STATUS_OK);
}

static void default_user(void **state)
{
	(void)state;
	struct error err;
	char *user = NULL;
	status st = postgres_user_default(&user, &err);
	if (geteuid() != 0) {
		assert_int_equal(st, STATUS_OK);
		assert_null(user);
	} else if (getpwnam("tarn")) {
		assert_int_equal(st, STATUS_OK);
		assert_string_equal(user, "tarn");
	} else if (getpwnam("postgres")) {
		assert_int_equal(st, STATUS_OK);
		assert_string_equal(user, "postgres");
	} else {
		assert_int_equal(st, STATUS_NOT_FOUND);
		assert_non_null(strstr(err.hint, "useradd --system tarn"));
	}
	free(user);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_user_is_refused_with_the_command),
		cmocka_unit_test(root_is_refused),
		cmocka_unit_test(only_root_can_become_another),
		cmocka_unit_test(closed_folder_is_named),
		cmocka_unit_test(default_user),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
