/* Control link: questions find their answers, whatever control says, and whenever it is there. */
#include "proxy/control_link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <yyjson.h>

#include "base/buffer.h"
#include "loop/line_channel.h"
#include "proxy_fixture.h"

/* The other side: takes lines down and says what the test wants. */
struct control {
	struct fixture_folder folder;
	char *path;
	uv_loop_t loop;
	struct line_listener *listener;
	struct line_channel *channel;
	struct buffer heard; /* all lines, with newlines */
	unsigned line_count;
	bool has_heard;
};

static void control_on_line(void *owner, struct line_channel *channel, struct slice line)
{
	(void)channel;
	struct control *control = owner;
	buffer_append(&control->heard, line.data, line.len);
	buffer_append(&control->heard, "\n", 1);
	control->line_count++;
	control->has_heard = true;
}

static void control_on_close(void *owner, struct line_channel *channel, const char *reason)
{
	(void)reason;
	struct control *control = owner;
	if (control->channel == channel)
		control->channel = NULL;
}

static const struct line_channel_events control_events = { control_on_line, control_on_close };

static void control_on_accept(void *owner, int fd)
{
	struct control *control = owner;
	struct error err;
	assert_int_equal(
	        line_channel_wrap(&control->loop, fd, &control_events, control, &control->channel, &err),
	        STATUS_OK);
}

static void control_listen(struct control *control)
{
	struct error err;
	assert_int_equal(line_listener_bind(&control->loop, control->path, control_on_accept, control,
	                         &control->listener, &err),
	        STATUS_OK);
}

static void control_leave(struct control *control)
{
	if (control->channel)
		line_channel_close(control->channel);
	if (control->listener)
		line_listener_close(TAKE_PTR(control->listener));
}

static struct control *control_make(void)
{
	struct control *control = xcalloc(1, sizeof *control);
	control->folder = fixture_folder_make();
	control->path = xasprintf("%s/control.sock", control->folder.path);
	assert_int_equal(uv_loop_init(&control->loop), 0);
	return control;
}

static void control_free(struct control *control)
{
	control_leave(control);
	fixture_loop_finish(&control->loop);
	fixture_folder_remove(&control->folder);
	buffer_done(&control->heard);
	free(control->path);
	free(control);
}

struct answers {
	struct control_answer last;
	unsigned count;
	bool has_come;
};

static void on_answer(void *owner, const struct control_answer *answer)
{
	struct answers *answers = owner;
	answers->last = *answer;
	answers->count++;
	answers->has_come = true;
}

static void on_access_answer(void *owner, const struct control_answer *answer)
{
	struct answers *answers = owner;
	const char *denied;
	on_answer(owner, answer);
	answers->last.message[0] = '\0';
	for (size_t i = 0; (denied = control_answer_denied(answer, i)); i++) {
		size_t len = strlen(answers->last.message);
		(void)snprintf(
		        answers->last.message + len, sizeof answers->last.message - len, "%s;", denied);
	}
	assert_null(control_answer_denied(answer, 1000));
}

static void hear(struct control *control)
{
	control->has_heard = false;
	fixture_run_until(&control->loop, &control->has_heard);
}

static void say(struct control *control, struct answers *answers, const char *line)
{
	answers->has_come = false;
	line_channel_send(control->channel, line);
	fixture_run_until(&control->loop, &answers->has_come);
}

#define ENDPOINT                                                                                             \
	"\"endpoint\":{\"uid\":\"ep-a\",\"name\":\"projects/p/branches/b/endpoints/e\",\"host\":\"h\","      \
	"\"address\":\"127.64.0.2\",\"disabled\":"

static void test_questions_and_answers(void **unused)
{
	(void)unused;
	struct control *control = control_make();
	control_listen(control);
	struct control_link *link = control_link_open(&control->loop, control->path, NULL, NULL);
	struct answers answers = { 0 };

	(void)control_ask_route(link, "ep-a", NULL, "app", "192.0.2.1", on_answer, &answers);
	hear(control);
	assert_string_equal(control->heard.data,
	        "{\"id\":1,\"op\":\"route\",\"uid\":\"ep-a\",\"role\":\"app\",\"client\":\"192.0.2.1\"}\n");
	say(control, &answers, "{\"id\":1," ENDPOINT "true}}");
	assert_int_equal(answers.last.kind, CONTROL_OK);
	assert_string_equal(answers.last.endpoint.uid, "ep-a");
	assert_string_equal(answers.last.endpoint.name, "projects/p/branches/b/endpoints/e");
	assert_true(answers.last.endpoint.is_disabled);
	assert_int_equal(answers.last.endpoint.connections_max, 0); /* an older control */

	control->heard.len = 0;
	(void)control_ask_route(link, NULL, "127.64.0.2", "a\"\n\xff", "192.0.2.1", on_answer, &answers);
	hear(control);
	assert_string_equal(control->heard.data, "{\"id\":2,\"op\":\"route\",\"address\":\"127.64.0.2\","
	                                         "\"role\":\"\",\"client\":\"192.0.2.1\"}\n");
	say(control, &answers, "{\"id\":2," ENDPOINT "false}}");
	assert_false(answers.last.endpoint.is_disabled);

	control->heard.len = 0;
	(void)control_ask_open(link, "ep-a", NULL, on_answer, &answers);
	hear(control);
	assert_string_equal(control->heard.data, "{\"id\":3,\"op\":\"open\",\"uid\":\"ep-a\"}\n");
	say(control, &answers, "{\"id\":3,\"socket_dir\":\"/d/socket\",\"more\":[1]}");
	assert_int_equal(answers.last.kind, CONTROL_OK);
	assert_string_equal(answers.last.socket_dir, "/d/socket");
	assert_false(answers.last.has_waited);
	assert_int_equal(answers.count, 3);
	control_link_close(link);
	control_free(control);
}

#define VERIFIER                                                                                             \
	"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"          \
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static struct control_answer ask_login(const char *login)
{
	struct control *control = control_make();
	control_listen(control);
	struct control_link *link = control_link_open(&control->loop, control->path, NULL, NULL);
	struct answers answers = { 0 };
	(void)control_ask_route(link, "ep-a", NULL, "app", "192.0.2.1", on_answer, &answers);
	hear(control);
	CLEANUP(free_text) char *line = xasprintf("{\"id\":1," ENDPOINT "false}%s}", login);
	say(control, &answers, line);
	control_link_close(link);
	control_free(control);
	return answers.last;
}

static void test_logins(void **unused)
{
	(void)unused;
	struct control_answer answer = ask_login("");
	assert_int_equal(answer.kind, CONTROL_OK);
	assert_false(answer.login.has_password || answer.endpoint.allows_passwords);
	answer = ask_login(",\"login\":{\"method\":\"token\",\"enabled\":true}");
	assert_int_equal(answer.kind, CONTROL_OK);
	assert_false(answer.login.has_password);
	assert_true(answer.endpoint.allows_passwords);
	answer = ask_login(",\"login\":{\"method\":\"password\",\"enabled\":false}");
	assert_int_equal(answer.kind, CONTROL_OK);
	assert_true(answer.login.has_password && !answer.endpoint.allows_passwords);
	answer = ask_login(
	        ",\"login\":{\"method\":\"password\",\"enabled\":true,\"permitted\":true,\"fresh\":true,"
	        "\"verifier\":\"" VERIFIER "\",\"reason\":\"\"}");
	assert_int_equal(answer.kind, CONTROL_OK);
	assert_true(answer.login.has_password && answer.login.is_permitted && answer.login.is_fresh);
	assert_string_equal(answer.socket_dir, "");
	assert_int_equal(answer.login.verifier.iterations, 4096);
	/* What is left out permits nothing. */
	answer = ask_login(
	        ",\"login\":{\"method\":\"password\",\"enabled\":true,\"verifier\":\"" VERIFIER "\"}");
	assert_int_equal(answer.kind, CONTROL_OK);
	assert_false(answer.login.is_permitted || answer.login.is_fresh);
	/* Of a compute that runs. */
	answer = ask_login(",\"socket_dir\":\"/d/socket\",\"login\":{\"method\":\"token\",\"enabled\":true}");
	assert_int_equal(answer.kind, CONTROL_OK);
	assert_string_equal(answer.socket_dir, "/d/socket");
	assert_int_equal(ask_login(",\"socket_dir\":7").kind, CONTROL_FAILED);
	assert_int_equal(ask_login(",\"socket_dir\":\"\"").kind, CONTROL_FAILED);
	static const char *const bad[] = { "null", "{}", "[]", "{\"method\":\"trust\"}", "{\"method\":1}",
		"{\"method\":\"password\",\"enabled\":true}",
		"{\"method\":\"password\",\"enabled\":true,\"verifier\":\"\"}",
		"{\"method\":\"password\",\"enabled\":true,\"verifier\":\"" VERIFIER "x\"}",
		"{\"method\":\"password\",\"enabled\":true,\"verifier\":7}" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CLEANUP(free_text) char *login = xasprintf(",\"login\":%s", bad[i]);
		assert_int_equal(ask_login(login).kind, CONTROL_FAILED);
	}
}

static void check_answer(const char *rest, enum control_answer_kind kind, const char *message)
{
	struct control *control = control_make();
	control_listen(control);
	struct control_link *link = control_link_open(&control->loop, control->path, NULL, NULL);
	struct answers answers = { 0 };
	(void)control_ask_open(link, "ep-a", NULL, on_answer, &answers);
	hear(control);
	CLEANUP(free_text) char *line = xasprintf("{\"id\":1,%s}", rest);
	say(control, &answers, line);
	assert_int_equal(answers.last.kind, kind);
	assert_string_equal(answers.last.message, message);
	assert_int_equal(answers.count, 1);
	control_link_close(link);
	control_free(control);
}

static void test_failures(void **unused)
{
	(void)unused;
	check_answer("\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"m\"}", CONTROL_NOT_FOUND, "m");
	check_answer("\"error\":{\"code\":\"DISABLED\",\"message\":\"m\"}", CONTROL_DISABLED, "m");
	check_answer("\"error\":{\"code\":\"START_FAILED\",\"message\":\"m\",\"hint\":\"h\"}",
	        CONTROL_START_FAILED, "m");
	check_answer("\"error\":{\"code\":\"START_FAILED\",\"message\":\"\xe9 m\"}", CONTROL_START_FAILED,
	        "\xe9 m");
	check_answer("\"error\":{\"code\":\"NOT_ALLOWED\",\"message\":\"m\"}", CONTROL_NOT_ALLOWED, "m");
	check_answer("\"error\":{\"code\":\"SHUTTING_DOWN\",\"message\":\"m\"}", CONTROL_SHUTTING_DOWN, "m");
	check_answer("\"error\":{\"code\":\"NEW_ONE\",\"message\":\"m\"}", CONTROL_FAILED, "m");
	check_answer("\"error\":{\"code\":\"NOT_NOW\",\"message\":\"m\"}", CONTROL_NOT_NOW, "m");
	check_answer("\"error\":{\"code\":\"REFUSED\",\"sqlstate\":\"28000\",\"message\":\"m\"}",
	        CONTROL_REFUSED, "m");
	/* A client is told nothing without a kind. */
	check_answer("\"error\":{\"code\":\"REFUSED\",\"message\":\"m\"}", CONTROL_FAILED, "m");
	check_answer("\"error\":{\"code\":\"REFUSED\",\"sqlstate\":\"2800\",\"message\":\"m\"}",
	        CONTROL_FAILED, "m");
	check_answer("\"error\":{\"code\":\"REFUSED\",\"sqlstate\":\"280000\",\"message\":\"m\"}",
	        CONTROL_FAILED, "m");
	check_answer("\"error\":{\"code\":7,\"message\":{}}", CONTROL_FAILED, "");
	check_answer("\"error\":null", CONTROL_FAILED, "");
	static const char strange[] = "control gave an answer that is not understood";
	check_answer("\"socket_dir\":7", CONTROL_FAILED, strange);
	check_answer("\"socket_dir\":\"\"", CONTROL_FAILED, strange);
	check_answer("\"socket_dir\":\"a\\u0000b\"", CONTROL_FAILED, strange);
	check_answer(
	        "\"socket_dir\":\"/0123456789012345678901234567890123456789012345678901234567890123456789"
	        "0123456789012345678901234567890\"",
	        CONTROL_FAILED, strange);
	check_answer("\"endpoint\":{\"uid\":\"ep-a\"}", CONTROL_FAILED, strange);
	check_answer("\"endpoint\":[]", CONTROL_FAILED, strange);
	check_answer("\"x\":1", CONTROL_FAILED, strange);
	check_answer("\"ok\":1", CONTROL_FAILED, strange);
}

static void test_reports(void **unused)
{
	(void)unused;
	struct control *control = control_make();
	struct control_link *link = control_link_open(&control->loop, control->path, NULL, NULL);
	assert_int_equal(control_link_connections(link), 0); /* nobody is there */
	control_listen(control);
	assert_int_equal(control_link_connections(link), 1);
	assert_int_equal(control_link_connections(link), 1);
	struct answers answers = { 0 };
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	(void)yyjson_mut_obj_add_int(doc, root, "a", 1);
	(void)control_tell_report(link, doc, on_answer, &answers);
	yyjson_mut_doc_free(doc);
	hear(control);
	assert_string_equal(control->heard.data, "{\"a\":1,\"id\":1,\"op\":\"report\"}\n");
	control_leave(control);
	control_listen(control);
	hear(control); /* the same, on another connection */
	assert_int_equal(control_link_connections(link), 2);
	say(control, &answers, "{\"id\":1,\"ok\":true}");
	assert_int_equal(answers.last.kind, CONTROL_OK);
	assert_string_equal(answers.last.socket_dir, "");
	assert_string_equal(answers.last.endpoint.uid, "");
	control_link_close(link);
	control_free(control);
}

static void note_access(void *owner)
{
	struct answers *answers = owner;
	answers->count++;
	answers->has_come = true;
}

static void test_access(void **unused)
{
	(void)unused;
	struct control *control = control_make();
	control_listen(control);
	struct answers events = { 0 }, answers = { 0 };
	struct control_link *link = control_link_open(&control->loop, control->path, note_access, &events);
	static const char *const clients[] = { "192.0.2.1", "2001:db8::1" };
	(void)control_ask_access(link, clients, ARRAY_LEN(clients), on_access_answer, &answers);
	hear(control);
	assert_string_equal(control->heard.data,
	        "{\"id\":1,\"op\":\"access\",\"clients\":[\"192.0.2.1\",\"2001:db8::1\"]}\n");
	say(control, &events, "{\"event\":\"access\"}"); /* also while a question waits */
	say(control, &events, "{\"event\":\"access\",\"id\":1}");
	assert_int_equal(events.count, 2);
	assert_int_equal(answers.count, 0);
	say(control, &answers, "{\"id\":1,\"denied\":[\"2001:db8::1\",7]}");
	assert_int_equal(answers.count, 1);
	assert_int_equal(answers.last.kind, CONTROL_OK);
	assert_string_equal(answers.last.message, "2001:db8::1;"); /* what on_access_answer has read */
	control_link_close(link);
	control_free(control);
}

static void test_waits_for_control(void **unused)
{
	(void)unused;
	struct control *control = control_make();
	struct control_link *link = control_link_open(&control->loop, control->path, NULL, NULL);
	struct answers answers = { 0 };
	(void)control_ask_open(link, "ep-a", NULL, on_answer, &answers);
	for (int i = 0; i < 3; i++)
		(void)uv_run(&control->loop, UV_RUN_ONCE);
	assert_false(answers.has_come);
	control_listen(control);
	hear(control);
	say(control, &answers, "{\"id\":1,\"socket_dir\":\"/d\"}");
	assert_int_equal(answers.last.kind, CONTROL_OK);
	control_link_close(link);
	control_free(control);
}

static void test_asks_again_after_control_died(void **unused)
{
	(void)unused;
	struct control *control = control_make();
	control_listen(control);
	struct control_link *link = control_link_open(&control->loop, control->path, NULL, NULL);
	struct answers answers = { 0 };
	(void)control_ask_open(link, "ep-a", NULL, on_answer, &answers);
	(void)control_ask_route(link, "ep-b", NULL, "\xc3\xbc", "192.0.2.1", on_answer, &answers);
	hear(control);
	while (control->line_count < 2)
		hear(control);
	control_leave(control);
	control_listen(control);
	control->line_count = 0;
	while (control->line_count < 2)
		hear(control);
	assert_false(answers.has_come);
	say(control, &answers, "{\"id\":1,\"socket_dir\":\"/d\"}");
	say(control, &answers, "{\"id\":2," ENDPOINT "false}}");
	assert_int_equal(answers.count, 2);
	control_link_close(link);
	control_free(control);
}

static void test_hostile_lines_cost_the_connection(void **unused)
{
	(void)unused;
	static const char *const bad[] = { "", "x", "[]", "{}", "{\"id\":\"1\"}", "{\"id\":1", "null" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct control *control = control_make();
		control_listen(control);
		struct control_link *link = control_link_open(&control->loop, control->path, NULL, NULL);
		struct answers answers = { 0 };
		(void)control_ask_open(link, "ep-a", NULL, on_answer, &answers);
		hear(control);
		line_channel_send(control->channel, bad[i]);
		hear(control); /* the same question, on a new connection */
		assert_false(answers.has_come);
		say(control, &answers, "{\"id\":1,\"socket_dir\":\"/d\"}");
		assert_int_equal(answers.count, 1);
		control_link_close(link);
		control_free(control);
	}
}

static void test_cancelled_and_strange_ids(void **unused)
{
	(void)unused;
	struct control *control = control_make();
	control_listen(control);
	struct control_link *link = control_link_open(&control->loop, control->path, NULL, NULL);
	struct answers cancelled = { 0 }, answers = { 0 };
	struct control_question *question = control_ask_open(link, "ep-a", NULL, on_answer, &cancelled);
	(void)control_ask_open(link, "ep-b", NULL, on_answer, &answers);
	while (control->line_count < 2)
		hear(control);
	control_question_cancel(question);
	line_channel_send(control->channel, "{\"id\":1,\"socket_dir\":\"/d\"}");
	line_channel_send(control->channel, "{\"id\":99,\"socket_dir\":\"/d\"}");
	line_channel_send(control->channel, "{\"id\":-1,\"socket_dir\":\"/d\"}");
	say(control, &answers, "{\"id\":2,\"socket_dir\":\"/d\"}");
	line_channel_send(control->channel, "{\"id\":2,\"socket_dir\":\"/d\"}");
	for (int i = 0; i < 5; i++)
		(void)uv_run(&control->loop, UV_RUN_NOWAIT);
	assert_int_equal(cancelled.count, 0);
	assert_int_equal(answers.count, 1);
	control_link_close(link);
	control_free(control);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_questions_and_answers),
		cmocka_unit_test(test_logins),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_reports),
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_waits_for_control),
		cmocka_unit_test(test_asks_again_after_control_died),
		cmocka_unit_test(test_hostile_lines_cost_the_connection),
		cmocka_unit_test(test_cancelled_and_strange_ids),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
