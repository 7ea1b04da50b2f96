#include "http/router.h"

#include <stdio.h>

static bool path_fits(const char *pattern, const struct http_request *request, struct http_match *match)
{
	match->parameter_count = 0;
	size_t segment = 0;
	const char *pos = pattern;
	while (*pos == '/') {
		pos++;
		size_t len = strcspn(pos, "/");
		if (segment == request->segment_count)
			return false;
		const char *given = request->segments[segment++];
		if (len == 2 && pos[0] == '{' && pos[1] == '}') {
			if (given[0] == '\0' || match->parameter_count == HTTP_PARAMETERS_MAX)
				return false;
			match->parameters[match->parameter_count++] = given;
		} else if (strlen(given) != len || memcmp(given, pos, len) != 0) {
			return false;
		}
		pos += len;
	}
	return segment == request->segment_count;
}

static void allow_add(char allow[HTTP_ALLOW_MAX], const char *method)
{
	size_t len = strlen(allow);
	if (strstr(allow, method) || len + strlen(method) + 3 > HTTP_ALLOW_MAX)
		return;
	(void)snprintf(allow + len, HTTP_ALLOW_MAX - len, "%s%s", len > 0 ? ", " : "", method);
}

enum http_match_result http_route_find(const struct http_route *routes, size_t count,
        const struct http_request *request, struct http_match *ret, char ret_allow[HTTP_ALLOW_MAX])
{
	enum http_match_result result = HTTP_MATCH_NO_PATH;
	ret_allow[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		struct http_match match = { .route = &routes[i] };
		if (!path_fits(routes[i].pattern, request, &match))
			continue;
		if (strcmp(routes[i].method, request->method) == 0) {
			*ret = match;
			return HTTP_MATCH_FOUND;
		}
		allow_add(ret_allow, routes[i].method);
		result = HTTP_MATCH_NO_METHOD;
	}
	return result;
}
