/*
 * Plays a supervisor for the fleet's tests: started the same way, it does what DIR/computes/UID/script says. Line n of the
 * script is for the n-th start, the last line for all later ones; a line is a list of words:
 *
 *   lock            take supervisor.lock
 *   say:STATE       be in that state from now on and tell everybody who is connected (and who connects later)
 *   reason:TEXT     the reason in what it says next ('_' stands for a space)
 *   raw:TEXT        send that line as it is, to everybody
 *   file:STATE      write last_exit.json
 *   pglog:TEXT      append to postgres.log; log:TEXT the same to stderr
 *   wait:MS         go on after that time, serving connections
 *   until:NAME      go on when computes/UID/NAME exists, serving connections
 *   facts           write what it was born with to computes/UID/facts
 *   serve           serve for ever: "suspend" ends it cleanly, "apply" applies the revision in the file "revision"
 *   refuse_apply    "apply" is answered with a reason
 *   refuse_point    "point" and "flush" are answered with an error; ignore_point: not at all
 *   refuse_pool     "pool" is answered with an error; ignore_pool: not at all; else role "nobody" is refused
 *   stubborn        "suspend" is ignored
 *   silent          nobody is accepted from now on; deaf: the listening socket is closed
 *   heard           go on when somebody is connected
 *   drop            close all connections
 *   exit:N, kill    end
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/role_lock.h"

#define CONNECTIONS_MAX 16

struct supervisor {
	char *folder;
	int listen_fd;
	int fds[CONNECTIONS_MAX];
	struct buffer in[CONNECTIONS_MAX];
	int count;
	char state[32], reason[256];
	int revision;
	int points; /* made so far */
	bool is_silent, is_stubborn, refuses_apply, refuses_point, ignores_point, refuses_pool, ignores_pool;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "scripted supervisor: %s: %s\n", what, strerror(errno));
	_exit(99);
}

static char *path_of(const struct supervisor *sv, const char *name)
{
	return xasprintf("%s/%s", sv->folder, name);
}

static void append(const struct supervisor *sv, const char *name, const char *text)
{
	CLEANUP(free_text) char *path = path_of(sv, name);
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || dprintf(fd, "%s\n", text) < 0)
		die(path);
}

static char *state_line(const struct supervisor *sv)
{
	return xasprintf(
	        "{\"state\":\"%s\",\"reason\":\"%s\",\"pid\":%d,\"postgres_pid\":%d,"
	        "\"last_active_time\":\"2026-01-02T03:04:05Z\",\"applied_revision\":%d,"
	        "\"timing\":{\"prepare_ms\":1.5,\"postgres_ms\":20,\"reconcile_ms\":0},\"unknown\":[1]}",
	        sv->state, sv->reason, (int)getpid(), (int)getpid(), sv->revision);
}

static void send_to(int fd, const char *text)
{
	CLEANUP(free_text) char *line = xasprintf("%s\n", text);
	(void)send(fd, line, strlen(line), MSG_NOSIGNAL);
}

static void send_all(const struct supervisor *sv, const char *text)
{
	for (int i = 0; i < sv->count; i++)
		send_to(sv->fds[i], text);
}

static void say(struct supervisor *sv, const char *state)
{
	if (state != sv->state)
		(void)snprintf(sv->state, sizeof sv->state, "%s", state);
	CLEANUP(free_text) char *line = state_line(sv);
	send_all(sv, line);
}

static void write_last_exit(struct supervisor *sv, const char *state)
{
	(void)snprintf(sv->state, sizeof sv->state, "%s", state);
	CLEANUP(free_text) char *line = state_line(sv);
	CLEANUP(free_text) char *path = path_of(sv, "last_exit.json");
	struct error err;
	if (file_replace_durably(path, slice_from_text(line), 0600, &err) != STATUS_OK)
		die(err.message);
}

static void apply(struct supervisor *sv)
{
	CLEANUP(free_text) char *path = path_of(sv, "revision");
	CLEANUP(buffer_done) struct buffer content = { 0 };
	struct error err;
	(void)snprintf(sv->reason, sizeof sv->reason, "%s", sv->refuses_apply ? "role \\\"x\\\" is odd" : "");
	if (!sv->refuses_apply && file_read(path, 64, &content, &err) == STATUS_OK)
		sv->revision = atoi(content.data);
	say(sv, sv->state);
}

/* LSN 0/1000 + the request's number, restore points counted; on timeline 3. */
static void make_point(struct supervisor *sv, int fd, const char *line, bool is_flush)
{
	const char *id_text = strstr(line, "\"id\":");
	int id = id_text ? atoi(id_text + 5) : -1;
	if (sv->ignores_point)
		return;
	CLEANUP(free_text)
	char *answer =
	        sv->refuses_point
	                ? xasprintf(
	                          "{\"point\":{\"id\":%d,\"error\":{\"code\":\"NO_SPACE\",\"message\":\"the "
	                          "disk is full\"}}}",
	                          id)
	                : xasprintf("{\"point\":{\"id\":%d,\"number\":%d,\"lsn\":\"0/%X\",\"timeline\":3,"
	                            "\"time_usec\":1795375728453065}}",
	                          id, is_flush ? 0 : ++sv->points, 0x1000 + id);
	send_to(fd, answer);
}

static void answer_pool(struct supervisor *sv, int fd, const char *line)
{
	const char *id_text = strstr(line, "\"id\":");
	int id = id_text ? atoi(id_text + 5) : -1;
	CLEANUP(free_text) char *answer = NULL;
	if (sv->ignores_pool)
		return;
	if (sv->refuses_pool)
		answer =
		        xasprintf("{\"pool\":{\"id\":%d,\"error\":{\"code\":\"UNSUPPORTED\",\"message\":\"no "
		                  "PgBouncer\",\"hint\":\"Install it.\"}}}",
		                id);
	else
		answer = xasprintf("{\"pool\":{\"id\":%d,\"socket_dir\":\"/x\",\"refused\":[%s]}}", id,
		        strstr(line, "\"nobody\"")
		                ? "{\"role\":\"nobody\",\"message\":\"role \\\"nobody\\\" does not exist\"}"
		                : "");
	send_to(fd, answer);
}

static void obey(struct supervisor *sv, int fd, const char *line)
{
	if (strstr(line, "\"pool\"")) {
		append(sv, "pooled", line);
		answer_pool(sv, fd, line);
		return;
	}

	if (strstr(line, "\"point\"") || strstr(line, "\"flush\"")) {
		append(sv, "asked", line);
		make_point(sv, fd, line, strstr(line, "\"flush\"") != NULL);
		return;
	}
	if (strstr(line, "\"apply\"")) {
		apply(sv);
	} else if (strstr(line, "\"suspend\"") && !sv->is_stubborn) {
		(void)snprintf(sv->reason, sizeof sv->reason, "requested");
		say(sv, "suspending");
		write_last_exit(sv, "stopped");
		say(sv, "stopped");
		_exit(0);
	}
}

static void hang_up(struct supervisor *sv, int i)
{
	(void)close(sv->fds[i]);
	buffer_done(&sv->in[i]);
	sv->count--;
	sv->fds[i] = sv->fds[sv->count];
	sv->in[i] = sv->in[sv->count];
	sv->in[sv->count] = (struct buffer){ 0 };
}

static void listen_to(struct supervisor *sv, int i)
{
	struct buffer *in = &sv->in[i];
	buffer_reserve(in, 4096);
	ssize_t n = recv(sv->fds[i], in->data + in->len, 4096, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		hang_up(sv, i);
		return;
	}
	in->len += n > 0 ? (size_t)n : 0;
	in->data[in->len] = '\0';
	for (char *end; in->len > 0 && (end = memchr(in->data, '\n', in->len));) {
		*end = '\0';
		obey(sv, sv->fds[i], in->data);
		buffer_consume(in, (size_t)(end - in->data) + 1);
	}
}

static void accept_one(struct supervisor *sv)
{
	int fd = accept4(sv->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0 || sv->count == CONNECTIONS_MAX)
		return;
	sv->fds[sv->count++] = fd;
	if (sv->state[0]) {
		CLEANUP(free_text) char *line = state_line(sv);
		send_to(fd, line);
	}
}

/* Serves connections for that time (-1: for ever) or until the file exists. */
static void serve(struct supervisor *sv, int milliseconds, const char *until)
{
	int64_t end = clock_monotonic_usec() + milliseconds * 1000ll;
	while (!until || !file_exists(until)) {
		int64_t left = milliseconds < 0 ? 1000000 : end - clock_monotonic_usec();
		if (left < 0)
			return;
		struct pollfd polled[CONNECTIONS_MAX + 1];
		polled[0] = (struct pollfd){ .fd = sv->is_silent ? -1 : sv->listen_fd, .events = POLLIN };
		int count = sv->count;
		for (int i = 0; i < count; i++)
			polled[i + 1] = (struct pollfd){ .fd = sv->fds[i], .events = POLLIN };
		(void)poll(polled, (nfds_t)count + 1, until ? 5 : (int)(left / 1000) + 1);
		for (int i = count - 1; i >= 0; i--)
			if (polled[i + 1].revents)
				listen_to(sv, i);
		if (polled[0].revents & POLLIN)
			accept_one(sv);
	}
}

/* Serves until the fleet is connected, so that what is said next is heard. */
static void await_connection(struct supervisor *sv)
{
	while (sv->count == 0)
		serve(sv, 1, NULL);
}

static void write_facts(const struct supervisor *sv)
{
	char fact[256];
	for (int fd = 0; fd < 256; fd++) {
		if (fcntl(fd, F_GETFD) >= 0) {
			(void)snprintf(fact, sizeof fact, "fd %d", fd);
			append(sv, "facts.new", fact);
		}
	}
	const char *listen_fd = getenv("TARN_LISTEN_FD"), *ready_fd = getenv("TARN_READY_FD");
	(void)snprintf(fact, sizeof fact, "listen %s ready %s leader %d", listen_fd ? listen_fd : "none",
	        ready_fd ? ready_fd : "none", getsid(0) == getpid());
	append(sv, "facts.new", fact);
	sigset_t blocked;
	(void)sigprocmask(SIG_SETMASK, NULL, &blocked);
	struct sigaction pipe_action;
	(void)sigaction(SIGPIPE, NULL, &pipe_action);
	(void)snprintf(fact, sizeof fact, "usr1_blocked %d pipe_ignored %d", sigismember(&blocked, SIGUSR1),
	        pipe_action.sa_handler == SIG_IGN);
	append(sv, "facts.new", fact);
	CLEANUP(free_text) char *from = path_of(sv, "facts.new");
	CLEANUP(free_text) char *to = path_of(sv, "facts");
	if (rename(from, to) < 0)
		die(to);
}

static void take_lock(const struct supervisor *sv)
{
	CLEANUP(free_text) char *path = path_of(sv, "supervisor.lock");
	CLEANUP(free_text) char *text = xasprintf("{\"pid\":%d,\"ready\":false}", (int)getpid());
	struct role_lock *lock; /* the kernel frees it */
	struct error err;
	if (role_lock_take(path, text, &lock, &err) != STATUS_OK)
		die(err.message);
}

static bool perform_end(struct supervisor *sv, const char *word, const char *argument)
{
	if (strcmp(word, "exit") == 0)
		_exit(atoi(argument));
	else if (strcmp(word, "kill") == 0)
		(void)raise(SIGKILL);
	else if (strcmp(word, "drop") == 0)
		while (sv->count > 0)
			hang_up(sv, 0);
	else if (strcmp(word, "deaf") == 0)
		close_fd(&sv->listen_fd);
	else if (strcmp(word, "silent") == 0)
		sv->is_silent = true;
	else if (strcmp(word, "stubborn") == 0)
		sv->is_stubborn = true;
	else if (strcmp(word, "refuse_apply") == 0)
		sv->refuses_apply = true;
	else if (strcmp(word, "refuse_point") == 0)
		sv->refuses_point = true;
	else if (strcmp(word, "refuse_pool") == 0)
		sv->refuses_pool = true;
	else if (strcmp(word, "ignore_pool") == 0)
		sv->ignores_pool = true;
	else if (strcmp(word, "ignore_point") == 0)
		sv->ignores_point = true;
	else
		return false;
	return true;
}

static void perform(struct supervisor *sv, const char *word, const char *argument)
{
	if (perform_end(sv, word, argument))
		return;
	if (strcmp(word, "lock") == 0) {
		take_lock(sv);
	} else if (strcmp(word, "say") == 0) {
		say(sv, argument);
	} else if (strcmp(word, "reason") == 0) {
		(void)snprintf(sv->reason, sizeof sv->reason, "%s", argument);
	} else if (strcmp(word, "raw") == 0) {
		await_connection(sv);
		send_all(sv, argument);
	} else if (strcmp(word, "file") == 0) {
		write_last_exit(sv, argument);
	} else if (strcmp(word, "pglog") == 0) {
		append(sv, "postgres.log", argument);
	} else if (strcmp(word, "log") == 0) {
		(void)fprintf(stderr, "%s\n", argument);
	} else if (strcmp(word, "wait") == 0) {
		serve(sv, atoi(argument), NULL);
	} else if (strcmp(word, "until") == 0) {
		CLEANUP(free_text) char *path = path_of(sv, argument);
		serve(sv, -1, path);
	} else if (strcmp(word, "heard") == 0) {
		await_connection(sv);
	} else if (strcmp(word, "facts") == 0) {
		write_facts(sv);
	} else if (strcmp(word, "serve") == 0) {
		serve(sv, -1, NULL);
	} else {
		errno = EINVAL;
		die(word);
	}
}

/* The script's line for this start; counts the starts in the file "starts". */
static char *read_script(const struct supervisor *sv)
{
	append(sv, "starts", "x");
	CLEANUP(free_text) char *starts_path = path_of(sv, "starts");
	CLEANUP(free_text) char *script_path = path_of(sv, "script");
	CLEANUP(buffer_done) struct buffer starts = { 0 };
	CLEANUP(buffer_done) struct buffer script = { 0 };
	struct error err;
	if (file_read(starts_path, 1 << 20, &starts, &err) != STATUS_OK ||
	        file_read(script_path, 1 << 20, &script, &err) != STATUS_OK)
		die(err.message);
	char *line = strtok(script.data, "\n"), *last = line;
	for (size_t start = 1; line; start++, line = strtok(NULL, "\n")) {
		last = line;
		if (start == starts.len / 2)
			break;
	}
	return xstrdup(last ? last : "exit:98");
}

int main(int argc, char **argv)
{
	if (argc != 6 || strcmp(argv[1], "compute") != 0 || strcmp(argv[2], "--data") != 0 ||
	        strcmp(argv[4], "--endpoint") != 0)
		return 97;
	(void)alarm(120); /* outlives no test that was cut off */
	struct supervisor sv = { .listen_fd = 3 };
	sv.folder = xasprintf("%s/computes/%s", argv[3], argv[5]);
	char *script = read_script(&sv), *rest;
	for (char *word = strtok_r(script, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		char *argument = strchr(word, ':');
		if (argument)
			*argument++ = '\0';
		for (char *c = argument; c && *c; c++)
			if (*c == '_' && strcmp(word, "until") != 0)
				*c = ' ';
		perform(&sv, word, argument ? argument : "");
	}
	_exit(0);
}
