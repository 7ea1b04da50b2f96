#include "cli/exchange.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "http/libcurl.h"

#define CONNECT_TIMEOUT_MS 10000l
#define SILENCE_MAX_SEC    60l  /* as the SDKs: a minute without a byte is a dead server */
#define DEBUG_TEXT_MAX     2000 /* of a body: more is not read on a screen */

struct exchange {
	CURL *curl;
	bool is_debug;
	bool is_too_long; /* the answer of the current request passed EXCHANGE_ANSWER_MAX */
	struct buffer answer;
	char problem[CURL_ERROR_SIZE];
};

static size_t take_answer(char *bytes, size_t size, size_t count, void *arg)
{
	struct exchange *exchange = arg;
	size_t len = size * count;
	if (len > EXCHANGE_ANSWER_MAX - exchange->answer.len) {
		exchange->is_too_long = true;
		return 0; /* curl ends the transfer */
	}
	buffer_append(&exchange->answer, bytes, len);
	return len;
}

static bool is_loopback(const char *url)
{
	const char *host = strstr(url, "://");
	host = host ? host + 3 : url;
	return strncmp(host, "127.", 4) == 0 || strncmp(host, "localhost", 9) == 0 ||
	       strncmp(host, "[::1]", 5) == 0;
}

status exchange_open(bool is_debug, struct exchange **ret, struct error *err)
{
	CLEANUP(exchange_freep) struct exchange *exchange = xcalloc(1, sizeof *exchange);
	exchange->is_debug = is_debug;
	status st = libcurl_load(err);
	if (st != STATUS_OK)
		return st;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(exchange->curl = curl_easy_init()))
		return error_set(err, STATUS_INTERNAL, 0, "could not start libcurl");
	CURL *curl = exchange->curl;
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, exchange->problem);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1l); /* a name with ".." is the server's to refuse */
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1l);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1l);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, SILENCE_MAX_SEC);
	*ret = TAKE_PTR(exchange);
	return STATUS_OK;
}

struct exchange *exchange_free(struct exchange *exchange)
{
	if (exchange) {
		curl_easy_cleanup(exchange->curl);
		buffer_done(&exchange->answer);
		free(exchange);
	}
	return NULL;
}

void exchange_set_timeout(struct exchange *exchange, long timeout_ms)
{
	curl_easy_setopt(exchange->curl, CURLOPT_TIMEOUT_MS, timeout_ms);
	curl_easy_setopt(exchange->curl, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
}

static bool is_secret(const char *name)
{
	static const char *const words[] = { "token", "password", "secret", "assertion" };
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strstr(name, words[i]) && !strstr(name, "_type") && !strstr(name, "page_token") &&
		        !strstr(name, "_endpoint"))
			return true;
	return false;
}

static void hide_secrets(yyjson_mut_doc *doc, yyjson_mut_val *value)
{
	size_t i, count;
	yyjson_mut_val *key, *one;
	if (yyjson_mut_is_obj(value)) {
		yyjson_mut_obj_foreach(value, i, count, key, one)
		{
			if (yyjson_mut_is_str(one) && is_secret(yyjson_mut_get_str(key)))
				yyjson_mut_set_str(one, "**REDACTED**");
			else
				hide_secrets(doc, one);
		}
	} else if (yyjson_mut_is_arr(value)) {
		yyjson_mut_arr_foreach(value, i, count, one) hide_secrets(doc, one);
	}
}

/* One line; a form is not shown, as it may be all secrets. */
static void show_body(const char *mark, yyjson_doc *doc)
{
	yyjson_mut_doc *copy = doc ? yyjson_doc_mut_copy(doc, NULL) : NULL;
	if (!copy)
		return;
	hide_secrets(copy, yyjson_mut_doc_get_root(copy));
	CLEANUP(free_text) char *text = yyjson_mut_write(copy, 0, NULL);
	yyjson_mut_doc_free(copy);
	if (text)
		(void)fprintf(stderr, "%s %.*s%s\n", mark, DEBUG_TEXT_MAX, text,
		        strlen(text) > DEBUG_TEXT_MAX ? "…" : "");
}

static void show_request(const struct exchange_request *request)
{
	(void)fprintf(stderr, "> %s %s\n", request->method, request->url);
	if (request->body) {
		yyjson_doc *doc = yyjson_read(request->body, strlen(request->body), 0);
		show_body(">", doc);
		yyjson_doc_free(doc);
	}
}

static status unreachable(
        struct exchange *exchange, CURLcode rc, const char *server, const char *url, struct error *err)
{
	if (exchange->is_too_long)
		return error_set(err, STATUS_LIMIT, 0, "the answer of %s is longer than %u bytes", server,
		        EXCHANGE_ANSWER_MAX);
	const char *reason = exchange->problem[0] ? exchange->problem : curl_easy_strerror(rc);
	bool is_transient = rc == CURLE_COULDNT_CONNECT || rc == CURLE_GOT_NOTHING ||
	                    rc == CURLE_RECV_ERROR || rc == CURLE_SEND_ERROR ||
	                    rc == CURLE_OPERATION_TIMEDOUT;
	status st = error_set(err, is_transient ? STATUS_UNAVAILABLE : STATUS_IO, 0, "could not reach %s: %s",
	        server, reason);
	if (rc == CURLE_COULDNT_CONNECT && is_loopback(url))
		error_hint(err, "Is Tarn running? Start it with: tarn up");
	return st;
}

static struct curl_slist *make_headers(const struct exchange_request *request)
{
	CLEANUP(free_text)
	char *authorization =
	        request->authorization ? xasprintf("Authorization: %s", request->authorization) : NULL;
	CLEANUP(free_text)
	char *content_type =
	        request->content_type ? xasprintf("Content-Type: %s", request->content_type) : NULL;
	const char *const lines[] = { "Accept: application/json", "User-Agent: tarn/" TARN_VERSION,
		"Expect:", authorization, content_type };
	struct curl_slist *headers = NULL;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		if (lines[i])
			headers = curl_slist_append(headers, lines[i]);
	return headers;
}

status exchange_perform(struct exchange *exchange, const char *server, const struct exchange_request *request,
        struct exchange_answer *ret, struct error *err)
{
	CURL *curl = exchange->curl;
	buffer_consume(&exchange->answer, exchange->answer.len);
	exchange->problem[0] = '\0';
	exchange->is_too_long = false;
	struct curl_slist *headers = make_headers(request);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_URL, request->url);
	curl_easy_setopt(curl, CURLOPT_HTTPGET, 1l); /* forgets the body of the last one */
	if (request->body || strcmp(request->method, "POST") == 0) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body ? request->body : "");
		curl_easy_setopt(
		        curl, CURLOPT_POSTFIELDSIZE, (long)(request->body ? strlen(request->body) : 0));
	}
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
	/* No proxy of the environment reaches this machine for us. */
	curl_easy_setopt(curl, CURLOPT_PROXY, is_loopback(request->url) ? "" : NULL);
	if (exchange->is_debug)
		show_request(request);

	int64_t start = clock_monotonic_usec();
	CURLcode rc = curl_easy_perform(curl);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(headers);
	if (rc != CURLE_OK) {
		status st = unreachable(exchange, rc, server, request->url, err);
		if (exchange->is_debug)
			(void)fprintf(stderr, "< %s\n", err->message);
		return st;
	}
	struct exchange_answer answer = { 0 };
	curl_off_t retry_after = 0;
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.http_status);
	curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &retry_after);
	answer.retry_after_sec = retry_after;
	if (exchange->answer.len > 0)
		answer.doc = yyjson_read(exchange->answer.data, exchange->answer.len, 0);
	if (exchange->is_debug) {
		(void)fprintf(stderr, "< HTTP %ld, %zu bytes, %.1f ms\n", answer.http_status,
		        exchange->answer.len, (double)(clock_monotonic_usec() - start) / 1000);
		show_body("<", answer.doc);
	}
	*ret = answer;
	return STATUS_OK;
}

void form_add_field(struct buffer *form, const char *name, const char *value)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	buffer_printf(form, "%s%s=", form->len > 0 ? "&" : "", name);
	for (; *value; value++) {
		if (strchr(plain, *value))
			buffer_append(form, value, 1);
		else
			buffer_printf(form, "%%%02X", (unsigned char)*value);
	}
}
