/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <yyjson.h>

#include "base/file.h"
#include "compute/report.h"
#include "loop/line_channel.h"

static void the_state_is_a_line(void **state)
{
	(void)state;
	struct compute_report report = { .state = COMPUTE_READY,
		.postgres_pid = 12,
		.pagefs_pid = 13,
		.applied_revision = 3,
		.storage = { .points = 12,
		        .newest_lsn = 0x1A2B3C8,
		        .replay_estimate_usec = 120999,
		        .point_cost_usec = 80999,
		        .replay_speed_mb_s = 140.7,
		        .depth = 5,
		        .open_pages = 1200,
		        .logical_bytes = 99,
		        .alarm = "the disk is \"full\"" } };
	CLEANUP(buffer_done) struct buffer line = { 0 };
	compute_report_format(&report, &line);
	assert_non_null(strstr(line.data, "\"pagefs_pid\":13"));
	assert_non_null(strstr(line.data,
	        "\"storage\":{\"points\":12,\"newest_lsn\":\"0/"
	        "1A2B3C8\",\"replay_estimate_ms\":120,\"point_cost_ms\":80,"
	        "\"replay_speed_mb_s\":140,\"depth\":5,\"open_pages\":1200,\"logical_bytes\":99,"
	        "\"alarm\":\"the disk is \\\"full\\\"\"}"));
	/* Nothing is known: nothing is told. */
	report.storage = (struct storage_report){ .points = -1 };
	report.pagefs_pid = 0;
	line.len = 0;
	compute_report_format(&report, &line);
	assert_null(strstr(line.data, "storage"));
	assert_null(strstr(line.data, "pagefs_pid"));
	/* But an alarm is, in any case. */
	(void)snprintf(report.storage.alarm, sizeof report.storage.alarm, "x");
	line.len = 0;
	compute_report_format(&report, &line);
	assert_non_null(strstr(line.data, "\"alarm\":\"x\""));
}

static void the_pooler_is_told_of_once_it_was_used(void **state)
{
	(void)state;
	struct compute_report report = { .state = COMPUTE_READY, .storage = { .points = -1 } };
	CLEANUP(buffer_done) struct buffer line = { 0 };
	compute_report_format(&report, &line);
	assert_null(strstr(line.data, "pooler"));
	report.pooler = (struct pooler_seen){ .pid = 9,
		.connections = 185,
		.counts = { .clients = 64, .waiting = 2, .servers_active = 3, .queries = 7 },
		.clients_ended = 5 };
	line.len = 0;
	compute_report_format(&report, &line);
	assert_non_null(
	        strstr(line.data, "\"pooler\":{\"pid\":9,\"connections\":185,\"clients\":64,\"waiting\":2,"));
	assert_non_null(strstr(line.data, "\"queries\":7,"));
	assert_non_null(strstr(line.data, "\"clients_ended\":5}"));
}

/* A hub with one who asks; answers are given by hand. */
struct talk {
	uv_loop_t loop;
	struct report_hub *hub;
	struct compute_report report;
	int fd;
	uint64_t tickets[8];
	enum report_order orders[8];
	int count;
	char *roles; /* of the last question about the pooler, each in brackets */
	bool is_finished;
	struct buffer heard;
};

static void take_order(void *owner, enum report_order order, uint64_t ticket)
{
	struct talk *talk = owner;
	assert_true(talk->count < 8);
	talk->orders[talk->count] = order;
	talk->tickets[talk->count++] = ticket;
}

static void take_pool(void *owner, uint64_t ticket, const char *const *roles, size_t count)
{
	struct talk *talk = owner;
	CLEANUP(buffer_done) struct buffer text = { 0 };
	buffer_append_text(&text, "");
	for (size_t i = 0; i < count; i++)
		buffer_printf(&text, "[%s]", roles[i]);
	free(talk->roles);
	talk->roles = xstrdup(text.data ? text.data : "");
	take_order(owner, ORDER_POOL, ticket);
}

static void finished(void *owner)
{
	((struct talk *)owner)->is_finished = true;
}

static void turn(struct talk *talk)
{
	for (int i = 0; i < 20; i++)
		(void)uv_run(&talk->loop, UV_RUN_NOWAIT);
}

static void say(struct talk *talk, const char *line)
{
	assert_int_equal(write(talk->fd, line, strlen(line)), (ssize_t)strlen(line));
	turn(talk);
}

/* All that came since the last time. */
static const char *hear(struct talk *talk)
{
	char chunk[4096];
	turn(talk);
	talk->heard.len = 0;
	buffer_append_text(&talk->heard, "");
	struct pollfd ready = { .fd = talk->fd, .events = POLLIN };
	while (poll(&ready, 1, 0) > 0) {
		ssize_t n = read(talk->fd, chunk, sizeof chunk);
		if (n <= 0)
			break;
		buffer_append(&talk->heard, chunk, (size_t)n);
	}
	return talk->heard.data;
}

static void questions_are_answered_where_they_were_asked(void **state)
{
	(void)state;
	static const struct report_events events = {
		.on_order = take_order, .on_pool = take_pool, .on_finished = finished
	};
	char folder[] = "/tmp/tarn-unit-XXXXXX";
	assert_non_null(mkdtemp(folder));
	CLEANUP(free_text) char *path = xasprintf("%s/s", folder);
	struct talk talk = { .report = { .state = COMPUTE_READY, .storage = { .points = -1 } } };
	int other = -1;
	struct error err;
	assert_int_equal(uv_loop_init(&talk.loop), 0);
	assert_int_equal(
	        report_hub_open(&talk.loop, path, &talk.report, &events, &talk, &talk.hub, &err), STATUS_OK);
	assert_int_equal(unix_socket_connect(path, &talk.fd, &err), STATUS_OK);
	assert_int_equal(unix_socket_connect(path, &other, &err), STATUS_OK);
	assert_non_null(strstr(hear(&talk), "\"state\":\"ready\""));

	say(&talk, "{\"do\":\"point\",\"id\":7}\n{\"do\":\"flush\",\"id\":8}\n{\"do\":\"apply\"}\n{\"do\":"
	           "\"dance\"}\n");
	assert_int_equal(talk.count, 3);
	assert_int_equal(talk.orders[0], ORDER_POINT);
	assert_int_equal(talk.orders[1], ORDER_FLUSH);
	assert_int_equal(talk.orders[2], ORDER_APPLY);
	/* In any order, each once, and to nobody else. */
	const struct report_point flushed = { .lsn = 0x28, .timeline = 1, .time_usec = 5 };
	report_hub_answer_point(talk.hub, talk.tickets[1], &flushed);
	assert_string_equal(hear(&talk),
	        "{\"point\":{\"id\":8,\"number\":0,\"lsn\":\"0/28\",\"timeline\":1,\"time_usec\":5}}\n");
	error_fill(&err, STATUS_UNAVAILABLE, 0, "not now");
	report_hub_answer_error(talk.hub, talk.tickets[0], &err);
	assert_string_equal(hear(&talk),
	        "{\"point\":{\"id\":7,\"error\":{\"code\":\"UNAVAILABLE\",\"message\":\"not now\"}}}\n");
	report_hub_answer_point(talk.hub, talk.tickets[0], &flushed);
	assert_string_equal(hear(&talk), "");

	/* Who may use the pooler? */
	say(&talk, "{\"do\":\"pool\",\"id\":10,\"roles\":[\"a\",\"b\\\"c\",\"\"]}\n");
	assert_int_equal(talk.count, 4);
	assert_string_equal(talk.roles, "[a][b\"c][]");
	error_fill(&err, STATUS_DENIED, 0, "role \"b\"c\" does not exist");
	const struct pooler_verdict verdicts[] = { { "a", NULL }, { "b\"c", &err } };
	report_hub_answer_pool(talk.hub, talk.tickets[3], "/d/pooler", verdicts, ARRAY_LEN(verdicts));
	assert_string_equal(hear(&talk),
	        "{\"pool\":{\"id\":10,\"socket_dir\":\"/d/pooler\",\"refused\":[{\"role\":\"b\\\"c\","
	        "\"message\":\"role \\\"b\\\"c\\\" does not exist\"}]}}\n");
	say(&talk, "{\"do\":\"pool\",\"id\":11,\"roles\":[]}\n");
	error_fill(&err, STATUS_UNSUPPORTED, 0, "none here");
	error_hint(&err, "Install it.");
	report_hub_answer_error(talk.hub, talk.tickets[4], &err);
	assert_string_equal(hear(&talk),
	        "{\"pool\":{\"id\":11,\"error\":{\"code\":\"UNSUPPORTED\",\"message\":\"none here\","
	        "\"hint\":\"Install it.\"}}}\n");

	/* One who has gone: the answer has nowhere to go. */
	say(&talk, "{\"do\":\"point\",\"id\":9}\n");
	close_fd(&talk.fd);
	turn(&talk);
	report_hub_answer_point(talk.hub, talk.tickets[5], &flushed);
	talk.fd = other;
	const char *heard = hear(&talk);
	assert_non_null(strstr(heard, "\"state\""));
	assert_null(strstr(heard, "point"));
	/* A question without a number is malformed. */
	say(&talk, "{\"do\":\"point\"}\n");
	char byte;
	assert_int_equal(read(talk.fd, &byte, 1), 0);
	close_fd(&talk.fd);

	report_hub_finish(talk.hub);
	while (!talk.is_finished)
		(void)uv_run(&talk.loop, UV_RUN_ONCE);
	turn(&talk);
	assert_int_equal(uv_loop_close(&talk.loop), 0);
	buffer_done(&talk.heard);
	free(talk.roles);
	assert_int_equal(tree_remove(folder, &err), STATUS_OK);
}

/* What is no list of names closes the connection that it came on. */
static void malformed_questions_about_the_pooler(void **state)
{
	(void)state;
	static const struct report_events events = {
		.on_order = take_order, .on_pool = take_pool, .on_finished = finished
	};
	static const char too_long[] = "{\"do\":\"pool\",\"id\":1,\"roles\":["
	                               "\"01234567890123456789012345678901234567890123456789012345678901"
	                               "23\"]}\n";
	const char *const lines[] = { "{\"do\":\"pool\",\"id\":1}\n", "{\"do\":\"pool\",\"roles\":[\"a\"]}\n",
		"{\"do\":\"pool\",\"id\":1,\"roles\":\"a\"}\n", "{\"do\":\"pool\",\"id\":1,\"roles\":[1]}\n",
		"{\"do\":\"pool\",\"id\":1,\"roles\":[\"a\\u0000b\"]}\n", too_long };
	char folder[] = "/tmp/tarn-unit-XXXXXX";
	assert_non_null(mkdtemp(folder));
	CLEANUP(free_text) char *path = xasprintf("%s/s", folder);
	struct talk talk = { .report = { .state = COMPUTE_READY, .storage = { .points = -1 } } };
	struct error err;
	assert_int_equal(uv_loop_init(&talk.loop), 0);
	assert_int_equal(
	        report_hub_open(&talk.loop, path, &talk.report, &events, &talk, &talk.hub, &err), STATUS_OK);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		assert_int_equal(unix_socket_connect(path, &talk.fd, &err), STATUS_OK);
		assert_non_null(strstr(hear(&talk), "\"state\":\"ready\""));
		say(&talk, lines[i]);
		char byte;
		assert_int_equal(read(talk.fd, &byte, 1), 0);
		close_fd(&talk.fd);
	}
	assert_int_equal(talk.count, 0);
	report_hub_finish(talk.hub);
	while (!talk.is_finished)
		(void)uv_run(&talk.loop, UV_RUN_ONCE);
	turn(&talk);
	assert_int_equal(uv_loop_close(&talk.loop), 0);
	buffer_done(&talk.heard);
	assert_int_equal(tree_remove(folder, &err), STATUS_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_state_is_a_line),
		cmocka_unit_test(the_pooler_is_told_of_once_it_was_used),
		cmocka_unit_test(questions_are_answered_where_they_were_asked),
		cmocka_unit_test(malformed_questions_about_the_pooler),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
