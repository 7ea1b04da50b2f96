/* Which endpoint a connection means. */
#include "proxy/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define UID "ep-calm-lake-1a2b3c4d"

static void check_name(const char *sni, const char *domain, const char *name, const char *uid)
{
	struct server_name found;
	server_name_parse(sni, domain, &found);
	assert_string_equal(found.name, name);
	assert_string_equal(found.uid, uid);
}

static void test_server_names(void **unused)
{
	(void)unused;
	check_name(UID ".localhost", "localhost", UID ".localhost", UID);
	check_name("EP-Calm-Lake-1A2B3C4D.LocalHost", "localhost", UID ".localhost", UID);
	check_name(UID ".localhost.", "localhost", UID ".localhost", UID);
	check_name(UID ".db.example.com", "db.example.com", UID ".db.example.com", UID);
	check_name(UID ".db.example.com", "DB.Example.com", UID ".db.example.com", UID);
	check_name("localhost", "localhost", "localhost", "");

	static const char *const others[] = { NULL, "", ".", "localhos", "xlocalhost", ".localhost",
		"x.localhost", "ep-.localhost", UID "localhost", "a." UID ".localhost",
		UID ".localhost.evil.com", UID ".example.com", "ep-a_b.localhost", "ep-\xc3\xa4.localhost",
		"*.localhost", "ep-a-.localhost", "127.0.0.1",
		"ep-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789.localhost" };
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		check_name(others[i], "localhost", "", "");
}

static void test_long_names(void **unused)
{
	(void)unused;
	char name[400];
	memset(name, 'a', sizeof name);
	memcpy(name + sizeof name - 11, ".localhost", 11);
	check_name(name, "localhost", "", "");
}

static bool choose_pooled(const char *sni, const char *option, char ret_uid[ENDPOINT_UID_MAX + 1],
        bool *ret_is_pooled, struct refusal *refusal)
{
	struct server_name name;
	struct startup_message message = { 0 };
	server_name_parse(sni, "localhost", &name);
	if (option)
		message.endpoint = slice_from_text(option);
	return route_choose(&name, &message, ret_uid, ret_is_pooled, refusal);
}

static bool choose(
        const char *sni, const char *option, char ret_uid[ENDPOINT_UID_MAX + 1], struct refusal *refusal)
{
	bool is_pooled = true;
	bool is_chosen = choose_pooled(sni, option, ret_uid, &is_pooled, refusal);
	assert_true(!is_chosen || !is_pooled);
	return is_chosen;
}

static void check_suffix(const char *label, const char *uid, bool is_read_only)
{
	char text[ENDPOINT_UID_MAX + 1];
	(void)snprintf(text, sizeof text, "%s", label);
	assert_int_equal(route_take_read_only(text), is_read_only);
	assert_string_equal(text, uid);
}

static void test_read_only_hosts(void **unused)
{
	(void)unused;
	check_suffix(UID "-ro", UID, true);
	check_suffix(UID, UID, false);
	check_suffix("", "", false);
	check_suffix("-ro", "-ro", false);
	check_suffix(UID "-rw", UID "-rw", false);
	check_name(UID "-ro.localhost", "localhost", UID "-ro.localhost", UID "-ro");
}

static void test_choice(void **unused)
{
	(void)unused;
	char uid[ENDPOINT_UID_MAX + 1] = "before";
	struct refusal refusal;
	assert_true(choose(UID ".localhost", NULL, uid, &refusal));
	assert_string_equal(uid, UID);
	assert_true(choose(NULL, UID, uid, &refusal));
	assert_string_equal(uid, UID);
	assert_true(choose("localhost", UID, uid, &refusal));
	assert_string_equal(uid, UID);
	assert_true(choose(UID ".localhost", UID, uid, &refusal));
	assert_string_equal(uid, UID);
	assert_true(choose("elsewhere.example.com", NULL, uid, &refusal));
	assert_string_equal(uid, ""); /* the address decides */

	assert_false(choose(UID ".localhost", "ep-other", uid, &refusal));
	assert_string_equal(refusal.sqlstate, "08P01");
	assert_false(choose(UID ".localhost", UID "-ro", uid,
	        &refusal)); /* another host, although of the same endpoint */
	assert_string_equal(refusal.sqlstate, "08P01");
	static const char *const bad[] = { "", "x", "ep-", "EP-A", "ep-a\"b", "ep-a b", "ep-a\x01",
		"ep-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_false(choose(NULL, bad[i], uid, &refusal));
		assert_string_equal(refusal.sqlstate, "3D000");
		assert_null(strchr(refusal.message, '\x01'));
	}
}

static void expect_pooled(const char *sni, const char *option, bool is_pooled)
{
	char uid[ENDPOINT_UID_MAX + 1];
	struct refusal refusal;
	bool found = !is_pooled;
	assert_true(choose_pooled(sni, option, uid, &found, &refusal));
	assert_string_equal(uid, UID);
	assert_int_equal(found, is_pooled);
}

static void test_poolers(void **unused)
{
	(void)unused;
	expect_pooled(UID "-pooler.localhost", NULL, true);
	expect_pooled("EP-Calm-Lake-1A2B3C4D-POOLER.localhost.", NULL, true);
	expect_pooled(NULL, UID "-pooler", true);
	expect_pooled("localhost", UID "-pooler", true);
	expect_pooled(UID "-pooler.localhost", UID "-pooler", true);
	/* One of the two is enough: options name the endpoint for clients that do not send a host name. */
	expect_pooled(UID "-pooler.localhost", UID, true);
	expect_pooled(UID ".localhost", UID "-pooler", true);
	expect_pooled(UID ".localhost", UID, false);
	expect_pooled(UID ".localhost", NULL, false);

	struct server_name name;
	server_name_parse(UID "-pooler.localhost", "localhost", &name);
	assert_string_equal(name.name, UID "-pooler.localhost"); /* what the certificate is for */
	assert_string_equal(name.uid, UID);
	/* An endpoint that is called so. */
	server_name_parse("ep-pooler.localhost", "localhost", &name);
	assert_string_equal(name.uid, "ep-pooler");
	assert_false(name.is_pooled);
	char uid[ENDPOINT_UID_MAX + 1];
	struct refusal refusal;
	bool is_pooled;
	assert_false(choose_pooled("ep-a-pooler.localhost", "ep-b-pooler", uid, &is_pooled, &refusal));
	assert_string_equal(refusal.sqlstate, "08P01");
	assert_false(choose_pooled(NULL, "ep--pooler", uid, &is_pooled, &refusal) && is_pooled);
}

static bool is_accepted(const char *user, const char *database, const char *replication)
{
	struct refusal refusal;
	struct startup_message message = { .user = slice_from_text(user) };
	if (database)
		message.database = slice_from_text(database);
	if (replication)
		message.replication = slice_from_text(replication);
	bool accepts = route_accepts_pooled(&message, "ep-a", &refusal);
	assert_true(accepts || (refusal.sqlstate[0] && refusal.message[0]));
	return accepts;
}

static void test_what_the_pooler_takes(void **unused)
{
	(void)unused;
	assert_true(is_accepted("app", "db", NULL));
	assert_true(is_accepted("app", NULL, NULL));
	assert_true(is_accepted("app", "PgBouncer", NULL)); /* names are what they are, byte for byte */
	assert_true(is_accepted("app", "pgbouncer2", NULL));
	/* PgBouncer's console: by name, and by the name that stands in for a missing one. */
	assert_false(is_accepted("app", "pgbouncer", NULL));
	assert_false(is_accepted("pgbouncer", NULL, NULL));
	assert_false(is_accepted("pgbouncer", "", NULL));
	assert_false(is_accepted("pgbouncer", "db", NULL));
	assert_false(is_accepted("app", "*", NULL));
	assert_true(
	        is_accepted("app", "012345678901234567890123456789012345678901234567890123456789012", NULL));
	assert_false(
	        is_accepted("app", "0123456789012345678901234567890123456789012345678901234567890123", NULL));
	static const char *const no[] = { "", "0", "false", "FALSE", "off", "no", "f", "of" };
	static const char *const yes[] = { "1", "true", "on", "database", "DATABASE", "yes", "x", "fals e" };
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		assert_true(is_accepted("app", "db", no[i]));
	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		assert_false(is_accepted("app", "db", yes[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_server_names),
		cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_read_only_hosts),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_poolers),
		cmocka_unit_test(test_what_the_pooler_takes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
