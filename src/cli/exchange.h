/*
 * Exchange: HTTP requests over one connection that is kept, by libcurl. Knows nothing of the API.
 * Threads: one at a time.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "base/buffer.h"

#define EXCHANGE_ANSWER_MAX (64u << 20)

struct exchange;

/* With is_debug every request and answer is shown on stderr, without the secrets in them. */
MUST_CHECK status exchange_open(bool is_debug, struct exchange **ret, struct error *err);
struct exchange *exchange_free(struct exchange *exchange);
static inline void exchange_freep(struct exchange **exchange)
{
	*exchange = exchange_free(*exchange);
}

/* For all requests that follow, from connecting to the last byte; without it, only silence ends them. */
void exchange_set_timeout(struct exchange *exchange, long timeout_ms);

struct exchange_request {
	const char *method, *url;
	const char *authorization; /* value of the header; NULL: none */
	const char *content_type;
	const char *body; /* NULL: none */
};

struct exchange_answer {
	long http_status;
	yyjson_doc *doc;         /* NULL: it was no JSON. To be freed */
	int64_t retry_after_sec; /* 0: the server did not say */
};

/*
 * Any HTTP status is a success here. STATUS_UNAVAILABLE: nobody answers, or the connection broke; STATUS_IO: it cannot be reached that way
 * (a certificate, a host name); STATUS_LIMIT: the answer is too long. `server` is how messages call it.
 */
MUST_CHECK status exchange_perform(struct exchange *exchange, const char *server,
        const struct exchange_request *request, struct exchange_answer *ret, struct error *err);

/* For the body of a form, or a query: "&name=value", the value encoded; "name=value" for the first. */
void form_add_field(struct buffer *form, const char *name, const char *value);
