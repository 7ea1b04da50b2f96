#include "control_plane/update_mask.h"

static const struct update_path *find_path(const struct update_path *paths, size_t count, struct slice text)
{
	for (size_t i = 0; i < count; i++) {
		if (slice_equals_text(text, paths[i].path))
			return &paths[i];
	}
	return NULL;
}

static struct slice trimmed(const char *text, size_t len)
{
	while (len > 0 && *text == ' ') {
		text++;
		len--;
	}
	while (len > 0 && text[len - 1] == ' ')
		len--;
	return (struct slice){ .data = (const uint8_t *)text, .len = len };
}

bool update_mask_parse(const char *text, const struct update_path *paths, size_t count,
        struct update_mask *ret, struct api_error *error)
{
	if (!text || !*text)
		text = "spec";
	if (strlen(text) > UPDATE_MASK_TEXT_MAX)
		return api_fail(error, API_INVALID_PARAMETER, "update_mask is longer than %d bytes",
		        UPDATE_MASK_TEXT_MAX);
	struct update_mask mask = { 0 };
	size_t seen = 0;
	for (const char *pos = text;;) {
		size_t len = strcspn(pos, ",");
		struct slice name = trimmed(pos, len);
		if (++seen > UPDATE_MASK_PATHS_MAX)
			return api_fail(error, API_INVALID_PARAMETER, "update_mask has more than %d paths",
			        UPDATE_MASK_PATHS_MAX);
		const struct update_path *path = find_path(paths, count, name);
		if (!path)
			return api_fail(error, API_INVALID_PARAMETER,
			        "Unknown field path in update_mask: '%.*s'",
			        name.len > 200 ? 200 : (int)name.len, (const char *)name.data);
		if (path->keeps_absent)
			mask.present |= path->fields;
		else
			mask.fields |= path->fields;
		mask.is_all = mask.is_all || path->is_all;
		if (pos[len] == '\0')
			break;
		pos += len + 1;
	}
	*ret = mask;
	return true;
}
