/* Backend connection: the outcome of everything a server may say or do before it is ready. */
#include "proxy/backend_connection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop/line_channel.h"
#include "proxy_fixture.h"

#define STARTUP "\0\0\0\x10\0\3\0\0user\0a\0\0"
#define AUTH_OK "R\0\0\0\x08\0\0\0\0"
#define KEY     "K\0\0\0\x0c\0\0\0\7\1\2\3\4"
#define READY   "Z\0\0\0\5I"

struct scene {
	struct fixture_folder folder;
	char *path;
	uv_loop_t loop;
	int listen_fd, server_fd;
	struct backend_connection *connection;
	bool is_over;
	enum backend_outcome outcome;
};

static void on_outcome(void *owner, enum backend_outcome outcome)
{
	struct scene *scene = owner;
	assert_false(scene->is_over); /* once */
	scene->is_over = true;
	scene->outcome = outcome;
}

static struct scene *scene_begin(void)
{
	struct scene *scene = xcalloc(1, sizeof *scene);
	struct error err;
	scene->folder = fixture_folder_make();
	scene->path = xasprintf("%s/s", scene->folder.path);
	assert_int_equal(uv_loop_init(&scene->loop), 0);
	assert_int_equal(unix_socket_listen(scene->path, &scene->listen_fd, &err), STATUS_OK);
	static const struct slice startup = { (const uint8_t *)STARTUP, sizeof STARTUP - 1 };
	assert_int_equal(backend_connection_open(&scene->loop, scene->path, startup, on_outcome, scene,
	                         &scene->connection, &err),
	        STATUS_OK);
	scene->server_fd = accept(scene->listen_fd, NULL, NULL);
	assert_true(scene->server_fd >= 0);
	char got[64];
	assert_int_equal(recv(scene->server_fd, got, sizeof got, 0), startup.len);
	assert_memory_equal(got, startup.data, startup.len);
	return scene;
}

static void scene_say(struct scene *scene, const char *words, size_t len)
{
	assert_int_equal(send(scene->server_fd, words, len, MSG_NOSIGNAL), len);
}

static void scene_end(struct scene *scene)
{
	backend_connection_close(scene->connection);
	close_fd(&scene->server_fd);
	close_fd(&scene->listen_fd);
	fixture_loop_finish(&scene->loop);
	fixture_folder_remove(&scene->folder);
	free(scene->path);
	free(scene);
}

static void check_outcome(const char *words, size_t len, enum backend_outcome outcome)
{
	struct scene *scene = scene_begin();
	scene_say(scene, words, len);
	close_fd(&scene->server_fd);
	fixture_run_until(&scene->loop, &scene->is_over);
	assert_int_equal(scene->outcome, outcome);
	struct slice said = backend_connection_words(scene->connection);
	assert_int_equal(said.len, len);
	if (len)
		assert_memory_equal(said.data, words, len);
	if (outcome != BACKEND_READY)
		assert_true(backend_connection_reason(scene->connection)[0]);
	scene_end(scene);
}
#define CHECK(words, outcome) check_outcome(words, sizeof words - 1, outcome)

static void test_outcomes(void **unused)
{
	(void)unused;
	CHECK(AUTH_OK KEY READY, BACKEND_READY);
	CHECK("E\0\0\0\x13SFATAL\0C57P03\0\0", BACKEND_NOT_NOW);
	CHECK("E\0\0\0\x13SFATAL\0C57P02\0\0", BACKEND_NOT_NOW);
	CHECK(AUTH_OK "E\0\0\0\x13SFATAL\0C57P01\0\0", BACKEND_NOT_NOW);
	CHECK("", BACKEND_NOT_NOW);
	CHECK(AUTH_OK, BACKEND_NOT_NOW);
	CHECK(AUTH_OK "E\0\0\0\x13SFATAL\0C3D000\0\0", BACKEND_REFUSED);
	CHECK("E\0\0\0\x13SFATAL\0C53300\0\0", BACKEND_REFUSED);
	CHECK("E\0\0\0\5\0", BACKEND_REFUSED);
	CHECK("R\0\0\0\x08\0\0\0\3", BACKEND_BROKEN);
	CHECK("Ecould not fork", BACKEND_BROKEN);
	CHECK("HTTP/1.1 400", BACKEND_BROKEN);
}

static void test_reset_still_has_words(void **unused)
{
	/* A server that closes with our start-up packet unread resets the socket; its last words count all the same. */
	(void)unused;
	struct scene *scene = scene_begin();
	scene_say(scene, "E\0\0\0\x13SFATAL\0C53300\0\0", 20);
	/* Unread bytes on the server's side make its close a reset. */
	assert_int_equal(shutdown(scene->server_fd, SHUT_WR), 0);
	close_fd(&scene->server_fd);
	fixture_run_until(&scene->loop, &scene->is_over);
	assert_int_equal(scene->outcome, BACKEND_REFUSED);
	scene_end(scene);
}

static void test_take(void **unused)
{
	(void)unused;
	struct scene *scene = scene_begin();
	scene_say(scene, AUTH_OK KEY READY, sizeof(AUTH_OK KEY READY) - 1);
	fixture_run_until(&scene->loop, &scene->is_over);
	assert_int_equal(scene->outcome, BACKEND_READY);
	assert_int_equal(backend_connection_greeting(scene->connection)->key.secret, 0x01020304);
	int fd = backend_connection_take(TAKE_PTR(scene->connection));
	/* It can be watched anew at once, and is open. */
	uv_poll_t poll;
	assert_int_equal(uv_poll_init(&scene->loop, &poll, fd), 0);
	uv_close((uv_handle_t *)&poll, NULL);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	scene_end(scene);
	close_fd(&fd);
}

static void test_endless_greeting(void **unused)
{
	(void)unused;
	struct scene *scene = scene_begin();
	static char notice[8192] = "N\0\0\x1f\xff";
	scene_say(scene, AUTH_OK, sizeof AUTH_OK - 1);
	for (size_t sent = 0; !scene->is_over; sent += sizeof notice) {
		assert_true(sent < 2 * BACKEND_GREETING_MAX);
		scene_say(scene, notice, sizeof notice);
		for (int i = 0; i < 4 && !scene->is_over; i++)
			(void)uv_run(&scene->loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(scene->outcome, BACKEND_BROKEN);
	scene_end(scene);
}

static void test_nobody_listens(void **unused)
{
	(void)unused;
	struct fixture_folder folder = fixture_folder_make();
	CLEANUP(free_text) char *path = xasprintf("%s/s", folder.path);
	struct error err;
	int fd = -1;
	assert_int_equal(backend_socket_connect(path, &fd, &err), STATUS_UNAVAILABLE);
	int listen_fd = -1;
	assert_int_equal(unix_socket_listen(path, &listen_fd, &err), STATUS_OK);
	close_fd(&listen_fd);
	assert_int_equal(backend_socket_connect(path, &fd, &err), STATUS_UNAVAILABLE);
	assert_int_equal(fd, -1);
	char too_long[200];
	memset(too_long, 'x', sizeof too_long);
	too_long[sizeof too_long - 1] = '\0';
	assert_int_equal(backend_socket_connect(too_long, &fd, &err), STATUS_INTERNAL);
	fixture_folder_remove(&folder);
}

static void test_close_before_outcome(void **unused)
{
	(void)unused;
	struct scene *scene = scene_begin();
	scene_say(scene, AUTH_OK, sizeof AUTH_OK - 1);
	(void)uv_run(&scene->loop, UV_RUN_NOWAIT);
	scene_say(scene, KEY READY, sizeof(KEY READY) - 1);
	backend_connection_close(TAKE_PTR(scene->connection));
	scene_end(scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outcomes),
		cmocka_unit_test(test_reset_still_has_words),
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_endless_greeting),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_close_before_outcome),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
