/*
 * Router: finds the entry of a constant table that a method and path mean.
 *
 * A pattern is a path whose segments are literals or "{}" (exactly one non-empty segment). The first entry
 * that fits wins, so more literal patterns stand before less literal ones.
 */
#pragma once

#include "base/base.h"
#include "http/request.h"

#define HTTP_PARAMETERS_MAX 8

struct http_route {
	const char *method;
	const char *pattern; /* "/api/2.0/postgres/projects/{}" */
	const void *target;  /* the caller's: what to do */
};

struct http_match {
	const struct http_route *route;
	const char *parameters[HTTP_PARAMETERS_MAX]; /* what "{}" stood for, in order; borrowed from the
	                                                request */
	size_t parameter_count;
};

enum http_match_result {
	HTTP_MATCH_FOUND,
	HTTP_MATCH_NO_PATH,   /* 404 */
	HTTP_MATCH_NO_METHOD, /* 405: the path exists with other methods, listed in allow */
};

#define HTTP_ALLOW_MAX 64

enum http_match_result http_route_find(const struct http_route *routes, size_t count,
        const struct http_request *request, struct http_match *ret, char ret_allow[HTTP_ALLOW_MAX]);
