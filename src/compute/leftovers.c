#include "compute/leftovers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/number.h"
#include "base/program.h"
#include "compute/children.h"
#include "compute/postmaster_file.h"

#define PROC_FILE_MAX   (1u << 20)
#define KILLED_LIMIT_MS 20000 /* one that SIGKILL does not end until then hangs in the kernel */

/* ---- processes of others ---- */

static bool link_is(const char *pid_text, const char *name, char target[PATH_MAX])
{
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/%.20s/%s", pid_text, name);
	ssize_t len = readlink(path, target, PATH_MAX - 1);
	if (len < 0)
		return false;
	target[len] = '\0';
	return true;
}

/* "/a/b", also "/a/b (deleted)" and "/a/b.1", as which a log may have been put aside. */
static bool begins_with_path(const char *target, const char *path)
{
	size_t len = strlen(path);
	return strncmp(target, path, len) == 0 &&
	       (target[len] == '\0' || target[len] == ' ' || target[len] == '.');
}

/* The last component of what a process executes, also "postgres (deleted)" after an upgrade. */
static bool is_named(const char *program, const char *name)
{
	const char *base = strrchr(program, '/');
	size_t len = strlen(name);
	return base && strncmp(base + 1, name, len) == 0 && (base[1 + len] == '\0' || base[1 + len] == ' ');
}

/* The arguments, each ended by a NUL. */
static void read_arguments(const char *pid_text, struct buffer *ret)
{
	char path[64];
	struct error err;
	(void)snprintf(path, sizeof path, "/proc/%.20s/cmdline", pid_text);
	if (file_read(path, PROC_FILE_MAX, ret, &err) != STATUS_OK)
		ret->len = 0; /* it has ended */
}

/* Is there the argument `name` followed by `value`? */
static bool has_argument(const struct buffer *arguments, const char *name, const char *value)
{
	bool is_next = false;
	for (size_t at = 0; at < arguments->len;) {
		const char *text = arguments->data + at;
		if (is_next && strcmp(text, value) == 0)
			return true;
		is_next = strcmp(text, name) == 0;
		at += strlen(text) + 1;
	}
	return false;
}

static bool is_old_postgres(const char *pid_text, const struct leftovers *leftovers)
{
	char target[PATH_MAX];
	if (link_is(pid_text, "cwd", target) && begins_with_path(target, leftovers->mount_path))
		return true;
	if (link_is(pid_text, "fd/2", target) && begins_with_path(target, leftovers->log_path))
		return true;
	CLEANUP(buffer_done) struct buffer arguments = { 0 };
	read_arguments(pid_text, &arguments);
	return has_argument(&arguments, "-D", leftovers->mount_path);
}

static bool is_old_pagefs(const char *pid_text, const struct leftovers *leftovers)
{
	CLEANUP(buffer_done) struct buffer arguments = { 0 };
	read_arguments(pid_text, &arguments);
	return arguments.len > 0 && has_argument(&arguments, "tarn", "pagefs") &&
	       has_argument(&arguments, "--volume", leftovers->volume_id) &&
	       has_argument(&arguments, "--mount", leftovers->mount_path);
}

static bool is_old_pooler(const char *pid_text, const struct leftovers *leftovers)
{
	char target[PATH_MAX];
	return link_is(pid_text, "fd/2", target) && begins_with_path(target, leftovers->pooler_log_path);
}

static bool is_ours(const char *pid_text, const struct leftovers *leftovers)
{
	return is_old_postgres(pid_text, leftovers) || is_old_pagefs(pid_text, leftovers) ||
	       is_old_pooler(pid_text, leftovers);
}

/* For most processes of the machine one look at one link. `ours` is the name of our own program. */
static bool is_leftover(const char *pid_text, const char *ours, const struct leftovers *leftovers)
{
	char program[PATH_MAX];
	if (!link_is(pid_text, "exe", program))
		return false;
	return (is_named(program, "postgres") && is_old_postgres(pid_text, leftovers)) ||
	       (is_named(program, "pgbouncer") && is_old_pooler(pid_text, leftovers)) ||
	       (is_named(program, ours) && is_old_pagefs(pid_text, leftovers));
}

/* The parent's process id; 0 when the process has ended. */
static pid_t parent_of(const char *pid_text)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	char path[64];
	struct error err;
	int64_t parent = 0;
	(void)snprintf(path, sizeof path, "/proc/%.20s/stat", pid_text);
	if (file_read(path, PROC_FILE_MAX, &text, &err) != STATUS_OK)
		return 0;
	/* "1 (name with ) in it) S 2 …" */
	const char *behind = text.data ? strrchr(text.data, ')') : NULL;
	if (!behind || strlen(behind) < 5)
		return 0;
	struct slice number = { (const uint8_t *)behind + 4, strcspn(behind + 4, " ") };
	return number_parse(number, 0, INT32_MAX, &parent) ? (pid_t)parent : 0;
}

/* A process that works on the volume, as a descriptor and an id; -1 when there is none. */
static int find_process(const struct leftovers *leftovers, pid_t *ret_pid)
{
	CLEANUP(close_listing) DIR *proc = opendir("/proc");
	char own[PATH_MAX] = "";
	char *end = link_is("self", "exe", own) ? strstr(own, " (deleted)") : NULL;
	if (end)
		*end = '\0';
	const char *ours = strrchr(own, '/') ? strrchr(own, '/') + 1 : "tarn";
	for (struct dirent *item; proc && (item = readdir(proc));) {
		int64_t number;
		if (!number_parse(slice_from_text(item->d_name), 1, INT32_MAX, &number) || number == getpid())
			continue;
		if (!is_leftover(item->d_name, ours, leftovers))
			continue;
		CLEANUP(close_fd) int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)number, 0);
		/* Looked at again after the descriptor was opened: now it is the process that the descriptor means. */
		if (pidfd >= 0 && parent_of(item->d_name) != getpid() && is_ours(item->d_name, leftovers)) {
			*ret_pid = (pid_t)number;
			return TAKE_FD(pidfd);
		}
	}
	return -1;
}

status leftovers_end_processes(const struct leftovers *leftovers, struct error *err)
{
	for (;;) {
		pid_t pid = 0;
		CLEANUP(close_fd) int pidfd = find_process(leftovers, &pid);
		if (pidfd < 0)
			return STATUS_OK;
		/*
		 * Without patience: the kernel has asked it to go when its supervisor died, and what a crash of Postgres leaves is the
		 * same however it ends. A process that just ended is a zombie and not found: it has no program.
		 */
		log_warning("killing process %d, which a dead supervisor left behind", (int)pid);
		if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
			return error_set(err, STATUS_IO, errno, "could not end process %d", (int)pid);
		struct pollfd ended = { .fd = pidfd, .events = POLLIN };
		int n;
		while ((n = poll(&ended, 1, KILLED_LIMIT_MS)) < 0 && errno == EINTR)
			continue;
		if (n == 0)
			return error_set(err, STATUS_UNAVAILABLE, 0,
			        "process %d of an earlier start does not end", (int)pid);
	}
}

/* ---- lock files ---- */

static status remove_leftover(const char *path, struct error *err)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set(err, STATUS_IO, errno, "could not remove file \"%s\"", path);
	return STATUS_OK;
}

status leftovers_remove_locks(const struct leftovers *leftovers, struct error *err)
{
	CLEANUP(free_text) char *pid_file = xasprintf("%s/" POSTMASTER_FILE, leftovers->mount_path);
	CLEANUP(free_text) char *socket = xasprintf("%s/.s.PGSQL.5432", leftovers->socket_folder);
	CLEANUP(free_text) char *socket_lock = xasprintf("%s.lock", socket);
	status st = remove_leftover(socket, err);
	if (st == STATUS_OK)
		st = remove_leftover(socket_lock, err);
	return st == STATUS_OK ? remove_leftover(pid_file, err) : st;
}

/* ---- our own ---- */

static void kill_child(void *owner, pid_t child)
{
	(void)owner;
	(void)kill(child, SIGKILL);
}

void leftovers_kill_postgres(pid_t postmaster)
{
	(void)kill(postmaster, SIGSTOP);
	children_each(postmaster, kill_child, NULL);
	(void)kill(postmaster, SIGKILL);
}

struct reaping {
	pid_t keep, left; /* left: one that is still there; 0: none */
};

static void reap_child(void *owner, pid_t child)
{
	struct reaping *reaping = owner;
	if (child == reaping->keep)
		return;
	(void)kill(child, SIGKILL);
	if (waitpid(child, NULL, WNOHANG) == 0)
		reaping->left = child;
}

status leftovers_reap(pid_t keep, struct error *err)
{
	int64_t deadline = clock_monotonic_usec() + KILLED_LIMIT_MS * 1000ll;
	/* Twice nothing: while children end, the kernel's list may leave one out (proc(5)). */
	for (int empty = 0; empty < 2;) {
		struct reaping reaping = { .keep = keep };
		children_each(getpid(), reap_child, &reaping);
		if (reaping.left == 0) {
			empty++;
			continue;
		}
		empty = 0;
		if (clock_monotonic_usec() > deadline)
			return error_set(err, STATUS_UNAVAILABLE, 0, "process %d of Postgres does not end",
			        (int)reaping.left);
		(void)poll(NULL, 0, 1);
	}
	return STATUS_OK;
}
