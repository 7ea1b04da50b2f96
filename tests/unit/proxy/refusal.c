/* Words that tell clients whether to try again stand where they belong only. */
#include "proxy/refusal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "pgwire/message.h"

static bool sounds_permanent(const struct refusal *refusal)
{
	CLEANUP(buffer_done) struct buffer out = { 0 };
	refusal_append(&out, refusal);
	return memmem(out.data, out.len, "does not exist", 14) ||
	       memmem(out.data, out.len, "authentication failed", 21);
}

static void test_permanent(void **unused)
{
	(void)unused;
	struct refusal refusal;
	refusal_unknown_endpoint(&refusal, "ep-a", false);
	assert_true(sounds_permanent(&refusal));
	refusal_unknown_endpoint(&refusal, "127.64.0.9", true);
	assert_true(sounds_permanent(&refusal));
	refusal_bad_endpoint(&refusal, slice_from_text("x"));
	assert_true(sounds_permanent(&refusal));
	refusal_password(
	        &refusal, slice_from_text("u"), "Token expired.", "projects/p/branches/b/endpoints/e");
	assert_true(sounds_permanent(&refusal));
}

static void test_passing(void **unused)
{
	(void)unused;
	static const char *const reasons[] = { "disk full", "database \"x\" does not exist", "Does Not Exist",
		"peer authentication failed for user \"y\"", "" };
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
		struct refusal refusal;
		refusal_start_failed(&refusal, reasons[i], reasons[i]);
		assert_string_equal(refusal.sqlstate, "57P03");
		assert_non_null(strstr(refusal.message, "the database system could not be started: "));
		assert_false(sounds_permanent(&refusal));
		refusal_not_ready(&refusal, reasons[i]);
		assert_string_equal(refusal.sqlstate, "57P03");
		assert_false(sounds_permanent(&refusal));
	}
	struct refusal refusal;
	refusal_start_failed(&refusal, "disk full", "Make room.");
	assert_string_equal(refusal.message, "the database system could not be started: disk full");
	assert_string_equal(refusal.hint, "Make room.");
	refusal_shutting_down(&refusal);
	assert_false(sounds_permanent(&refusal));
	refusal_pooler_gone(&refusal);
	assert_string_equal(refusal.sqlstate, "57P01");
	assert_false(sounds_permanent(&refusal));
	refusal_too_many(&refusal, 100, true);
	assert_string_equal(refusal.message, "too many connections to the proxy: the limit is 100");
	assert_string_equal(refusal.sqlstate, "53300");
	assert_false(sounds_permanent(&refusal));
	refusal_project_full(&refusal, "projects/p/branches/b/endpoints/e", 7);
	assert_string_equal(
	        refusal.message, "too many connections to the endpoints of \"projects/p\": the limit is 7");
	assert_false(sounds_permanent(&refusal));
	refusal_endpoint_full(&refusal, "projects/p/branches/b/endpoints/e", 206, false);
	assert_string_equal(refusal.message,
	        "too many connections to endpoint \"projects/p/branches/b/endpoints/e\": the limit is 206");
	assert_string_equal(refusal.sqlstate, "53300");
	assert_false(sounds_permanent(&refusal));
}

static void test_hostile_names(void **unused)
{
	(void)unused;
	struct refusal refusal;
	char name[600];
	memset(name, 'n', sizeof name);
	struct slice longest = { (uint8_t *)name, sizeof name };
	refusal_password(&refusal, longest, "reason", "e");
	refusal_bad_endpoint(&refusal, longest);
	refusal_two_endpoints(&refusal, "ep-a", longest);
	refusal_user(&refusal, longest);
	refusal_password(&refusal, slice_from_text("a\nb\x7f\x01"), "reason", "e");
	assert_string_equal(refusal.message, "password authentication failed for user \"a?b??\"");
}

static void test_pooled(void **unused)
{
	(void)unused;
	struct refusal refusal;
	char name[600];
	memset(name, 'n', sizeof name);
	refusal_pooled_name(&refusal, "database", (struct slice){ (uint8_t *)name, sizeof name }, "ep-a");
	refusal_pooled_name(&refusal, "database", slice_from_text("pgbouncer"), "ep-a");
	assert_string_equal(refusal.sqlstate, "0A000");
	assert_non_null(
	        strstr(refusal.message, "database \"pgbouncer\" cannot be reached through the pooler"));
	assert_non_null(strstr(refusal.hint, "endpoint ep-a"));
	refusal_pooled_replication(&refusal, "ep-a");
	assert_string_equal(refusal.sqlstate, "0A000");
	refusal_told(&refusal, "28000", "role \"x\" does not exist", "");
	assert_string_equal(refusal.sqlstate, "28000");
	assert_string_equal(refusal.hint, "");
}

static void test_disabled(void **unused)
{
	(void)unused;
	struct refusal refusal;
	refusal_disabled(&refusal, "projects/p/branches/b/endpoints/e");
	assert_string_equal(refusal.sqlstate, "55000");
	assert_non_null(
	        strstr(refusal.hint, "tarn postgres update-endpoint projects/p/branches/b/endpoints/e"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_permanent),
		cmocka_unit_test(test_passing),
		cmocka_unit_test(test_hostile_names),
		cmocka_unit_test(test_disabled),
		cmocka_unit_test(test_pooled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
