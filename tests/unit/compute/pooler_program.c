/* Which PgBouncer is there, and is it new enough? */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compute/pooler_program.h"

static void versions_are_read(void **state)
{
	(void)state;
	static const struct {
		const char *text, *version;
		int minor;
	} good[] = { { "PgBouncer 1.24.1\nlibevent 2.1.12-stable (epoll)\n", "1.24.1", 24 },
		{ "PgBouncer 1.21.0", "1.21.0", 21 }, { "PgBouncer 1.18.0\r\n", "1.18.0", 18 },
		{ "PgBouncer 1.25.dev\n", "1.25.dev", 25 }, { "PgBouncer 2.0\n", "2.0", INT_MAX },
		{ "PgBouncer 0.9\n", "0.9", 0 } };
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct pooler_program found = { 0 };
		assert_true(pooler_program_parse_version(good[i].text, &found));
		assert_string_equal(found.version, good[i].version);
		assert_int_equal(found.minor, good[i].minor);
	}
	static const char *const bad[] = { "", "PgBouncer", "PgBouncer ", "PgBouncer x", "PgBouncer 1",
		"PgBouncer 1.", "PgBouncer 1.x", "PgBouncer -1.2", "pgbouncer 1.24.1",
		"postgres (PostgreSQL) 17.1", "PgBouncer 1.24.1111111111111111111111111111111111",
		"PgBouncer 99999.1" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct pooler_program found = { 0 };
		assert_false(pooler_program_parse_version(bad[i], &found));
	}
}

static void write_program(const char *path, const char *says)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fprintf(file, "#!/bin/sh\necho '%s'\n", says) > 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0755), 0);
}

static void an_old_one_is_not_taken(void **state)
{
	(void)state;
	char folder[] = "/tmp/pooler_program.XXXXXX";
	assert_non_null(mkdtemp(folder));
	CLEANUP(free_text) char *path = xasprintf("%s/pgbouncer", folder);
	struct pooler_program found;
	struct error err;
	assert_int_equal(setenv("TARN_PGBOUNCER", path, 1), 0);
	assert_int_equal(pooler_program_find(&found, &err), STATUS_NOT_FOUND);
	assert_string_equal(err.message, "PgBouncer is not installed");
	assert_non_null(strstr(err.hint, "1.21"));

	write_program(path, "PgBouncer 1.18.0");
	assert_int_equal(pooler_program_find(&found, &err), STATUS_UNSUPPORTED);
	assert_non_null(strstr(err.message, "PgBouncer 1.18.0"));

	write_program(path, "something else");
	assert_int_equal(pooler_program_find(&found, &err), STATUS_NOT_FOUND);

	write_program(path, "PgBouncer 1.23.1");
	assert_int_equal(pooler_program_find(&found, &err), STATUS_OK);
	assert_string_equal(found.path, path);
	assert_string_equal(found.version, "1.23.1");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
	assert_int_equal(unsetenv("TARN_PGBOUNCER"), 0);
}

static void its_user_is_not_that_of_postgres(void **state)
{
	(void)state;
	struct system_user user = { 0 }, same = { .uid = geteuid(), .gid = getegid() };
	struct error err;
	assert_int_equal(pooler_user_find(&same, &user, &err), STATUS_OK);
	assert_int_equal(user.uid, same.uid);

	struct system_user named;
	if (system_user_find(POOLER_USER, &named, &err) != STATUS_OK)
		skip(); /* tools/setup makes it, as root */
	struct system_user other = { .uid = named.uid + 1, .gid = named.gid, .is_other = true };
	assert_int_equal(pooler_user_find(&other, &user, &err), STATUS_OK);
	assert_int_equal(user.uid, named.uid);
	other.uid = named.uid; /* what tenants can do as Postgres' user, the pooler could do as anybody */
	assert_int_equal(pooler_user_find(&other, &user, &err), STATUS_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions_are_read),
		cmocka_unit_test(an_old_one_is_not_taken),
		cmocka_unit_test(its_user_is_not_that_of_postgres),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
