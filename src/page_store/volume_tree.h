/*
 * Volume tree: working with an image by path, for those who prepare volumes: small files whole, and trees that come in from a plain folder or go
 * out to one. Nothing is synced here: image_sync_all() or a cut does it once.
 *
 * Threads: as the image's calls.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/buffer.h"
#include "page_store/image.h"

/* A status from a negative errno of an image's call; STATUS_NOT_FOUND for ENOENT. */
MUST_CHECK PRINTF_LIKE(3) status image_failure(struct error *err, int64_t rc, const char *fmt, ...);

/* Appends the whole file. STATUS_NOT_FOUND, STATUS_LIMIT beyond max_len; never through symbolic links. */
MUST_CHECK status volume_tree_read(
        struct image *image, const char *path, size_t max_len, struct buffer *buf, struct error *err);
/* Makes the file (mode 0600) or replaces its content; its folder must be there. */
MUST_CHECK status volume_tree_write(
        struct image *image, const char *path, struct slice content, uid_t uid, gid_t gid, struct error *err);
MUST_CHECK status volume_tree_make_link(
        struct image *image, const char *path, const char *target, uid_t uid, gid_t gid, struct error *err);
/* Removes a file or a whole tree; a missing one is fine. */
MUST_CHECK status volume_tree_remove(struct image *image, const char *path, struct error *err);
/* Removes what is in a folder; a missing folder is fine. */
MUST_CHECK status volume_tree_empty(struct image *image, const char *path, struct error *err);
/* Entries of a folder; 0 when it is not there. */
MUST_CHECK status volume_tree_count(
        struct image *image, const char *path, size_t *ret_count, struct error *err);

/* Says whether an entry comes in, by its path ("base/5/1259"). NULL: everything. */
typedef bool (*volume_tree_choose_fn)(void *owner, const char *path);
/*
 * Copies what is in the folder `from_fd` into the image's root, with owners and modes. Holes stay holes. Symbolic links are STATUS_UNSUPPORTED
 * unless left out; sockets and the like are passed by.
 */
MUST_CHECK status volume_tree_import(
        struct image *image, int from_fd, volume_tree_choose_fn choose, void *owner, struct error *err);
/* Copies the whole image into the empty folder `to_fd`, symbolic links as they are: for tests, and to look at an image without a mount. */
MUST_CHECK status volume_tree_export(struct image *image, int to_fd, struct error *err);
