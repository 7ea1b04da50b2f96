/* What several tests of the proxy need: a folder that goes away, keys in it, a loop that runs until something is true. */
#pragma once

#include <uv.h>

#include "auth/authority.h"
#include "auth/token.h"
#include "base/base.h"

struct fixture_folder {
	char path[64];
};
struct fixture_folder fixture_folder_make(void);
void fixture_folder_remove(struct fixture_folder *folder);

struct authority *fixture_authority(const struct fixture_folder *folder); /* the caller frees */
struct token_key *fixture_token_key(const struct fixture_folder *folder); /* the caller frees */

/* Runs the loop until *flag; fails the test after ten seconds. */
void fixture_run_until(uv_loop_t *loop, const bool *flag);
/* Runs until no handle is left, then closes; fails the test when one stays. */
void fixture_loop_finish(uv_loop_t *loop);
