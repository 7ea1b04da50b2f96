/*
 * Process watch: tells when a process ends, whether it is a child of ours or was adopted from a dead predecessor.
 * Uses a pidfd, so a recycled process id is never mistaken for the old process.
 * Threads: the loop's. The callback comes once; the watch frees itself after it, or after process_watch_cancel().
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

#include "base/base.h"

struct process_watch;
/* exit_status: as of waitpid() for a child, -1 for an adopted process. */
typedef void (*process_end_fn)(void *owner, pid_t pid, int exit_status);

/* STATUS_NOT_FOUND when no such process exists. */
MUST_CHECK status process_watch_start(uv_loop_t *loop, pid_t pid, process_end_fn on_end, void *owner,
        struct process_watch **ret, struct error *err);
void process_watch_cancel(struct process_watch *watch); /* no callback after this */
MUST_CHECK status process_watch_signal(struct process_watch *watch, int signal_number, struct error *err);
