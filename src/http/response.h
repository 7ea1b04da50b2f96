/*
 * Response: status, JSON body and a few headers; error bodies in the one shape that all clients parse
 * (rest-api.md 1.8): error_code, message with the trace id, and details that carry "metadata" each.
 */
#pragma once

#include "base/base.h"
#include "http/request.h"

#define HTTP_HEADERS_MAX 8

struct http_header {
	const char *name; /* a literal */
	char *value;      /* owned */
};

struct http_response {
	int status;
	const char *content_type; /* a literal; NULL is JSON */
	char *body;               /* malloc'ed, owned; NULL is an empty body */
	size_t body_len;
	struct http_header headers[HTTP_HEADERS_MAX];
	size_t header_count;
};

/* Takes body. */
void http_response_set_json(struct http_response *response, int http_status, char *body, size_t len);
void http_response_add_header(struct http_response *response, const char *name, const char *value);
void http_response_clear_headers(struct http_response *response);
/* Takes text, a NUL-terminated page; nobody may keep it, frame it, or learn where it came from. */
void http_response_set_page(struct http_response *response, int http_status, char *html);
/* 302 to a location that has been checked. */
void http_response_redirect(struct http_response *response, const char *location);
/*
 * declarative_context: NULL, or e.g. "MANAGED_BY_PARENT" for an ErrorInfo that declarative clients act on
 * (4.3).
 */
void http_response_set_error(struct http_response *response, int http_status, const char *error_code,
        const char *message, const char *declarative_context, const char *trace_id);
void http_response_done(struct http_response *response); /* for CLEANUP */
