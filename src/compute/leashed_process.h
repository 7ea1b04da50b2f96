/*
 * Leashed process: a program that cannot outlive its supervisor. What a supervisor that was killed left: leftovers.h.
 *
 * The child leads a session of its own, runs as the user that is named, inherits nothing but its log, has no core files, and gets a signal
 * from the kernel when the thread that started it dies: that must be the supervisor's main thread. It can write only where the command
 * says (confinement.h).
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/system_user.h"

struct leashed_command {
	const char *const *argv;     /* NULL at the end; argv[0] is the program's path */
	const char *log_path;        /* standard output and error; appended to; owned by us */
	const char *const *writable; /* folders, with all below them, and devices */
	size_t writable_count;
	struct system_user user;
	int death_signal;
	uint64_t descriptors; /* that it wants to be able to open, of which it gets what there is; 0: as we */
};

/* STATUS_OK once the program has replaced the forked child. */
MUST_CHECK status leashed_process_start(
        const struct leashed_command *command, pid_t *ret_pid, struct error *err);
