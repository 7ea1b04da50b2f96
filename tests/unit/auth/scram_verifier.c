/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "auth/scram_verifier.h"

/* The salt, iterations and password of RFC 7677 section 3; the keys follow from them. */
static const char known[] = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
                            "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                            "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

static void a_known_verifier_matches_its_password(void **state)
{
	(void)state;
	assert_true(scram_verifier_matches(known, "pencil"));
	assert_false(scram_verifier_matches(known, "Pencil"));
	assert_false(scram_verifier_matches(known, ""));
}

static void a_made_one_matches_too(void **state)
{
	(void)state;
	struct error err;
	char password[GENERATED_PASSWORD_CHARS + 1], other[GENERATED_PASSWORD_CHARS + 1];
	char verifier[SCRAM_VERIFIER_MAX + 1], again[SCRAM_VERIFIER_MAX + 1];
	password_generate(password);
	password_generate(other);
	assert_int_equal(strlen(password), GENERATED_PASSWORD_CHARS);
	assert_string_not_equal(password, other);
	assert_int_equal(scram_verifier_make(password, verifier, &err), STATUS_OK);
	assert_int_equal(scram_verifier_make(password, again, &err), STATUS_OK);
	assert_string_not_equal(verifier, again); /* a salt of its own each time */
	assert_true(scram_verifier_matches(verifier, password));
	assert_true(scram_verifier_matches(again, password));
	assert_false(scram_verifier_matches(verifier, other));
}

static void what_is_none_matches_nothing(void **state)
{
	(void)state;
	static const char *const wrong[] = { "", "md5d41d8cd98f00b204e9800998ecf8427e", "SCRAM-SHA-256$",
		"SCRAM-SHA-256$4096", "SCRAM-SHA-256$4096:", "SCRAM-SHA-256$4096:$",
		"SCRAM-SHA-256$4096:AA$a:b", "SCRAM-SHA-256$0:W22ZaJ0SNY7soEsUEjb6gQ==$a:b",
		"SCRAM-SHA-256$-1:W22ZaJ0SNY7soEsUEjb6gQ==$a:b",
		"SCRAM-SHA-256$99999999999:W22ZaJ0SNY7soEsUEjb6gQ==$a:b", "SCRAM-SHA-256$4096:!!!!$a:b",
		"SCRAM-SHA-256$4096:====$a:b" };
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_false(scram_verifier_matches(wrong[i], "pencil"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_known_verifier_matches_its_password),
		cmocka_unit_test(a_made_one_matches_too),
		cmocka_unit_test(what_is_none_matches_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
