#include "cli/sign_in.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/pkce.h"
#include "base/buffer.h"
#include "base/random.h"
#include "cli/rest.h"

#define CLIENT       "databricks-cli"
#define STATE_DIGITS 32
#define REQUEST_MAX  8192
#define VERIFIER_LEN 64

static status ask_token(
        struct exchange *exchange, const char *host, const struct buffer *form, char **ret, struct error *err)
{
	CLEANUP(free_text) char *url = xasprintf("%s/oidc/v1/token", host);
	const struct exchange_request request = { .method = "POST",
		.url = url,
		.content_type = "application/x-www-form-urlencoded",
		.body = form->data };
	struct exchange_answer answer = { 0 };
	status st = exchange_perform(exchange, host, &request, &answer, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(json_free) yyjson_doc *doc = answer.doc;
	yyjson_val *root = yyjson_doc_get_root(doc);
	const char *token = json_text(root, "access_token");
	if (answer.http_status != 200 || !*token)
		return error_set(err, STATUS_DENIED, 0, "%s did not let you in: %.200s", host,
		        *json_text(root, "error_description") ? json_text(root, "error_description")
		                                              : "the answer has no token");
	*ret = xstrdup(token);
	return STATUS_OK;
}

status sign_in_with_secret(
        struct exchange *exchange, const char *host, const char *secret, char **ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer form = { 0 };
	form_add_field(&form, "grant_type", "urn:tarn:oauth:grant-type:sign-in");
	form_add_field(&form, "client_id", CLIENT);
	form_add_field(&form, "secret", secret);
	return ask_token(exchange, host, &form, ret, err);
}

/* ---- With a browser ---- */

static status listen_here(int *ret_fd, int *ret_port, struct error *err)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof address;
	CLEANUP(close_fd) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 8) < 0 ||
	        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		return error_set(err, STATUS_IO, errno, "could not listen for the browser");
	*ret_port = ntohs(address.sin_port);
	*ret_fd = TAKE_FD(fd);
	return STATUS_OK;
}

/* The value of a query parameter in the first line of a request; only what needs no decoding. Caller frees; NULL: none. */
static char *take_parameter(const char *line, const char *name)
{
	CLEANUP(free_text) char *first = xasprintf("?%s=", name);
	CLEANUP(free_text) char *later = xasprintf("&%s=", name);
	const char *found = strstr(line, first);
	found = found ? found : strstr(line, later);
	if (!found)
		return NULL;
	found += strlen(first);
	return xstrndup(found, strcspn(found, "& \r\n"));
}

static void answer_browser(int fd, bool is_good)
{
	CLEANUP(free_text)
	char *page = xasprintf(
	        "<!doctype html><title>Tarn</title><p style=\"font:16px system-ui;margin:4em\">%s",
	        is_good ? "You are signed in. You can close this page." : "This is not what was waited for.");
	CLEANUP(free_text)
	char *text =
	        xasprintf("HTTP/1.1 %s\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %zu\r\n"
	                  "Cache-Control: no-store\r\nConnection: close\r\n\r\n%s",
	                is_good ? "200 OK" : "404 Not Found", strlen(page), page);
	(void)!write(fd, text, strlen(text));
	(void)shutdown(fd, SHUT_WR);
}

/* One connection; true when it brought the answer: *ret_code, or an error. */
static bool serve(int fd, const char *state, char **ret_code, char **ret_error)
{
	char request[REQUEST_MAX + 1];
	size_t len = 0;
	struct timeval patience = { .tv_sec = 10 };
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	while (len < REQUEST_MAX) {
		ssize_t n = read(fd, request + len, REQUEST_MAX - len);
		if (n <= 0)
			break;
		len += (size_t)n;
		request[len] = '\0';
		if (strstr(request, "\r\n\r\n"))
			break;
	}
	request[len] = '\0';
	request[strcspn(request, "\r\n")] = '\0';
	CLEANUP(free_text) char *given = take_parameter(request, "state");
	bool is_ours = strncmp(request, "GET /", 5) == 0 && given && strcmp(given, state) == 0;
	if (is_ours) {
		*ret_code = take_parameter(request, "code");
		*ret_error = take_parameter(request, "error");
	}
	is_ours = is_ours && (*ret_code || *ret_error);
	answer_browser(fd, is_ours && *ret_code);
	return is_ours;
}

static status wait_for_browser(int listener, const char *state, char **ret_code, struct error *err)
{
	for (;;) {
		CLEANUP(free_text) char *problem = NULL;
		CLEANUP(close_fd) int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
			return error_set(err, STATUS_IO, errno, "could not wait for the browser");
		if (fd >= 0 && serve(fd, state, ret_code, &problem)) {
			if (*ret_code)
				return STATUS_OK;
			return error_set(err, STATUS_DENIED, 0, "the sign-in page answered: %.100s", problem);
		}
	}
}

status sign_in_with_browser(struct exchange *exchange, const char *host, char **ret, struct error *err)
{
	char state[STATE_DIGITS + 1], verifier[VERIFIER_LEN + 1], challenge[PKCE_CHALLENGE_LEN + 1];
	CLEANUP(close_fd) int listener = -1;
	CLEANUP(free_text) char *code = NULL;
	int port = 0;
	status st = listen_here(&listener, &port, err);
	if (st != STATUS_OK)
		return st;
	random_hex(state, STATE_DIGITS);
	random_hex(verifier, VERIFIER_LEN);
	pkce_challenge_make(verifier, challenge);
	CLEANUP(free_text) char *redirect = xasprintf("http://127.0.0.1:%d", port);
	CLEANUP(buffer_done) struct buffer query = { 0 }, form = { 0 };
	form_add_field(&query, "response_type", "code");
	form_add_field(&query, "client_id", CLIENT);
	form_add_field(&query, "redirect_uri", redirect);
	form_add_field(&query, "scope", "all-apis");
	form_add_field(&query, "state", state);
	form_add_field(&query, "code_challenge", challenge);
	form_add_field(&query, "code_challenge_method", "S256");
	(void)fprintf(stderr,
	        "Open this page in a browser on this computer, and sign in:\n\n  %s/oidc/v1/authorize?%s\n\n",
	        host, query.data);
	(void)fflush(stderr);
	st = wait_for_browser(listener, state, &code, err);
	if (st != STATUS_OK)
		return st;
	form_add_field(&form, "grant_type", "authorization_code");
	form_add_field(&form, "client_id", CLIENT);
	form_add_field(&form, "redirect_uri", redirect);
	form_add_field(&form, "code_verifier", verifier);
	form_add_field(&form, "code", code);
	return ask_token(exchange, host, &form, ret, err);
}
