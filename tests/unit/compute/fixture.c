/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <yyjson.h>

#include "base/clock.h"
#include "base/file.h"
#include "compute/libpq.h"
#include "loop/line_channel.h"

#define WAIT_LIMIT_MS 60000

static char *compute_path(const struct cluster_fixture *f, const char *uid, const char *name)
{
	return data_directory_path(f->dd, "computes/%s%s%s", uid, *name ? "/" : "", name);
}

void spec_write(const struct cluster_fixture *f, const struct spec_text *spec)
{
	static const char usual[] =
	        ",\"roles\":[{\"name\":\"admin@localhost\",\"login\":true,\"createdb\":true,\"createrole\":"
	        "true,"
	        "\"bypassrls\":true,\"member_of_databricks_superuser\":true}],"
	        "\"databases\":[{\"name\":\"databricks_postgres\",\"owner\":\"admin@localhost\"}]";
	struct error err;
	CLEANUP(free_text) char *folder = compute_path(f, spec->uid, "");
	CLEANUP(free_text) char *path = compute_path(f, spec->uid, "spec.json");
	CLEANUP(buffer_done) struct buffer text = { 0 };
	must(folder_make(folder, 0711, &err), &err);
	buffer_printf(&text,
	        "{\"version\":1,\"revision\":%d,\"endpoint_uid\":\"%s\",\"endpoint_name\":\"e\",\"volume_"
	        "id\":\"%s\","
	        "\"postgres\":{\"major\":%d,\"bin_dir\":\"%s\"},\"cu\":{\"min\":1,\"max\":1},\"settings\":{%"
	        "s}",
	        spec->revision ? spec->revision : 1, spec->uid, spec->volume, f->installation.major,
	        f->installation.bin_dir, spec->settings ? spec->settings : "");
	if (spec->suspend_timeout_sec)
		buffer_printf(&text, ",\"suspend_timeout_sec\":%d", spec->suspend_timeout_sec);
	buffer_printf(&text, "%s}", spec->more ? spec->more : usual);
	must(file_replace_durably(path, buffer_slice(&text), 0600, &err), &err);
}

struct supervised supervised_start(const struct cluster_fixture *f, const char *uid)
{
	struct supervised s = { .fixture = f, .fd = -1 };
	struct error err;
	CLEANUP(close_fd) int listener = -1;
	CLEANUP(free_text) char *socket_path = compute_path(f, uid, "supervisor.sock");
	(void)snprintf(s.uid, sizeof s.uid, "%s", uid);
	must(unix_socket_listen(socket_path, &listener, &err), &err);
	const char *program = getenv("TEST_SUPERVISOR");
	assert_non_null(program);
	s.pid = fork();
	assert_true(s.pid >= 0);
	if (s.pid == 0) {
		(void)setenv("TARN_LISTEN_FD", "50", 1);
		(void)setsid();
		if (dup2(listener, 50) == 50)
			(void)execl(program, "compute", "--data", f->dd->path, "--endpoint", uid, NULL);
		_exit(126);
	}
	must(unix_socket_connect(socket_path, &s.fd, &err), &err);
	return s;
}

const char *supervised_next(struct supervised *s, int timeout_ms)
{
	int64_t deadline = clock_monotonic_usec() + (int64_t)timeout_ms * 1000;
	for (;;) {
		char *end = s->in.data ? memchr(s->in.data, '\n', s->in.len) : NULL;
		if (end) {
			free(s->line);
			s->line = xstrndup(s->in.data, (size_t)(end - s->in.data));
			buffer_consume(&s->in, (size_t)(end - s->in.data) + 1);
			return s->line;
		}
		int64_t left_ms = (deadline - clock_monotonic_usec()) / 1000;
		struct pollfd ready = { .fd = s->fd, .events = POLLIN };
		if (left_ms <= 0 || poll(&ready, 1, (int)left_ms) == 0)
			return NULL;
		char chunk[4096];
		ssize_t n = read(s->fd, chunk, sizeof chunk);
		if (n <= 0)
			return NULL;
		buffer_append(&s->in, chunk, (size_t)n);
	}
}

static bool has_state(const char *line, const char *state)
{
	CLEANUP(free_text) char *text = xasprintf("{\"state\":\"%s\"", state);
	return strncmp(line, text, strlen(text)) == 0;
}

const char *supervised_wait(struct supervised *s, const char *state)
{
	for (;;) {
		const char *line = supervised_next(s, WAIT_LIMIT_MS);
		if (!line)
			fail_msg("no \"%s\"; the last line was %s", state, s->line ? s->line : "none");
		if (has_state(line, state))
			return line;
		if (has_state(line, "failed") || has_state(line, "stopped"))
			fail_msg("instead of \"%s\": %s", state, line);
	}
}

void supervised_order(struct supervised *s, const char *order)
{
	CLEANUP(free_text) char *line = xasprintf("{\"do\":\"%s\"}\n", order);
	assert_int_equal(write(s->fd, line, strlen(line)), (ssize_t)strlen(line));
}

const char *supervised_ask(struct supervised *s, const char *what, int id)
{
	CLEANUP(free_text) char *question = xasprintf("{\"do\":\"%s\",\"id\":%d}\n", what, id);
	CLEANUP(free_text) char *answer = xasprintf("{\"point\":{\"id\":%d,", id);
	assert_int_equal(write(s->fd, question, strlen(question)), (ssize_t)strlen(question));
	const char *line;
	do {
		line = supervised_next(s, WAIT_LIMIT_MS);
		if (!line)
			fail_msg("no answer to %s", question);
	} while (strncmp(line, answer, strlen(answer)) != 0);
	return line;
}

int supervised_end(struct supervised *s)
{
	int exit_status = 0;
	assert_int_equal(waitpid(s->pid, &exit_status, 0), s->pid);
	s->pid = 0;
	close_fd(&s->fd);
	free_text(&s->line);
	buffer_done(&s->in);
	return exit_status;
}

void supervised_stop(struct supervised *s)
{
	supervised_order(s, "suspend");
	(void)supervised_wait(s, "stopped");
	assert_int_equal(supervised_end(s), 0);
}

void supervised_kill(struct supervised *s)
{
	assert_int_equal(kill(s->pid, SIGKILL), 0);
	assert_true(WIFSIGNALED(supervised_end(s)));
}

static pid_t pid_of(const struct supervised *s, const char *member)
{
	yyjson_doc *doc = yyjson_read(s->line, strlen(s->line), 0);
	pid_t pid = (pid_t)yyjson_get_int(yyjson_obj_get(yyjson_doc_get_root(doc), member));
	yyjson_doc_free(doc);
	assert_true(pid > 1);
	return pid;
}

pid_t supervised_postgres(const struct supervised *s)
{
	return pid_of(s, "postgres_pid");
}

pid_t supervised_pagefs(const struct supervised *s)
{
	return pid_of(s, "pagefs_pid");
}

char *supervised_socket(const struct supervised *s)
{
	return compute_path(s->fixture, s->uid, "socket");
}

int one_compute_set_up(void **state, const char *name, struct supervised *ret)
{
	if (cluster_set_up(state) != 0)
		return -1;
	struct cluster_fixture *f = *state;
	if (!f)
		return 0;
	CLEANUP(free_text) char *uid = xasprintf("ep-%s", name);
	CLEANUP(free_text) char *volume = xasprintf("br-%s", name);
	cluster_make_volume(f, volume);
	spec_write(f, &(struct spec_text){ .uid = uid, .volume = volume });
	*ret = supervised_start(f, uid);
	(void)supervised_wait(ret, "ready");
	return 0;
}

int one_compute_tear_down(void **state, struct supervised *s)
{
	if (*state)
		supervised_stop(s);
	return cluster_tear_down(state);
}

PGconn *supervised_connect(const struct supervised *s, const char *user)
{
	CLEANUP(free_text) char *socket = supervised_socket(s);
	const char *const names[] = { "host", "port", "user", "dbname", NULL };
	const char *const values[] = { socket, "5432", user, "databricks_postgres", NULL };
	struct error err;
	assert_int_equal(libpq_load(&err), STATUS_OK);
	PGconn *connection = PQconnectdbParams(names, values, 0);
	if (PQstatus(connection) != CONNECTION_OK)
		fail_msg("%s", PQerrorMessage(connection));
	return connection;
}

PGresult *execute(PGconn *connection, const char *statement)
{
	PGresult *last = NULL;
	if (!PQsendQuery(connection, statement))
		return NULL;
	for (PGresult *next; (next = PQgetResult(connection)); last = next)
		PQclear(last);
	return last;
}

char *value_of(PGconn *connection, const char *statement)
{
	PGresult *result = execute(connection, statement);
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
		fail_msg("%s: %s", statement, PQerrorMessage(connection));
	char *value = xstrdup(PQgetvalue(result, 0, 0));
	PQclear(result);
	return value;
}

void run(PGconn *connection, const char *statement)
{
	PGresult *result = execute(connection, statement);
	ExecStatusType outcome = PQresultStatus(result);
	if (outcome != PGRES_COMMAND_OK && outcome != PGRES_TUPLES_OK)
		fail_msg("%s: %s", statement, PQerrorMessage(connection));
	PQclear(result);
}
