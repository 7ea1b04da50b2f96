/* Forms: what is accepted is valid UTF-8 without NUL, has no name twice, and is within its bounds. */
#include <stdlib.h>

#include "http/form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err;
	CLEANUP(http_form_done) struct http_form form = { 0 };
	status st = http_form_parse((struct slice){ data, size }, &form, &err);
	if (st == STATUS_INVALID || st == STATUS_LIMIT)
		return 0;
	if (st != STATUS_OK || form.count > HTTP_FORM_MAX)
		abort();
	for (size_t i = 0; i < form.count; i++) {
		struct slice name = slice_from_text(form.parameters[i].name);
		struct slice value = slice_from_text(form.parameters[i].value);
		if (utf8_valid_prefix(name) != name.len || utf8_valid_prefix(value) != value.len ||
		        name.len + value.len > size)
			abort();
		const char *text = http_form_text(&form, form.parameters[i].name);
		if (value.len > 0 ? text != form.parameters[i].value : text != NULL)
			abort();
	}
	return 0;
}
