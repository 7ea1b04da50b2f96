/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/operation.h"
#include "cli/rest.h"

/* A server that answers its connections, one after the other, with these bytes whatever it is asked. */
struct server {
	pid_t pid;
	char url[64];
};

static void serve(int listener, const char *const answers[])
{
	for (; *answers; answers++) {
		int fd = accept(listener, NULL, NULL);
		char request[4096];
		(void)!read(fd, request, sizeof request);
		(void)!write(fd, *answers, strlen(*answers));
		close(fd);
	}
}

static struct server server_start(const char *const answers[])
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t len = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	struct server server = { .pid = fork() };
	if (server.pid == 0) {
		serve(listener, answers);
		_exit(0);
	}
	close(listener);
	(void)snprintf(server.url, sizeof server.url, "http://127.0.0.1:%d", ntohs(address.sin_port));
	return server;
}

static void server_stop(const struct server *server)
{
	(void)kill(server->pid, SIGKILL);
	(void)waitpid(server->pid, NULL, 0);
}

static struct rest *open_rest(char *url)
{
	static char token[] = "dapi00", origin[] = "host and token from the test";
	static struct connection connection;
	connection = (struct connection){ .url = url, .token = token, .origin = origin };
	struct rest *rest = NULL;
	struct error err;
	assert_int_equal(rest_open(&connection, false, &rest, &err), STATUS_OK);
	return rest;
}

/* One GET against one canned answer. */
static status ask(const char *answer, struct error *err)
{
	const char *const answers[] = { answer, NULL };
	struct server server = server_start(answers);
	struct rest *rest = open_rest(server.url);
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	status st = rest_call(rest, "GET", "/x", NULL, &doc, err);
	assert_true((st == STATUS_OK) == (doc != NULL));
	rest_free(rest);
	server_stop(&server);
	return st;
}

#define OK_HEAD "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

static void answers_and_their_codes(void **state)
{
	static const struct {
		const char *answer;
		status code;
		const char *words;
	} cases[] = {
		{ OK_HEAD "{\"a\":1}", STATUS_OK, "" },
		{ "HTTP/1.1 404 X\r\n\r\n{\"error_code\":\"NOT_FOUND\",\"message\":\"project id not found\"}",
		        STATUS_NOT_FOUND, "project id not found" },
		{ "HTTP/1.1 400 X\r\n\r\n{\"message\":\"bad\"}", STATUS_INVALID, "bad" },
		{ "HTTP/1.1 401 X\r\n\r\n{\"message\":\"who\"}", STATUS_DENIED, "who" },
		{ "HTTP/1.1 403 X\r\n\r\n{}", STATUS_DENIED, "HTTP status 403" },
		{ "HTTP/1.1 409 X\r\n\r\n{\"message\":\"there\"}", STATUS_EXISTS, "there" },
		{ "HTTP/1.1 429 X\r\n\r\n{\"message\":\"slow\"}", STATUS_LIMIT, "slow" },
		{ "HTTP/1.1 503 X\r\n\r\n{\"message\":\"later\"}", STATUS_UNAVAILABLE, "later" },
		{ "HTTP/1.1 500 X\r\n\r\n<html>oops</html>", STATUS_INTERNAL, "HTTP status 500" },
		{ "HTTP/1.1 500 X\r\n\r\n{\"message\":5}", STATUS_INTERNAL, "HTTP status 500" },
		{ "HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\n\r\n", STATUS_INTERNAL,
		        "HTTP status 302" },
		{ OK_HEAD, STATUS_INTERNAL, "no JSON object" },
		{ OK_HEAD "[]", STATUS_INTERNAL, "no JSON object" },
		{ OK_HEAD "{\"a\":", STATUS_INTERNAL, "no JSON object" },
		{ OK_HEAD "{\"a\":\"\xff\"}", STATUS_INTERNAL, "no JSON object" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":1}", STATUS_IO, "could not reach" },
		{ "", STATUS_UNAVAILABLE, "could not reach" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = { 0 };
		status st = ask(cases[i].answer, &err);
		if (st != cases[i].code || !strstr(err.message, cases[i].words))
			fail_msg("\"%s\": code %d, \"%s\"", cases[i].answer, (int)st, err.message);
	}
}

#define JSON_HEAD "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
#define REFUSED   "HTTP/1.1 401 X\r\nConnection: close\r\n\r\n"

static status ask_as_client(const char *const answers[], int calls, struct error *err)
{
	static char id[] = "4a5b", secret[] = "s3cret",
	            origin[] = "client_id and client_secret from the test";
	struct server server = server_start(answers);
	const struct connection connection = {
		.url = server.url, .client_id = id, .client_secret = secret, .origin = origin
	};
	CLEANUP(rest_freep) struct rest *rest = NULL;
	assert_int_equal(rest_open(&connection, false, &rest, err), STATUS_OK);
	status st = STATUS_OK;
	for (int i = 0; i < calls && st == STATUS_OK; i++) {
		CLEANUP(json_free) yyjson_doc *doc = NULL;
		st = rest_call(rest, "GET", "/x", NULL, &doc, err);
	}
	server_stop(&server);
	return st;
}

/* The canned server answers in this order only, so a request too many or too few fails. */
static void a_client_gets_its_token(void **state)
{
	(void)state;
	struct error err = { 0 };
	const char *const once[] = { JSON_HEAD "{}", JSON_HEAD "{}",
		JSON_HEAD "{\"access_token\":\"t\",\"expires_in\":3600}", JSON_HEAD "{\"first\":1}",
		JSON_HEAD "{\"second\":1}", NULL };
	assert_int_equal(ask_as_client(once, 2, &err), STATUS_OK);
	/* One that has ended already is got anew before the next call, one that is refused before its end at once. */
	const char *const short_lived[] = { JSON_HEAD "{}", JSON_HEAD "{}",
		JSON_HEAD "{\"access_token\":\"t\",\"expires_in\":1}", JSON_HEAD "{\"first\":1}",
		JSON_HEAD "{\"access_token\":\"u\",\"expires_in\":3600}", REFUSED "{}",
		JSON_HEAD "{\"access_token\":\"v\",\"expires_in\":3600}", JSON_HEAD "{\"second\":1}", NULL };
	assert_int_equal(ask_as_client(short_lived, 2, &err), STATUS_OK);
	const char *const unknown[] = { "HTTP/1.1 404 X\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 404 X\r\nConnection: close\r\n\r\n",
		REFUSED "{\"error\":\"invalid_client\",\"error_description\":\"no such client\"}", NULL };
	assert_int_equal(ask_as_client(unknown, 1, &err), STATUS_DENIED);
	assert_non_null(strstr(err.message, "no such client"));
	assert_non_null(strstr(err.message, "4a5b"));
	assert_non_null(strstr(err.hint, "client_secret from the test"));
	assert_null(strstr(err.message, "s3cret"));
	const char *const hostile[] = { JSON_HEAD "{}",
		JSON_HEAD "{\"token_endpoint\":\"file:///etc/passwd\"}",
		JSON_HEAD "{\"access_token\":\"t\\r\\nX: y\",\"expires_in\":3600}", NULL };
	assert_int_equal(ask_as_client(hostile, 1, &err), STATUS_INTERNAL);
}

static void nobody_there_says_how_to_start(void **state)
{
	(void)state;
	const char *const none[] = { NULL };
	struct server server = server_start(none); /* ends at once, so its port is free */
	(void)waitpid(server.pid, NULL, 0);
	struct rest *rest = open_rest(server.url);
	yyjson_doc *doc = NULL;
	struct error err;
	assert_int_equal(rest_call(rest, "GET", "/x", NULL, &doc, &err), STATUS_UNAVAILABLE);
	assert_non_null(strstr(err.message, server.url));
	assert_non_null(strstr(err.hint, "tarn up"));
	rest_free(rest);
}

static yyjson_doc *parse(const char *json)
{
	yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
	assert_non_null(doc);
	return doc;
}

/* Waits for an operation whose polls get these answers. */
static status wait_for(const char *const answers[], int64_t timeout_usec, yyjson_doc **ret, struct error *err)
{
	struct server server = server_start(answers);
	struct rest *rest = open_rest(server.url);
	status st = operation_wait(rest, parse("{\"name\":\"projects/p/operations/1\",\"done\":false}"),
	        timeout_usec, "x", ret, err);
	rest_free(rest);
	server_stop(&server);
	return st;
}

static void operation_ends_well_even_across_a_restart_of_the_server(void **state)
{
	(void)state;
	const char *const answers[] = { OK_HEAD "{\"name\":\"o\",\"done\":false}", "",
		"HTTP/1.1 503 X\r\n\r\n{\"message\":\"starting\"}",
		OK_HEAD "{\"name\":\"o\",\"done\":true,\"response\":{\"name\":\"projects/p\"}}", NULL };
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	struct error err;
	assert_int_equal(wait_for(answers, 0, &doc, &err), STATUS_OK);
	assert_string_equal(json_text(yyjson_doc_get_root(doc), "response.name"), "projects/p");
}

static void operation_that_failed_tells_why(void **state)
{
	(void)state;
	const char *const answers[] = { OK_HEAD "{\"name\":\"o\",\"done\":true,\"error\":{\"error_code\":"
		                                "\"IO_ERROR\",\"message\":\"disk full\"}}",
		NULL };
	yyjson_doc *doc = NULL;
	struct error err;
	assert_int_equal(wait_for(answers, 0, &doc, &err), STATUS_INVALID);
	assert_string_equal(err.message, "operation failed: [IO_ERROR] disk full");
	assert_null(doc);
}

static void operation_that_takes_too_long_is_named(void **state)
{
	(void)state;
	const char *const answers[] = { OK_HEAD "{\"name\":\"o\",\"done\":false}",
		OK_HEAD "{\"name\":\"o\",\"done\":false}", OK_HEAD "{\"name\":\"o\",\"done\":false}",
		OK_HEAD "{\"name\":\"o\",\"done\":false}", NULL };
	yyjson_doc *doc = NULL;
	struct error err;
	assert_int_equal(wait_for(answers, 30000, &doc, &err), STATUS_UNAVAILABLE);
	assert_non_null(strstr(err.hint, "tarn postgres get-operation projects/p/operations/1"));
}

static void operation_that_is_gone_is_an_error(void **state)
{
	(void)state;
	const char *const answers[] = { "HTTP/1.1 404 X\r\n\r\n{\"message\":\"operation id not found\"}",
		NULL };
	yyjson_doc *doc = NULL;
	struct error err;
	assert_int_equal(wait_for(answers, 0, &doc, &err), STATUS_NOT_FOUND);
}

static void paths_are_encoded(void **state)
{
	(void)state;
	CLEANUP(buffer_done) struct buffer path = { 0 };
	buffer_append_text(&path, API_PREFIX);
	path_append_name(&path, "projects/a b?c#d%e/\xc3\xa9\r\n");
	path_append_query(&path, "update_mask", "spec.a,spec.b");
	path_append_query(&path, "x", "a/b&c=d");
	assert_string_equal(path.data, "/api/2.0/postgres/projects/a%20b%3Fc%23d%25e/%C3%A9%0D%0A"
	                               "?update_mask=spec.a%2Cspec.b&x=a%2Fb%26c%3Dd");
}

static void members_of_members(void **state)
{
	(void)state;
	CLEANUP(json_free) yyjson_doc *doc = parse("{\"a\":{\"b\":{\"c\":\"x\"},\"n\":1},\"s\":\"t\"}");
	yyjson_val *root = yyjson_doc_get_root(doc);
	assert_string_equal(json_text(root, "a.b.c"), "x");
	assert_string_equal(json_text(root, "s"), "t");
	assert_string_equal(json_text(root, "a.n"), "");
	assert_string_equal(json_text(root, "a.b.c.d"), "");
	assert_string_equal(json_text(root, "s.t"), "");
	assert_string_equal(json_text(NULL, "a"), "");
	assert_null(json_at(root, "a.x"));
}

int main(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_and_their_codes),
		cmocka_unit_test(a_client_gets_its_token),
		cmocka_unit_test(nobody_there_says_how_to_start),
		cmocka_unit_test(operation_ends_well_even_across_a_restart_of_the_server),
		cmocka_unit_test(operation_that_failed_tells_why),
		cmocka_unit_test(operation_that_takes_too_long_is_named),
		cmocka_unit_test(operation_that_is_gone_is_an_error),
		cmocka_unit_test(paths_are_encoded),
		cmocka_unit_test(members_of_members),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
