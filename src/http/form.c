#include "http/form.h"

#include <stdlib.h>
#include <strings.h>

static const char media_type[] = "application/x-www-form-urlencoded";

bool http_form_is_announced(const struct http_request *request)
{
	const char *type = request->content_type ? request->content_type : "";
	size_t len = strcspn(type, "; ");
	return len == sizeof media_type - 1 && strncasecmp(type, media_type, len) == 0;
}

status http_form_parse(struct slice body, struct http_form *ret, struct error *err)
{
	if (body.len > 0 && memchr(body.data, 0, body.len))
		return error_set(err, STATUS_INVALID, 0, "the form has a NUL byte");
	ret->storage = xstrndup(body.len > 0 ? (const char *)body.data : "", body.len);
	status st =
	        http_parameters_parse(ret->storage, "form", ret->parameters, HTTP_FORM_MAX, &ret->count, err);
	for (size_t i = 0; i < ret->count && st == STATUS_OK; i++)
		for (size_t k = 0; k < i && st == STATUS_OK; k++)
			if (strcmp(ret->parameters[i].name, ret->parameters[k].name) == 0)
				st = error_set(err, STATUS_INVALID, 0,
				        "the form has the parameter '%.64s' twice", ret->parameters[i].name);
	return st;
}

const char *http_form_text(const struct http_form *form, const char *name)
{
	for (size_t i = 0; i < form->count; i++)
		if (strcmp(form->parameters[i].name, name) == 0)
			return form->parameters[i].value[0] ? form->parameters[i].value : NULL;
	return NULL;
}

void http_form_done(struct http_form *form)
{
	for (size_t i = 0; i < form->count; i++)
		explicit_bzero(
		        (void *)(uintptr_t)form->parameters[i].value, strlen(form->parameters[i].value));
	free(form->storage);
	*form = (struct http_form){ 0 };
}
