/* Who may log in: one good token, and everything that is nearly one. */
#include "proxy/authentication.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "proxy_fixture.h"

#define NOW   (1800000000ll * USEC_PER_SEC)
#define LOGIN "alice@example.com"
#define UID   "ep-calm-lake-1a2b3c4d"

struct keys {
	struct fixture_folder folder, other_folder;
	struct token_key *key, *other;
};

static int set_up(void **state)
{
	struct keys *keys = xcalloc(1, sizeof *keys);
	keys->folder = fixture_folder_make();
	keys->other_folder = fixture_folder_make();
	keys->key = fixture_token_key(&keys->folder);
	keys->other = fixture_token_key(&keys->other_folder);
	*state = keys;
	return 0;
}

static int tear_down(void **state)
{
	struct keys *keys = *state;
	token_key_free(keys->key);
	token_key_free(keys->other);
	fixture_folder_remove(&keys->folder);
	fixture_folder_remove(&keys->other_folder);
	free(keys);
	return 0;
}

static void mint(const struct token_key *key, const char *login, const char *uid, int64_t expires_usec,
        struct buffer *out)
{
	struct token_claims claims = { .issued_usec = expires_usec - 600 * USEC_PER_SEC,
		.expires_usec = expires_usec };
	struct error err;
	(void)snprintf(claims.login, sizeof claims.login, "%s", login);
	claims.endpoint_count = 1;
	(void)snprintf(claims.endpoints[0], sizeof claims.endpoints[0], "%s", uid);
	assert_int_equal(token_mint(key, &claims, out, &err), STATUS_OK);
}

static const struct endpoint endpoint = { .uid = UID, .name = "projects/p/branches/b/endpoints/e" };

static bool accepts(const struct keys *keys, struct slice token, const char *user, struct refusal *ret)
{
	return authentication_accepts_token(keys->key, token, NOW, slice_from_text(user), &endpoint, ret);
}

static void test_good_token(void **state)
{
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct refusal refusal;
	mint(((struct keys *)*state)->key, LOGIN, UID, NOW + 60 * USEC_PER_SEC, &token);
	assert_true(accepts(*state, buffer_slice(&token), LOGIN, &refusal));

	/* One of several. */
	CLEANUP(buffer_done) struct buffer several = { 0 };
	struct token_claims claims = { .login = LOGIN,
		.endpoints = { "ep-other-00000000", UID },
		.endpoint_count = 2,
		.issued_usec = NOW,
		.expires_usec = NOW + 60 * USEC_PER_SEC };
	struct error err;
	assert_int_equal(token_mint(((struct keys *)*state)->key, &claims, &several, &err), STATUS_OK);
	assert_true(accepts(*state, buffer_slice(&several), LOGIN, &refusal));
}

/* However good it is: nobody is left whom it could be for. */
static void test_token_of_nobody(void **state)
{
	const struct keys *keys = *state;
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct refusal refusal;
	struct endpoint other = endpoint;
	other.refuses_tokens = true;
	mint(keys->key, LOGIN, UID, NOW + 60 * USEC_PER_SEC, &token);
	assert_false(authentication_accepts_token(
	        keys->key, buffer_slice(&token), NOW, slice_from_text(LOGIN), &other, &refusal));
	assert_string_equal(refusal.sqlstate, "28P01");
	assert_non_null(strstr(refusal.detail, "deactivated or deleted"));
}

static void check_refused(const struct keys *keys, struct slice token, const char *user, const char *detail)
{
	struct refusal refusal;
	assert_false(accepts(keys, token, user, &refusal));
	assert_string_equal(refusal.sqlstate, "28P01");
	/* Words that clients know; and what to do. */
	assert_non_null(strstr(refusal.message, "password authentication failed for user \""));
	assert_non_null(strstr(refusal.message, user));
	assert_non_null(strstr(refusal.hint,
	        "tarn postgres generate-database-credential projects/p/branches/b/endpoints/e"));
	assert_non_null(strstr(refusal.detail, detail));
	/* Never the token. */
	if (token.len > 20) {
		CLEANUP(free_text) char *text = xstrndup(token.data + token.len - 20, 20);
		assert_null(strstr(refusal.detail, text));
		assert_null(strstr(refusal.message, text));
	}
}

static void test_bad_tokens(void **state)
{
	const struct keys *keys = *state;
	const int64_t later = NOW + 60 * USEC_PER_SEC;
	CLEANUP(buffer_done) struct buffer expired = { 0 }, elsewhere = { 0 }, bob = { 0 }, forged = { 0 };
	mint(keys->key, LOGIN, UID, NOW - USEC_PER_SEC, &expired);
	mint(keys->key, LOGIN, "ep-other-00000000", later, &elsewhere);
	mint(keys->key, "bob@example.com", UID, later, &bob);
	mint(keys->other, LOGIN, UID, later, &forged);
	check_refused(keys, buffer_slice(&expired), LOGIN, "expired");
	check_refused(keys, buffer_slice(&elsewhere), LOGIN, "another endpoint, \"ep-other-00000000\"");
	check_refused(keys, buffer_slice(&bob), LOGIN, "another user, \"bob@example.com\"");
	check_refused(keys, buffer_slice(&forged), LOGIN, "signature");
	check_refused(keys, slice_from_text(""), LOGIN, "empty");
	check_refused(keys, slice_from_text("hunter2"), LOGIN, "not a database token");
	check_refused(keys, slice_from_text("a.b.c"), LOGIN, "malformed");
	/* Not a prefix, not another case, not longer. */
	check_refused(keys, buffer_slice(&bob), "bob@example.co", "another user");
	check_refused(keys, buffer_slice(&bob), "Bob@example.com", "another user");
	check_refused(keys, buffer_slice(&bob), "bob@example.comm", "another user");
}

static void test_every_tampered_byte(void **state)
{
	const struct keys *keys = *state;
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct refusal refusal;
	mint(keys->key, LOGIN, UID, NOW + 60 * USEC_PER_SEC, &token);
	for (size_t i = 0; i < token.len; i++) {
		char was = token.data[i];
		token.data[i] = was == 'A' ? 'B' : 'A';
		assert_false(accepts(keys, buffer_slice(&token), LOGIN, &refusal));
		token.data[i] = was;
	}
	for (size_t len = 0; len < token.len; len++)
		assert_false(accepts(keys, (struct slice){ (uint8_t *)token.data, len }, LOGIN, &refusal));
	assert_true(accepts(keys, buffer_slice(&token), LOGIN, &refusal));
}

static void test_users(void **unused)
{
	(void)unused;
	struct refusal refusal;
	char name[65];
	memset(name, 'x', sizeof name);
	assert_true(authentication_accepts_user(slice_from_text(LOGIN), &refusal));
	assert_true(authentication_accepts_user(slice_from_text("cloud_admi"), &refusal));
	assert_true(authentication_accepts_user((struct slice){ (uint8_t *)name, 63 }, &refusal));

	assert_false(authentication_accepts_user(slice_from_text("cloud_admin"), &refusal));
	assert_string_equal(refusal.sqlstate, "28000");
	/* Postgres would cut it to 63 bytes: another name than the one that was checked. */
	assert_false(authentication_accepts_user((struct slice){ (uint8_t *)name, 64 }, &refusal));
	assert_string_equal(refusal.sqlstate, "28000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_token),
		cmocka_unit_test(test_token_of_nobody),
		cmocka_unit_test(test_bad_tokens),
		cmocka_unit_test(test_every_tampered_byte),
		cmocka_unit_test(test_users),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
