/*
 * Role: a long-running process of one data directory ("up", "control", "proxy", and the supervisors of computes) as
 * the command line sees it: through its lock, which names its pid, and through /proc.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "data_directory/data_directory.h"

struct role_state {
	bool is_running;
	bool is_ready;
	bool is_outdated;   /* runs another binary than we do, or was started with other settings */
	pid_t pid;          /* 0 while it runs but has not said who it is yet */
	int64_t since_usec; /* wall clock of its start; 0: unknown */
};

/* From the lock at DIR/`lock` ("run/control.lock"). Not running is no error. */
MUST_CHECK status role_look(
        const struct data_directory *dd, const char *lock, struct role_state *ret, struct error *err);

/*
 * Starts `tarn NAME --data DIR` from this very binary, in a session of its own so that it outlives us, with its output
 * appended to run/NAME.log. *ret_ready_fd becomes readable when it is ready, or ends when it gives up; the caller closes
 * it. *ret_log_start is where in the log this start begins.
 */
MUST_CHECK status role_start(const struct data_directory *dd, const char *name, pid_t *ret_pid,
        int *ret_ready_fd, int64_t *ret_log_start, struct error *err);

/* The last error in run/NAME.log behind `start`, or its last line; "" when there is none. The caller frees. */
char *role_last_words(const struct data_directory *dd, const char *name, int64_t start);

/* Sends SIGTERM, waits, after the timeout SIGKILL. *ret_was_killed tells which; gone already is fine. */
MUST_CHECK status role_stop(pid_t pid, int64_t timeout_usec, bool *ret_was_killed, struct error *err);
/* Waits for the end of a process that need not be our child; false after the timeout. */
bool process_wait(pid_t pid, int64_t timeout_usec);
