/* Postgres user: the unprivileged system user that Postgres runs as, and whether it can reach a folder. */
#pragma once

#include "base/base.h"

/*
 * Who it is when nobody said: for root "tarn" if that user exists, else "postgres", else STATUS_NOT_FOUND;
 * for others *ret is NULL, which means themselves. The caller frees.
 */
MUST_CHECK status postgres_user_default(char **ret, struct error *err);

/* Does it exist, may we become it, and can it enter `path` and every folder above? `user` may be NULL
 * (ourselves). */
MUST_CHECK status postgres_user_check(const char *user, const char *path, struct error *err);
