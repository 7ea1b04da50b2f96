/*
 * Role lock: "this process is the one". A locked file that names its holder, so that a second process can say
 * who holds it, and a new `tarn up` can adopt what runs.
 *
 * The kernel drops the lock when the holder dies, however it dies; the text in the file may then be stale and counts
 * only while the lock is held: for the moment between taking it and writing the first text it may even be the
 * predecessor's. The text is one line of the holder's choice (JSON: pid, ready, arguments).
 * An open-file-description lock (fcntl): it belongs to the descriptor, and looking at it never disturbs a holder.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

struct role_lock;

#define ROLE_LOCK_TEXT_MAX 4096

/*
 * Takes the lock at `path` and writes `text` into the file. STATUS_CONFLICT when another process holds it.
 * The caller frees *ret; the lock is close-on-exec and is not shared with forked children that exec.
 */
MUST_CHECK status role_lock_take(
        const char *path, const char *text, struct role_lock **ret, struct error *err);
MUST_CHECK status role_lock_set_text(struct role_lock *lock, const char *text, struct error *err);
struct role_lock *role_lock_free(struct role_lock *lock); /* releases; NULL is fine; always returns NULL */

/*
 * Is it held now, and what does its holder say? STATUS_NOT_FOUND when nobody holds it.
 * ret_text receives a NUL-terminated copy.
 */
MUST_CHECK status role_lock_look(const char *path, char ret_text[ROLE_LOCK_TEXT_MAX], struct error *err);
