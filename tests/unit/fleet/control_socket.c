#include "fleet_fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <yyjson.h>

#include "control_plane/control_socket.h"
#include "loop/line_channel.h"

#define GOOD "lock say:starting wait:20 say:ready serve"

/* The fixture, a control socket on it, and what the socket told control. */
struct scene {
	struct fixture *f;
	struct control_socket *socket;
	char *socket_path;
	int shut_downs;
	control_login_fn done; /* of a login that is answered later */
	void *arg;
	uint64_t reporter, ended; /* connections */
	struct control_answers answers;
};

static status route(
        void *owner, const char *uid, const char *address, struct control_route *ret, struct error *err)
{
	struct scene *scene = owner;
	if (address && strcmp(address, "127.64.0.2") == 0)
		uid = "ep-a";
	if (!uid || !fleet_look(scene->f->fleet, uid))
		return error_set(err, STATUS_NOT_FOUND, 0, "no endpoint \"%s\"", uid ? uid : address);
	*ret = (struct control_route){ .host = "127.64.0.2",
		.address = "127.64.0.2",
		.project = "u-1",
		.connections_max = 206,
		.project_connections_max = 20000 };
	(void)snprintf(ret->uid, sizeof ret->uid, "%s", uid);
	(void)snprintf(ret->name, sizeof ret->name, "projects/p/branches/b/endpoints/%s", uid);
	ret->is_disabled = strcmp(uid, "ep-disabled") == 0;
	return STATUS_OK;
}

/* Answers at once, or later when the test says so. */
static void login(void *owner, const char *uid, const char *role, control_login_fn done, void *arg)
{
	struct scene *scene = owner;
	struct control_login answer = { .method = LOGIN_PASSWORD, .is_enabled = true, .is_permitted = true };
	struct error err;
	assert_true(fleet_look(scene->f->fleet, uid) != NULL);
	if (strcmp(role, "later") == 0) {
		assert_null(scene->done);
		scene->done = done;
		scene->arg = arg;
		return;
	}
	if (strcmp(role, "broken") == 0) {
		error_fill(&err, STATUS_IO, 0, "no disk");
		done(arg, NULL, &err);
		return;
	}
	if (strcmp(role, "alice") == 0)
		answer.method = LOGIN_TOKEN;
	answer.is_enabled = strcmp(role, "off") != 0;
	strcpy(answer.verifier, "SCRAM-…");
	done(arg, &answer, NULL);
}

static bool admits(void *owner, const char *address, char *ret_why, size_t size)
{
	(void)owner;
	(void)snprintf(ret_why, size, "not from there");
	return !address || strncmp(address, "10.", 3) != 0;
}

static bool report(void *owner, uint64_t connection, yyjson_val *root)
{
	struct scene *scene = owner;
	scene->reporter = connection;
	return yyjson_is_obj(yyjson_obj_get(root, "total"));
}

static void report_ended(void *owner, uint64_t connection)
{
	struct scene *scene = owner;
	scene->ended = connection;
}

static void on_shut_down(void *owner)
{
	struct scene *scene = owner;
	scene->shut_downs++;
}

static int set_up(void **state)
{
	struct error err;
	struct scene *scene = xcalloc(1, sizeof *scene);
	(void)fixture_set_up((void **)&scene->f);
	scene->answers = (struct control_answers){ .admits = admits,
		.route = route,
		.login = login,
		.on_shut_down = on_shut_down,
		.report = report,
		.report_ended = report_ended };
	scene->socket_path = data_directory_path(&scene->f->dd, "run/control.sock");
	assert_int_equal(control_socket_open(&scene->f->loop, &scene->f->dd, scene->f->fleet, &scene->answers,
	                         scene, &scene->socket, &err),
	        STATUS_OK);
	*state = scene;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *scene = *state;
	if (scene->socket)
		control_socket_close(scene->socket);
	(void)fixture_tear_down((void **)&scene->f);
	free(scene->socket_path);
	free(scene);
	return 0;
}

static int connect_client(struct scene *scene)
{
	int fd;
	struct error err;
	assert_int_equal(unix_socket_connect(scene->socket_path, &fd, &err), STATUS_OK);
	return fd;
}

static void send_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* The next line that the socket sends to this client; NULL when it closes. The caller frees. */
static char *receive(struct scene *scene, int fd)
{
	struct buffer line = { 0 };
	for (;;) {
		char c;
		ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);
		if (n == 1 && c == '\n')
			return line.data ? line.data : xstrdup("");
		if (n == 1)
			buffer_append(&line, &c, 1);
		else if (n == 0 || errno != EAGAIN)
			break;
		else
			fixture_turn(scene->f);
	}
	buffer_done(&line);
	return NULL;
}

static void expect(struct scene *scene, int fd, const char *expected)
{
	CLEANUP(free_text) char *line = receive(scene, fd);
	assert_non_null(line);
	assert_string_equal(line, expected);
}

static void expect_part(struct scene *scene, int fd, const char *part)
{
	CLEANUP(free_text) char *line = receive(scene, fd);
	assert_non_null(line);
	if (!strstr(line, part))
		fail_msg("%s is not in %s", part, line);
}

static void expect_close(struct scene *scene, int fd)
{
	CLEANUP(free_text) char *line = receive(scene, fd);
	assert_null(line);
}

static void routes(void **state)
{
	struct scene *scene = *state;
	fixture_script(scene->f, "ep-a", GOOD);
	int fd = connect_client(scene);
	send_text(fd, "{\"id\":1,\"op\":\"route\",\"uid\":\"ep-a\"}\n{\"id\":2,\"op\":\"route\",\"address\":"
	              "\"127.64.0.2\"}\n");
	expect(scene, fd,
	        "{\"id\":1,\"endpoint\":{\"uid\":\"ep-a\",\"name\":\"projects/p/branches/b/endpoints/ep-a\","
	        "\"host\":\"127.64.0.2\",\"address\":\"127.64.0.2\",\"disabled\":false,\"project\":\"u-1\","
	        "\"connections_max\":206,\"pooled_connections_max\":0,"
	        "\"project_connections_max\":20000,\"read_only\":false}}");
	expect_part(scene, fd, "{\"id\":2,\"endpoint\":{\"uid\":\"ep-a\"");
	send_text(fd, "{\"id\":3,\"op\":\"route\",\"uid\":\"ep-\\\"x\"}\n");
	expect(scene, fd,
	        "{\"id\":3,\"error\":{\"code\":\"NOT_FOUND\",\"sqlstate\":\"3D000\",\"message\":\"no "
	        "endpoint \\\"ep-\\\"x\\\"\"}}");
	send_text(fd,
	        "{\"id\":4,\"op\":\"route\"}\n{\"id\":5,\"op\":\"route\",\"uid\":\"a\",\"address\":\"b\"}\n");
	expect_part(scene, fd, "{\"id\":4,\"error\":{\"code\":\"INVALID\"");
	expect_part(scene, fd, "{\"id\":5,\"error\":{\"code\":\"INVALID\"");
	(void)close(fd);
}

static void logins(void **state)
{
	struct scene *scene = *state;
	fixture_script(scene->f, "ep-a", GOOD);
	int fd = connect_client(scene), other = connect_client(scene);
	send_text(fd, "{\"id\":1,\"op\":\"route\",\"uid\":\"ep-a\",\"role\":\"app\"}\n");
	expect_part(scene, fd,
	        "\"read_only\":false},\"login\":{\"method\":\"password\",\"enabled\":true,"
	        "\"permitted\":true,"
	        "\"fresh\":false,\"verifier\":\"SCRAM-…\",\"reason\":\"\"}}");
	send_text(fd, "{\"id\":2,\"op\":\"route\",\"address\":\"127.64.0.2\",\"role\":\"alice\"}\n");
	expect_part(scene, fd, "\"login\":{\"method\":\"token\",\"enabled\":true}}");
	/* Where it is off, no verifier is told. */
	send_text(fd, "{\"id\":3,\"op\":\"route\",\"uid\":\"ep-a\",\"role\":\"off\"}\n");
	expect_part(scene, fd, "\"login\":{\"method\":\"password\",\"enabled\":false}}");
	send_text(fd, "{\"id\":4,\"op\":\"route\",\"uid\":\"ep-a\",\"role\":\"broken\"}\n");
	expect_part(scene, fd, "{\"id\":4,\"error\":{\"code\":\"INTERNAL\"");
	send_text(fd, "{\"id\":5,\"op\":\"route\",\"uid\":\"ep-none\",\"role\":\"app\"}\n");
	expect_part(scene, fd, "{\"id\":5,\"error\":{\"code\":\"NOT_FOUND\"");

	/* One that waits holds nobody up, and is answered when its client has gone. */
	send_text(fd, "{\"id\":6,\"op\":\"route\",\"uid\":\"ep-a\",\"role\":\"later\"}\n"
	              "{\"id\":7,\"op\":\"route\",\"uid\":\"ep-a\"}\n");
	expect_part(scene, fd, "{\"id\":7,\"endpoint\"");
	struct control_login answer = { .method = LOGIN_TOKEN };
	scene->done(scene->arg, &answer, NULL);
	expect_part(scene, fd, "{\"id\":6,\"endpoint\"");
	scene->done = NULL;
	send_text(other, "{\"id\":8,\"op\":\"route\",\"uid\":\"ep-a\",\"role\":\"later\"}\n");
	while (!scene->done)
		fixture_turn(scene->f);
	(void)close(other);
	for (int i = 0; i < 5; i++)
		fixture_turn(scene->f);
	scene->done(scene->arg, &answer, NULL);
	send_text(fd, "{\"id\":9,\"op\":\"route\",\"uid\":\"ep-a\",\"role\":7}\n");
	expect_close(scene, fd);
	(void)close(fd);
}

static void reports(void **state)
{
	struct scene *scene = *state;
	int fd = connect_client(scene), other = connect_client(scene);
	send_text(other, "{\"id\":1,\"op\":\"report\",\"total\":7}\n");
	expect_part(scene, other, "{\"id\":1,\"error\":{\"code\":\"INVALID\"");
	uint64_t first = scene->reporter;
	send_text(fd, "{\"id\":2,\"op\":\"report\",\"total\":{}}\n");
	expect(scene, fd, "{\"id\":2,\"ok\":true}");
	assert_int_not_equal(scene->reporter, first);
	(void)close(other); /* has told nothing that was understood */
	(void)close(fd);
	while (!scene->ended)
		fixture_turn(scene->f);
	assert_int_equal(scene->ended, scene->reporter);
}

static void access_lists(void **state)
{
	struct scene *scene = *state;
	fixture_script(scene->f, "ep-a", GOOD);
	int fd = connect_client(scene);
	send_text(fd, "{\"id\":1,\"op\":\"route\",\"uid\":\"ep-a\",\"client\":\"192.0.2.1\"}\n");
	expect_part(scene, fd, "{\"id\":1,\"endpoint\"");
	/* Whether the endpoint is there or not. */
	send_text(fd,
	        "{\"id\":2,\"op\":\"route\",\"uid\":\"ep-a\",\"client\":\"10.0.0.1\"}\n"
	        "{\"id\":3,\"op\":\"route\",\"uid\":\"ep-none\",\"role\":\"app\",\"client\":\"10.0.0.1\"}\n");
	expect(scene, fd,
	        "{\"id\":2,\"error\":{\"code\":\"NOT_ALLOWED\",\"sqlstate\":\"28000\",\"message\":\"not from "
	        "there\"}}");
	expect_part(scene, fd, "{\"id\":3,\"error\":{\"code\":\"NOT_ALLOWED\"");
	send_text(fd, "{\"id\":4,\"op\":\"access\",\"clients\":[\"10.0.0.1\",\"192.0.2.1\",7,\"10.9.9.9\"]}\n"
	              "{\"id\":5,\"op\":\"access\"}\n{\"id\":6,\"op\":\"access\",\"clients\":{}}\n");
	expect(scene, fd, "{\"id\":4,\"denied\":[\"10.0.0.1\",\"10.9.9.9\"]}");
	expect(scene, fd, "{\"id\":5,\"denied\":[]}");
	expect(scene, fd, "{\"id\":6,\"denied\":[]}");
	/* Proxies are told of changes, and nobody else. */
	int other = connect_client(scene);
	send_text(fd, "{\"id\":7,\"op\":\"report\",\"total\":{}}\n");
	expect(scene, fd, "{\"id\":7,\"ok\":true}");
	send_text(other, "{\"id\":8,\"op\":\"route\",\"uid\":\"ep-a\"}\n");
	expect_part(scene, other, "{\"id\":8,");
	control_socket_announce_access(scene->socket);
	expect(scene, fd, "{\"event\":\"access\"}");
	send_text(other, "{\"id\":9,\"op\":\"route\",\"uid\":\"ep-a\"}\n");
	expect_part(scene, other, "{\"id\":9,");
	(void)close(fd);
	(void)close(other);
}

static void opens(void **state)
{
	struct scene *scene = *state;
	fixture_script(scene->f, "ep-a", GOOD);
	fixture_script(scene->f, "ep-disabled", GOOD);
	fixture_script(scene->f, "ep-broken", "reason:no_\\\"bread\\\" file:failed exit:1");
	CLEANUP(free_text) char *socket_dir = fleet_socket_dir(scene->f->fleet, "ep-a");
	CLEANUP(free_text)
	char *answer =
	        xasprintf("{\"id\":18446744073709551615,\"socket_dir\":\"%s\",\"waited\":true}", socket_dir);
	int fd = connect_client(scene);
	send_text(fd, "{\"id\":18446744073709551615,\"op\":\"open\",\"uid\":\"ep-a\"}\n");
	expect(scene, fd, answer);
	send_text(fd, "{\"id\":2,\"op\":\"open\",\"uid\":\"ep-x\"}\n{\"id\":3,\"op\":\"open\"}\n{\"id\":4,"
	              "\"op\":\"open\",\"uid\":\"ep-disabled\"}\n");
	expect_part(scene, fd, "{\"id\":2,\"error\":{\"code\":\"NOT_FOUND\"");
	expect_part(scene, fd, "{\"id\":3,\"error\":{\"code\":\"INVALID\"");
	expect_part(scene, fd, "{\"id\":4,\"error\":{\"code\":\"DISABLED\",\"sqlstate\":\"57P03\"");
	assert_int_equal(fixture_starts(scene->f, "ep-disabled"), 0);
	send_text(fd, "{\"id\":5,\"op\":\"open\",\"uid\":\"ep-broken\"}\n");
	expect_part(scene, fd,
	        "{\"id\":5,\"error\":{\"code\":\"START_FAILED\",\"sqlstate\":\"57P03\","
	        "\"message\":\"could not start the compute: no \\\"bread\\\"\"");
	(void)close(fd);
}

static void opens_for_the_pooler(void **state)
{
	struct scene *scene = *state;
	fixture_script(scene->f, "ep-a", GOOD);
	fixture_script(scene->f, "ep-b", "lock refuse_pool say:ready serve");
	CLEANUP(free_text) char *folder = fleet_pooler_dir(scene->f->fleet, "ep-a");
	CLEANUP(free_text)
	char *answer = xasprintf("{\"id\":1,\"socket_dir\":\"%s\",\"waited\":true}", folder);
	int fd = connect_client(scene);
	send_text(fd, "{\"id\":1,\"op\":\"open\",\"uid\":\"ep-a\",\"pooled_role\":\"app\"}\n");
	expect(scene, fd, answer);
	send_text(fd, "{\"id\":2,\"op\":\"open\",\"uid\":\"ep-a\",\"pooled_role\":\"nobody\"}\n");
	expect_part(scene, fd,
	        "{\"id\":2,\"error\":{\"code\":\"REFUSED\",\"sqlstate\":\"28000\",\"message\":\"role "
	        "\\\"nobody\\\" does not exist\"");
	send_text(fd, "{\"id\":3,\"op\":\"open\",\"uid\":\"ep-b\",\"pooled_role\":\"app\"}\n");
	expect_part(scene, fd,
	        "{\"id\":3,\"error\":{\"code\":\"REFUSED\",\"sqlstate\":\"0A000\",\"message\":\"no "
	        "PgBouncer\",\"hint\":\"Install it.\"");
	send_text(fd, "{\"id\":4,\"op\":\"open\",\"uid\":\"ep-x\",\"pooled_role\":\"app\"}\n");
	expect_part(scene, fd, "{\"id\":4,\"error\":{\"code\":\"NOT_FOUND\"");
	send_text(fd, "{\"id\":5,\"op\":\"open\",\"uid\":\"ep-a\",\"pooled_role\":7}\n");
	expect_close(scene, fd);
	(void)close(fd);
}

/* It falls asleep between the start and the question for its pooler: that passes. */
static void a_pooler_that_is_asleep_is_not_now(void **state)
{
	struct scene *scene = *state;
	struct outcome o = { 0 };
	fixture_script(scene->f, "ep-a", "lock ignore_pool say:ready serve");
	int fd = connect_client(scene);
	send_text(fd, "{\"id\":1,\"op\":\"open\",\"uid\":\"ep-a\",\"pooled_role\":\"app\"}\n");
	fixture_await_file(scene->f, "ep-a", "pooled");
	fixture_suspend(scene->f, "ep-a", &o);
	fixture_await(scene->f, &o);
	expect_part(scene, fd, "{\"id\":1,\"error\":{\"code\":\"NOT_NOW\",\"sqlstate\":\"57P03\"");
	outcome_clear(&o);
	(void)close(fd);
}

static void many_clients_open_one(void **state)
{
	struct scene *scene = *state;
	int fds[40];
	fixture_script(scene->f, "ep-a", GOOD);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = connect_client(scene);
		send_text(fds[i], "{\"id\":1,\"op\":\"open\",\"uid\":\"ep-a\"}\n{\"id\":2,\"op\":\"open\","
		                  "\"uid\":\"ep-a\"}\n");
	}
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		expect_part(scene, fds[i], "{\"id\":1,\"socket_dir\"");
		expect_part(scene, fds[i], "{\"id\":2,\"socket_dir\"");
		(void)close(fds[i]);
	}
	assert_int_equal(fixture_starts(scene->f, "ep-a"), 1);
}

/* The answer comes when nobody is there any more: it must find its client's memory, and the start goes on. */
static void a_client_that_goes_away_while_it_waits(void **state)
{
	struct scene *scene = *state;
	fixture_script(scene->f, "ep-a", "lock say:starting until:go say:ready serve");
	int gone = connect_client(scene), stays = connect_client(scene);
	send_text(gone, "{\"id\":1,\"op\":\"open\",\"uid\":\"ep-a\"}\n");
	send_text(stays, "{\"id\":1,\"op\":\"open\",\"uid\":\"ep-a\"}\n");
	fixture_await_file(scene->f, "ep-a", "supervisor.lock");
	(void)close(gone);
	send_text(stays, "{\"id\":2,\"op\":\"route\",\"uid\":\"ep-a\"}\n");
	expect_part(scene, stays, "{\"id\":2,\"endpoint\""); /* the loop has seen the closing by now */
	fixture_write(scene->f, "ep-a", "go", "");
	expect_part(scene, stays, "{\"id\":1,\"socket_dir\"");
	(void)close(stays);
	assert_int_equal(fixture_starts(scene->f, "ep-a"), 1);
}

static void the_socket_closes_while_somebody_waits(void **state)
{
	struct scene *scene = *state;
	fixture_script(scene->f, "ep-a", "lock say:starting serve");
	int fd = connect_client(scene);
	send_text(fd, "{\"id\":1,\"op\":\"open\",\"uid\":\"ep-a\"}\n");
	fixture_await_file(scene->f, "ep-a", "supervisor.lock");
	control_socket_close(scene->socket);
	scene->socket = NULL;
	expect_close(scene, fd);
	(void)close(fd);
	struct error err;
	assert_int_equal(unix_socket_connect(scene->socket_path, &fd, &err), STATUS_UNAVAILABLE);
}

static void hostile_lines_close_their_own_channel(void **state)
{
	struct scene *scene = *state;
	static const char *const bad[] = {
		"\n",
		"garbage\n",
		"{\"id\":1,\"op\":\"open\",\"uid\":\"ep-a\"\n",
		"[]\n",
		"{\"op\":\"status\"}\n",
		"{\"id\":-1,\"op\":\"status\"}\n",
		"{\"id\":\"1\",\"op\":\"status\"}\n",
		"{\"id\":1.5,\"op\":\"status\"}\n",
		"{\"id\":1}\n",
		"{\"id\":1,\"op\":7}\n",
		"{\"id\":1,\"op\":\"open\",\"uid\":7}\n",
		"{\"id\":1,\"op\":\"open\",\"uid\":\"ep-a\\u0000\"}\n",
		"{\"id\":1,\"op\":\"route\",\"address\":[]}\n",
		"{\"id\":1,\"op\":\"status\xff\"}\n",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	};
	fixture_script(scene->f, "ep-a", GOOD);
	int good = connect_client(scene);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int fd = connect_client(scene);
		send_text(fd, bad[i]);
		expect_close(scene, fd);
		(void)close(fd);
	}
	int flood = connect_client(scene);
	char *chunk = xcalloc(1, 65536);
	memset(chunk, '[', 65536);
	bool is_closed = false;
	for (int i = 0; i < 1000 && !is_closed; i++) {
		ssize_t n = send(flood, chunk, 65536, MSG_NOSIGNAL | MSG_DONTWAIT);
		is_closed = n < 0 && (errno == EPIPE || errno == ECONNRESET);
		fixture_turn(scene->f);
	}
	free(chunk);
	assert_true(is_closed); /* a line without an end is not collected for ever */
	(void)close(flood);
	send_text(good, "{\"id\":1,\"op\":\"dance\"}\n{\"id\":2,\"op\":\"open\",\"uid\":\"ep-a\"}\n");
	expect_part(scene, good, "{\"id\":1,\"error\":{\"code\":\"INVALID\"");
	expect_part(scene, good, "{\"id\":2,\"socket_dir\"");
	(void)close(good);
}

static void more_clients_than_allowed_are_closed(void **state)
{
	struct scene *scene = *state;
	int fds[CONTROL_CLIENTS_MAX];
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = connect_client(scene);
		send_text(fds[i], "{\"id\":1,\"op\":\"status\"}\n");
		expect(scene, fds[i], "{\"id\":1,\"computes\":[]}");
	}
	int extra = connect_client(scene);
	expect_close(scene, extra);
	(void)close(extra);
	(void)close(fds[0]);
	fixture_turn(scene->f);
	fixture_turn(scene->f);
	fds[0] = connect_client(scene); /* a place is free again */
	send_text(fds[0], "{\"id\":2,\"op\":\"status\"}\n");
	expect(scene, fds[0], "{\"id\":2,\"computes\":[]}");
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		(void)close(fds[i]);
}

/* The others of that client go on waiting. */
static void more_waiting_requests_than_allowed_are_told_so(void **state)
{
	struct scene *scene = *state;
	fixture_script(scene->f, "ep-a", "lock say:starting serve");
	int fd = connect_client(scene);
	static const char line[] = "{\"id\":1,\"op\":\"open\",\"uid\":\"ep-a\"}\n";
	for (int i = 0; i < CONTROL_PENDING_MAX; i++) {
		ssize_t n;
		while ((n = send(fd, line, sizeof line - 1, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0 &&
		        errno == EAGAIN)
			fixture_turn(scene->f);
		assert_int_equal(n, sizeof line - 1);
	}
	send_text(fd, "{\"id\":2,\"op\":\"open\",\"uid\":\"ep-a\"}\n");
	expect_part(scene, fd, "{\"id\":2,\"error\":{\"code\":\"BUSY\",\"sqlstate\":\"53300\"");
	(void)close(fd);
}

static void tells_the_status(void **state)
{
	struct scene *scene = *state;
	fixture_script(scene->f, "ep-a", GOOD);
	fixture_script(scene->f, "ep-b", GOOD);
	int fd = connect_client(scene);
	send_text(fd, "{\"id\":1,\"op\":\"open\",\"uid\":\"ep-a\"}\n");
	expect_part(scene, fd, "socket_dir");
	send_text(fd, "{\"id\":2,\"op\":\"status\"}\n");
	CLEANUP(free_text) char *line = receive(scene, fd);
	yyjson_doc *doc = yyjson_read(line, strlen(line), 0);
	yyjson_val *computes = yyjson_obj_get(yyjson_doc_get_root(doc), "computes");
	assert_int_equal(yyjson_arr_size(computes), 2);
	yyjson_val *a = yyjson_arr_get(computes, 0), *b = yyjson_arr_get(computes, 1);
	assert_true(yyjson_equals_str(yyjson_obj_get(a, "uid"), "ep-a"));
	assert_true(yyjson_equals_str(yyjson_obj_get(a, "name"), "projects/p/branches/b/endpoints/ep-a"));
	assert_true(yyjson_equals_str(yyjson_obj_get(a, "host"), "127.64.0.2"));
	assert_true(yyjson_equals_str(yyjson_obj_get(a, "state"), "running"));
	assert_true(yyjson_equals_str(yyjson_obj_get(a, "last_active_time"), "2026-01-02T03:04:05Z"));
	assert_int_equal(yyjson_get_int(yyjson_obj_get(a, "pid")), fleet_look(scene->f->fleet, "ep-a")->pid);
	assert_true(yyjson_get_real(yyjson_obj_get(yyjson_obj_get(a, "timing"), "start_ms")) > 0);
	assert_true(yyjson_equals_str(yyjson_obj_get(b, "state"), "asleep"));
	assert_int_equal(yyjson_get_int(yyjson_obj_get(b, "pid")), 0);
	yyjson_doc_free(doc);
	(void)close(fd);
}

static void shuts_down(void **state)
{
	struct scene *scene = *state;
	fixture_script(scene->f, "ep-a", GOOD);
	fixture_script(scene->f, "ep-b", GOOD);
	fixture_script(scene->f, "ep-c", "lock say:starting until:never");
	int fd = connect_client(scene), gone = connect_client(scene);
	send_text(fd, "{\"id\":1,\"op\":\"open\",\"uid\":\"ep-a\"}\n");
	expect_part(scene, fd, "socket_dir");
	send_text(gone, "{\"id\":7,\"op\":\"open\",\"uid\":\"ep-c\"}\n");
	fixture_await_file(scene->f, "ep-c", "supervisor.lock");
	send_text(fd, "{\"id\":2,\"op\":\"shutdown\"}\n{\"id\":3,\"op\":\"open\",\"uid\":\"ep-b\"}\n");
	expect_part(scene, fd, "{\"id\":3,\"error\":{\"code\":\"SHUTTING_DOWN\",\"sqlstate\":\"57P01\"");
	expect_part(scene, gone, "{\"id\":7,\"error\":{\"code\":\"SHUTTING_DOWN\"");
	(void)close(gone);
	expect(scene, fd, "{\"id\":2,\"suspended\":2}");
	assert_int_equal(scene->shut_downs, 1);
	control_socket_close(scene->socket);
	scene->socket = NULL;
	expect_close(scene, fd);
	(void)close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(routes),
		TEST(logins),
		TEST(reports),
		TEST(access_lists),
		TEST(opens),
		TEST(opens_for_the_pooler),
		TEST(a_pooler_that_is_asleep_is_not_now),
		TEST(many_clients_open_one),
		TEST(a_client_that_goes_away_while_it_waits),
		TEST(the_socket_closes_while_somebody_waits),
		TEST(hostile_lines_close_their_own_channel),
		TEST(more_clients_than_allowed_are_closed),
		TEST(more_waiting_requests_than_allowed_are_told_so),
		TEST(tells_the_status),
		TEST(shuts_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
