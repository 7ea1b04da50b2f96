/*
 * Postgres process: starting one that cannot outlive its supervisor, and getting rid of one whose supervisor was killed.
 *
 * The child leads a session of its own, runs as the Postgres user, inherits nothing but its log, and gets SIGQUIT (immediate
 * shutdown) from the kernel when the thread that started it dies: that must be the supervisor's main thread.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/system_user.h"

struct postgres_command {
	const char *bin_dir;
	const char *data_path;            /* PGDATA, and its working folder */
	const char *configuration_folder; /* has postgresql.conf, hba.conf and ident.conf */
	const char *socket_folder;
	const char *log_path; /* appended to; owned by us */
	struct system_user user;
};

/* STATUS_OK once `postgres` has replaced the forked child. */
MUST_CHECK status postgres_process_start(
        const struct postgres_command *command, pid_t *ret_pid, struct error *err);

/*
 * Before a start: ends every Postgres process that still works in data_path (its supervisor was killed: it is on
 * its way out, and is killed when it takes longer than `patience_ms`), and removes the lock files that it left
 * in data_path and socket_folder, whose process id another process may have by now (T29). Blocks; costs a few
 * looks at files when there is nothing to do. The caller holds the volume's lease and the endpoint's lock, so
 * no such process can be anybody else's.
 */
MUST_CHECK status postgres_process_clear(
        const char *data_path, const char *socket_folder, int patience_ms, struct error *err);
