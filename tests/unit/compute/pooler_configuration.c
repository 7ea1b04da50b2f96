/* What PgBouncer is told: no path and no name can say more than itself. tests/system/pooler.py has the real one read it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "compute/pooler_configuration.h"

static void room_is_left_beside_the_pools(void **state)
{
	(void)state;
	static const struct {
		int max, connections;
	} table[] = { { 104, 90 }, { 209, 185 }, { 419, 374 }, { 4000, 3597 }, { 20, 12 }, { 9, 1 },
		{ 5, 1 } };
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		assert_int_equal(pooler_connections(table[i].max), table[i].connections);
}

static const struct pooler_configuration ordinary = { .postgres_socket_folder = "/d/computes/ep-a/socket",
	.socket_folder = "/d/computes/ep-a/pooler",
	.users_path = "/d/computes/ep-a/pooler_users",
	.postgres_major = 17,
	.connections = 185,
	.clients = 10000,
	.wait_sec = 120 };

static char *formatted(const struct pooler_configuration *configuration)
{
	CLEANUP(buffer_done) struct buffer out = { 0 };
	struct error err;
	assert_int_equal(pooler_configuration_format(configuration, &out, &err), STATUS_OK);
	return xstrndup(out.data, out.len);
}

static void the_file_says_what_it_shall(void **state)
{
	(void)state;
	CLEANUP(free_text) char *text = formatted(&ordinary);
	static const char *const lines[] = { "[databases]\n* = host='/d/computes/ep-a/socket' port=5432\n",
		"\nlisten_addr =\n", "\nunix_socket_dir = /d/computes/ep-a/pooler\n", "\nauth_type = trust\n",
		"\nauth_file = /d/computes/ep-a/pooler_users\n", "\nadmin_users = cloud_admin\n",
		"\npool_mode = transaction\n", "\nmax_client_conn = 10000\n", "\ndefault_pool_size = 185\n",
		"\nmax_db_connections = 185\n", "\nmax_prepared_statements = 200\n",
		"\nquery_wait_timeout = 120\n", "\nserver_idle_timeout = 60\n",
		"\nignore_startup_parameters = extra_float_digits\n" };
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		assert_non_null(strstr(text, lines[i]));
	/* Postgres reports it from 18 on; before that, one client's would become another's. */
	assert_null(strstr(text, "search_path"));
	struct pooler_configuration newer = ordinary;
	newer.postgres_major = 18;
	CLEANUP(free_text) char *other = formatted(&newer);
	assert_non_null(strstr(other, "search_path"));
}

static void a_path_is_a_path(void **state)
{
	(void)state;
	struct pooler_configuration odd = ordinary;
	odd.postgres_socket_folder = "/it's here/a;b #c %include [x]/socket";
	CLEANUP(free_text) char *text = formatted(&odd);
	assert_non_null(strstr(text, "\n* = host='/it''s here/a;b #c %include [x]/socket' port=5432\n"));

	static const char *const refused[] = { "/a\nauth_type = any", "/a,b", "/a ", "relative", "", "/a\x7f",
		"/a\tb" };
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		const char **members[] = { &odd.postgres_socket_folder, &odd.socket_folder, &odd.users_path };
		for (size_t k = 0; k < ARRAY_LEN(members); k++) {
			CLEANUP(buffer_done) struct buffer out = { 0 };
			struct error err;
			odd = ordinary;
			*members[k] = refused[i];
			assert_int_equal(pooler_configuration_format(&odd, &out, &err), STATUS_INVALID);
		}
	}
}

static void names_are_names(void **state)
{
	(void)state;
	static const char *const names[] = { "app", "a\"b", "\"", "x\n\"cloud_admin\" \"\"", "; comment",
		"\xff\xfe", "back\\slash", "" };
	CLEANUP(buffer_done) struct buffer out = { 0 };
	pooler_configuration_format_users(names, ARRAY_LEN(names), &out);
	assert_string_equal(out.data, "\"app\" \"\"\n\"a\"\"b\" \"\"\n\"\"\"\" \"\"\n"
	                              "\"x\n\"\"cloud_admin\"\" \"\"\"\"\" \"\"\n\"; comment\" \"\"\n"
	                              "\"\xff\xfe\" \"\"\n\"back\\slash\" \"\"\n\"\" \"\"\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(room_is_left_beside_the_pools),
		cmocka_unit_test(the_file_says_what_it_shall),
		cmocka_unit_test(a_path_is_a_path),
		cmocka_unit_test(names_are_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
