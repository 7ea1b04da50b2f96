/*
 * API error: what a REST call answers when it does not succeed: a class (HTTP status and error_code, rest-api.md 1.8)
 * and a message for a person. Functions that can fail this way return false and fill it, so failing is one expression:
 *
 *   return api_fail(error, API_NOT_FOUND, "branch id not found");
 *
 * Some phrases in a message make clients retry for minutes (1.8, "Retry traps"); our texts avoid them.
 */
#pragma once

#include "base/base.h"

enum api_code {
	API_INVALID_PARAMETER,
	API_BAD_REQUEST,
	API_INVALID_STATE,
	API_MALFORMED,
	API_QUOTA,
	API_UNAUTHENTICATED,
	API_DENIED,
	API_NOT_FOUND,
	API_METHOD,
	API_EXISTS,
	API_INTERNAL,
	API_NOT_IMPLEMENTED,
	API_LIMITED, /* too many requests; with Retry-After */
	API_UNAVAILABLE,
};

struct api_error {
	enum api_code code;
	bool is_managed_by_parent; /* declarative clients take it as "goes with its parent" (4.3) */
	char message[1024];
};

/* Always false. */
PRINTF_LIKE(3) bool api_fail(struct api_error *error, enum api_code code, const char *fmt, ...);
/* From a failure below: metadata, disk. Always false. */
bool api_fail_status(struct api_error *error, const struct error *err);

int api_code_http_status(enum api_code code);
const char *api_code_text(enum api_code code); /* "INVALID_PARAMETER_VALUE" */
/* Of an operation's error_code; API_INTERNAL for one that calls do not have. */
enum api_code api_code_of(const char *text);

/* error_code of a failed operation; always one of the enum that SDKs know. */
const char *api_operation_error_code(status code);
