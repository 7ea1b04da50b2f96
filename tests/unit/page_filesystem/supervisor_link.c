#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "page_filesystem/supervisor_link.h"

/* ---- requests ---- */

static void parses(const char *text, int64_t id, enum link_action action)
{
	struct link_request request;
	struct error err;
	assert_int_equal(link_request_parse(slice_from_text(text), &request, &err), STATUS_OK);
	assert_int_equal(request.id, id);
	assert_int_equal(request.action, action);
}

static void refuses(const char *text)
{
	struct link_request request = { .id = 77 };
	struct error err;
	assert_int_equal(link_request_parse(slice_from_text(text), &request, &err), STATUS_INVALID);
	assert_int_equal(request.id, 77);
}

static void test_requests(void **state)
{
	(void)state;
	parses("{\"id\":1,\"do\":\"cut\"}", 1, LINK_CUT);
	parses("{\"do\":\"look\",\"id\":9007199254740993,\"more\":[1,{}]}", 9007199254740993, LINK_LOOK);
	parses("{\"id\":-1,\"do\":\"sync\"}", -1, LINK_SYNC);
	parses("{\"id\":0,\"do\":\"unmount\"}", 0, LINK_UNMOUNT);
	parses("{\"id\":3,\"do\":\"cuts\"}", 3, LINK_UNKNOWN);
	parses("{\"id\":3,\"do\":\"\"}", 3, LINK_UNKNOWN);
	refuses("");
	refuses("null");
	refuses("[]");
	refuses("{}");
	refuses("{\"id\":1}");
	refuses("{\"do\":\"cut\"}");
	refuses("{\"id\":\"1\",\"do\":\"cut\"}");
	refuses("{\"id\":1.5,\"do\":\"cut\"}");
	refuses("{\"id\":18446744073709551615,\"do\":\"cut\"}");
	refuses("{\"id\":1,\"do\":1}");
	refuses("{\"id\":1,\"do\":\"cut\"");
	refuses("{\"id\":1,\"do\":\"cut\"} x");
}

/* ---- a link whose other end the test plays ---- */

struct scene {
	uv_loop_t loop;
	int far;
	struct supervisor_link *link;
	int requests, closes;
	struct link_request last;
};

static void on_request(void *owner, const struct link_request *request)
{
	struct scene *scene = owner;
	scene->requests++;
	scene->last = *request;
}

static void on_close(void *owner, const char *reason)
{
	struct scene *scene = owner;
	assert_non_null(reason);
	scene->closes++;
	scene->link = NULL;
}

static const struct supervisor_link_events events = { .on_request = on_request, .on_close = on_close };

static int set_up(void **state)
{
	struct scene *scene = xcalloc(1, sizeof *scene);
	int ends[2];
	struct error err;
	assert_int_equal(uv_loop_init(&scene->loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	scene->far = ends[0];
	assert_int_equal(
	        supervisor_link_open(&scene->loop, ends[1], &events, scene, &scene->link, &err), STATUS_OK);
	*state = scene;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *scene = *state;
	close_fd(&scene->far);
	(void)uv_run(&scene->loop, UV_RUN_DEFAULT);
	assert_int_equal(scene->closes, 1);
	assert_int_equal(uv_loop_close(&scene->loop), 0);
	free(scene);
	return 0;
}

static void say(struct scene *scene, const char *text)
{
	assert_int_equal(write(scene->far, text, strlen(text)), strlen(text));
	(void)uv_run(&scene->loop, UV_RUN_ONCE);
}

static void hears(struct scene *scene, const char *expected)
{
	char text[4096];
	ssize_t n = recv(scene->far, text, sizeof text - 1, MSG_DONTWAIT);
	text[n > 0 ? n : 0] = '\0';
	assert_string_equal(text, expected);
}

static void test_requests_arrive(void **state)
{
	struct scene *scene = *state;
	say(scene, "{\"id\":5,\"do\":\"cut\"}\n{\"id\":6,\"do\":\"sync\"}\n");
	assert_int_equal(scene->requests, 2);
	assert_int_equal(scene->last.id, 6);
	assert_int_equal(scene->last.action, LINK_SYNC);
	say(scene, "{\"id\":7,\"do\":\"dance\"}\n");
	assert_int_equal(scene->requests, 2);
	hears(scene,
	        "{\"id\":7,\"error\":{\"code\":\"INVALID\",\"message\":\"there is no such request\"}}\n");
}

static void test_nonsense_closes(void **state)
{
	struct scene *scene = *state;
	say(scene, "nonsense\n{\"id\":6,\"do\":\"sync\"}\n");
	(void)uv_run(&scene->loop, UV_RUN_DEFAULT);
	assert_int_equal(scene->closes, 1);
	assert_int_equal(scene->requests, 0);
}

static void test_answers(void **state)
{
	struct scene *scene = *state;
	struct layer_ref layers[] = { { .store = "s", .id = "br-1.1", .version = 3 },
		{ .store = "template-17", .id = "t.1" } };
	const struct image_cut cut = {
		.layers = layers, .layer_count = 2, .pause_usec = 80, .pages = 12, .logical_bytes = 1 << 20
	};
	supervisor_link_answer_cut(scene->link, 4, &cut);
	hears(scene,
	        "{\"id\":4,\"layers\":[{\"store\":\"s\",\"id\":\"br-1.1\",\"version\":3},{\"store\":"
	        "\"template-17\","
	        "\"id\":\"t.1\",\"version\":0}],\"pages\":12,\"pause_usec\":80,\"logical_bytes\":1048576}\n");
	supervisor_link_answer_done(scene->link, 8);
	hears(scene, "{\"id\":8}\n");

	struct error err;
	error_fill(&err, STATUS_NO_SPACE, 0, "full");
	error_hint(&err, "Free some.");
	supervisor_link_answer_error(scene->link, 9, &err);
	hears(scene, "{\"id\":9,\"error\":{\"code\":\"NO_SPACE\",\"message\":\"full\",\"hint\":\"Free "
	             "some.\"}}\n");
	supervisor_link_say_failed(scene->link, &err);
	hears(scene, "{\"state\":\"failed\",\"error\":{\"code\":\"NO_SPACE\",\"message\":\"full\",\"hint\":"
	             "\"Free some.\"}}\n");

	char expected[64];
	(void)snprintf(expected, sizeof expected, "{\"state\":\"mounted\",\"pid\":%d}\n", (int)getpid());
	supervisor_link_say_mounted(scene->link);
	hears(scene, expected);
}

/* A damaged page is told of by a name that need not be UTF-8. */
static void test_look_with_a_strange_name(void **state)
{
	struct scene *scene = *state;
	struct link_look look = {
		.usage = { .logical_bytes = 5, .open_pages = 6, .unsynced_pages = 7, .depth = 8 },
		.housekeeping = { .pages_bad = 1, .first_bad = "layer \xff\"" }
	};
	supervisor_link_answer_look(scene->link, 2, &look);
	char text[4096] = "";
	assert_true(recv(scene->far, text, sizeof text - 1, MSG_DONTWAIT) > 0);
	assert_non_null(strstr(
	        text, "{\"id\":2,\"logical_bytes\":5,\"open_pages\":6,\"unsynced_pages\":7,\"depth\":8,"));
	assert_non_null(strstr(text, "\"pages_bad\":1"));
	assert_non_null(strstr(text, "\\\"\""));
}

static void test_last_words_leave(void **state)
{
	struct scene *scene = *state;
	supervisor_link_answer_done(scene->link, 1);
	supervisor_link_finish(scene->link);
	(void)uv_run(&scene->loop, UV_RUN_DEFAULT);
	assert_int_equal(scene->closes, 1);
	hears(scene, "{\"id\":1}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test_setup_teardown(test_requests_arrive, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nonsense_closes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_answers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_look_with_a_strange_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_last_words_leave, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
