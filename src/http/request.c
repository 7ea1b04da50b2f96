#include "http/request.h"

#include <stdlib.h>
#include <strings.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Decodes in place and terminates; false when the result would break R1. */
static bool decode(char *text, size_t len, bool plus_is_space)
{
	size_t out = 0;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (c == '%') {
			if (len - i < 3)
				return false;
			int h = hex_digit(text[i + 1]), l = hex_digit(text[i + 2]);
			if (h < 0 || l < 0)
				return false;
			c = (char)(h << 4 | l);
			i += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		}
		text[out++] = c;
	}
	text[out] = '\0';
	return utf8_valid_prefix((struct slice){ .data = (const uint8_t *)text, .len = out }) == out;
}

/* The path behind "http://host" when the client sends the absolute form (RFC 9112 section 3.2.2). */
static const char *skip_authority(const char *uri)
{
	size_t scheme = strncasecmp(uri, "http://", 7) == 0    ? 7
	                : strncasecmp(uri, "https://", 8) == 0 ? 8
	                                                       : 0;
	if (scheme == 0)
		return uri;
	const char *path = strchr(uri + scheme, '/');
	return path ? path : "/";
}

static status parse_path(struct http_request *request, char *path, struct error *err)
{
	if (path[0] != '/')
		return error_set(err, STATUS_INVALID, 0, "the path does not begin with \"/\"");
	char *pos = path + 1;
	for (;;) {
		size_t len = strcspn(pos, "/");
		bool is_last = pos[len] == '\0';
		if (request->segment_count == HTTP_SEGMENTS_MAX)
			return error_set(err, STATUS_LIMIT, 0, "the path has more than %d segments",
			        HTTP_SEGMENTS_MAX);
		if (!decode(pos, len, false))
			return error_set(err, STATUS_INVALID, 0,
			        "the path has a percent-encoding that is broken or not UTF-8");
		request->segments[request->segment_count++] = pos;
		if (is_last)
			return STATUS_OK;
		pos += len + 1;
	}
}

status http_parameters_parse(char *text, const char *what, struct http_parameter *list, size_t max,
        size_t *count, struct error *err)
{
	char *pos = text;
	while (*pos) {
		size_t len = strcspn(pos, "&");
		char *next = pos[len] ? pos + len + 1 : pos + len;
		char *equals = memchr(pos, '=', len);
		size_t name_len = equals ? (size_t)(equals - pos) : len;
		if (len > 0) {
			if (*count == max)
				return error_set(err, STATUS_LIMIT, 0, "the %s has more than %zu parameters",
				        what, max);
			char *value = equals ? equals + 1 : pos + len;
			size_t value_len = equals ? len - name_len - 1 : 0;
			pos[len] = '\0';
			if (!decode(pos, name_len, true) ||
			        (value_len > 0 && !decode(value, value_len, true)))
				return error_set(err, STATUS_INVALID, 0,
				        "the %s has a percent-encoding that is broken or not UTF-8", what);
			list[(*count)++] =
			        (struct http_parameter){ .name = pos, .value = value_len > 0 ? value : "" };
		}
		pos = next;
	}
	return STATUS_OK;
}

status http_request_parse_uri(struct http_request *request, const char *uri, struct error *err)
{
	if (strlen(uri) > HTTP_URI_MAX)
		return error_set(err, STATUS_LIMIT, 0, "the URI is longer than %d bytes", HTTP_URI_MAX);
	request->storage = xstrdup(skip_authority(uri));
	request->storage[strcspn(request->storage, "#")] = '\0';
	size_t path_len = strcspn(request->storage, "?");
	bool has_query = request->storage[path_len] == '?';
	request->storage[path_len] = '\0';
	request->path = xstrdup(request->storage);
	utf8_clean(request->path);

	status st = parse_path(request, request->storage, err);
	if (st == STATUS_OK && has_query)
		st = http_parameters_parse(request->storage + path_len + 1, "query", request->query,
		        HTTP_QUERY_MAX, &request->query_count, err);
	return st;
}

const char *http_request_query(const struct http_request *request, const char *name)
{
	for (size_t i = 0; i < request->query_count; i++) {
		if (strcmp(request->query[i].name, name) == 0)
			return request->query[i].value;
	}
	return NULL;
}

void http_request_done(struct http_request *request)
{
	free(request->path);
	free(request->storage);
	free(request->authorization);
	free(request->host);
	free(request->user_agent);
	free(request->content_type);
	free(request->forwarded_for);
	buffer_done(&request->body);
	*request = (struct http_request){ 0 };
}
