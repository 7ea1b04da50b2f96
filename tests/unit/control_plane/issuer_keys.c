/* Keys of an issuer that is there: an HTTP server on the loop of the test, which can change its keys, be wrong, and be down. Asked through the token endpoint. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "control_fixture.h"
#include "control_plane/api.h"
#include "control_plane/issuer_keys.h"
#include "http/server.h"
#include "outside_issuer.h"

#define ADMIN  "Bearer dapi00000000000000000000000000000000"
#define SCIM   "/api/2.0/preview/scim/v2"
#define PATH   "/api/2.0/accounts/1234567890123456/federationPolicies"
#define MINUTE (60 * USEC_PER_SEC)

static struct outside_key *key, *next_key;

static int make_keys(void **state)
{
	(void)state;
	key = outside_key_make(WEB_KEY_ES256, "k1");
	next_key = outside_key_make(WEB_KEY_ES256, "k2");
	return 0;
}

static int drop_keys(void **state)
{
	(void)state;
	key = outside_key_free(key);
	next_key = outside_key_free(next_key);
	return 0;
}

static struct issuer {
	struct control_fixture *f;
	struct http_server *server, *api; /* the issuer's, and the one that tokens are shown to */
	char *url;
	const struct outside_key *a, *b; /* what it publishes */
	bool is_down, names_another;
	int documents, key_sets; /* how often they were asked for */
} issuer;

static void serve(void *owner, const struct http_request *request, struct http_response *response)
{
	(void)owner;
	bool is_document = strcmp(request->segments[request->segment_count - 1], "openid-configuration") == 0;
	*(is_document ? &issuer.documents : &issuer.key_sets) += 1;
	char *body = is_document ? xasprintf("{\"issuer\":\"%s%s\",\"jwks_uri\":\"%s/keys\"}", issuer.url,
	                                   issuer.names_another ? "x" : "", issuer.url)
	                         : outside_key_set(issuer.a, issuer.b);
	http_response_set_json(response, issuer.is_down ? 503 : 200, body, strlen(body));
}

static void trust(const char *issuer_url, const char *id, const char *more)
{
	CLEANUP(free_text) char *path = xasprintf(PATH "?policy_id=%s", id);
	CLEANUP(free_text)
	char *body = xasprintf("{\"oidc_policy\":{\"issuer\":\"%s\"%s}}", issuer_url, more);
	call_raw(issuer.f, "POST", path, body, ADMIN);
	if (issuer.f->http_status != 200)
		fail_msg("%s", text_at(issuer.f, "/message"));
}

static int set_up(void **state)
{
	struct error err;
	if (control_fixture_set_up(state) != 0)
		return 1;
	struct control_fixture *f = *state;
	issuer = (struct issuer){ .f = f, .a = key };
	assert_int_equal(
	        http_server_open(&f->loop, "127.0.0.1", 0, serve, NULL, &issuer.server, &err), STATUS_OK);
	assert_int_equal(
	        http_server_open(&f->loop, "127.0.0.1", 0, api_handle, &f->services, &issuer.api, &err),
	        STATUS_OK);
	issuer.url = xasprintf("http://127.0.0.1:%d", http_server_port(issuer.server));
	call_raw(f, "POST", SCIM "/Users", "{\"userName\":\"ann@example.com\"}", ADMIN);
	trust(issuer.url, "a", "");
	return 0;
}

static int tear_down(void **state)
{
	http_server_close(issuer.server);
	if (issuer.api)
		http_server_close(issuer.api);
	free(issuer.url);
	return control_fixture_tear_down(state);
}

/* ---- Somebody who shows a token, in a thread of his own while the loop turns ---- */

struct client {
	uv_thread_t thread;
	uv_async_t wake;
	char *request;
	char answer[4096];
	atomic_bool is_done;
};

static void ask(void *arg)
{
	struct client *client = arg;
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)http_server_port(issuer.api)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t len = 0;
	ssize_t n = connect(fd, (struct sockaddr *)&address, sizeof address);
	if (n == 0)
		n = send(fd, client->request, strlen(client->request), MSG_NOSIGNAL);
	while (n > 0 && (n = read(fd, client->answer + len, sizeof client->answer - 1 - len)) > 0)
		len += (size_t)n;
	(void)close(fd);
	atomic_store(&client->is_done, true);
	(void)uv_async_send(&client->wake);
}

static void on_wake(uv_async_t *handle)
{
	(void)handle;
}

static void begin(struct client *client, const struct outside_key *signer, const char *issuer_url)
{
	CLEANUP(free_text)
	char *claims = xasprintf(
	        "{\"iss\":\"%s\",\"sub\":\"ann@example.com\",\"aud\":\"1234567890123456\",\"exp\":%lld}",
	        issuer_url, (long long)(clock_wall_usec() / USEC_PER_SEC + 300));
	CLEANUP(free_text) char *token = outside_token(signer, claims);
	CLEANUP(free_text)
	char *form = xasprintf("grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=%s"
	                       "&subject_token_type=urn:ietf:params:oauth:token-type:jwt",
	        token);
	*client = (struct client){ 0 };
	client->request = xasprintf(
	        "POST /oidc/v1/token HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %zu\r\n"
	        "Content-Type: application/x-www-form-urlencoded\r\n\r\n%s",
	        strlen(form), form);
	assert_int_equal(uv_async_init(&issuer.f->loop, &client->wake, on_wake), 0);
	assert_int_equal(uv_thread_create(&client->thread, ask, client), 0);
}

/* The status of the answer; 0: there was none. */
static int end(struct client *client)
{
	while (!atomic_load(&client->is_done))
		(void)uv_run(&issuer.f->loop, UV_RUN_ONCE);
	(void)uv_thread_join(&client->thread);
	uv_close((uv_handle_t *)&client->wake, NULL);
	(void)uv_run(&issuer.f->loop, UV_RUN_NOWAIT);
	free(client->request);
	return client->answer[0] ? atoi(client->answer + strlen("HTTP/1.1 ")) : 0;
}

static int show(const struct outside_key *signer, const char **ret_answer)
{
	static struct client client;
	begin(&client, signer, issuer.url);
	*ret_answer = client.answer;
	return end(&client);
}

static void expect_accepted(const struct outside_key *signer)
{
	const char *answer;
	if (show(signer, &answer) != 200)
		fail_msg("%s", answer);
}

static void expect_refused(const struct outside_key *signer, int http_status, const char *message)
{
	const char *answer;
	int is = show(signer, &answer);
	if (is != http_status || !strstr(answer, message))
		fail_msg("%d \"%s\" is not \"%s\"", http_status, message, answer);
}

/* ---- Tests ---- */

static void keys_are_fetched_once_for_many(void **state)
{
	(void)state;
	static struct client clients[20];
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		begin(&clients[i], key, issuer.url);
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		assert_int_equal(end(&clients[i]), 200);
	expect_accepted(key);
	assert_int_equal(issuer.documents, 1);
	assert_int_equal(issuer.key_sets, 1);
	/* What is trusted by another policy is fetched by itself, and an address in the policy spares the document. */
	CLEANUP(free_text) char *more = xasprintf(",\"jwks_uri\":\"%s/other\"", issuer.url);
	call_raw(issuer.f, "DELETE", PATH "/a", NULL, ADMIN);
	trust(issuer.url, "b", more);
	expect_accepted(key);
	assert_int_equal(issuer.documents, 1);
	assert_int_equal(issuer.key_sets, 2);
}

/* K3: the issuer changes its keys; both are good for a while, then the old one is not. */
static void changed_keys_are_noticed(void **state)
{
	(void)state;
	expect_accepted(key);
	issuer.b = next_key;
	expect_accepted(next_key);
	expect_accepted(key);
	assert_int_equal(issuer.key_sets, 2);
	issuer.a = next_key;
	issuer.b = NULL;
	/* Until they are asked for again what was said last counts: ten minutes. */
	expect_accepted(key);
	control_fixture_pass_time(11 * MINUTE);
	expect_refused(key, 400, "no federation policy accepts");
	expect_accepted(next_key);
}

/* K2 and K4: tokens with keys that there are not make a few fetches happen, and no more. */
static void unknown_keys_do_not_make_many_fetches(void **state)
{
	(void)state;
	expect_accepted(key);
	for (int i = 0; i < 20; i++)
		expect_refused(next_key, 400, "no federation policy accepts");
	assert_true(issuer.key_sets > 1 && issuer.key_sets <= 5);
	expect_accepted(key);
	int before = issuer.key_sets;
	control_fixture_pass_time(31 * USEC_PER_SEC);
	issuer.b = next_key;
	expect_accepted(next_key);
	assert_int_equal(issuer.key_sets, before + 1);
}

/* K3: an issuer that is down locks nobody out who could get in before, for an hour. */
static void an_issuer_may_be_down_for_a_while(void **state)
{
	(void)state;
	issuer.is_down = true;
	expect_refused(key, 503, "could not be fetched");
	issuer.is_down = false;
	expect_accepted(key);
	issuer.is_down = true;
	expect_accepted(key);
	control_fixture_pass_time(30 * MINUTE);
	int before = issuer.documents;
	expect_accepted(key);
	assert_int_equal(issuer.documents, before + 1); /* it was asked */
	control_fixture_pass_time(31 * MINUTE);
	expect_refused(key, 503, "could not be fetched");
	/* It fails at once when it may not be asked again yet, and is well again when it is. */
	for (int i = 0; i < 10; i++)
		expect_refused(key, 503, "could not be fetched");
	assert_true(issuer.documents < before + 10);
	issuer.is_down = false;
	control_fixture_pass_time(1 * MINUTE);
	expect_accepted(key);
}

static void a_wrong_issuer_is_not_believed(void **state)
{
	(void)state;
	issuer.names_another = true;
	expect_refused(key, 503, "could not be fetched");
	assert_int_equal(issuer.key_sets, 0);
	issuer.names_another = false;
	issuer.a = NULL; /* no keys at all */
	expect_refused(key, 503, "could not be fetched");
	issuer.a = key;
	expect_accepted(key);
}

/* Nobody listens, or it accepts and says nothing: others do not wait for it. */
static void a_silent_issuer_holds_up_nobody_else(void **state)
{
	(void)state;
	static struct client waiting;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof address;
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len) | listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	CLEANUP(free_text) char *silent = xasprintf("http://127.0.0.1:%d", ntohs(address.sin_port));
	trust(silent, "silent", "");
	begin(&waiting, key, silent);
	expect_accepted(key);
	expect_accepted(key);
	assert_false(atomic_load(&waiting.is_done));
	(void)close(fd); /* which ends its connections */
	assert_int_equal(end(&waiting), 503);
}

/* The fetch has connected, so the request is held. */
static int accept_on_the_loop(int fd)
{
	int connection;
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	while ((connection = accept(fd, NULL, NULL)) < 0)
		(void)uv_run(&issuer.f->loop, UV_RUN_NOWAIT);
	return connection;
}

/* The server is closed while requests are held and a fetch is on its way: all ends, nothing is left (the sanitizers look). */
static void it_can_end_in_the_middle(void **state)
{
	(void)state;
	static struct client waiting;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof address;
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len) | listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	CLEANUP(free_text) char *silent = xasprintf("http://127.0.0.1:%d", ntohs(address.sin_port));
	trust(silent, "silent", "");
	begin(&waiting, key, silent);
	int connection = accept_on_the_loop(fd);
	http_server_close(issuer.api);
	issuer.api = NULL;
	issuer_keys_close(issuer.f->services.issuer_keys);
	issuer.f->services.issuer_keys = NULL;
	assert_int_equal(end(&waiting), 0);
	(void)close(connection);
	(void)close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(keys_are_fetched_once_for_many),
		TEST(changed_keys_are_noticed),
		TEST(unknown_keys_do_not_make_many_fetches),
		TEST(an_issuer_may_be_down_for_a_while),
		TEST(a_wrong_issuer_is_not_believed),
		TEST(a_silent_issuer_holds_up_nobody_else),
		TEST(it_can_end_in_the_middle),
	};
	return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
