/*
 * Haste: the processes of what somebody waits for get more of the processor than what only has work to do.
 *
 * A branch is made beside the load of its parent. Where the kernel shares processors between sessions (autogroup, the default of Linux
 * where no cgroup is set), each backend of the parent is one, and the one process that replays is one of many; elsewhere a process is.
 * Both are asked for. It takes root; without it nothing happens, and what is waited for takes its turn.
 *
 * Threads: any; does not block.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* All threads of the process, and its session. Off: as we are ourselves. A process that is gone is fine. */
void haste_set(pid_t pid, bool is_on);
