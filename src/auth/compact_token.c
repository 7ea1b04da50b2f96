#include "auth/compact_token.h"

#include "auth/base64url.h"
#include "base/buffer.h"

#define MEMBERS_MAX 256 /* comparing the names of an object is quadratic */

/* Everything up to the next dot, or to the end when there is none. */
static struct slice part_before_dot(struct slice *rest)
{
	const uint8_t *dot = rest->len > 0 ? memchr(rest->data, '.', rest->len) : NULL;
	struct slice part = { .data = rest->data, .len = dot ? (size_t)(dot - rest->data) : rest->len };
	size_t used = part.len + (dot ? 1 : 0);
	*rest = (struct slice){ .data = used < rest->len ? rest->data + used : NULL,
		.len = rest->len - used };
	return part;
}

bool compact_token_split(struct slice token, struct compact_token *ret)
{
	struct slice rest = token;
	struct compact_token parts = { 0 };
	parts.header = part_before_dot(&rest);
	parts.payload = part_before_dot(&rest);
	parts.signature = rest;
	if (parts.header.len == 0 || parts.payload.len == 0 || parts.signature.len == 0)
		return false;
	parts.signed_text =
	        (struct slice){ .data = token.data, .len = parts.header.len + 1 + parts.payload.len };
	*ret = parts;
	return true;
}

static bool has_unique_names(yyjson_val *object)
{
	yyjson_val *name;
	yyjson_obj_iter iter = yyjson_obj_iter_with(object);
	if (yyjson_obj_size(object) > MEMBERS_MAX)
		return false;
	while ((name = yyjson_obj_iter_next(&iter)))
		/* The first of a name is what is found by it. */
		if (yyjson_obj_getn(object, yyjson_get_str(name), yyjson_get_len(name)) !=
		        yyjson_obj_iter_get_val(name))
			return false;
	return true;
}

void compact_token_object_free(yyjson_doc **doc)
{
	yyjson_doc_free(*doc);
	*doc = NULL;
}

yyjson_doc *compact_token_object(struct slice part)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	if (part.len == 0 || !base64url_decode(part, &text))
		return NULL;
	CLEANUP(compact_token_object_free) yyjson_doc *doc = yyjson_read(text.data, text.len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	return yyjson_is_obj(root) && has_unique_names(root) ? TAKE_PTR(doc) : NULL;
}

bool compact_token_text(yyjson_val *value, bool (*is_valid)(struct slice), char *out)
{
	struct slice text = { .data = (const uint8_t *)yyjson_get_str(value), .len = yyjson_get_len(value) };
	if (!text.data || !is_valid(text))
		return false;
	memcpy(out, text.data, text.len);
	out[text.len] = '\0';
	return true;
}
