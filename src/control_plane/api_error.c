#include "control_plane/api_error.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
	int http_status;
	const char *text;
} codes[] = {
	[API_INVALID_PARAMETER] = { 400, "INVALID_PARAMETER_VALUE" },
	[API_BAD_REQUEST] = { 400, "BAD_REQUEST" },
	[API_INVALID_STATE] = { 400, "INVALID_STATE" },
	[API_MALFORMED] = { 400, "MALFORMED_REQUEST" },
	[API_QUOTA] = { 400, "QUOTA_EXCEEDED" },
	[API_UNAUTHENTICATED] = { 401, "UNAUTHENTICATED" },
	[API_DENIED] = { 403, "PERMISSION_DENIED" },
	[API_NOT_FOUND] = { 404, "NOT_FOUND" },
	[API_METHOD] = { 405, "METHOD_NOT_ALLOWED" },
	[API_EXISTS] = { 409, "ALREADY_EXISTS" },
	[API_LIMITED] = { 429, "REQUEST_LIMIT_EXCEEDED" },
	[API_INTERNAL] = { 500, "INTERNAL_ERROR" },
	[API_NOT_IMPLEMENTED] = { 501, "NOT_IMPLEMENTED" },
	[API_UNAVAILABLE] = { 503, "TEMPORARILY_UNAVAILABLE" },
};

bool api_fail(struct api_error *error, enum api_code code, const char *fmt, ...)
{
	*error = (struct api_error){ .code = code };
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(error->message, sizeof error->message, fmt, args);
	va_end(args);
	return false;
}

bool api_fail_status(struct api_error *error, const struct error *err)
{
	enum api_code code =
	        API_INTERNAL; /* disk full too: 429 and 503 would make clients retry for minutes */
	switch (err->code) {
	case STATUS_INVALID:
	case STATUS_LIMIT:
		code = API_INVALID_PARAMETER;
		break;
	case STATUS_NOT_FOUND:
		code = API_NOT_FOUND;
		break;
	case STATUS_EXISTS:
		code = API_EXISTS;
		break;
	case STATUS_CONFLICT:
		code = API_INVALID_STATE;
		break;
	case STATUS_UNSUPPORTED:
		code = API_NOT_IMPLEMENTED;
		break;
	case STATUS_UNAVAILABLE:
		code = API_UNAVAILABLE;
		break;
	default:
		break;
	}
	return api_fail(error, code, "%s%s%s", err->message, err->hint[0] ? ". " : "", err->hint);
}

int api_code_http_status(enum api_code code)
{
	return codes[code].http_status;
}

const char *api_code_text(enum api_code code)
{
	return codes[code].text;
}

enum api_code api_code_of(const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		if (strcmp(codes[i].text, text) == 0)
			return (enum api_code)i;
	}
	return API_INTERNAL;
}

const char *api_operation_error_code(status code)
{
	switch (code) {
	case STATUS_OK:
		break;
	case STATUS_INVALID:
		return "INVALID_PARAMETER_VALUE";
	case STATUS_NOT_FOUND:
		return "NOT_FOUND";
	case STATUS_EXISTS:
		return "ALREADY_EXISTS";
	case STATUS_DENIED:
		return "PERMISSION_DENIED";
	case STATUS_CONFLICT:
		return "ABORTED";
	case STATUS_LIMIT:
		return "RESOURCE_LIMIT_EXCEEDED";
	case STATUS_UNSUPPORTED:
		return "NOT_IMPLEMENTED";
	case STATUS_UNAVAILABLE:
		return "UNAVAILABLE";
	case STATUS_CORRUPT:
		return "DATA_LOSS";
	case STATUS_IO:
		return "IO_ERROR";
	case STATUS_NO_SPACE:
	case STATUS_NO_MEMORY:
		return "RESOURCE_EXHAUSTED";
	case STATUS_INTERNAL:
		return "INTERNAL_ERROR";
	}
	return "UNKNOWN";
}
