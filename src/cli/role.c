#include "cli/role.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <yyjson.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/random.h"
#include "base/role_lock.h"
#include "cli/rest.h"

#define LOG_MAX_BYTES   (16l << 20) /* a log longer than this is put aside at the next start */
#define LAST_WORDS_MAX  4096
#define READY_FD        3
#define SETTINGS_DIGITS (2 * SHA256_DIGEST_LENGTH)

/* Which settings a role was started with is in its environment, where it can be seen for as long as it runs. */
#define SETTINGS_VARIABLE "TARN_SETTINGS_DIGEST"

static void settings_digest(const struct data_directory *dd, char out[SETTINGS_DIGITS + 1])
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "settings.json");
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct error ignored;
	uint8_t digest[SHA256_DIGEST_LENGTH];
	if (file_read(path, 1u << 20, &text, &ignored) != STATUS_OK)
		buffer_consume(&text, text.len);
	(void)SHA256((const uint8_t *)(text.data ? text.data : ""), text.len, digest);
	bytes_to_hex(digest, sizeof digest, out);
}

/* The value of a variable in a block of "NAME=value\0" texts, or NULL. */
static const char *find_variable(const struct buffer *block, const char *name)
{
	size_t name_len = strlen(name);
	for (size_t at = 0; at < block->len; at += strlen(block->data + at) + 1)
		if (strncmp(block->data + at, name, name_len) == 0 && block->data[at + name_len] == '=')
			return block->data + at + name_len + 1;
	return NULL;
}

static bool is_outdated(const struct data_directory *dd, pid_t pid)
{
	CLEANUP(free_text) char *exe = xasprintf("/proc/%d/exe", (int)pid);
	struct stat theirs, ours;
	if (stat(exe, &theirs) < 0 || stat("/proc/self/exe", &ours) < 0)
		return false; /* another user's: nothing we could restart anyway */
	if (theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev)
		return true;
	CLEANUP(free_text) char *environment = xasprintf("/proc/%d/environ", (int)pid);
	CLEANUP(buffer_done) struct buffer block = { 0 };
	struct error ignored;
	if (file_read(environment, 4u << 20, &block, &ignored) != STATUS_OK || block.len == 0)
		return false;
	char digest[SETTINGS_DIGITS + 1];
	settings_digest(dd, digest);
	const char *started_with = find_variable(&block, SETTINGS_VARIABLE);
	/* One that a person started by hand has no such variable: it is theirs, we leave it as it is. */
	return started_with && strcmp(started_with, digest) != 0;
}

/* Field 22 of /proc/PID/stat counts clock ticks since boot; the name in field 2 may hold blanks and brackets. */
static int64_t start_time(pid_t pid)
{
	CLEANUP(free_text) char *path = xasprintf("/proc/%d/stat", (int)pid);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct error ignored;
	if (file_read(path, 8192, &text, &ignored) != STATUS_OK || text.len == 0)
		return 0;
	char *at = strrchr(text.data, ')');
	for (int field = 2; at && field < 22; field++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	struct timespec since_boot;
	if (!at || clock_gettime(CLOCK_BOOTTIME, &since_boot) < 0)
		return 0;
	int64_t ticks = strtoll(at, NULL, 10);
	int64_t age = since_boot.tv_sec * USEC_PER_SEC + since_boot.tv_nsec / 1000 -
	              ticks * USEC_PER_SEC / sysconf(_SC_CLK_TCK);
	return clock_wall_usec() - age;
}

status role_look(const struct data_directory *dd, const char *lock, struct role_state *ret, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "%s", lock);
	char text[ROLE_LOCK_TEXT_MAX];
	status st = role_lock_look(path, text, err);
	if (st == STATUS_NOT_FOUND) {
		*ret = (struct role_state){ 0 };
		return STATUS_OK;
	}
	if (st != STATUS_OK)
		return st;
	struct role_state state = { .is_running = true };
	CLEANUP(json_free) yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
	yyjson_val *root = yyjson_doc_get_root(doc), *pid = yyjson_obj_get(root, "pid");
	/* For a moment the text is that of the holder before, so the process must at least be there. */
	if (yyjson_is_uint(pid) && yyjson_get_uint(pid) <= INT32_MAX &&
	        kill((pid_t)yyjson_get_uint(pid), 0) == 0) {
		state.pid = (pid_t)yyjson_get_uint(pid);
		state.is_ready = yyjson_is_true(yyjson_obj_get(root, "ready"));
		state.since_usec = start_time(state.pid);
		state.is_outdated = is_outdated(dd, state.pid);
	}
	*ret = state;
	return STATUS_OK;
}

static status open_log(
        const struct data_directory *dd, const char *name, int *ret_fd, int64_t *ret_start, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "run/%s.log", name);
	struct stat st;
	if (stat(path, &st) == 0 && st.st_size > LOG_MAX_BYTES) {
		CLEANUP(free_text) char *aside = xasprintf("%s.1", path);
		(void)rename(path, aside); /* a log that stays long is no reason not to start */
	}
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open log \"%s\"", path);
	*ret_start = fstat(fd, &st) == 0 ? st.st_size : 0;
	*ret_fd = fd;
	return STATUS_OK;
}

/*
 * The path of this binary, so that the process has a name people know; /proc/self/exe when another file is at that path
 * by now (after an upgrade), because a role must be of the same version as we are.
 */
static char *own_binary(void)
{
	char path[FILE_PATH_MAX];
	struct stat at_path, ours;
	ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
	if (len > 0) {
		path[len] = '\0';
		if (stat(path, &at_path) == 0 && stat("/proc/self/exe", &ours) == 0 &&
		        at_path.st_ino == ours.st_ino && at_path.st_dev == ours.st_dev)
			return xstrdup(path);
	}
	return xstrdup("/proc/self/exe");
}

static char **environment_with(char *const extra[], size_t extra_count)
{
	size_t count = 0;
	while (environ[count])
		count++;
	char **all = xcalloc(count + extra_count + 1, sizeof *all);
	size_t used = 0;
	for (size_t i = 0; i < count; i++) {
		bool is_replaced = false;
		for (size_t k = 0; k < extra_count; k++)
			is_replaced =
			        is_replaced || strncmp(environ[i], extra[k],
			                               (size_t)(strchr(extra[k], '=') - extra[k]) + 1) == 0;
		if (!is_replaced)
			all[used++] = environ[i];
	}
	for (size_t k = 0; k < extra_count; k++)
		all[used++] = extra[k];
	return all;
}

static int spawn(const char *binary, char *const argv[], char *const environment[], int log_fd, int ready_fd,
        pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	/* Signals we ignore would stay ignored in the child. */
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(
	        &attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_addchdir_np(&actions, "/");
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, log_fd, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, log_fd, STDERR_FILENO);
	posix_spawn_file_actions_adddup2(&actions, ready_fd, READY_FD);
	int rc = posix_spawn(ret_pid, binary, &actions, &attributes, argv, environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return rc;
}

status role_start(const struct data_directory *dd, const char *name, pid_t *ret_pid, int *ret_ready_fd,
        int64_t *ret_log_start, struct error *err)
{
	CLEANUP(close_fd) int log_fd = -1;
	int64_t log_start = 0;
	status st = open_log(dd, name, &log_fd, &log_start, err);
	if (st != STATUS_OK)
		return st;
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(err, STATUS_IO, errno, "could not make a pipe");
	CLEANUP(close_fd) int read_end = ends[0];
	CLEANUP(close_fd) int write_end = ends[1];

	char digest[SETTINGS_DIGITS + 1];
	settings_digest(dd, digest);
	CLEANUP(free_text) char *binary = own_binary();
	CLEANUP(free_text) char *role = xstrdup(name);
	CLEANUP(free_text) char *settings = xasprintf(SETTINGS_VARIABLE "=%s", digest);
	CLEANUP(free_text) char *ready = xasprintf("TARN_READY_FD=%d", READY_FD);
	char tarn[] = "tarn", data[] = "--data";
	char *const argv[] = { tarn, role, data, dd->path, NULL };
	char *const extra[] = { settings, ready };
	char **environment = environment_with(extra, ARRAY_LEN(extra));
	pid_t pid = 0;
	int rc = spawn(binary, argv, environment, log_fd, write_end, &pid);
	free(environment);
	if (rc != 0)
		return error_set(err, STATUS_IO, rc, "could not start \"%s %s\"", binary, name);
	*ret_pid = pid;
	*ret_ready_fd = TAKE_FD(read_end);
	*ret_log_start = log_start;
	return STATUS_OK;
}

char *role_last_words(const struct data_directory *dd, const char *name, int64_t start)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "run/%s.log", name);
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[LAST_WORDS_MAX + 1];
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return xstrdup("");
	if (st.st_size - start > LAST_WORDS_MAX)
		start = st.st_size - LAST_WORDS_MAX;
	ssize_t len = pread(fd, text, LAST_WORDS_MAX, start);
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\0'))
		len--;
	if (len <= 0)
		return xstrdup("");
	text[len] = '\0';
	/* The last line of the role's own log, rather than what a sanitizer or a library printed behind it. */
	CLEANUP(free_text) char *mark = xasprintf(" error %s: ", name);
	const char *words = NULL;
	for (const char *at = text; (at = strstr(at, mark)); at += strlen(mark))
		words = at + strlen(mark);
	if (words)
		return xstrndup(words, strcspn(words, "\n"));
	const char *line = strrchr(text, '\n');
	return xstrdup(line ? line + 1 : text);
}

bool process_wait(pid_t pid, int64_t timeout_usec)
{
	CLEANUP(close_fd) int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return errno == ESRCH;
	int64_t deadline = clock_monotonic_usec() + timeout_usec;
	for (;;) {
		int64_t left = deadline - clock_monotonic_usec();
		struct pollfd waiting = { .fd = fd, .events = POLLIN };
		int ready = poll(&waiting, 1, left > 0 ? (int)(left / 1000) + 1 : 0);
		if (ready > 0)
			return true;
		if (ready == 0 && left <= 0)
			return false;
	}
}

status role_stop(pid_t pid, int64_t timeout_usec, bool *ret_was_killed, struct error *err)
{
	*ret_was_killed = false;
	if (kill(pid, SIGTERM) < 0) {
		if (errno == ESRCH)
			return STATUS_OK;
		return error_set(err, errno == EPERM ? STATUS_DENIED : STATUS_IO, errno,
		        "could not stop process %d", (int)pid);
	}
	if (process_wait(pid, timeout_usec))
		return STATUS_OK;
	(void)kill(pid, SIGKILL);
	*ret_was_killed = true;
	if (!process_wait(pid, 5 * USEC_PER_SEC))
		return error_set(
		        err, STATUS_UNAVAILABLE, 0, "process %d does not end, not even by SIGKILL", (int)pid);
	return STATUS_OK;
}
