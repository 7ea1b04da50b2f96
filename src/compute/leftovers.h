/*
 * Leftovers: what a supervisor that was killed may have left: processes of its Postgres, its page file system and its pooler on their
 * way out, and the mount, dead or alive. And the children of our own that a killed postmaster left to us.
 *
 * An old Postgres must be gone before a new one starts: it would go on writing WAL beside it (T29). Its lock file
 * postmaster.pid is inside the mount, which may be dead, so processes are found by what /proc tells of each: program, command
 * line, working folder, and the log that is standard error of every Postgres process of ours.
 *
 * The caller holds the volume's lease and the endpoint's lock: no such process can be anybody else's.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

struct leftovers {
	const char *volume_id;
	const char *mount_path;    /* PGDATA */
	const char *log_path;      /* postgres.log */
	const char *socket_folder; /* .s.PGSQL.5432, its lock */
	const char *pooler_log_path;
};

/* Kills what works on the volume and is no child of ours, and waits until it is gone. Blocks; STATUS_UNAVAILABLE when one does not end. */
MUST_CHECK status leftovers_end_processes(const struct leftovers *leftovers, struct error *err);

/* Postgres' lock files, whose process id another process may have by now. While no Postgres runs there. */
MUST_CHECK status leftovers_remove_locks(const struct leftovers *leftovers, struct error *err);

/*
 * Kills the postmaster, a child of ours that was not waited for, and its processes; signals only, returns at once. It is stopped
 * first, so that it starts none in between; each is in a session of its own, so they are looked for one by one.
 */
void leftovers_kill_postgres(pid_t postmaster);
/*
 * Kills and takes leave of all our children but `keep` (0: none); blocks until they are gone, STATUS_UNAVAILABLE when one is not. While it runs, nobody
 * else in this process may start or wait for a child. We are their reaper: supervisor_main() has asked the kernel for it.
 */
MUST_CHECK status leftovers_reap(pid_t keep, struct error *err);
