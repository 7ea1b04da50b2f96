/*
 * REST: one HTTP connection to the API, JSON in and out (rest-api.md sections 1.1 and 1.8).
 * Threads: one at a time.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "base/buffer.h"
#include "cli/connection.h"

struct rest;

/* `connection` is borrowed. With is_debug it says where it was found, and every request (exchange.h). */
MUST_CHECK status rest_open(
        const struct connection *connection, bool is_debug, struct rest **ret, struct error *err);
struct rest *rest_free(struct rest *rest);
static inline void rest_freep(struct rest **rest)
{
	*rest = rest_free(*rest);
}

/* For completions: whoever waits for one would rather have none. */
void rest_set_timeout(struct rest *rest, long timeout_ms);

/*
 * `path` begins with "/" and is already encoded; body may be NULL. *ret is the answer's JSON, freed with json_free().
 * The message of a failure is the server's. Codes: NOT_FOUND (404), DENIED (401, 403), EXISTS (409), LIMIT (429),
 * INVALID (other 4xx), UNSUPPORTED (501), UNAVAILABLE (503, or nobody answers), INTERNAL (other 5xx, or an answer that is no JSON).
 * A server that asks for a pause (429 with Retry-After) gets it, for a minute altogether.
 */
MUST_CHECK status rest_call(struct rest *rest, const char *method, const char *path, const char *body,
        yyjson_doc **ret, struct error *err);

#define API_PREFIX "/api/2.0/postgres/"

/* Appends a resource name ("projects/p/branches/b") to a path, encoded but for its slashes. */
void path_append_name(struct buffer *path, const char *name);
/* Appends "?name=value" or "&name=value", the value encoded. */
void path_append_query(struct buffer *path, const char *name, const char *value);

void json_free(yyjson_doc **doc); /* for CLEANUP */
/* A string member, or "" when there is none. Borrowed from the document. */
const char *json_text(yyjson_val *object, const char *name);
/* A member of a member …, by names divided by '.'; NULL when one is missing. */
yyjson_val *json_at(yyjson_val *object, const char *names);
