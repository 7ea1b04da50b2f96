/*
 * Form: the body of a request as application/x-www-form-urlencoded, which OAuth and browsers send. Names and values are as those of a query (R1 in
 * request.h); a name that comes twice is refused, as OAuth demands.
 */
#pragma once

#include "base/base.h"
#include "http/request.h"

#define HTTP_FORM_MAX 32

struct http_form {
	struct http_parameter parameters[HTTP_FORM_MAX];
	size_t count;
	char *storage;
};

/* STATUS_INVALID, STATUS_LIMIT. To be released with http_form_done() also then. */
MUST_CHECK status http_form_parse(struct slice body, struct http_form *ret, struct error *err);
/* Whether the body is announced as a form. */
bool http_form_is_announced(const struct http_request *request);
/* NULL when it is absent or empty. */
const char *http_form_text(const struct http_form *form, const char *name);
void http_form_done(
        struct http_form *form); /* for CLEANUP; what was in it is overwritten first: it may be a secret */
