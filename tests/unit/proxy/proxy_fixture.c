#include "proxy_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/file.h"

#define PATIENCE_MS 10000

struct fixture_folder fixture_folder_make(void)
{
	struct fixture_folder folder = { "/tmp/tarn-proxy-test-XXXXXX" };
	assert_non_null(mkdtemp(folder.path));
	return folder;
}

void fixture_folder_remove(struct fixture_folder *folder)
{
	struct error err;
	assert_int_equal(tree_remove(folder->path, &err), STATUS_OK);
}

struct authority *fixture_authority(const struct fixture_folder *folder)
{
	CLEANUP(free_text) char *key = xasprintf("%s/authority.key", folder->path);
	CLEANUP(free_text) char *certificate = xasprintf("%s/authority.crt", folder->path);
	struct authority *authority = NULL;
	struct error err;
	assert_int_equal(authority_create(key, certificate, &err), STATUS_OK);
	assert_int_equal(authority_load(key, certificate, &authority, &err), STATUS_OK);
	return authority;
}

struct token_key *fixture_token_key(const struct fixture_folder *folder)
{
	CLEANUP(free_text) char *path = xasprintf("%s/token.key", folder->path);
	struct token_key *key = NULL;
	struct error err;
	assert_int_equal(token_key_create(path, &err), STATUS_OK);
	assert_int_equal(token_key_load(path, &key, &err), STATUS_OK);
	return key;
}

static void too_late(uv_timer_t *timer)
{
	(void)timer;
	fail_msg("nothing happened within %d ms", PATIENCE_MS);
}

void fixture_run_until(uv_loop_t *loop, const bool *flag)
{
	uv_timer_t *patience = xcalloc(1, sizeof *patience);
	assert_int_equal(uv_timer_init(loop, patience), 0);
	assert_int_equal(uv_timer_start(patience, too_late, PATIENCE_MS, 0), 0);
	while (!*flag)
		(void)uv_run(loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)patience, (uv_close_cb)free);
}

void fixture_loop_finish(uv_loop_t *loop)
{
	(void)uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(loop), 0);
}
