/*
 * File copy: files that another user owns and changes meanwhile: opened below a folder's descriptor, never through a symbolic link. A copy
 * shares blocks where the file system can (FICLONE), else it is made inside the kernel (copy_file_range), else through memory.
 *
 * Threads: any. Nothing is synced here.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/buffer.h"

/* Copies everything of `from` to the empty file `to`; `name` is for messages. */
MUST_CHECK status file_copy(int from, int to, const char *name, struct error *err);

/*
 * Appends the file `name` below folder_fd to *buf; never follows symbolic links. STATUS_NOT_FOUND, STATUS_LIMIT beyond
 * max_len.
 */
MUST_CHECK status file_read_at(
        int folder_fd, const char *name, size_t max_len, struct buffer *buf, struct error *err);

/* Opens a folder by path, never through a symbolic link as its last component. */
MUST_CHECK status folder_open(const char *path, int *ret_fd, struct error *err);
