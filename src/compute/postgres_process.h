/*
 * Postgres process: starting one that cannot outlive its supervisor (leashed_process.h): SIGQUIT, an immediate shutdown, is its parent-death
 * signal. It can write only below the folder that PGDATA is in, in that of its socket, and to shared memory.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/system_user.h"

struct postgres_command {
	const char *bin_dir;
	const char *data_path; /* PGDATA; we touch it nowhere: only its own process may hang there */
	const char *configuration_folder; /* has postgresql.conf, hba.conf and ident.conf */
	const char *socket_folder;
	const char *log_path; /* appended to; owned by us */
	struct system_user user;
};

/* STATUS_OK once `postgres` has replaced the forked child. */
MUST_CHECK status postgres_process_start(
        const struct postgres_command *command, pid_t *ret_pid, struct error *err);

/*
 * Lets this process, and so each Postgres it starts, lock memory without limit. False where that is not permitted: then io_method=io_uring is not
 * for us. Each possible session has a ring, the kernel counts rings per system user, and with the usual 8 MB one compute that has them would keep
 * the next from starting.
 */
bool postgres_process_free_locked_memory(void);
