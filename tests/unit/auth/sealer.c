/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "auth/sealer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

struct fixture {
	char folder[32];
	char *path;
	struct sealer *sealer;
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	struct error err;
	(void)snprintf(f->folder, sizeof f->folder, "/tmp/tarn-unit-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->path = xasprintf("%s/secret.key", f->folder);
	assert_int_equal(sealer_open(f->path, &f->sealer, &err), STATUS_OK);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct error err;
	sealer_free(f->sealer);
	assert_int_equal(tree_remove(f->folder, &err), STATUS_OK);
	free(f->path);
	free(f);
	return 0;
}

static void what_was_sealed_comes_back(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct stat file;
	char secret[SEALER_SECRET_MAX + 2];
	memset(secret, 'x', sizeof secret);
	for (size_t len = 1; len <= SEALER_SECRET_MAX; len += len < 4 ? 1 : 31) {
		CLEANUP(buffer_done) struct buffer sealed = { 0 }, again = { 0 }, back = { 0 };
		struct slice s = { (const uint8_t *)secret, len };
		assert_int_equal(sealer_seal(f->sealer, "alice", s, &sealed, &err), STATUS_OK);
		assert_int_equal(sealer_seal(f->sealer, "alice", s, &again, &err), STATUS_OK);
		assert_true(sealed.len < 256);
		assert_string_not_equal(sealed.data, again.data); /* a nonce of its own each time */
		assert_int_equal(
		        sealer_unseal(f->sealer, "alice", buffer_slice(&sealed), &back, &err), STATUS_OK);
		assert_int_equal(back.len, len);
		assert_memory_equal(back.data, secret, len);
	}
	CLEANUP(buffer_done) struct buffer out = { 0 };
	assert_int_equal(sealer_seal(f->sealer, "a", (struct slice){ (const uint8_t *)secret, sizeof secret },
	                         &out, &err),
	        STATUS_LIMIT);
	assert_int_equal(sealer_seal(f->sealer, "a", (struct slice){ 0 }, &out, &err), STATUS_LIMIT);
	assert_int_equal(stat(f->path, &file), 0);
	assert_int_equal(file.st_mode & 0777, 0600);
}

static void nothing_else_is_unsealed(void **state)
{
	struct fixture *f = *state;
	struct error err;
	CLEANUP(buffer_done) struct buffer sealed = { 0 }, back = { 0 };
	assert_int_equal(
	        sealer_seal(f->sealer, "alice", slice_from_text("secret"), &sealed, &err), STATUS_OK);
	assert_int_equal(sealer_unseal(f->sealer, "bob", buffer_slice(&sealed), &back, &err), STATUS_DENIED);
	for (size_t i = 0; i < sealed.len; i++) {
		char old = sealed.data[i];
		sealed.data[i] = old == 'A' ? 'B' : 'A';
		assert_int_equal(
		        sealer_unseal(f->sealer, "alice", buffer_slice(&sealed), &back, &err), STATUS_DENIED);
		sealed.data[i] = old;
	}
	for (size_t len = 0; len < sealed.len; len++)
		assert_int_equal(sealer_unseal(f->sealer, "alice",
		                         (struct slice){ (const uint8_t *)sealed.data, len }, &back, &err),
		        STATUS_DENIED);
	assert_int_equal(back.len, 0);
	/* Another key. */
	CLEANUP(free_text) char *path = xasprintf("%s/other.key", f->folder);
	CLEANUP(sealer_freep) struct sealer *other = NULL;
	assert_int_equal(sealer_open(path, &other, &err), STATUS_OK);
	assert_int_equal(sealer_unseal(other, "alice", buffer_slice(&sealed), &back, &err), STATUS_DENIED);
}

static void the_key_is_made_once(void **state)
{
	struct fixture *f = *state;
	struct error err;
	CLEANUP(sealer_freep) struct sealer *again = NULL;
	CLEANUP(buffer_done) struct buffer sealed = { 0 }, back = { 0 };
	assert_int_equal(sealer_seal(f->sealer, "a", slice_from_text("s"), &sealed, &err), STATUS_OK);
	assert_int_equal(sealer_open(f->path, &again, &err), STATUS_OK);
	assert_int_equal(sealer_unseal(again, "a", buffer_slice(&sealed), &back, &err), STATUS_OK);
	static const char *const bad[] = { "", "short", "123456789012345678901234567890123" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct sealer *none = NULL;
		assert_int_equal(
		        file_replace_durably(f->path, slice_from_text(bad[i]), 0600, &err), STATUS_OK);
		assert_int_equal(sealer_open(f->path, &none, &err), STATUS_CORRUPT);
		assert_non_null(strstr(err.message, "32 bytes"));
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(what_was_sealed_comes_back),
		TEST(nothing_else_is_unsealed),
		TEST(the_key_is_made_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
