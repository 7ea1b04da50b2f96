/*
 * Request: one HTTP request, taken apart: decoded path segments, decoded query parameters, the few headers we
 * read, and the body. Built by the server; tests and fuzzers build it from a URI.
 *
 * Invariants
 *   R1  every segment, name and value is valid UTF-8 without NUL: percent-decoding refuses anything else.
 *   R2  a "/" that was percent-encoded stays inside its segment, so it can never move a path to another
 * route. R3  all sizes are bounded by the maxima below; exceeding one is STATUS_LIMIT. Ownership: the request
 * owns what its pointers name; http_request_done() frees all.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"
#include "base/utf8.h"

#define HTTP_URI_MAX      8192
#define HTTP_BODY_MAX     (1u << 20)
#define HTTP_SEGMENTS_MAX 24
#define HTTP_QUERY_MAX    32
#define HTTP_TRACE_ID_LEN 32
#define HTTP_PEER_MAX     45 /* an IPv6 address as text */

struct http_parameter {
	const char *name, *value;
};

struct http_request {
	char method[16];
	char trace_id[HTTP_TRACE_ID_LEN + 1]; /* ours, 32 hex digits, in every error and log line */
	char *path;                           /* as sent, without the query; for logs */
	const char *segments[HTTP_SEGMENTS_MAX];
	size_t segment_count;
	struct http_parameter query[HTTP_QUERY_MAX];
	size_t query_count;
	char *authorization; /* header values; NULL when absent */
	char *host;
	char *user_agent;
	char *content_type;
	struct buffer body;
	char peer[HTTP_PEER_MAX +
	          1]; /* address of who has connected; "" when built by others. No header can change it */
	bool is_forwarded; /* a header says that the peer speaks for somebody else: X-Forwarded-For, Forwarded, Via */
	char *forwarded_for; /* the last X-Forwarded-For, which is that of the last proxy; NULL when absent */
	bool is_body_dropped; /* there was one, which the server was told not to keep (http_server_limit_bodies) */
	int64_t begin_usec; /* monotonic: when its first line was here; 0 when built by others */
	unsigned holds;     /* how often the handler has held it (server.h) */
	void *exchange;     /* the server's; NULL when built by others */
	char *storage;      /* the decoded texts */
};

/* Fills path, segments and query. STATUS_INVALID, STATUS_LIMIT. */
MUST_CHECK status http_request_parse_uri(struct http_request *request, const char *uri, struct error *err);
/*
 * "name=value&…", decoded in place; '+' is a space. *count grows by what is found, up to `max`. `what` is for the message: "query".
 * STATUS_INVALID, STATUS_LIMIT.
 */
MUST_CHECK status http_parameters_parse(char *text, const char *what, struct http_parameter *list, size_t max,
        size_t *count, struct error *err);
/* The first parameter of that name; NULL when absent. */
const char *http_request_query(const struct http_request *request, const char *name);
void http_request_done(struct http_request *request); /* for CLEANUP */
