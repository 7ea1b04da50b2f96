#include "cli/rest.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cli/libcurl.h"

#define CONNECT_TIMEOUT_MS 10000l
#define SILENCE_MAX_SEC    60l /* as the SDKs: a minute without a byte is a dead server */

struct rest {
	CURL *curl;
	struct curl_slist *headers;
	char *url;
	bool is_debug;
	bool is_too_long; /* the answer of the current call passed REST_ANSWER_MAX */
	struct buffer answer;
	char problem[CURL_ERROR_SIZE];
};

void json_free(yyjson_doc **doc)
{
	yyjson_doc_free(*doc);
	*doc = NULL;
}

const char *json_text(yyjson_val *object, const char *name)
{
	const char *text = yyjson_get_str(json_at(object, name));
	return text ? text : "";
}

yyjson_val *json_at(yyjson_val *object, const char *names)
{
	for (;;) {
		size_t len = strcspn(names, ".");
		object = yyjson_obj_getn(object, names, len);
		if (!object || names[len] == '\0')
			return object;
		names += len + 1;
	}
}

static void append_encoded(struct buffer *out, const char *text, bool keep_slashes)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
	for (; *text; text++) {
		if (strchr(plain, *text) || (*text == '/' && keep_slashes))
			buffer_append(out, text, 1);
		else
			buffer_printf(out, "%%%02X", (unsigned char)*text);
	}
}

void path_append_name(struct buffer *path, const char *name)
{
	append_encoded(path, name, true);
}

void path_append_query(struct buffer *path, const char *name, const char *value)
{
	buffer_append_text(path, strchr(path->data, '?') ? "&" : "?");
	buffer_printf(path, "%s=", name);
	append_encoded(path, value, false);
}

static size_t take_answer(char *bytes, size_t size, size_t count, void *arg)
{
	struct rest *rest = arg;
	size_t len = size * count;
	if (len > REST_ANSWER_MAX - rest->answer.len) {
		rest->is_too_long = true;
		return 0; /* curl ends the transfer */
	}
	buffer_append(&rest->answer, bytes, len);
	return len;
}

static bool is_loopback(const char *url)
{
	const char *host = strstr(url, "://");
	host = host ? host + 3 : url;
	return strncmp(host, "127.", 4) == 0 || strncmp(host, "localhost", 9) == 0 ||
	       strncmp(host, "[::1]", 5) == 0;
}

status rest_open(const struct connection *connection, bool is_debug, struct rest **ret, struct error *err)
{
	CLEANUP(rest_freep) struct rest *rest = xcalloc(1, sizeof *rest);
	rest->is_debug = is_debug;
	rest->url = xstrdup(connection->url);
	status st = libcurl_load(err);
	if (st != STATUS_OK)
		return st;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(rest->curl = curl_easy_init()))
		return error_set(err, STATUS_INTERNAL, 0, "could not start libcurl");

	CLEANUP(free_text) char *authorization = xasprintf("Authorization: Bearer %s", connection->token);
	const char *const lines[] = { authorization, "Accept: application/json",
		"Content-Type: application/json", "User-Agent: tarn/" TARN_VERSION, "Expect:" };
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		rest->headers = curl_slist_append(rest->headers, lines[i]);

	CURL *curl = rest->curl;
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, rest->headers);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, rest->problem);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, rest);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1l); /* a name with ".." is the server's to refuse */
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1l);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1l);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, SILENCE_MAX_SEC);
	if (is_loopback(rest->url))
		curl_easy_setopt(curl, CURLOPT_PROXY,
		        ""); /* no proxy of the environment reaches this machine for us */
	*ret = TAKE_PTR(rest);
	return STATUS_OK;
}

struct rest *rest_free(struct rest *rest)
{
	if (rest) {
		curl_easy_cleanup(rest->curl);
		curl_slist_free_all(rest->headers);
		buffer_done(&rest->answer);
		free(rest->url);
		free(rest);
	}
	return NULL;
}

static status code_of(long http)
{
	switch (http) {
	case 401:
	case 403:
		return STATUS_DENIED;
	case 404:
		return STATUS_NOT_FOUND;
	case 409:
		return STATUS_EXISTS;
	case 429:
		return STATUS_LIMIT;
	case 501:
		return STATUS_UNSUPPORTED;
	case 503:
		return STATUS_UNAVAILABLE;
	default:
		return http < 500 ? STATUS_INVALID : STATUS_INTERNAL;
	}
}

static status refuse(struct rest *rest, long http, yyjson_val *root, struct error *err)
{
	const char *message = json_text(root, "message");
	status st = *message ? error_set(err, code_of(http), 0, "%s", message)
	                     : error_set(err, code_of(http), 0, "%s answered with HTTP status %ld", rest->url,
	                               http);
	if (http == 401)
		error_hint(err,
		        "The token does not fit %s: unset DATABRICKS_TOKEN, or run: eval \"$(tarn env)\"",
		        rest->url);
	return st;
}

static status unreachable(struct rest *rest, CURLcode rc, struct error *err)
{
	if (rest->is_too_long)
		return error_set(err, STATUS_LIMIT, 0, "the answer of %s is longer than %u bytes", rest->url,
		        REST_ANSWER_MAX);
	const char *reason = rest->problem[0] ? rest->problem : curl_easy_strerror(rc);
	bool is_transient = rc == CURLE_COULDNT_CONNECT || rc == CURLE_GOT_NOTHING ||
	                    rc == CURLE_RECV_ERROR || rc == CURLE_SEND_ERROR ||
	                    rc == CURLE_OPERATION_TIMEDOUT;
	status st = error_set(err, is_transient ? STATUS_UNAVAILABLE : STATUS_IO, 0, "could not reach %s: %s",
	        rest->url, reason);
	if (rc == CURLE_COULDNT_CONNECT && is_loopback(rest->url))
		error_hint(err, "Is Tarn running? Start it with: tarn up");
	return st;
}

status rest_call(struct rest *rest, const char *method, const char *path, const char *body, yyjson_doc **ret,
        struct error *err)
{
	CLEANUP(free_text) char *url = xasprintf("%s%s", rest->url, path);
	CURL *curl = rest->curl;
	buffer_consume(&rest->answer, rest->answer.len);
	rest->problem[0] = '\0';
	rest->is_too_long = false;
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_HTTPGET, 1l); /* forgets the body of the last call */
	if (body || strcmp(method, "POST") == 0) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body ? body : "");
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)(body ? strlen(body) : 0));
	}
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);

	int64_t start = clock_monotonic_usec();
	CURLcode rc = curl_easy_perform(curl);
	long http = 0;
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http);
	if (rest->is_debug)
		(void)fprintf(stderr, "%s %s: %ld, %.1f ms\n", method, url, http,
		        (double)(clock_monotonic_usec() - start) / 1000);
	if (rc != CURLE_OK)
		return unreachable(rest, rc, err);

	CLEANUP(json_free)
	yyjson_doc *doc = rest->answer.len > 0 ? yyjson_read(rest->answer.data, rest->answer.len, 0) : NULL;
	yyjson_val *root = yyjson_doc_get_root(doc);
	if (http >= 400)
		return refuse(rest, http, root, err);
	if (http < 200 || http >= 300)
		return error_set(
		        err, STATUS_INTERNAL, 0, "%s answered with HTTP status %ld", rest->url, http);
	if (!yyjson_is_obj(root))
		return error_set(err, STATUS_INTERNAL, 0, "%s answered with something that is no JSON object",
		        rest->url);
	*ret = TAKE_PTR(doc);
	return STATUS_OK;
}
