#include "control_plane/fleet_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loop/line_channel.h"

#define LISTEN_FD      3
#define FIRST_SPARE_FD 10 /* above all that the child's descriptors are moved to */

static void actions_done(posix_spawn_file_actions_t *actions)
{
	(void)posix_spawn_file_actions_destroy(actions);
}

static void attributes_done(posix_spawnattr_t *attributes)
{
	(void)posix_spawnattr_destroy(attributes);
}

static status open_log(const char *folder, int *ret_fd, struct error *err)
{
	CLEANUP(free_text) char *path = xasprintf("%s/supervisor.log", folder);
	struct stat st;
	if (stat(path, &st) == 0 && st.st_size > FLEET_LOG_MAX_BYTES) {
		CLEANUP(free_text) char *old = xasprintf("%s.1", path);
		if (rename(path, old) < 0)
			return error_set(err, STATUS_IO, errno, "could not rename file \"%s\"", path);
	}
	*ret_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return *ret_fd < 0 ? error_set(err, STATUS_IO, errno, "could not open file \"%s\"", path) : STATUS_OK;
}

/* Moves a descriptor out of the way of the numbers that the child's are copied to. */
static status move_up(int *fd, struct error *err)
{
	int high = fcntl(*fd, F_DUPFD_CLOEXEC, FIRST_SPARE_FD);
	if (high < 0)
		return error_set(err, STATUS_IO, errno, "could not duplicate a descriptor");
	close_fd(fd);
	*fd = high;
	return STATUS_OK;
}

static int fill_actions(posix_spawn_file_actions_t *actions, int listen_fd, int log_fd)
{
	int rc = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(actions, log_fd, STDOUT_FILENO);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(actions, log_fd, STDERR_FILENO);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(actions, listen_fd, LISTEN_FD);
	if (rc == 0) /* everything of ours is close-on-exec; this is for what a library forgot */
		rc = posix_spawn_file_actions_addclosefrom_np(actions, LISTEN_FD + 1);
	return rc;
}

/* Own session: neither a terminal's signals nor the end of control's session reach it. No signal is blocked or ignored. */
static int fill_attributes(posix_spawnattr_t *attributes)
{
	sigset_t all, none;
	(void)sigfillset(&all);
	(void)sigemptyset(&none);
	short flags = POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
	int rc = posix_spawnattr_setflags(attributes, flags);
	if (rc == 0)
		rc = posix_spawnattr_setsigdefault(attributes, &all);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(attributes, &none);
	return rc;
}

/* Ours, without what is meant for us alone. The array is the caller's, the texts are not. */
static char **child_environment(void)
{
	static char listen_variable[] = "TARN_LISTEN_FD=3";
	size_t count = 0;
	while (environ[count])
		count++;
	char **variables = xcalloc(count + 2, sizeof *variables);
	size_t to = 0;
	variables[to++] = listen_variable;
	for (size_t i = 0; i < count; i++)
		if (strncmp(environ[i], "TARN_LISTEN_FD=", 15) != 0 &&
		        strncmp(environ[i], "TARN_READY_FD=", 14) != 0)
			variables[to++] = environ[i];
	return variables;
}

static status run(const char *binary_path, const char *data_path, const char *uid, int listen_fd, int log_fd,
        pid_t *ret_pid, struct error *err)
{
	/* posix_spawn does not write to the texts; argv has no const for reasons of history. */
	char *argv[] = { (char *)(uintptr_t)binary_path, (char[]){ "compute" }, (char[]){ "--data" },
		(char *)(uintptr_t)data_path, (char[]){ "--endpoint" }, (char *)(uintptr_t)uid, NULL };
	CLEANUP(actions_done) posix_spawn_file_actions_t actions;
	CLEANUP(attributes_done) posix_spawnattr_t attributes;
	(void)posix_spawn_file_actions_init(&actions); /* glibc's never fail */
	(void)posix_spawnattr_init(&attributes);
	int rc = fill_actions(&actions, listen_fd, log_fd);
	if (rc == 0)
		rc = fill_attributes(&attributes);
	if (rc == 0) {
		char **variables = child_environment();
		rc = posix_spawn(ret_pid, binary_path, &actions, &attributes, argv, variables);
		free(variables);
	}
	return rc == 0 ? STATUS_OK : error_set(err, STATUS_IO, rc, "could not run \"%s\"", binary_path);
}

status fleet_spawn(const char *binary_path, const char *data_path, const char *uid, const char *folder,
        pid_t *ret_pid, struct error *err)
{
	CLEANUP(close_fd) int listen_fd = -1;
	CLEANUP(close_fd) int log_fd = -1;
	CLEANUP(free_text) char *socket_path = xasprintf("%s/supervisor.sock", folder);
	status st = open_log(folder, &log_fd, err);
	if (st == STATUS_OK)
		st = unix_socket_listen(socket_path, &listen_fd, err);
	if (st == STATUS_OK)
		st = move_up(&log_fd, err);
	if (st == STATUS_OK)
		st = move_up(&listen_fd, err);
	if (st == STATUS_OK)
		st = run(binary_path, data_path, uid, listen_fd, log_fd, ret_pid, err);
	return st;
}
