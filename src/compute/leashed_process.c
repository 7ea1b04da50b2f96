#include "compute/leashed_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/confinement.h"

static const char *const environment[] = { "PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC",
	NULL };

/* In the child, after fork: only async-signal-safe calls. Tells the errno of a failure through `report`. */
__attribute__((noreturn)) static void run_child(const struct leashed_command *command, pid_t parent,
        const struct rlimit *descriptors, int log_fd, int report, int confinement)
{
	int null_fd = open("/dev/null", O_RDONLY);
	struct rlimit no_core = { 0, 0 };
	sigset_t none;
	sigemptyset(&none);
	struct sigaction by_default = { .sa_handler = SIG_DFL };
	for (int number = 1; number < 32; number++)
		(void)sigaction(number, &by_default, NULL); /* libuv's and the ignored SIGPIPE */
	(void)umask(0077);
	bool is_ready = null_fd >= 0 && dup2(null_fd, 0) >= 0 && dup2(log_fd, 1) >= 0 &&
	                dup2(log_fd, 2) >= 0 && dup2(report, 3) >= 0 && fcntl(3, F_SETFD, FD_CLOEXEC) == 0 &&
	                (confinement < 0 || dup2(confinement, 4) == 4) &&
	                close_range(confinement < 0 ? 4 : 5, ~0u, 0) == 0 && setsid() > 0 &&
	                setrlimit(RLIMIT_CORE, &no_core) == 0 && setrlimit(RLIMIT_NOFILE, descriptors) == 0 &&
	                chdir("/") == 0 && system_user_become(&command->user) &&
	                confinement_enter(confinement < 0 ? -1 : 4) && (confinement < 0 || close(4) == 0) &&
	                /* After the change of user, which clears it. */
	                prctl(PR_SET_PDEATHSIG, command->death_signal) == 0 &&
	                sigprocmask(SIG_SETMASK, &none, NULL) == 0;
	/* If the parent died before prctl, the signal will never come. */
	if (is_ready && getppid() == parent)
		execve(command->argv[0], (char *const *)command->argv, (char *const *)environment);
	int problem = errno;
	(void)!write(3, &problem, sizeof problem);
	_exit(127);
}

static status open_log(const char *path, int *ret_fd, struct error *err)
{
	*ret_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	return *ret_fd < 0 ? error_set(err, STATUS_IO, errno, "could not open log \"%s\"", path) : STATUS_OK;
}

static status find_descriptors(uint64_t wanted, struct rlimit *ret, struct error *err)
{
	if (getrlimit(RLIMIT_NOFILE, ret) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at the limit of open files");
	if (wanted > 0)
		ret->rlim_cur = wanted < ret->rlim_max ? wanted : ret->rlim_max;
	return STATUS_OK;
}

status leashed_process_start(const struct leashed_command *command, pid_t *ret_pid, struct error *err)
{
	CLEANUP(close_fd) int log_fd = -1;
	CLEANUP(close_fd) int confinement = -1;
	struct rlimit descriptors;
	status st = open_log(command->log_path, &log_fd, err);
	if (st == STATUS_OK)
		st = confinement_prepare(command->writable, command->writable_count, &confinement, err);
	if (st == STATUS_OK)
		st = find_descriptors(command->descriptors, &descriptors, err);
	if (st != STATUS_OK)
		return st;
	const char *program = command->argv[0];
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(err, STATUS_IO, errno, "could not create a pipe");
	CLEANUP(close_fd) int reader = ends[0];
	CLEANUP(close_fd) int writer = ends[1];
	pid_t parent = getpid();
	pid_t child = fork();
	if (child < 0)
		return error_set(err, STATUS_IO, errno, "could not start program \"%s\"", program);
	if (child == 0)
		run_child(command, parent, &descriptors, log_fd, writer, confinement);
	close_fd(&writer);
	/* The pipe closes when the program has been executed; only a failure is written into it. */
	int problem = 0;
	ssize_t n;
	while ((n = read(reader, &problem, sizeof problem)) < 0 && errno == EINTR)
		continue;
	if (n == 0) {
		*ret_pid = child;
		return STATUS_OK;
	}
	(void)waitpid(child, NULL, 0);
	return error_set(err, STATUS_IO, problem, "could not start program \"%s\"", program);
}
