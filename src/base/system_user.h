/* System user: ids of the user another program shall run as, and how a forked child becomes that user. */
#pragma once

#include <sys/types.h>

#include "base/base.h"

struct system_user {
	uid_t uid;
	gid_t gid;
	bool is_other; /* not the user who runs this process: files must be given to it, children must become
	                  it */
};

/* NULL means the user who runs this process. STATUS_NOT_FOUND when there is no such user. */
MUST_CHECK status system_user_find(const char *name, struct system_user *ret, struct error *err);

/*
 * For a forked child before it executes: drops all groups and rights for good; false (errno set) when that
 * failed. Async-signal-safe. Does nothing when the user is not another one.
 */
MUST_CHECK bool system_user_become(const struct system_user *user);
