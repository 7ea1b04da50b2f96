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
/*
 * The same for file systems of a type ("fuse.tarn") below a folder whose process has gone. Goes on after a failure, and tells of the first. *ret_count: how
 * many mounts went.
 */
MUST_CHECK status mount_table_detach_dead(
        const char *folder, const char *type, size_t *ret_count, struct error *err);
/* The program that mounts and unmounts for ordinary users; NULL when it is missing. */
const char *mount_table_find_helper(void);
