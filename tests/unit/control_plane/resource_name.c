/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_plane/resource_name.h"

static void ids_follow_the_pattern(void **state)
{
	(void)state;
	char longest[65];
	memset(longest, 'a', 63);
	longest[63] = '\0';
	static const char *const good[] = { "a", "my-app", "a1", "a-1-b" };
	static const char *const bad[] = { "", "1a", "-a", "a-", "A", "a_b", "a.b", "a/b", "a b", "\xc3\xa4",
		"a\n" };
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(resource_id_is_valid(good[i]));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(resource_id_is_valid(bad[i]));
	assert_true(resource_id_is_valid(longest));
	longest[63] = 'a';
	longest[64] = '\0';
	assert_false(resource_id_is_valid(longest));
}

static void names_are_read_exactly(void **state)
{
	(void)state;
	struct resource_name n;
	assert_true(resource_name_parse("projects/p", &n));
	assert_int_equal(n.kind, RESOURCE_PROJECT);
	assert_true(resource_name_parse("projects/p/branches/b", &n));
	assert_int_equal(n.kind, RESOURCE_BRANCH);
	assert_string_equal(n.branch_id, "b");
	assert_true(resource_name_parse("projects/p/branches/b/endpoints/e-1", &n));
	assert_int_equal(n.kind, RESOURCE_ENDPOINT);
	assert_string_equal(n.leaf_id, "e-1");
	assert_true(resource_name_parse("projects/p/branches/b/roles/r", &n));
	assert_int_equal(n.kind, RESOURCE_ROLE);
	assert_true(resource_name_parse("projects/p/branches/b/databases/d", &n));
	assert_int_equal(n.kind, RESOURCE_DATABASE);
	static const char *const bad[] = { "", "projects", "projects/", "/projects/p", "projects/p/",
		"projects/P", "projects/p/branches", "projects/p/branches/", "projects/p/branches/b/",
		"projects/p/branches/b/tables/t", "projects/p/branches/b/endpoints/e/x", "projectsx/p",
		"projects/p/branchesx/b", "branches/b", "projects//branches/b" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (resource_name_parse(bad[i], &n))
			fail_msg("accepted \"%s\"", bad[i]);
	}
}

static void uids_are_dns_labels_and_differ(void **state)
{
	(void)state;
	char one[RESOURCE_ID_MAX + 1], two[RESOURCE_ID_MAX + 1];
	resource_uid_make("ep", one);
	resource_uid_make("ep", two);
	assert_true(resource_id_is_valid(one));
	assert_int_equal(strncmp(one, "ep-", 3), 0);
	assert_string_not_equal(one, two);
}

static void callers_become_roles(void **state)
{
	(void)state;
	static const struct {
		const char *login;
		bool is_service_principal;
		const char *id;
	} cases[] = {
		{ "alice@example.com", false, "alice" },
		{ "Alice.B_c+d@example.com", false, "alice-b-c-d" },
		{ "1a@x", false, "u-1a" },
		{ "..x.@x", false, "x" },
		{ "@x", false, "owner" },
		{ "\xc3\xbc@x", false, "owner" },
		{ "7f3c0000-0000-4000-8000-000000000000", true, "sp-7f3c0000-0000-4000-8000-000000000000" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char id[RESOURCE_ID_MAX + 1];
		resource_role_id(cases[i].login, cases[i].is_service_principal, id);
		assert_string_equal(id, cases[i].id);
		assert_true(resource_id_is_valid(id));
	}
	char lengthy[300], id[RESOURCE_ID_MAX + 1];
	memset(lengthy, '-', sizeof lengthy - 1);
	lengthy[sizeof lengthy - 1] = '\0';
	lengthy[0] = 'a';
	resource_role_id(lengthy, false, id);
	assert_string_equal(id, "a");
	lengthy[0] = '1';
	memset(lengthy + 1, 'b', sizeof lengthy - 2);
	resource_role_id(lengthy, false, id);
	assert_true(resource_id_is_valid(id));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_follow_the_pattern),
		cmocka_unit_test(names_are_read_exactly),
		cmocka_unit_test(uids_are_dns_labels_and_differ),
		cmocka_unit_test(callers_become_roles),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
