/*
 * Children: the processes that another one has started, as the kernel lists them (proc(5), task/TID/children).
 *
 * Threads: any.
 */
#pragma once

#include <sys/types.h>

typedef void (*child_fn)(void *owner, pid_t child);

/*
 * Calls on_child for each child of `parent`; dead ones that nobody waited for are among them. While children end, the kernel's list may leave one
 * out.
 */
void children_each(pid_t parent, child_fn on_child, void *owner);

/* The child whose command line begins with `title`, as Postgres names its processes ("postgres: startup"); 0: none. */
pid_t children_find(pid_t parent, const char *title);
