/*
 * Files and folders by path: whole-file reads, durable replacement, trees.
 *
 * "Durable" means: when the call returns STATUS_OK the new content survives power loss (file and folder are synced).
 */
#pragma once

#include <dirent.h>
#include <sys/types.h>

#include "base/base.h"
#include "base/buffer.h"

#define FILE_PATH_MAX 4096

/* Appends the whole file to *buf. STATUS_NOT_FOUND when there is none, STATUS_LIMIT beyond max_len. */
MUST_CHECK status file_read(const char *path, size_t max_len, struct buffer *buf, struct error *err);

/* Writes path + ".new", syncs, renames over path, syncs the folder. The old content stays when anything fails. */
MUST_CHECK status file_replace_durably(
        const char *path, struct slice content, mode_t mode, struct error *err);

/* The same, not durably, readable for a group (0640); (gid_t)-1: ours. */
MUST_CHECK status file_replace_for_group(
        const char *path, struct slice content, gid_t group, struct error *err);

MUST_CHECK status file_write_all(int fd, const void *bytes, size_t len, struct error *err); /* not durable */

MUST_CHECK status folder_sync(const char *path, struct error *err);
/* Makes the last component only; an existing folder is fine and keeps its mode. */
MUST_CHECK status folder_make(const char *path, mode_t mode, struct error *err);
/* Removes a file or a whole tree; a missing one is fine. Never follows symbolic links. */
MUST_CHECK status tree_remove(const char *path, struct error *err);
/* Gives path and all below it to the user; symbolic links themselves, never their targets. */
MUST_CHECK status tree_give_to(const char *path, uid_t uid, gid_t gid, struct error *err);
/* Bytes allocated on disk by all files below path. */
MUST_CHECK status tree_space(const char *path, int64_t *ret_bytes, struct error *err);
bool file_exists(const char *path);
static inline void close_listing(DIR **folder) /* for CLEANUP */
{
	if (*folder)
		(void)closedir(*folder);
	*folder = NULL;
}
