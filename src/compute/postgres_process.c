#include "compute/postgres_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "compute/confinement.h"

static const char *const environment[] = { "PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC",
	NULL };

bool postgres_process_free_locked_memory(void)
{
	const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	struct rlimit limit;
	if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY)
		return true;
	return setrlimit(RLIMIT_MEMLOCK, &none) == 0;
}

/* In the child, after fork: only async-signal-safe calls. Tells the errno of a failure through `report`. */
__attribute__((noreturn)) static void run_child(const struct postgres_command *command, pid_t parent,
        int log_fd, int report, int confinement, char *const *argv)
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
	                setrlimit(RLIMIT_CORE, &no_core) == 0 && chdir("/") == 0 &&
	                system_user_become(&command->user) && confinement_enter(confinement < 0 ? -1 : 4) &&
	                (confinement < 0 || close(4) == 0) &&
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

/* Not the mount itself, where even this could hang: a rule for the folder that it is in holds below the mount, too. */
static status prepare_confinement(const struct postgres_command *command, int *ret_fd, struct error *err)
{
	CLEANUP(free_text)
	char *volume =
	        xstrndup(command->data_path, (size_t)(strrchr(command->data_path, '/') - command->data_path));
	const char *const paths[] = { volume, command->socket_folder, "/dev/shm", "/dev/null" };
	return confinement_prepare(paths, ARRAY_LEN(paths), ret_fd, err);
}

static status fork_postgres(const struct postgres_command *command, int log_fd, char *const *argv,
        pid_t *ret_pid, struct error *err)
{
	CLEANUP(close_fd) int confinement = -1;
	status st = prepare_confinement(command, &confinement, err);
	if (st != STATUS_OK)
		return st;
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
		run_child(command, parent, log_fd, writer, confinement, argv);
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
