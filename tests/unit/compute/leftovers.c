/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "compute/leftovers.h"

struct place {
	char path[40];
	char *program, *mount, *log, *socket_folder, *pooler, *pooler_log;
	struct leftovers leftovers;
};

static void copy_program(const char *to)
{
	const char *const argv[] = { "/bin/cp", "/bin/sleep", to, NULL };
	pid_t child = fork();
	if (child == 0) {
		(void)execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	int exit_status;
	assert_int_equal(waitpid(child, &exit_status, 0), child);
	assert_int_equal(exit_status, 0);
}

static struct place make_place(void)
{
	struct place p = { .path = "/tmp/tarn-unit-XXXXXX" };
	struct error err;
	assert_non_null(mkdtemp(p.path));
	p.program = xasprintf("%s/postgres", p.path);
	p.mount = xasprintf("%s/data", p.path);
	p.log = xasprintf("%s/postgres.log", p.path);
	p.socket_folder = xasprintf("%s/socket", p.path);
	p.pooler = xasprintf("%s/pgbouncer", p.path);
	p.pooler_log = xasprintf("%s/pooler.log", p.path);
	copy_program(p.program);
	copy_program(p.pooler);
	assert_int_equal(folder_make(p.mount, 0700, &err), STATUS_OK);
	assert_int_equal(folder_make(p.socket_folder, 0700, &err), STATUS_OK);
	p.leftovers = (struct leftovers){ .volume_id = "br-a",
		.mount_path = p.mount,
		.log_path = p.log,
		.socket_folder = p.socket_folder,
		.pooler_log_path = p.pooler_log };
	return p;
}

static void remove_place(struct place *p)
{
	struct error err;
	assert_int_equal(tree_remove(p->path, &err), STATUS_OK);
	free(p->program);
	free(p->mount);
	free(p->log);
	free(p->socket_folder);
	free(p->pooler);
	free(p->pooler_log);
}

/*
 * Starts a program that sleeps, as a grandchild that is not ours: through a child that ends. Its id comes over a pipe; it
 * is this test's child again (subreaper), but not that of the process that clears, which is another child.
 */
static pid_t start(const char *program, const char *folder, const char *log)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		pid_t grandchild = fork();
		if (grandchild == 0) {
			int fd = log ? open(log, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
			if ((folder && chdir(folder) < 0) || (log && dup2(fd, 2) < 0))
				_exit(126);
			(void)execl(program, "postgres: x: idle", "100", NULL);
			_exit(127);
		}
		(void)!write(ends[1], &grandchild, sizeof grandchild);
		_exit(0);
	}
	pid_t pid = 0;
	assert_int_equal(read(ends[0], &pid, sizeof pid), sizeof pid);
	(void)close(ends[0]);
	(void)close(ends[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	/* Until it has executed. */
	CLEANUP(free_text) char *link = xasprintf("/proc/%d/exe", (int)pid);
	for (int i = 0; i < 2000; i++) {
		char target[200] = "";
		(void)!readlink(link, target, sizeof target - 1);
		if (strcmp(target, program) == 0)
			return pid;
		(void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	fail_msg("\"%s\" did not start", program);
	return -1;
}

/* In a process of its own, whose child none of the others is. */
static void clear(const struct place *p)
{
	pid_t child = fork();
	if (child == 0) {
		struct error err;
		_exit(leftovers_end_processes(&p->leftovers, &err) == STATUS_OK ? 0 : 1);
	}
	int exit_status;
	assert_int_equal(waitpid(child, &exit_status, 0), child);
	assert_int_equal(exit_status, 0);
}

static bool was_killed(pid_t pid)
{
	int exit_status;
	return waitpid(pid, &exit_status, WNOHANG) == pid && WIFSIGNALED(exit_status) &&
	       WTERMSIG(exit_status) == SIGKILL;
}

static void end_other(pid_t pid)
{
	assert_false(was_killed(pid));
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void old_processes_are_ended_and_no_others(void **state)
{
	(void)state;
	struct place p = make_place(), other = make_place();
	/* By where it works, also when it is stopped; and by its log, when it works nowhere any more (its mount was detached). */
	pid_t by_folder = start(p.program, p.mount, NULL);
	assert_int_equal(kill(by_folder, SIGSTOP), 0);
	pid_t by_log = start(p.program, "/", p.log);
	pid_t pooler = start(p.pooler, "/", p.pooler_log);
	pid_t of_other = start(other.program, other.mount, other.log);
	pid_t other_pooler = start(other.pooler, "/", other.pooler_log);
	pid_t no_pooler = start("/usr/bin/sleep", "/", p.pooler_log);
	CLEANUP(free_text) char *near = xasprintf("%s-near", p.mount);
	struct error err;
	assert_int_equal(folder_make(near, 0700, &err), STATUS_OK);
	pid_t of_neighbour = start(p.program, near, NULL);
	pid_t no_postgres = start("/usr/bin/sleep", p.mount, NULL);
	clear(&p);
	assert_true(was_killed(by_folder));
	assert_true(was_killed(by_log));
	assert_true(was_killed(pooler));
	end_other(other_pooler);
	end_other(no_pooler);
	end_other(of_other);
	end_other(of_neighbour);
	end_other(no_postgres);
	clear(&p); /* nothing there */
	remove_place(&p);
	remove_place(&other);
}

static void all_of_a_postmaster_goes(void **state)
{
	(void)state;
	pid_t keep = fork();
	if (keep == 0) {
		(void)pause();
		_exit(0);
	}
	int ready[2];
	assert_int_equal(pipe(ready), 0);
	pid_t postmaster = fork();
	if (postmaster == 0) {
		/* Backends in sessions of their own; one ignores all it can. */
		for (int i = 0; i < 5; i++) {
			if (fork() == 0) {
				(void)setsid();
				for (int number = 1; number < 32; number++)
					(void)signal(number, SIG_IGN);
				(void)!write(ready[1], "x", 1);
				for (;;)
					(void)pause();
			}
		}
		for (;;)
			(void)pause();
	}
	char byte;
	for (int i = 0; i < 5; i++)
		assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	(void)close(ready[1]);
	leftovers_kill_postgres(postmaster);
	int exit_status;
	assert_int_equal(waitpid(postmaster, &exit_status, 0), postmaster);
	assert_true(WIFSIGNALED(exit_status));
	struct error err;
	assert_int_equal(leftovers_reap(keep, &err), STATUS_OK);
	/* The one to keep is the only child left. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), 0);
	assert_int_equal(kill(keep, SIGKILL), 0);
	assert_int_equal(waitpid(-1, NULL, 0), keep);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(leftovers_reap(0, &err), STATUS_OK);
}

static void locks_are_removed(void **state)
{
	(void)state;
	struct place p = make_place();
	struct error err;
	CLEANUP(free_text) char *pid_file = xasprintf("%s/postmaster.pid", p.mount);
	CLEANUP(free_text) char *lock = xasprintf("%s/.s.PGSQL.5432.lock", p.socket_folder);
	assert_int_equal(leftovers_remove_locks(&p.leftovers, &err), STATUS_OK);
	assert_int_equal(file_replace_durably(pid_file, slice_from_text("1\n"), 0600, &err), STATUS_OK);
	assert_int_equal(file_replace_durably(lock, slice_from_text("1\n"), 0600, &err), STATUS_OK);
	assert_int_equal(leftovers_remove_locks(&p.leftovers, &err), STATUS_OK);
	assert_false(file_exists(pid_file) || file_exists(lock));
	remove_place(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(old_processes_are_ended_and_no_others),
		cmocka_unit_test(all_of_a_postmaster_goes),
		cmocka_unit_test(locks_are_removed),
	};
	/* As supervisor_main() does it. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
