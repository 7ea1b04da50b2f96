/*
 * Fleet spawn: starts one supervisor process so that it lives on without control: a session of its own, no descriptors
 * of ours but its listening socket (descriptor 3, TARN_LISTEN_FD=3), output to supervisor.log.
 *
 * The process is started the vfork way (posix_spawn), so the size of control does not count.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

/* A supervisor.log of more than this is moved to supervisor.log.1 before a start. */
#define FLEET_LOG_MAX_BYTES (1 << 20)

/*
 * Binds `folder`/supervisor.sock, which replaces what was there, and runs `<binary_path> compute --data <data_path>
 * --endpoint <uid>`. The child is ours: somebody has to wait for it.
 */
MUST_CHECK status fleet_spawn(const char *binary_path, const char *data_path, const char *uid,
        const char *folder, pid_t *ret_pid, struct error *err);
