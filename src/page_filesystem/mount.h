/*
 * Mount: a file system at a path, from mount(2) to the end of its last worker.
 *
 * Root mounts by itself, and for all users: Postgres is another one. Others mount through fusermount3 and for themselves only.
 * No thread of this process may touch a path below the mount: its request would wait for its own answer.
 *
 * Threads: mount_open() and mount_free() one; mount_serve() blocks the calling thread; mount_detach() any.
 */
#pragma once

#include "base/base.h"
#include "page_filesystem/operations.h"

struct mount;

/*
 * Mounts at `path` (an absolute path of a folder) and answers the kernel's greeting. A mount that a dead process left there is removed first.
 * STATUS_CONFLICT: something else is mounted there. STATUS_UNSUPPORTED: no FUSE on this machine; STATUS_DENIED: not permitted; both
 * with a hint. `operations` is borrowed.
 */
MUST_CHECK status mount_open(
        const char *path, struct operations *operations, struct mount **ret, struct error *err);
/* Answers requests with a bounded number of threads until the file system is unmounted. */
MUST_CHECK status mount_serve(struct mount *mount, struct error *err);
/* Nobody can come in by path any more; mount_serve() returns when the last open file is closed. */
MUST_CHECK status mount_detach(struct mount *mount, struct error *err);
/* After mount_serve(), or instead of it: then it unmounts. NULL is fine; always returns NULL. */
struct mount *mount_free(struct mount *mount);
