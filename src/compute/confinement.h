/*
 * Confinement: a process, and all it starts, can write in a few folders only, whatever its user may (Landlock, Linux 5.19 and newer). Reading
 * and what is open already stay as they are. So a Postgres that is made to write a file writes none of another branch's.
 */
#pragma once

#include <stddef.h>

#include "base/base.h"

/*
 * Where writing is allowed: folders, with all below them, mounts included, and devices. What is not there is left out. *ret_fd, which the caller
 * closes, is -1 where the kernel has no Landlock: then nothing is confined.
 */
MUST_CHECK status confinement_prepare(const char *const *paths, size_t count, int *ret_fd, struct error *err);

/* For a forked child; for good. Async-signal-safe. False, with errno, when it failed. fd -1: does nothing. */
MUST_CHECK bool confinement_enter(int fd);
