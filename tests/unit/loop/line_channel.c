#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "loop/line_channel.h"

struct scene {
	uv_loop_t loop;
	int far; /* the other end, played by the test */
	struct line_channel *channel;
	struct buffer lines; /* each with '|' behind it */
	int closes;
	char reason[128];
	/* What on_line does besides. */
	bool closes_on_line, finishes_on_line, echoes;
	int accepted;
	int accepted_fds[16];
};

static int count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = -1;
	for (struct dirent *entry; (entry = readdir(folder));)
		count += entry->d_name[0] != '.';
	(void)closedir(folder);
	return count;
}

static void on_line(void *owner, struct line_channel *channel, struct slice line)
{
	struct scene *scene = owner;
	assert_int_equal(scene->closes, 0); /* L3 */
	assert_ptr_equal(channel, scene->channel);
	buffer_append(&scene->lines, line.data, line.len);
	buffer_append_text(&scene->lines, "|");
	if (scene->echoes) {
		CLEANUP(free_text) char *text = xstrndup(line.data, line.len);
		line_channel_send(channel, text);
	}
	if (scene->closes_on_line)
		line_channel_close(channel);
	if (scene->finishes_on_line)
		line_channel_finish(channel);
}

static void on_close(void *owner, struct line_channel *channel, const char *reason)
{
	struct scene *scene = owner;
	assert_ptr_equal(channel, scene->channel);
	scene->closes++;
	(void)snprintf(scene->reason, sizeof scene->reason, "%s", reason);
	line_channel_send(channel, "nothing happens"); /* still allowed inside the callback */
	line_channel_close(channel);
}

static const struct line_channel_events events = { .on_line = on_line, .on_close = on_close };

static int set_up(void **state)
{
	struct scene *scene = xcalloc(1, sizeof *scene);
	struct error err;
	int pair[2];
	assert_int_equal(uv_loop_init(&scene->loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	scene->far = pair[0];
	assert_int_equal(
	        line_channel_wrap(&scene->loop, pair[1], &events, scene, &scene->channel, &err), STATUS_OK);
	*state = scene;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *scene = *state;
	if (scene->closes == 0)
		line_channel_close(scene->channel);
	(void)uv_run(&scene->loop, UV_RUN_DEFAULT);
	assert_int_equal(scene->closes, 1);
	assert_int_equal(uv_loop_close(&scene->loop), 0);
	close_fd(&scene->far);
	buffer_done(&scene->lines);
	free(scene);
	return 0;
}

static void turn(struct scene *scene)
{
	for (int i = 0; i < 4; i++)
		(void)uv_run(&scene->loop, UV_RUN_NOWAIT);
}

static void say(struct scene *scene, const char *text)
{
	assert_int_equal(send(scene->far, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	turn(scene);
}

static void expect_lines(struct scene *scene, const char *expected)
{
	assert_string_equal(scene->lines.data ? scene->lines.data : "", expected);
	scene->lines.len = 0;
	if (scene->lines.data)
		scene->lines.data[0] = '\0';
}

/* What has arrived at the other end by now. */
static char *hear(struct scene *scene)
{
	struct buffer heard = { 0 };
	buffer_append_text(&heard, "");
	for (;;) {
		buffer_reserve(&heard, 65536);
		ssize_t n = recv(scene->far, heard.data + heard.len, 65536, MSG_DONTWAIT);
		if (n <= 0)
			break;
		heard.len += (size_t)n;
		heard.data[heard.len] = '\0';
		turn(scene);
	}
	return heard.data;
}

static void lines_come_whole_however_they_arrive(void **state)
{
	struct scene *scene = *state;
	say(scene, "one\n");
	expect_lines(scene, "one|");
	say(scene, "t");
	say(scene, "w");
	expect_lines(scene, "");
	say(scene, "o\nthree\nfo");
	expect_lines(scene, "two|three|");
	say(scene, "ur\n\n\n");
	expect_lines(scene, "four|||");
	say(scene, "five\r\n");
	expect_lines(scene, "five\r|");
}

static void a_line_without_an_end_is_not_delivered(void **state)
{
	struct scene *scene = *state;
	say(scene, "whole\nhalf");
	close_fd(&scene->far);
	turn(scene);
	expect_lines(scene, "whole|");
	assert_int_equal(scene->closes, 1);
	assert_string_equal(scene->reason, "the other side closed");
}

/* Sends `len` bytes and a newline while the loop turns; false when the channel was closed meanwhile. */
static bool say_long(struct scene *scene, size_t len)
{
	char *bytes = xcalloc(1, len + 1);
	memset(bytes, 'x', len);
	bytes[len] = '\n';
	for (size_t done = 0; done < len + 1 && scene->closes == 0;) {
		ssize_t n = send(scene->far, bytes + done, len + 1 - done, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0)
			done += (size_t)n;
		turn(scene);
	}
	for (int i = 0; i < 300; i++)
		turn(scene);
	free(bytes);
	return scene->closes == 0;
}

static void the_limit_of_a_line_is_exact(void **state)
{
	struct scene *scene = *state;
	assert_true(say_long(scene, LINE_MAX_BYTES));
	assert_int_equal(scene->lines.len, LINE_MAX_BYTES + 1);
	scene->lines.len = 0;
	say(scene, "short\n");
	expect_lines(scene, "short|");
	assert_false(say_long(scene, LINE_MAX_BYTES + 1));
	expect_lines(scene, "");
	assert_string_equal(scene->reason, "a line is too long");
}

static void a_close_inside_on_line_is_the_last_line(void **state)
{
	struct scene *scene = *state;
	scene->closes_on_line = true;
	say(scene, "one\ntwo\nthree\n");
	expect_lines(scene, "one|");
	assert_int_equal(scene->closes, 1);
	assert_string_equal(scene->reason, "closed here");
}

static void a_close_comes_from_the_loop(void **state)
{
	struct scene *scene = *state;
	line_channel_close(scene->channel);
	assert_int_equal(scene->closes, 0); /* not from inside the call */
	line_channel_close(scene->channel);
	line_channel_send(scene->channel, "x");
	line_channel_finish(scene->channel);
	turn(scene);
	assert_int_equal(scene->closes, 1);
}

static void sends_lines(void **state)
{
	struct scene *scene = *state;
	line_channel_send(scene->channel, "one");
	line_channel_send(scene->channel, "");
	line_channel_send(scene->channel, "two");
	CLEANUP(free_text) char *heard = hear(scene);
	assert_string_equal(heard, "one\n\ntwo\n");
	scene->echoes = true;
	say(scene, "a\nb\n");
	CLEANUP(free_text) char *echo = hear(scene);
	assert_string_equal(echo, "a\nb\n");
}

static void what_does_not_fit_waits_in_order(void **state)
{
	struct scene *scene = *state;
	struct buffer expected = { 0 }, heard = { 0 };
	for (int i = 0; i < 50000; i++) { /* several times what a socket takes */
		char line[64];
		(void)snprintf(line, sizeof line, "line number %d of many", i);
		line_channel_send(scene->channel, line);
		buffer_printf(&expected, "%s\n", line);
	}
	turn(scene);
	while (heard.len < expected.len) {
		CLEANUP(free_text) char *part = hear(scene);
		buffer_append_text(&heard, part);
		turn(scene);
		if (part[0] == '\0')
			(void)uv_run(&scene->loop, UV_RUN_ONCE);
	}
	assert_int_equal(heard.len, expected.len);
	assert_memory_equal(heard.data, expected.data, expected.len);
	say(scene, "and back\n"); /* reading goes on after that */
	expect_lines(scene, "and back|");
	buffer_done(&expected);
	buffer_done(&heard);
}

static void finish_sends_what_waits_first(void **state)
{
	struct scene *scene = *state;
	struct buffer heard = { 0 };
	char line[1001];
	memset(line, 'y', 1000);
	line[1000] = '\0';
	for (int i = 0; i < 2000; i++)
		line_channel_send(scene->channel, line);
	line_channel_finish(scene->channel);
	line_channel_send(scene->channel, "too late");
	turn(scene);
	assert_int_equal(scene->closes, 0); /* 2 MB do not fit into the socket */
	while (scene->closes == 0) {
		CLEANUP(free_text) char *part = hear(scene);
		buffer_append_text(&heard, part);
		turn(scene);
	}
	CLEANUP(free_text) char *rest = hear(scene);
	buffer_append_text(&heard, rest);
	assert_int_equal(heard.len, 2000 * 1001);
	assert_string_equal(scene->reason, "finished");
	buffer_done(&heard);
}

static void finish_inside_on_line_after_an_answer(void **state)
{
	struct scene *scene = *state;
	scene->echoes = scene->finishes_on_line = true;
	say(scene, "question\nanother\n");
	CLEANUP(free_text) char *heard = hear(scene);
	assert_string_equal(heard, "question\n");
	assert_int_equal(scene->closes, 1);
	assert_string_equal(scene->reason, "finished");
}

static void a_side_that_never_reads_is_closed(void **state)
{
	struct scene *scene = *state;
	char *line = xcalloc(1, 100001);
	memset(line, 'z', 100000);
	int sent = 0;
	while (scene->closes == 0 && sent < 1000) {
		line_channel_send(scene->channel, line);
		sent++;
		turn(scene);
	}
	free(line);
	assert_int_equal(scene->closes, 1);
	assert_string_equal(scene->reason, "the other side does not read");
	assert_true(sent * 100000ll > LINE_OUT_MAX_BYTES);
}

static void a_peer_that_vanishes_while_we_send(void **state)
{
	struct scene *scene = *state;
	close_fd(&scene->far);
	line_channel_send(scene->channel, "hello");
	line_channel_send(scene->channel, "hello");
	turn(scene);
	assert_int_equal(scene->closes, 1);
}

static void the_owner_can_change(void **state)
{
	struct scene *scene = *state;
	struct scene other = { .channel = scene->channel };
	line_channel_set_owner(scene->channel, &other);
	say(scene, "x\n");
	expect_lines(scene, "");
	assert_string_equal(other.lines.data, "x|");
	line_channel_set_owner(scene->channel, scene);
	buffer_done(&other.lines);
}

/* ---- listeners and Unix sockets ---- */

static void on_accept(void *owner, int fd)
{
	struct scene *scene = owner;
	scene->accepted_fds[scene->accepted++] = fd;
}

static void close_accepted(struct scene *scene)
{
	while (scene->accepted > 0)
		close_fd(&scene->accepted_fds[--scene->accepted]);
}

static void listens_on_a_path(void **state)
{
	struct scene *scene = *state;
	char folder[] = "/tmp/tarn-unit-loop-XXXXXX";
	assert_non_null(mkdtemp(folder));
	CLEANUP(free_text) char *path = xasprintf("%s/s", folder);
	struct error err;
	struct stat st;
	int client = -1, second = -1;
	struct line_listener *listener;
	assert_int_equal(unix_socket_connect(path, &client, &err), STATUS_UNAVAILABLE); /* no file */
	assert_int_equal(client, -1);
	int before = count_descriptors();
	mode_t old_mask = umask(0);
	assert_int_equal(
	        line_listener_bind(&scene->loop, path, on_accept, scene, &listener, &err), STATUS_OK);
	(void)umask(old_mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(unix_socket_connect(path, &client, &err), STATUS_OK);
	assert_int_equal(unix_socket_connect(path, &second, &err), STATUS_OK);
	turn(scene);
	assert_int_equal(scene->accepted, 2);
	assert_true(fcntl(scene->accepted_fds[0], F_GETFD) & FD_CLOEXEC);
	close_fd(&client);
	close_fd(&second);
	close_accepted(scene);
	line_listener_close(listener);
	turn(scene);
	assert_int_equal(count_descriptors(), before);
	assert_int_equal(
	        unix_socket_connect(path, &client, &err), STATUS_UNAVAILABLE); /* a file that nobody serves */
	assert_int_equal(line_listener_bind(&scene->loop, path, on_accept, scene, &listener, &err),
	        STATUS_OK); /* replaced */
	assert_int_equal(unix_socket_connect(path, &client, &err), STATUS_OK);
	close_fd(&client);
	turn(scene);
	close_accepted(scene);
	line_listener_close(listener);
	turn(scene);
	assert_int_equal(tree_remove(folder, &err), STATUS_OK);
}

static void a_path_that_is_too_long_is_refused(void **state)
{
	(void)state;
	char path[200];
	struct error err;
	int fd = -1;
	memset(path, 'a', sizeof path - 1);
	path[0] = '/';
	path[sizeof path - 1] = '\0';
	assert_int_equal(unix_socket_listen(path, &fd, &err), STATUS_INVALID);
	assert_int_equal(unix_socket_connect(path, &fd, &err), STATUS_INVALID);
	assert_int_equal(unix_socket_listen("/nowhere/s", &fd, &err), STATUS_IO);
	assert_int_equal(fd, -1);
}

/* Connecting before the other process accepts works: the kernel keeps the connection and what was said. */
static void connects_before_anybody_accepts(void **state)
{
	struct scene *scene = *state;
	char folder[] = "/tmp/tarn-unit-loop-XXXXXX";
	assert_non_null(mkdtemp(folder));
	CLEANUP(free_text) char *path = xasprintf("%s/s", folder);
	struct error err;
	struct scene early = { 0 };
	struct line_listener *listener;
	int listen_fd;
	assert_int_equal(unix_socket_listen(path, &listen_fd, &err), STATUS_OK);
	assert_int_equal(
	        line_channel_connect(&scene->loop, path, &events, &early, &early.channel, &err), STATUS_OK);
	line_channel_send(early.channel, "early");
	turn(scene);
	assert_int_equal(
	        line_listener_adopt(&scene->loop, listen_fd, on_accept, scene, &listener, &err), STATUS_OK);
	turn(scene);
	assert_int_equal(scene->accepted, 1);
	char text[16] = "";
	assert_int_equal(recv(scene->accepted_fds[0], text, sizeof text - 1, 0), 6);
	assert_string_equal(text, "early\n");
	close_accepted(scene);
	turn(scene);
	assert_int_equal(early.closes, 1);
	line_listener_close(listener);
	turn(scene);
	assert_int_equal(tree_remove(folder, &err), STATUS_OK);
}

/* Without a pause the loop would spin at full speed for as long as descriptors are short. */
static void a_listener_without_descriptors_pauses(void **state)
{
	struct scene *scene = *state;
	char folder[] = "/tmp/tarn-unit-loop-XXXXXX";
	assert_non_null(mkdtemp(folder));
	CLEANUP(free_text) char *path = xasprintf("%s/s", folder);
	struct error err;
	struct line_listener *listener;
	struct rlimit old_limit, short_limit;
	int client;
	assert_int_equal(
	        line_listener_bind(&scene->loop, path, on_accept, scene, &listener, &err), STATUS_OK);
	assert_int_equal(unix_socket_connect(path, &client, &err), STATUS_OK);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old_limit), 0);
	short_limit = old_limit;
	short_limit.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &short_limit), 0);
	turn(scene);
	assert_int_equal(scene->accepted, 0);
	assert_int_equal(uv_backend_timeout(&scene->loop) > 0, 1); /* it sleeps, waiting for a timer */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old_limit), 0);
	while (scene->accepted == 0)
		(void)uv_run(&scene->loop, UV_RUN_ONCE);
	close_fd(&client);
	close_accepted(scene);
	line_listener_close(listener);
	turn(scene);
	assert_int_equal(tree_remove(folder, &err), STATUS_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(lines_come_whole_however_they_arrive),
		TEST(a_line_without_an_end_is_not_delivered),
		TEST(the_limit_of_a_line_is_exact),
		TEST(a_close_inside_on_line_is_the_last_line),
		TEST(a_close_comes_from_the_loop),
		TEST(sends_lines),
		TEST(what_does_not_fit_waits_in_order),
		TEST(finish_sends_what_waits_first),
		TEST(finish_inside_on_line_after_an_answer),
		TEST(a_side_that_never_reads_is_closed),
		TEST(a_peer_that_vanishes_while_we_send),
		TEST(the_owner_can_change),
		TEST(listens_on_a_path),
		TEST(a_path_that_is_too_long_is_refused),
		TEST(connects_before_anybody_accepts),
		TEST(a_listener_without_descriptors_pauses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
