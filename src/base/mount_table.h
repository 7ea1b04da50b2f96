/*
 * Mount table: what is mounted where, by the kernel's list (/proc/self/mountinfo). Never by a look at the path: that of a dead file system would
 * hang or fail.
 *
 * Threads: any; all calls block.
 */
#pragma once

#include "base/base.h"

/* Is anything mounted at path, which is absolute and without links? */
MUST_CHECK status mount_table_find(const char *path, bool *ret, struct error *err);
/* Takes one mount away from there, used or not, as root or through fusermount3. */
MUST_CHECK status mount_table_detach_once(const char *path, struct error *err);
/* Detaches whatever is mounted there, however often. None is fine. STATUS_CONFLICT: somebody mounts again and again. */
MUST_CHECK status mount_table_detach(const char *path, struct error *err);
/* The same for everything below a folder. *ret_count: how many mounts. */
MUST_CHECK status mount_table_detach_below(const char *folder, size_t *ret_count, struct error *err);
