/*
 * File copy: files and folder trees, sharing blocks where the file system can (FICLONE), else copied inside
 * the kernel (copy_file_range), else through memory. For trees that another user owns and changes meanwhile:
 * no symbolic link is followed, files may vanish, grow or shrink.
 *
 * Threads: any. Nothing is synced here: the caller syncs the file system or the files once.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/buffer.h"

/* Copies everything of `from` to the empty file `to`; `name` is for messages. */
MUST_CHECK status file_copy(int from, int to, const char *name, struct error *err);

enum copy_choice {
	COPY_WHOLE, /* the file, or the folder and what is chosen in it */
	COPY_EMPTY, /* of a folder only itself */
	COPY_NOTHING,
};

struct copy_entry {
	const char *path; /* relative to the top, "base/5/1259" */
	const char *name; /* its last component */
	int folder_fd;    /* of the folder it is in */
	bool is_folder, is_link;
};

/* Says what to do with an entry; an error ends the copy. */
typedef status (*copy_choose_fn)(
        void *owner, const struct copy_entry *entry, enum copy_choice *ret, struct error *err);

struct tree_copy {
	copy_choose_fn choose; /* NULL: everything */
	void *owner;
	uid_t uid; /* who owns the copies; folders get mode 0700, files 0600 */
	gid_t gid;
};

/* Copies what is in `from` into the folder `to`. Symbolic links that are not left out are STATUS_UNSUPPORTED.
 */
MUST_CHECK status tree_copy(const struct tree_copy *copy, int from_fd, int to_fd, struct error *err);

/*
 * Appends the file `name` below folder_fd to *buf; never follows symbolic links. STATUS_NOT_FOUND, STATUS_LIMIT beyond
 * max_len.
 */
MUST_CHECK status file_read_at(
        int folder_fd, const char *name, size_t max_len, struct buffer *buf, struct error *err);

/* Opens a folder by path, never through a symbolic link as its last component. */
MUST_CHECK status folder_open(const char *path, int *ret_fd, struct error *err);
