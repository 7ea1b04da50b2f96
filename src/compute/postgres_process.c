#include "compute/postgres_process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/number.h"
#include "compute/postmaster_file.h"

static const char *const environment[] = { "PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC",
	NULL };

/* In the child, after fork: only async-signal-safe calls. Tells the errno of a failure through `report`. */
__attribute__((noreturn)) static void run_child(
        const struct postgres_command *command, pid_t parent, int log_fd, int report, char *const *argv)
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
	                close_range(4, ~0u, 0) == 0 && setsid() > 0 &&
	                setrlimit(RLIMIT_CORE, &no_core) == 0 && chdir(command->data_path) == 0 &&
	                system_user_become(&command->user) &&
	                /* After the change of user, which clears it. */
	                prctl(PR_SET_PDEATHSIG, SIGQUIT) == 0 && sigprocmask(SIG_SETMASK, &none, NULL) == 0;
	/* If the parent died before prctl, the signal will never come. */
	if (is_ready && getppid() == parent)
		execve(argv[0], argv, (char *const *)environment);
	int problem = errno;
	(void)!write(3, &problem, sizeof problem);
	_exit(127);
}

static status open_log(const char *path, int *ret_fd, struct error *err)
{
	*ret_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	return *ret_fd < 0 ? error_set(err, STATUS_IO, errno, "could not open log \"%s\"", path) : STATUS_OK;
}

/* One folder as Postgres' list of folders wants it: in double quotes. */
static char *quote_folder(const char *path)
{
	CLEANUP(buffer_done) struct buffer quoted = { 0 };
	buffer_append_text(&quoted, "unix_socket_directories=\"");
	for (const char *p = path; *p; p++)
		buffer_printf(&quoted, *p == '"' ? "\"\"" : "%c", *p);
	buffer_append_text(&quoted, "\"");
	return xstrndup(quoted.data, quoted.len);
}

static status fork_postgres(const struct postgres_command *command, int log_fd, char *const *argv,
        pid_t *ret_pid, struct error *err)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(err, STATUS_IO, errno, "could not create a pipe");
	CLEANUP(close_fd) int reader = ends[0];
	CLEANUP(close_fd) int writer = ends[1];
	pid_t parent = getpid();
	pid_t child = fork();
	if (child < 0)
		return error_set(err, STATUS_IO, errno, "could not start Postgres");
	if (child == 0)
		run_child(command, parent, log_fd, writer, argv);
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
	return error_set(err, STATUS_IO, problem, "could not start program \"%s\"", argv[0]);
}

status postgres_process_start(const struct postgres_command *command, pid_t *ret_pid, struct error *err)
{
	CLEANUP(close_fd) int log_fd = -1;
	status st = open_log(command->log_path, &log_fd, err);
	if (st != STATUS_OK)
		return st;
	const char *folder = command->configuration_folder;
	CLEANUP(free_text) char *program = xasprintf("%s/postgres", command->bin_dir);
	CLEANUP(free_text) char *config = xasprintf("config_file=%s/postgresql.conf", folder);
	CLEANUP(free_text) char *hba = xasprintf("hba_file=%s/hba.conf", folder);
	CLEANUP(free_text) char *ident = xasprintf("ident_file=%s/ident.conf", folder);
	CLEANUP(free_text) char *sockets = quote_folder(command->socket_folder);
	/* What is given here no file can change: postgresql.auto.conf is part of the volume. */
	char *const argv[] = { program, "-D", (char *)(uintptr_t)command->data_path, "-c", config, "-c", hba,
		"-c", ident, "-c", "listen_addresses=", "-c", sockets, "-c", "port=5432", NULL };
	return fork_postgres(command, log_fd, argv, ret_pid, err);
}

/* Is the process a Postgres whose working folder is this one? */
static bool works_in(const char *pid_text, const struct stat *folder)
{
	char path[64], program[4096];
	struct stat st;
	(void)snprintf(path, sizeof path, "/proc/%.20s/cwd", pid_text);
	if (stat(path, &st) < 0 || st.st_dev != folder->st_dev || st.st_ino != folder->st_ino)
		return false;
	(void)snprintf(path, sizeof path, "/proc/%.20s/exe", pid_text);
	ssize_t len = readlink(path, program, sizeof program - 1);
	if (len < 0)
		return false;
	program[len] = '\0';
	const char *name = strrchr(program, '/');
	return name && strncmp(name, "/postgres", 9) == 0; /* "/postgres (deleted)" after an upgrade */
}

static void close_folder(DIR **folder)
{
	if (*folder)
		(void)closedir(*folder);
}

/* A process that works in the folder, as a descriptor and an id; -1 when there is none. */
static int find_process(const struct stat *folder, pid_t *ret_pid)
{
	CLEANUP(close_folder) DIR *proc = opendir("/proc");
	for (struct dirent *item; proc && (item = readdir(proc));) {
		int64_t number;
		if (!number_parse(slice_from_text(item->d_name), 1, INT32_MAX, &number))
			continue; /* not a process */
		pid_t pid = (pid_t)number;
		CLEANUP(close_fd) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		/* Looked at after the descriptor was opened: it is the process that the descriptor means. */
		if (pidfd >= 0 && works_in(item->d_name, folder)) {
			*ret_pid = pid;
			return TAKE_FD(pidfd);
		}
	}
	return -1;
}

static status remove_leftover(const char *path, struct error *err)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set(err, STATUS_IO, errno, "could not remove file \"%s\"", path);
	return STATUS_OK;
}

/* Postgres would take the process id in a lock file for alive when another process of its user has got the number. */
static status remove_leftovers(const char *pid_file, const char *socket_folder, struct error *err)
{
	CLEANUP(free_text) char *socket = xasprintf("%s/.s.PGSQL.5432", socket_folder);
	CLEANUP(free_text) char *socket_lock = xasprintf("%s.lock", socket);
	status st = remove_leftover(socket, err);
	if (st == STATUS_OK)
		st = remove_leftover(socket_lock, err);
	return st == STATUS_OK ? remove_leftover(pid_file, err) : st;
}

status postgres_process_clear(
        const char *data_path, const char *socket_folder, int patience_ms, struct error *err)
{
	CLEANUP(free_text) char *pid_file = xasprintf("%s/" POSTMASTER_FILE, data_path);
	if (!file_exists(pid_file)) /* Postgres removes it last */
		return remove_leftovers(pid_file, socket_folder, err);
	struct stat folder;
	if (stat(data_path, &folder) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at folder \"%s\"", data_path);
	int64_t deadline = clock_monotonic_usec() + (int64_t)patience_ms * 1000;
	for (;;) {
		pid_t pid = 0;
		CLEANUP(close_fd) int pidfd = find_process(&folder, &pid);
		if (pidfd < 0)
			break;
		int64_t left_ms = (deadline - clock_monotonic_usec()) / 1000;
		if (left_ms <= 0) {
			log_warning("killing process %d, a Postgres that a dead supervisor left behind",
			        (int)pid);
			if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
				return error_set(err, STATUS_IO, errno, "could not end process %d", (int)pid);
			left_ms = 10000; /* one that even this does not end hangs in the kernel */
			struct pollfd last = { .fd = pidfd, .events = POLLIN };
			if (poll(&last, 1, (int)left_ms) == 0)
				return error_set(
				        err, STATUS_UNAVAILABLE, 0, "process %d does not end", (int)pid);
			continue;
		}
		struct pollfd ended = { .fd = pidfd, .events = POLLIN };
		(void)poll(&ended, 1, (int)left_ms);
	}
	return remove_leftovers(pid_file, socket_folder, err);
}
