/* SCIM filters and member paths: accepted or refused, with a value that is within its bounds. */
#include <stdlib.h>

#include "control_plane/scim_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(free_text) char *text = xstrndup(data, size);
	for (int kind = IDENTITY_USER; kind <= IDENTITY_GROUP; kind++) {
		struct scim_filter filter;
		struct api_error error = { 0 };
		if (scim_filter_parse(text, (enum identity_kind)kind, &filter, &error)) {
			if (filter.rows.attribute != FILTER_ALL && filter.rows.value != filter.value)
				abort();
			if (strlen(filter.value) > LOGIN_MAX)
				abort();
		} else if (error.message[0] == '\0') {
			abort();
		}
	}
	char member[LOGIN_MAX + 1];
	if (scim_member_path_parse(text, member) && strlen(member) > LOGIN_MAX)
		abort();
	return 0;
}
